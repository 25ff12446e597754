"""SciPy's ``log_expit``, ``logsumexp``, and root finders that take a bracket.

grad_F is the imaginary part of the loss a small imaginary step away.
"""

from functools import partial

import numpy as np
from scipy import special
from scipy.optimize import brentq, elementwise

from tests.corpus import over_families, over_runs, refuse

LEVEL = "C"
SKIP = (
    "Plateau",  # two logarithms near 0 are equal before they are subtracted
    "CountsCancel",
    "Gap",
    "Subnormal",
    "Underflow",
    "Huge",  # log nu is lost beside an F of 1e300
    "NoRoot",  # brentq wants a change of sign
)
STEP = 2.0**-26  # its square is the last digit


def _log_mean(log_s):
    return special.logsumexp(log_s, axis=-1) - np.log(log_s.shape[-1])


def _h(data, noise, F, nu):
    """log A - log nu B."""
    z = F + np.log(nu)
    log_A = _log_mean(special.log_expit(z - data))
    return log_A - _log_mean(special.log_expit(noise - z)) - np.log(nu)


def _bracket(data, noise):
    """Beyond the finite numbers by more than the log of any ratio of counts."""
    finite = np.concatenate([data[np.isfinite(data)], noise[np.isfinite(noise)]])
    return float(finite.min()) - 50.0, float(finite.max()) + 50.0


def _brentq(data, noise, nu):
    # 2^-50, 4 eps, is the least rtol that brentq takes.
    h, (lo, hi) = partial(_h, data, noise, nu=nu), _bracket(data, noise)
    return brentq(h, lo, hi, xtol=1e-15, rtol=2.0**-50)


def _find_root(data, noise, nu):
    h = np.vectorize(partial(_h, data, noise, nu=nu))
    return float(elementwise.find_root(h, _bracket(data, noise)).x)


newton = over_runs(lambda data, noise, _, nu: _find_root(data, noise, nu))
bisect = over_runs(lambda data, noise, _, nu: _brentq(data, noise, nu))
bar_update = over_runs(lambda data, noise, F, nu: F - _h(data, noise, F, nu))


class nce:
    """Definition 3.1, as the cross-entropy of two labels."""

    def loss(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        logit = np.asarray(F)[..., None] + np.log(nu)
        data, noise = map(special.log_expit, (r_data - logit, logit - r_noise))
        return -(data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        z = np.asarray(F + 1j * STEP)[..., None] + np.log(nu)
        data, noise = (_softplus(z).imag / STEP for z in (z - r_data, r_noise - z))
        return (data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)


def _softplus(z):
    up = z.real > 0
    return np.where(up, z, 0.0) + np.log1p(np.exp(np.where(up, -z, z)))


def _profile(f):
    """``f`` at the log-ratios and the root of each run."""

    @over_families
    def call(T_data, T_noise, theta, offset_data, offset_noise, nu):
        r = T_data @ theta + offset_data, T_noise @ theta + offset_noise
        return f(T_data, T_noise, *r, _brentq(*r, nu), nu)

    return call


class expfam:
    """The profile of the loss over F (Equations 15, 16)."""

    @_profile
    def profile_loss(T_data, T_noise, r_data, r_noise, F, nu):
        return nce.loss(r_data, r_noise, F, nu=nu)

    @_profile
    def profile_gradient(T_data, T_noise, r_data, r_noise, F, nu):
        z, n, m = F + np.log(nu), r_data.size, r_noise.size
        A, B = special.expit(z - r_data) / n, special.expit(r_noise - z) / m
        return (nu * B @ T_noise - A @ T_data) / (1.0 + nu)

    @_profile
    def profile_hessian(T_data, T_noise, r_data, r_noise, F, nu):
        n, m = r_data.size, r_noise.size
        shares = np.repeat([1.0 / n, nu / m], [n, m]) / (1.0 + nu)
        z = F + np.log(nu) - np.concatenate([r_data, r_noise])
        w, T = shares * special.expit(z) * special.expit(-z), [T_data, T_noise]
        covariance = np.cov(np.concatenate(T).T, aweights=w / w.sum(), ddof=0)
        return w.sum() * np.atleast_2d(covariance)
