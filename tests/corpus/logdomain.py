"""Everything by its logarithm until the end: log-sigmoids and ``logsumexp``, so that nothing under- or overflows on the way."""

from __future__ import annotations

import numpy as np

from tests.corpus import refuse

LEVEL = "C"  # the rounding of r - F is lost
SKIP = ("Huge",)  # log nu is lost beside an F of 1e300


def _lse(x):
    """log mean exp over the last axis; the largest term is infinite where all or one are."""
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return top[..., 0] + np.log(np.exp(x - top).mean(-1))


def _logs(r_data, r_noise, F, nu):
    """log s_data and log s_noise."""
    refuse(r_data, r_noise, F, nu)
    F = np.asarray(F)[..., None]
    return -np.logaddexp(0.0, r_data - F - np.log(nu)), -np.logaddexp(
        0.0, F + np.log(nu) - r_noise
    )


class nce:
    """Definition 3.1 and its derivatives."""

    @staticmethod
    def loss(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        F = np.asarray(F)[..., None]
        losses = np.logaddexp(0.0, F + np.log(nu) - r_data), np.logaddexp(
            0.0, r_noise - F - np.log(nu)
        )
        return (
            np.exp(_lse(np.log(losses[0])))
            + np.exp(np.log(nu) + _lse(np.log(losses[1])))
        ) / (1.0 + nu)

    @staticmethod
    def hess_F(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        F = np.asarray(F)[..., None]
        bends = []
        for r in (r_data, r_noise):
            z = np.abs(F + np.log(nu) - r)
            bends.append(_lse(-z - 2.0 * np.log1p(np.exp(-z))))
        return np.exp(np.logaddexp(bends[0], bends[1] + np.log(nu)) - np.log1p(nu))

    @staticmethod
    def grad_r(r_data, r_noise, F, *, nu=1.0):
        data, noise = _logs(r_data, r_noise, F, nu)
        n, m = r_data.shape[-1], r_noise.shape[-1]
        return -np.exp(data - np.log(n) - np.log1p(nu)), np.exp(
            noise + np.log(nu) - np.log(m) - np.log1p(nu)
        )


def bar_update(r_data, r_noise, F, *, nu=1.0):
    log_A, log_B = map(_lse, _logs(r_data, r_noise, F, nu))
    return F + (log_B - log_A) + np.log(nu)


class ence:
    """The exponential loss."""

    @staticmethod
    def loss(r_data, r_noise, F):
        return np.exp(np.logaddexp(*_halves(r_data, r_noise, F)) - np.log(2.0))

    @staticmethod
    def grad_F(r_data, r_noise, F):
        """The larger of the two exponentials goes in front of their difference."""
        data, noise = _halves(r_data, r_noise, F)
        top, sign = np.maximum(data, noise), np.where(data >= noise, 0.25, -0.25)
        return np.where(
            top == -np.inf, 0.0, sign * np.exp(top) * -np.expm1(-np.abs(data - noise))
        )

    @staticmethod
    def grad_r(r_data, r_noise, F):
        refuse(r_data, r_noise, F)
        F, n, m = np.asarray(F)[..., None], r_data.shape[-1], r_noise.shape[-1]
        return -np.exp(0.5 * (F - r_data) - np.log(4.0 * n)), np.exp(
            0.5 * (r_noise - F) - np.log(4.0 * m)
        )

    @staticmethod
    def log_z(r_data, r_noise):
        refuse(r_data, r_noise)
        return _lse(0.5 * r_noise) - _lse(-0.5 * r_data)


def _halves(r_data, r_noise, F):
    refuse(r_data, r_noise, F)
    F = np.asarray(F)[..., None]
    return _lse(0.5 * (F - r_data)), _lse(0.5 * (r_noise - F))
