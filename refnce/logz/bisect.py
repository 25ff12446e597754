"""Binary search for F (Section 3.3), on the sign of A - nu B."""

from __future__ import annotations

import math

from refnce.backend import Array, device, quiet
from refnce.logz.bracket import bracket, enter
from refnce.logz.result import LogZ, Status, sampling
from refnce.nce import balance


@quiet()
def bisect(r_data: Array, r_noise: Array, *, nu: float = 1.0, xtol: float = 0.0) -> LogZ:
    """Return the root of A = nu B by bisection, Section 3.3; log-ratios (..., n) and (..., m).

    The bracket is [min r, max r] over the pooled log-ratios: at F = min r every s_data is at most nu/(1 + nu) and every
    s_noise at least 1/(1 + nu), so A <= nu/(1 + nu) <= nu B; at max r the other way round (infinite log-ratios shift it,
    see ``bracket``). dL/dF increases, so its sign halves the bracket. The number of halvings is known before the loop:
    ceil(log2((hi - lo)/max(xtol, eps))), the widest run deciding; a run stops moving once hi - lo <= max(xtol, ulp(F), eps).

    Raises TypeError or ValueError as ``nce.loss``, and for xtol negative or not finite.
    """
    xp, r_data, r_noise, nu = enter(r_data, r_noise, nu, xtol)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    eps = float(xp.finfo(lo.dtype).eps)
    width = float(xp.max(0.5 * hi - 0.5 * lo))
    halvings = max(0, math.ceil(math.log2(max(width, eps)) - math.log2(max(xtol, eps)) + 1.0))
    for _ in range(halvings):
        middle = 0.5 * lo + 0.5 * hi
        narrow = hi - lo <= xp.maximum(xp.abs(middle) * (0.5 * eps), xp.full_like(lo, max(xtol, eps)))
        sign = balance(r_data, r_noise, middle, nu).excess
        lo, hi = (
            xp.where((sign <= 0) & ~narrow, middle, lo),
            xp.where((sign >= 0) & ~narrow, middle, hi),
        )
    F = xp.where(start.rootless, start.limit, 0.5 * lo + 0.5 * hi)
    converged, no_root = xp.full_like(F, int(Status.CONVERGED)), xp.full_like(F, int(Status.NO_ROOT))
    status = xp.astype(xp.where(start.rootless, no_root, converged), xp.int64)
    evaluations = xp.full(F.shape, halvings + 1, dtype=xp.int64, device=device(F))
    inf = xp.full_like(F, float("inf"))
    ends = (xp.where(start.rootless, -inf, lo), xp.where(start.rootless, inf, hi))
    return LogZ(F, status, evaluations, ends, *sampling(r_data, r_noise, F, nu))
