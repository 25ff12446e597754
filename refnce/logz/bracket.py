"""Where the root is before any solving: the bracket, and runs without a finite root."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from refnce.array.backend import all_true, array_namespace, where
from refnce.array.special import two_product


class Bracket(NamedTuple):
    """lo <= root <= hi; ``limit`` is F where there is no finite root, else 0."""

    lo: Any
    hi: Any
    no_root: Any
    limit: Any


def bracket(ratios):
    """Bracket the root of A = nu B by the pooled extremes of the finite log-ratios.

    Let G(F) = sum of w sigmoid(F + log nu - r) over the pooled finite samples, w = 1/n
    for data and nu/m for noise, and W the sum of those w. The root solves G = tau,
    tau = nu - a_minus - nu b_minus (a, b: shares of data and noise at -inf or +inf).
    At F + log nu = min r + logit(tau/W) every sigmoid is at most tau/W, so G <= tau. At
    max r + logit(tau/W) likewise G >= tau. With all samples finite tau/W = nu/(1 + nu)
    and the shift cancels: the bracket is [min r, max r]. A finite root needs tau > 0,
    which is a_minus < nu (1 - b_minus), and W - tau > 0, which is 1 - a_plus > nu
    b_plus. Neither is then below 2^-106/(n m), which bounds the logit.
    """
    xp, (r_data, r_noise), (n, m), nu = ratios.xp, ratios.pair, ratios.sizes, ratios.nu
    lo = xp.minimum(xp.min(r_data, axis=-1), xp.min(r_noise, axis=-1))
    hi = xp.maximum(xp.max(r_data, axis=-1), xp.max(r_noise, axis=-1))
    if all_true((lo > -math.inf) & (hi < math.inf)):
        return Bracket(lo, hi, lo != lo, xp.zeros_like(lo))
    a_minus, a_plus, lo_data, hi_data = _infinite(r_data)
    b_minus, b_plus, lo_noise, hi_noise = _infinite(r_noise)
    # tau n m and (W - tau) n m, from counts and an exact product: either may be 0.
    product, rest = two_product(nu, n * (m - b_minus))
    above = xp.astype((product - m * a_minus) + rest, lo.dtype)
    product, rest = two_product(nu, n * b_plus)
    below = xp.astype((m * (n - a_plus) - product) - rest, lo.dtype)
    finite = (above > 0) & (below > 0)
    shift = 74.0 + math.log(n * m) + 2.0 * abs(math.log(nu))
    lo = where(finite, xp.minimum(lo_data, lo_noise) - shift, 0.0)
    hi = where(finite, xp.maximum(hi_data, hi_noise) + shift, 0.0)
    inf = xp.full_like(lo, math.inf)
    limit = where(above > 0, inf, where(below > 0, -inf, math.nan))
    return Bracket(lo, hi, ~finite, where(finite, 0.0, limit))


def _infinite(r):
    """The numbers of -inf and +inf in r, the least and the greatest finite value."""
    xp = array_namespace(r)
    finite = xp.isfinite(r)
    minus, plus = (
        xp.astype(xp.count_nonzero(r == x, axis=-1), xp.float64)
        for x in (-math.inf, math.inf)
    )
    least = xp.min(where(finite, r, math.inf), axis=-1)
    return minus, plus, least, xp.max(where(finite, r, -math.inf), axis=-1)
