"""Where the root is before any solving: the bracket, and runs without a finite root."""

import math

from refnce.array import all_true, array_namespace, host, where
from refnce.nce import count_difference


def bracket(ratios):
    """Return lo, hi and limit: lo <= root <= hi, limit 0; without a root, its limit.

    The root of A = nu B is bracketed by the pooled extremes of the finite log-ratios.

    Let G(F) = sum of w sigmoid(F + log nu - r) over the pooled finite samples, w = 1/n
    for data and nu/m for noise, and W the sum of those w. The root solves G = tau,
    tau = nu - a_minus - nu b_minus (a, b: shares of data and noise at -inf or +inf).
    At F + log nu = min r + logit(tau/W) every sigmoid is at most tau/W, so G <= tau. At
    max r + logit(tau/W) likewise G >= tau. With all samples finite tau/W = nu/(1 + nu)
    and the shift cancels: the bracket is [min r, max r]. A finite root needs tau > 0,
    which is a_minus < nu (1 - b_minus), and W - tau > 0, which is 1 - a_plus > nu
    b_plus. Neither is then below 2^-106/(n m), which bounds the logit.
    """
    xp, pair, (n, m), nu = ratios.xp, ratios.pair, ratios.sizes, ratios.nu
    if not ratios.is_lazy:  # most have no infinity
        ends = ratios.to_host([f(r, axis=-1) for f in (xp.min, xp.max) for r in pair])
        lo, hi = host.minimum(*ends[:2]), host.maximum(*ends[2:])
        if all_true((lo > -math.inf) & (hi < math.inf)):
            return lo, hi, 0.0 * lo
    data, noise = (ratios.over(_finite, r, join=_joined) for r in pair)
    lo_data, hi_data, a_minus, a_plus = data
    lo_noise, hi_noise, b_minus, b_plus = noise
    # tau n m and (W - tau) n m, from counts: either may be 0.
    above = -count_difference(a_minus, b_minus, (n, m), nu)
    below = count_difference(n - a_plus, m - b_plus, (n, m), nu)
    finite = (above > 0) & (below > 0)
    shift = 74.0 + math.log(n * m) + 2.0 * abs(math.log(nu))
    shift = where(a_minus + a_plus + b_minus + b_plus > 0, shift, 0.0 * above)
    lo = where(finite, host.minimum(lo_data, lo_noise) - shift, 0.0)
    hi = where(finite, host.maximum(hi_data, hi_noise) + shift, 0.0)
    limit = where(above > 0, math.inf, where(below > 0, 0.0 * lo - math.inf, math.nan))
    return lo, hi, where(finite, 0.0, limit)


def _finite(r):
    """The least and the greatest finite value, the numbers of -inf and +inf in r."""
    xp, finite = array_namespace(r), abs(r) < math.inf
    infinite = (xp.count_nonzero(r == x, axis=-1) for x in (-math.inf, math.inf))
    minus, plus = (xp.astype(x, xp.float64) for x in infinite)
    lo, hi = xp.where(finite, r, math.inf), xp.where(finite, r, -math.inf)
    return xp.min(lo, axis=-1), xp.max(hi, axis=-1), minus, plus


def _joined(lo, hi, minus, plus):
    return lo.min(axis=-1), hi.max(axis=-1), minus.sum(axis=-1), plus.sum(axis=-1)
