"""Binary search for F (Section 3.3), on the sign of A - nu B."""

from __future__ import annotations

import math

from refnce.array.backend import (
    Array,
    device,
    all_true,
    machine_eps,
    is_async_device,
)
from refnce.array.interop import interoperable
from refnce.logz.bracket import bracket, enter
from refnce.logz.powers import Samples
from refnce.logz.result import LogZ, finished
from refnce.nce import balance

# A and nu B as plain sums about a centre are right to far less than this many eps.
BLUR = 65536.0


@interoperable
def bisect(
    r_data: Array, r_noise: Array, *, nu: float = 1.0, xtol: float = 0.0
) -> LogZ:
    """Return the root of A = nu B by bisection, Section 3.3; log-ratios (..., n) and (..., m).

    The bracket is [min r, max r] over the pooled log-ratios: at F = min r every s_data is at most nu/(1 + nu) and every
    s_noise at least 1/(1 + nu), so A <= nu/(1 + nu) <= nu B; at max r the other way round (infinite log-ratios shift it,
    see ``bracket``). dL/dF increases, so its sign halves the bracket. The number of halvings is known before the loop:
    ceil(log2((hi - lo)/max(xtol, eps))), the widest run deciding; a run stops moving once hi - lo <= max(xtol, ulp(F), eps).

    The sign comes from plain sums, with one exponential a sample for the whole search, as long as these leave no doubt about
    it, and near the root and on a plateau from the exact difference (``nce.balance``).

    Raises TypeError or ValueError as ``nce.loss``, and for xtol negative or not finite.
    """
    xp, r_data, r_noise, nu = enter(r_data, r_noise, nu, xtol)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    eps = machine_eps(lo.dtype, xp)
    width = float(xp.max(0.5 * hi - 0.5 * lo)) if 0 not in lo.shape else 0.0
    halvings = max(
        0, math.ceil(math.log2(max(width, eps)) - math.log2(max(xtol, eps)) + 1.0)
    )
    plain = None
    # Then no odds over- or underflow, wherever the middle is.
    if 2.0 * width <= 0.8 * math.log(xp.finfo(lo.dtype).max) and not is_async_device(
        lo
    ):
        plain = Samples(xp, r_data, r_noise, xp)
        plain.weigh(0.5 * lo + 0.5 * hi + math.log(nu))
    for _ in range(halvings):
        middle = 0.5 * lo + 0.5 * hi
        narrow = hi - lo <= xp.maximum(
            xp.abs(middle) * (0.5 * eps), xp.full_like(lo, max(xtol, eps))
        )
        sign: Array = None if plain is None else _plain_sign(plain, middle, nu)
        if sign is None:
            sign = balance(r_data, r_noise, middle, nu).excess
        lo, hi = (
            xp.where((sign <= 0) & ~narrow, middle, lo),
            xp.where((sign >= 0) & ~narrow, middle, hi),
        )
    evaluations = xp.full(lo.shape, halvings + 1, dtype=xp.int64, device=device(lo))
    return finished(
        start,
        r_data,
        r_noise,
        nu,
        (0.5 * lo + 0.5 * hi, 0 * evaluations, evaluations, lo, hi),
    )


def _plain_sign(samples: Samples, F: Array, nu: float) -> Array | None:
    """A - nu B from sums of the sigmoids as they stand, or None where they leave the sign of a run in doubt."""
    (A,), (B,) = samples.sums(F + math.log(nu), 1)
    A, B = A / samples.n, B * (nu / samples.m)
    blur = BLUR * machine_eps(F.dtype, samples.xp)
    return A - B if all_true(abs(A - B) > blur * (A + B)) else None
