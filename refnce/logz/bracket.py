"""Where the root is before any solving: the bracket, and which runs have no finite root."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from refnce.array.backend import (
    Array,
    Namespace,
    array_namespace,
    all_true,
    all_numpy_float64,
)
from refnce.array.validation import (
    LARGEST,
    check_arrays,
    check_F,
    check_no_nan,
    check_nu,
    check_samples,
    rows,
    runs_shape,
)
from refnce.array.special import two_product


class Bracket(NamedTuple):
    """lo <= root <= hi, and for runs without a finite root their F: -inf, +inf or nan (0 where there is a root)."""

    lo: Array
    hi: Array
    rootless: Array
    limit: Array


def enter(
    r_data: Array, r_noise: Array, nu: Any, xtol: Any, *, nan: bool = True
) -> tuple[Namespace, Array, Array, float]:
    """Check a solver's arguments and return (xp, r_data, r_noise, nu), samples contiguous."""
    nu = check_nu(nu)
    if (
        isinstance(xtol, bool)
        or not isinstance(xtol, (int, float))
        or not 0 <= xtol <= LARGEST
    ):
        raise ValueError(
            f"xtol must be a finite number >= 0 (0: to the last units); got {xtol!r}"
        )
    if (
        all_numpy_float64(r_data, r_noise)
        and r_data.ndim == r_noise.ndim == 1
        and 0 not in r_data.shape + r_noise.shape
    ):
        xp = array_namespace(
            r_data
        )  # nothing more to ask: the checks take as long as a pass over 512 samples
    else:
        xp = check_arrays(r_data=r_data, r_noise=r_noise)
        check_samples(r_data=r_data, r_noise=r_noise)
    if nan:
        check_no_nan(r_data=r_data, r_noise=r_noise)
    if not r_data.ndim == r_noise.ndim == 1:
        runs_shape(r_data=r_data, r_noise=r_noise)
        r_data, r_noise = rows(r_data), rows(r_noise)
    return xp, r_data, r_noise, nu


def first_F(F0: Any, r_data: Array, r_noise: Array, xp: Namespace) -> Array | None:
    """Return the start ``F0`` of a solver, one for each run, or None."""
    if F0 is None:
        return None
    F0 = check_F(F0, r_data, xp, name="F0")
    runs = runs_shape(r_data=r_data, r_noise=r_noise)
    if runs_shape(r_data=r_data, r_noise=r_noise, F0=F0[..., None]) != runs:
        raise ValueError(
            f"F0 must be a number or broadcast to the runs {runs}; got shape {tuple(F0.shape)}"
        )
    return xp.broadcast_to(F0, runs)


def bracket(r_data: Array, r_noise: Array, nu: float) -> Bracket:
    """Bracket the root of A = nu B by the pooled extremes of the finite log-ratios.

    With G(F) = sum over the pooled finite samples of w sigmoid(F + log nu - r), w = 1/n for data and nu/m for noise, and
    W the sum of those w, the root solves G = tau, tau = nu - a_minus - nu b_minus (a, b: shares at -inf and +inf). At
    F + log nu = min r + logit(tau/W) every sigmoid is at most tau/W, so G <= tau; at max r + logit(tau/W) likewise G >= tau.
    With all samples finite tau/W = nu/(1 + nu) and the shift cancels: the bracket is [min r, max r]. A finite root needs
    tau > 0, that is a_minus < nu (1 - b_minus), and W - tau > 0, that is 1 - a_plus > nu b_plus.
    """
    xp = array_namespace(r_data, r_noise)
    lo = xp.minimum(xp.min(r_data, axis=-1), xp.min(r_noise, axis=-1))
    hi = xp.maximum(xp.max(r_data, axis=-1), xp.max(r_noise, axis=-1))
    if all_true(xp.isfinite(lo)) and all_true(xp.isfinite(hi)):
        return Bracket(lo, hi, xp.zeros_like(lo) != 0, xp.zeros_like(lo))
    n, m = r_data.shape[-1], r_noise.shape[-1]
    a_minus, a_plus, lo_data, hi_data = _infinite(r_data)
    b_minus, b_plus, lo_noise, hi_noise = _infinite(r_noise)
    # From counts and an exact product, since either may be 0: tau n m and (W - tau) n m.
    product, rest = two_product(nu, n * (m - b_minus))
    above = xp.astype((product - m * a_minus) + rest, lo.dtype)
    product, rest = two_product(nu, n * b_plus)
    below = xp.astype((m * (n - a_plus) - product) - rest, lo.dtype)
    finite = (above > 0) & (below > 0)
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    terms = [xp.log(xp.where(finite, x, one)) for x in (above, below)]
    shift = xp.where(finite, terms[0] - terms[1] - math.log(nu), zero)
    size = 1.0 + xp.abs(terms[0]) + xp.abs(terms[1]) + abs(math.log(nu))
    slack = 4.0 * xp.finfo(lo.dtype).eps  # for the rounding of the shift
    lo, hi = xp.minimum(lo_data, lo_noise), xp.maximum(hi_data, hi_noise)
    lo = xp.where(finite, lo + shift - slack * (size + xp.abs(lo)), zero)
    hi = xp.where(finite, hi + shift + slack * (size + xp.abs(hi)), zero)
    inf = xp.full_like(lo, float("inf"))
    limit = xp.where(above > 0, inf, xp.where(below > 0, -inf, inf - inf))
    return Bracket(lo, hi, ~finite, xp.where(finite, zero, limit))


def _infinite(r: Array) -> tuple[Array, Array, Array, Array]:
    """How many of r are -inf and +inf, and the least and the greatest of its finite values."""
    xp = array_namespace(r)
    inf = xp.full_like(r, float("inf"))
    finite = xp.isfinite(r)
    minus = xp.astype(xp.count_nonzero(r == -inf, axis=-1), xp.float64)
    plus = xp.astype(xp.count_nonzero(r == inf, axis=-1), xp.float64)
    return (
        minus,
        plus,
        xp.min(xp.where(finite, r, inf), axis=-1),
        xp.max(xp.where(finite, r, -inf), axis=-1),
    )
