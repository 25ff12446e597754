r"""The exponential loss eNCE of Liu, Rosenfeld, Ravikumar and Risteski (2021, arXiv:2110.11271).

With r = log p~ - log q on data and on noise as in ``refnce.nce``, and p = p~ e^{-F},

    L(F) = 1/2 E_p*[e^{-(r - F)/2}] + 1/2 E_q[e^{(r - F)/2}]              (their exponential loss on log(p/q))
    dL/dF = 1/4 E_p*[e^{-(r - F)/2}] - 1/4 E_q[e^{(r - F)/2}]
    F* = log E_q[e^{r/2}] - log E_p*[e^{-r/2}],   where dL/dF = 0 and L = sqrt(E_p*[e^{-r/2}] E_q[e^{r/2}])

so that F, which the NCE loss has to solve for, is known in closed form. A weight nu of noise against data
would only scale.

How the last digits are kept. A mean of exponentials is carried as S e^p with p its largest exponent, so no
term overflows; F - r keeps its TwoSum remainder, since half an ulp of 500 is 256 ulps of its exponential; the
power e^p enters last, as (e^{p/2})^2, so the result is infinite only where it exceeds the largest number.
"""

from __future__ import annotations

import math
from typing import Any

from refnce.array.backend import Array, array_namespace
from refnce.array.interop import interoperable
from refnce.array.validation import (
    check_arrays,
    check_F,
    check_no_nan,
    check_samples,
    rows,
    runs_shape,
)
from refnce.array.special import two_sum

__all__ = ["grad_F", "grad_r", "log_z", "loss"]


@interoperable
def loss(r_data: Array, r_noise: Array, F: Any) -> Array:
    """Return the exponential loss L (...); r_data (..., n), r_noise (..., m), F a number or (...), broadcast.

    r_data = -inf or r_noise = +inf makes it +inf; r_data = +inf and r_noise = -inf add 0 and count in n, m.
    Raises TypeError or ValueError for empty samples, NaN, integer arrays, mixed libraries or devices, tensors
    that record gradients.
    """
    r_data, r_noise, F = _entry(r_data, r_noise, F)
    data, noise, p = _sides(r_data, r_noise, F)
    return _times_exp(0.5 * (data + noise), p)  # Liu et al. 2021, exponential loss


@interoperable
def grad_F(r_data: Array, r_noise: Array, F: Any) -> Array:
    """Return dL/dF (...). Arguments and errors as in ``loss``.

    It is nan where a data and a noise sample both make the loss infinite: then no F is better than another.
    """
    r_data, r_noise, F = _entry(r_data, r_noise, F)
    data, noise, p = _sides(r_data, r_noise, F)
    return _times_exp(0.25 * (data - noise), p)  # its derivative


@interoperable
def grad_r(r_data: Array, r_noise: Array, F: Any) -> tuple[Array, Array]:
    """Return (dL/dr_data (..., n), dL/dr_noise (..., m)), the weights that a model's pullback takes.

    dL/dr_data = -e^{-(r_data - F)/2}/(4n), dL/dr_noise = e^{(r_noise - F)/2}/(4m). Arguments and errors as in
    ``loss``.
    """
    r_data, r_noise, F = _entry(r_data, r_noise, F)
    x_data, c_data = _exponent(r_data, F, +0.5)
    x_noise, c_noise = _exponent(r_noise, F, -0.5)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    return _times_exp(c_data * (-0.25 / n), x_data), _times_exp(
        c_noise * (0.25 / m), x_noise
    )


@interoperable
def log_z(r_data: Array, r_noise: Array) -> Array:
    """Return F* = log E_q[e^{r/2}] - log E_p*[e^{-r/2}] (...), the F that minimises the loss.

    Infinite log-ratios take the limit of the formula; where it has none (both means infinite, or both 0) the
    value is nan. Arguments and errors as in ``loss``.
    """
    r_data, r_noise, F = _entry(r_data, r_noise, 0.0)
    S_data, p_data = _mean_exp(r_data, F, +0.5)
    S_noise, p_noise = _mean_exp(r_noise, F, -0.5)
    return (p_noise - p_data) + array_namespace(F).log(S_noise / S_data)  # the best F


def _sides(r_data: Array, r_noise: Array, F: Array) -> tuple[Array, Array, Array]:
    """Return (a, b, p), E_p*[e^{-(r - F)/2}] = a e^p, E_q[e^{(r - F)/2}] = b e^p, p the larger exponent."""
    xp = array_namespace(F)
    S_data, p_data = _mean_exp(r_data, F, +0.5)
    S_noise, p_noise = _mean_exp(r_noise, F, -0.5)
    p = xp.maximum(p_data, p_noise)
    # Under e^{floor} of the other side is lost in its rounding; not 0, so that an infinite S stays infinite.
    floor = 0.5 * math.log(xp.finfo(p.dtype).smallest_normal)
    scale = [xp.exp(xp.maximum(x - p, floor)) for x in (p_data, p_noise)]
    return S_data * scale[0], S_noise * scale[1], p


def _mean_exp(r: Array, F: Array, half: float) -> tuple[Array, Array]:
    """Return (S, p), mean e^{half (F - r)} = S e^p; S is in [1/n, 1], 0 if all terms are, inf if one is."""
    xp = array_namespace(r)
    x, c = _exponent(r, F, half)
    huge = xp.full_like(
        x, xp.finfo(x.dtype).max / 4.0
    )  # -huge is the p of no term, and can be subtracted
    p = xp.max(
        xp.maximum(xp.where(x < xp.inf, x, -huge), -huge), axis=-1, keepdims=True
    )
    return xp.mean(c * xp.exp(x - p), axis=-1), xp.squeeze(p, axis=-1)


def _exponent(r: Array, F: Array, half: float) -> tuple[Array, Array]:
    """Return (x, c), e^{half (F - r)} = c e^x, x the rounded exponent, c = 1 + half (remainder of F - r)."""
    xp = array_namespace(r)
    d, e = two_sum(F[..., None], -r)
    return half * d, 1.0 + half * xp.where(xp.isfinite(d), e, xp.zeros_like(e))


def _times_exp(c: Array, p: Array) -> Array:
    """Return c e^p, infinite only where the product itself is too large, 0 only where it is too small."""
    xp = array_namespace(c)
    limit = (
        math.log(xp.finfo(p.dtype).max) - 8.0
    )  # so that neither factor is infinite or 0
    h = xp.exp(xp.clip(0.5 * p, -limit, limit))
    return (c * h) * h


def _entry(r_data: Array, r_noise: Array, F: Any) -> tuple[Array, Array, Array]:
    xp = check_arrays(r_data=r_data, r_noise=r_noise)
    check_samples(r_data=r_data, r_noise=r_noise)
    check_no_nan(r_data=r_data, r_noise=r_noise)
    F = check_F(F, r_data, xp)
    shape = runs_shape(r_data=r_data, r_noise=r_noise, F=F[..., None])
    return rows(r_data), rows(r_noise), xp.broadcast_to(F, shape)
