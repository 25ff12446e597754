r"""Exponential families under the NCE objective: derivatives in [theta, F] and with F solved for.

The model is p(x) = h(x) exp(<T(x), theta> - F) (Equation 2, with a base measure h), so its log-ratio to the
noise is r = T theta + offset with offset = log h - log q. What Equations 12-16 call T(x) = [T~(x), -1] and
theta = [theta~, F] is split here: T (..., n, k) is T~ without the entry -1, theta (..., k) is theta~, and
derivatives come in [theta, F] order.

Both Hessians weigh the samples, data and noise together, by (p* + q) p q/(p + q)^2: sample i by s_i (1 - s_i), s_i its
sigmoid. With w these weights scaled to sum 1,

    Hessian         = d2L/dF2  E_w[[T, -1] [T, -1]^T]                      (Equation 14)
    grad F(theta)   = E_w[T]                                               (from dL/dF = 0)
    profile Hessian = d2L/dF2  E_w[(T - E_w[T]) (T - E_w[T])^T]            (Equation 16, where its second integral is 0)

The last is the Schur complement of d2L/dF2 in the first. As a weighted covariance it is positive semidefinite
as computed and nothing cancels.
"""

from __future__ import annotations

import math
from typing import Any

from refnce import logz, nce
from refnce.array.backend import Array, array_namespace, all_true
from refnce.array.interop import interoperable
from refnce.array.validation import (
    check_arrays,
    check_F,
    check_no_nan,
    check_nu,
    check_samples,
    runs_shape,
)

__all__ = [
    "gradient",
    "hessian",
    "loss",
    "profile_gradient",
    "profile_hessian",
    "profile_loss",
]


@interoperable
def loss(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the NCE loss (...) of the family, Equation 12.

    T_data is (..., n, k) and T_noise (..., m, k), without the entry -1; theta (..., k); F a number or (...);
    offset_data (..., n) and offset_noise (..., m) are log h - log q, in which infinities take the limits of
    ``nce.loss``; nu as there. Leading shapes broadcast. Raises TypeError or ValueError where shapes disagree,
    n, m or k is 0, T or theta is not finite, and for what ``nce.loss`` refuses.
    """
    F, r_data, r_noise = _entry(
        T_data, T_noise, theta, F, offset_data, offset_noise, nu
    )
    return nce.loss(r_data, r_noise, F, nu=nu)  # Eq. (12)


@interoperable
def gradient(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the gradient (..., k + 1) of ``loss`` in [theta, F], Eq. 13; arguments and errors as there."""
    F, r_data, r_noise = _entry(
        T_data, T_noise, theta, F, offset_data, offset_noise, nu
    )
    dr_data, dr_noise = nce.grad_r(r_data, r_noise, F, nu=nu)
    dtheta = _pull(T_data, dr_data) + _pull(
        T_noise, dr_noise
    )  # Eq. (13), the coordinates of theta
    dF = nce.grad_F(r_data, r_noise, F, nu=nu)  # Eq. (13) = Eq. (3), the entry -1 of T
    return array_namespace(dF).concat([dtheta, dF[..., None]], axis=-1)


@interoperable
def hessian(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the Hessian of the loss (..., k + 1, k + 1) in [theta, F], Equation 14.

    Symmetric and positive semidefinite. Arguments and errors as in ``loss``.
    """
    F, r_data, r_noise = _entry(
        T_data, T_noise, theta, F, offset_data, offset_noise, nu
    )
    xp = array_namespace(F)
    w_data, w_noise = _weights(r_data, r_noise, F, nu)
    mean = (_pull(T_data, w_data) + _pull(T_noise, w_noise))[..., None]
    square = _moment(T_data, w_data) + _moment(T_noise, w_noise)
    one = xp.ones_like(mean[..., :1, :])
    upper = xp.concat([square, -mean], axis=-1)
    lower = xp.concat([-xp.matrix_transpose(mean), one], axis=-1)
    curvature = nce.hess_F(r_data, r_noise, F, nu=nu)
    return curvature[..., None, None] * xp.concat([upper, lower], axis=-2)  # Eq. (14)


@interoperable
def profile_loss(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return the loss (...) at the F that minimises it, from ``logz.newton``; convex in theta (Appendix A.2).

    Arguments as in ``loss`` without F. Where the solve's status is not CONVERGED (no minimiser, or none
    certified) the run's value is nan. Errors as in ``loss``.
    """
    F, solved, r_data, r_noise = _solve(
        T_data, T_noise, theta, offset_data, offset_noise, nu
    )
    return _where_solved(solved, nce.loss(r_data, r_noise, F, nu=nu))


@interoperable
def profile_gradient(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return the gradient (..., k) in theta of ``profile_loss``, Equation 15. Arguments and errors as there.

    T is centred at grad F(theta) as printed. In exact arithmetic that changes nothing, as dL/dF = 0; in
    floating point it removes the first-order effect of the rounding of F.
    """
    F, solved, r_data, r_noise = _solve(
        T_data, T_noise, theta, offset_data, offset_noise, nu
    )
    dr_data, dr_noise = nce.grad_r(r_data, r_noise, F, nu=nu)
    D_data, D_noise = _centred(T_data, T_noise, *_weights(r_data, r_noise, F, nu))
    return _where_solved(
        solved[..., None], _pull(D_data, dr_data) + _pull(D_noise, dr_noise)
    )  # Eq. (15)


@interoperable
def profile_hessian(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return the Hessian (..., k, k) in theta of ``profile_loss``, Equation 16.

    Symmetric and positive semidefinite (Appendix A.2). Arguments and errors as in ``profile_loss``.
    """
    F, solved, r_data, r_noise = _solve(
        T_data, T_noise, theta, offset_data, offset_noise, nu
    )
    w_data, w_noise = _weights(r_data, r_noise, F, nu)
    D_data, D_noise = _centred(T_data, T_noise, w_data, w_noise)
    curvature = nce.hess_F(r_data, r_noise, F, nu=nu)[..., None, None]
    covariance = _moment(D_data, w_data) + _moment(D_noise, w_noise)
    return _where_solved(solved[..., None, None], curvature * covariance)  # Eq. (16)


def _scores(T, theta):
    """T theta (..., n): with the offset the log-ratio, Eq. (2) less F, against the noise."""
    return array_namespace(T).matmul(T, theta[..., None])[..., 0]


def _pull(T, w):
    """The pullback of ``_scores``: sum_i w_i T_i (..., k)."""
    return array_namespace(T).matmul(w[..., None, :], T)[..., 0, :]


def _moment(T, w):
    """sum_i w_i T_i T_i^T (..., k, k) as a Gram matrix, exactly symmetric, without the n outer products."""
    xp = array_namespace(T)
    S = xp.sqrt(w)[..., None] * T
    M = xp.matmul(xp.matrix_transpose(S), S)
    return 0.5 * (M + xp.matrix_transpose(M))


def _weights(r_data, r_noise, F, nu):
    """The curvature weights s(1 - s)/n of data and nu s(1 - s)/m of noise, scaled to sum 1 (0 if all are)."""
    xp = array_namespace(F)
    centre = (F + math.log(nu))[..., None]
    q_data, q_noise = xp.exp(-xp.abs(centre - r_data)), xp.exp(
        -xp.abs(centre - r_noise)
    )
    w_data = (
        q_data / (1.0 + q_data) ** 2 / r_data.shape[-1]
    )  # s(1 - s) in the odds q of the small one
    w_noise = q_noise / (1.0 + q_noise) ** 2 * (nu / r_noise.shape[-1])
    total = xp.sum(w_data, axis=-1, keepdims=True) + xp.sum(
        w_noise, axis=-1, keepdims=True
    )
    total = xp.where(total > 0.0, total, xp.ones_like(total))
    return w_data / total, w_noise / total


def _centred(T_data, T_noise, w_data, w_noise):
    """T less its weighted mean, which is the gradient of F(theta) when F is the root (A.2)."""
    grad_F = (_pull(T_data, w_data) + _pull(T_noise, w_noise))[..., None, :]
    return T_data - grad_F, T_noise - grad_F


def _solve(T_data, T_noise, theta, offset_data, offset_noise, nu):
    _, r_data, r_noise = _entry(
        T_data, T_noise, theta, 0.0, offset_data, offset_noise, nu
    )
    root = logz.newton(r_data, r_noise, nu=nu)
    xp = array_namespace(r_data)
    return (
        xp.where(root.converged, root.F, xp.zeros_like(root.F)),
        root.converged,
        r_data,
        r_noise,
    )


def _where_solved(solved, value):
    xp = array_namespace(value)
    return xp.where(solved, value, xp.full_like(value, xp.nan))


def _entry(T_data, T_noise, theta, F, offset_data, offset_noise, nu):
    """Check the arguments; return F (...) over all runs and the log-ratios of data and noise."""
    check_nu(nu)
    offsets = {"offset_data": offset_data, "offset_noise": offset_noise}
    xp = check_arrays(T_data=T_data, T_noise=T_noise, theta=theta, **offsets)
    _check_shapes(T_data, T_noise, theta, offset_data, offset_noise)
    check_samples(**offsets)
    _check_finite(T_data=T_data, T_noise=T_noise, theta=theta)
    check_no_nan(**offsets)
    F = check_F(F, theta, xp, beside="theta")
    one = {
        "T_data[..., 0]": T_data[..., 0],
        "T_noise[..., 0]": T_noise[..., 0],
        "theta": theta,
        "F": F[..., None],
    }
    F = xp.broadcast_to(F, runs_shape(**one, **offsets))
    scores = {
        "T_data theta": _scores(T_data, theta),
        "T_noise theta": _scores(T_noise, theta),
    }
    _check_finite(**scores)
    r_data, r_noise = (
        score + offset
        for score, offset in zip(scores.values(), offsets.values(), strict=True)
    )
    return F, r_data, r_noise


def _check_shapes(T_data, T_noise, theta, offset_data, offset_noise):
    if theta.ndim == 0 or theta.shape[-1] == 0:
        raise ValueError(
            f"theta must be (..., k) with k >= 1 parameters; got shape {tuple(theta.shape)}"
        )
    for name, T, offset in (
        ("data", T_data, offset_data),
        ("noise", T_noise, offset_noise),
    ):
        if T.ndim < 2 or T.shape[-1] != theta.shape[-1]:
            raise ValueError(
                f"T_{name} must be (..., samples, k) with k = {theta.shape[-1]} as theta has; got shape "
                f"{tuple(T.shape)} (one statistic is T[..., None]; the paper's last entry -1 is left out)"
            )
        if offset.ndim == 0 or offset.shape[-1] != T.shape[-2]:
            raise ValueError(
                f"offset_{name} must be (..., samples) with {T.shape[-2]} samples as T_{name} has; got shape "
                f"{tuple(offset.shape)} (it is log h - log q at each sample)"
            )


def _check_finite(**arrays):
    for name, x in arrays.items():
        bad = ~array_namespace(x).isfinite(x)
        if not all_true(~bad):
            count = int(array_namespace(x).count_nonzero(bad))
            raise ValueError(
                f"{name} holds {count} NaN or infinite numbers in shape {tuple(x.shape)}; it must be finite "
                "(a sample outside the support of the model or of the noise is an offset of -inf or +inf)"
            )
