"""NCE and its root as one writes them with SciPy."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp


def _shift(F, nu):
    return np.asarray(F)[..., None] + np.log(nu)


class nce:
    def loss(r_data, r_noise, F, *, nu=1.0):
        shift = _shift(F, nu)
        data, noise = log_expit(r_data - shift), log_expit(shift - r_noise)
        return -(data.mean(-1) + nu * noise.mean(-1)) / (1 + nu)

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        shift = _shift(F, nu)
        A, B = expit(shift - r_data).mean(-1), expit(r_noise - shift).mean(-1)
        return (A - nu * B) / (1 + nu)

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        shift = _shift(F, nu)
        weights = [expit(shift - r) * expit(r - shift) for r in (r_data, r_noise)]
        return (weights[0].mean(-1) + nu * weights[1].mean(-1)) / (1 + nu)


def _log_mean(logs):
    return logsumexp(logs, axis=-1) - np.log(logs.shape[-1])


def bar_update(r_data, r_noise, F, *, nu=1.0):
    shift = _shift(F, nu)
    log_A = _log_mean(log_expit(shift - r_data))
    return shift[..., 0] - log_A + _log_mean(log_expit(r_noise - shift))


def newton(r_data, r_noise, *, nu=1.0):
    """brentq on log A - log B - log nu, between the extremes of the log-ratios."""
    if r_data.ndim > 1 or r_noise.ndim > 1:
        raise NotImplementedError("several runs at once")
    pooled = np.concatenate([r_data, r_noise])
    lo, hi = pooled.min(), pooled.max()
    if lo == hi:
        return np.asarray(lo)

    def h(F):
        return F - bar_update(r_data, r_noise, F, nu=nu)

    return np.asarray(brentq(h, lo, hi, xtol=1e-15, rtol=8.9e-16))
