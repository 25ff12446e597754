"""Everything by its logarithm, so that nothing under- or overflows on the way."""

import numpy as np

from tests.corpus import refuse

LEVEL = "C"  # the rounding of r - F is lost
SKIP = ("Huge",)  # log nu is lost beside an F of 1e300


def _lse(x):
    """log mean exp over the last axis; the largest term may be infinite."""
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return top[..., 0] + np.log(np.exp(x - top).mean(-1))


def _sides(r_data, r_noise, F, nu):
    """F + log nu - r of data, and its negative of noise."""
    refuse(r_data, r_noise, F, nu)
    u = np.asarray(F)[..., None] + np.log(nu)
    return u - r_data, r_noise - u


class nce:
    """Definition 3.1 and its derivatives."""

    def loss(r_data, r_noise, F, *, nu=1.0):
        sides = _sides(r_data, r_noise, F, nu)
        data, noise = (_lse(np.log(np.logaddexp(0.0, z))) for z in sides)
        return (np.exp(data) + np.exp(np.log(nu) + noise)) / (1.0 + nu)

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        sides = map(np.abs, _sides(r_data, r_noise, F, nu))
        bends = [_lse(-z - 2.0 * np.log1p(np.exp(-z))) for z in sides]
        return np.exp(np.logaddexp(bends[0], bends[1] + np.log(nu)) - np.log1p(nu))


def bar_update(r_data, r_noise, F, *, nu=1.0):
    sides = _sides(r_data, r_noise, F, nu)
    log_A, log_B = (_lse(-np.logaddexp(0.0, -z)) for z in sides)
    return F + (log_B - log_A) + np.log(nu)


class ence:
    """The exponential loss."""

    def loss(r_data, r_noise, F):
        return np.exp(np.logaddexp(*_halves(r_data, r_noise, F)) - np.log(2.0))

    def grad_F(r_data, r_noise, F):
        """The larger of the two exponentials goes in front of their difference."""
        data, noise = _halves(r_data, r_noise, F)
        top, sign = np.maximum(data, noise), np.where(data >= noise, 0.25, -0.25)
        difference = sign * np.exp(top) * -np.expm1(-np.abs(data - noise))
        return np.where(top == -np.inf, 0.0, difference)

    def log_z(r_data, r_noise):
        refuse(r_data, r_noise)
        return _lse(0.5 * r_noise) - _lse(-0.5 * r_data)


def _halves(r_data, r_noise, F):
    return [_lse(0.5 * z) for z in _sides(r_data, r_noise, F, 1.0)]
