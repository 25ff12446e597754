"""NCE and its root as one writes them with SciPy: expit, log_expit, logsumexp and brentq."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp


class nce:
    @staticmethod
    def loss(r_data, r_noise, F, *, nu=1.0):
        shift = np.asarray(F)[..., None] + np.log(nu)
        return -(
            log_expit(r_data - shift).mean(-1)
            + nu * log_expit(shift - r_noise).mean(-1)
        ) / (1 + nu)

    @staticmethod
    def grad_F(r_data, r_noise, F, *, nu=1.0):
        shift = np.asarray(F)[..., None] + np.log(nu)
        return (
            expit(shift - r_data).mean(-1) - nu * expit(r_noise - shift).mean(-1)
        ) / (1 + nu)

    @staticmethod
    def hess_F(r_data, r_noise, F, *, nu=1.0):
        shift = np.asarray(F)[..., None] + np.log(nu)
        weights = [expit(shift - r) * expit(r - shift) for r in (r_data, r_noise)]
        return (weights[0].mean(-1) + nu * weights[1].mean(-1)) / (1 + nu)


def bar_update(r_data, r_noise, F, *, nu=1.0):
    shift = np.asarray(F)[..., None] + np.log(nu)
    log_A = logsumexp(log_expit(shift - r_data), axis=-1) - np.log(r_data.shape[-1])
    log_B = logsumexp(log_expit(r_noise - shift), axis=-1) - np.log(r_noise.shape[-1])
    return shift[..., 0] - log_A + log_B


def newton(r_data, r_noise, *, nu=1.0):
    """brentq on the difference of the logarithms, between the extremes of the log-ratios."""
    if r_data.ndim > 1 or r_noise.ndim > 1:
        raise NotImplementedError("several runs at once")
    pooled = np.concatenate([r_data, r_noise])
    lo, hi = pooled.min(), pooled.max()
    if lo == hi:
        return np.asarray(lo)
    return np.asarray(
        brentq(
            lambda F: F - bar_update(r_data, r_noise, F, nu=nu),
            lo,
            hi,
            xtol=1e-15,
            rtol=8.9e-16,
        )
    )
