"""Newton's method for F: exact to the last units in three or four passes, bracketed where that is not enough."""

from __future__ import annotations

import math
from typing import Any

from refnce.array.backend import (
    Array,
    Namespace,
    array_namespace,
    device,
    all_true,
    is_async_device,
)
from refnce.array.interop import interoperable
from refnce.array.validation import check_no_nan, runs_shape
from refnce.logz import rapid
from refnce.logz.bracket import bracket, enter, first_F
from refnce.logz.result import LogZ, Status, finished
from refnce.logz.series import cumulants, remainder, reversion
from refnce.nce import balance

# Of each sample about so many give the bracketed road its start.
SUBSET = 1024
TINY = (
    128  # samples in all, under which the median's gap is a better start than the means
)
MAX_PASSES = 2200  # bisection alone needs no more between the extremes of float64


@interoperable
def newton(
    r_data: Array, r_noise: Array, *, nu: float = 1.0, F0: Any = None, xtol: float = 0.0
) -> LogZ:
    """Return the root of A = nu B to max(xtol, 4 units); log-ratios (..., n) and (..., m).

    First the fast road of ``rapid``; runs for which it cannot prove its root take the bracketed road below. F0 = None
    starts the one between the sample means and the other at the nu/(1 + nu) quantile of the pooled samples.

    The bracketed road. At F the samples split into those below and above, A - nu B = c + U - D (``nce.balance``). With the
    split frozen, phi = log(U + max(c, 0)) - log(D + max(-c, 0)) has the same root, is smooth, and is linear in F where no
    sample is near (the plateau, the chasm, any gap between clusters); the step of ``series`` is taken in it. As t <= 1/2 on
    both sides its slope is at least 1/2, which puts the root within twice the step. A step that leaves the bracket, or is
    more than half the last but one, is replaced by bisection. The run ends when what the step can miss is at most
    max(xtol, ulp(F), eps).

    Raises TypeError or ValueError as ``nce.loss``, and for xtol negative or not finite.
    """
    xp, r_data, r_noise, nu = enter(r_data, r_noise, nu, xtol, nan=False)
    F0 = first_F(F0, r_data, r_noise, xp)
    passes: Array = 0
    fast = proven = None
    if r_data.shape[-1] + r_noise.shape[-1] > TINY:
        fast = rapid.solve(xp, r_data, r_noise, F0, nu, xtol=xtol)
        passes = 1 + int(F0 is None)
        if fast is not None:
            proven = _proven(xp, fast, int(F0 is None))
            if all_true(fast.sure):
                return proven
            passes = proven.evaluations
    check_no_nan(r_data=r_data, r_noise=r_noise)
    if (
        fast
        and proven
        and passes.shape
        == r_data.shape[:-1]
        == r_noise.shape[:-1]
        == (r_data.shape[0],)
    ):
        return _repaired(proven, fast.sure, r_data, r_noise, nu, F0, xtol, passes)
    return _bracketed(r_data, r_noise, nu, F0, xtol, passes)


def _proven(xp: Namespace, fast: rapid.Root, start: int) -> LogZ:
    """What the fast road found, as a LogZ; ``start`` counts the pass that gave its first point."""
    F, lo, hi, error, overlap = map(
        xp.asarray, (fast.F, fast.lo, fast.hi, fast.standard_error, fast.overlap)
    )
    status = xp.zeros(F.shape, dtype=xp.int64, device=device(F))
    return LogZ(F, status, xp.asarray(fast.passes + start), (lo, hi), error, overlap)


def _repaired(
    proven: LogZ,
    sure: Array,
    r_data: Array,
    r_noise: Array,
    nu: float,
    F0: Array | None,
    xtol: float,
    passes: Array,
) -> LogZ:
    """``proven`` with the runs that are not ``sure`` solved on the bracketed road."""
    xp = array_namespace(r_data, r_noise)
    (rows,) = xp.nonzero(~sure)
    data, noise = xp.take(r_data, rows, axis=0), xp.take(r_noise, rows, axis=0)
    start = None if F0 is None else xp.take(F0, rows)
    mended = _bracketed(data, noise, nu, start, xtol, xp.take(passes, rows))
    place = xp.maximum(xp.cumulative_sum(xp.astype(~sure, xp.int64)) - 1, 0)

    def join(whole: Array, part: Array) -> Array:
        return xp.where(sure, whole, xp.take(part, place))

    ends = (
        join(proven.bracket[0], mended.bracket[0]),
        join(proven.bracket[1], mended.bracket[1]),
    )
    return LogZ(
        join(proven.F, mended.F),
        join(proven.status, mended.status),
        join(proven.evaluations, mended.evaluations),
        ends,
        join(proven.standard_error, mended.standard_error),
        join(proven.overlap, mended.overlap),
    )


def _bracketed(
    r_data: Array,
    r_noise: Array,
    nu: float,
    F0: Array | None,
    xtol: float,
    passes: Array,
) -> LogZ:
    xp = array_namespace(r_data, r_noise)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    eps = float(xp.finfo(lo.dtype).eps)
    F = _quantile(r_data, r_noise, nu) if F0 is None else F0
    F = xp.where(xp.isfinite(F) & (F >= lo) & (F <= hi), F, 0.5 * lo + 0.5 * hi)
    count = xp.zeros(lo.shape, dtype=xp.int64, device=device(lo))
    running = ~start.rootless
    step = before = xp.full_like(F, float("inf"))
    for k in range(MAX_PASSES):
        g = balance(r_data, r_noise, F, nu, order=3)
        sign, count_part = g.excess, g.count
        count = count + xp.astype(running, count.dtype)
        lo = xp.where(running & (sign <= 0), F, lo)
        hi = xp.where(running & (sign >= 0), F, hi)
        none = xp.zeros_like(sign)
        P, N = g.U[0] + xp.maximum(count_part, none), g.D[0] + xp.maximum(
            -count_part, none
        )
        phi = xp.where(
            xp.abs(sign) < 0.5 * N, xp.log1p(sign / N), xp.log(P) - xp.log(N)
        )
        up, down = cumulants(*(x / P for x in g.U[1:])), cumulants(
            *(x / N for x in g.D[1:])
        )
        newton_step, slope, c2, c3 = reversion(phi, up, down)
        middle = 0.5 * lo + 0.5 * hi
        good = (
            xp.isfinite(newton_step) & (F + newton_step >= lo) & (F + newton_step <= hi)
        )
        good = good & ~(xp.abs(newton_step) > 0.5 * before)
        move = xp.where(sign == 0, none, xp.where(good, newton_step, middle - F))
        tol = xp.maximum(xp.full_like(F, max(xtol, eps)), xp.abs(F) * (0.5 * eps))
        # The model is one of the neighbourhood: a step past 1, the width of the logistic, is not known to an ulp of a huge F.
        near = xp.minimum(tol, xp.full_like(F, max(xtol, 1.0)))
        done = (
            (sign == 0)
            | (good & (remainder(phi / slope, c2, c3) <= near))
            | (hi - lo <= tol)
        )
        F = xp.where(running, F + move, F)
        before, step = xp.abs(step), xp.where(running, move, step)
        running = running & ~done
        if (not is_async_device(F) or k % 8 == 7) and all_true(~running):
            break
    reach = 2.0 * xp.abs(step) + 4.0 * (max(xtol, eps) + eps * xp.abs(F))
    slack = 4.0 * (eps + eps * xp.abs(F))
    lo, hi = xp.maximum(lo - slack, F - reach), xp.minimum(hi + slack, F + reach)
    status = xp.where(running, 0 * count + int(Status.MAX_UPDATES), 0 * count)
    return finished(
        start, r_data, r_noise, nu, (F, status, count + (1 + passes), lo, hi)
    )


def _quantile(r_data: Array, r_noise: Array, nu: float) -> Array:
    """The nu/(1 + nu) quantile of the pooled, weighted log-ratios, less log nu; where it falls in a gap, the middle of it."""
    xp = array_namespace(r_data, r_noise)
    data, noise = (r[..., :: max(1, r.shape[-1] // SUBSET)] for r in (r_data, r_noise))
    k, j = data.shape[-1], noise.shape[-1]
    shape = runs_shape(r_data=data, r_noise=noise)
    pooled = xp.concat(
        [xp.broadcast_to(data, (*shape, k)), xp.broadcast_to(noise, (*shape, j))],
        axis=-1,
    )
    like = {"dtype": pooled.dtype, "device": device(pooled)}
    weights = xp.concat([xp.full((k,), 1.0 / k, **like), xp.full((j,), nu / j, **like)])
    order = xp.argsort(pooled, axis=-1)
    pooled = xp.take_along_axis(pooled, order, axis=-1)
    below = xp.cumulative_sum(
        xp.take_along_axis(xp.broadcast_to(weights, pooled.shape), order, axis=-1),
        axis=-1,
    )
    slack = nu * (k + j) * float(xp.finfo(pooled.dtype).eps)
    first = xp.count_nonzero(below < nu - slack, axis=-1, keepdims=True)
    last = xp.count_nonzero(below <= nu + slack, axis=-1, keepdims=True)
    ends = [
        xp.take_along_axis(pooled, xp.clip(i, 0, k + j - 1), axis=-1)
        for i in (first, last)
    ]
    return xp.squeeze(0.5 * ends[0] + 0.5 * ends[1], axis=-1) - math.log(nu)
