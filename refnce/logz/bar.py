"""The Bennett acceptance ratio: one update (Equations 10, 11) and its fixed point (Equation 9)."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import (
    Array,
    array_namespace,
    blocks,
    in_run_blocks,
    device,
    all_true,
    machine_eps,
)
from refnce.array.interop import interoperable
from refnce.array.validation import check_F, runs_shape
from refnce.logz.bracket import bracket, enter, first_F
from refnce.logz.result import LogZ, Status, finished
from refnce.nce import balance, odds, over_blocks
from refnce.array.special import log_double_double, two_sum


@interoperable
def bar_update(r_data: Array, r_noise: Array, F: Any, *, nu: float = 1.0) -> Array:
    """Return F - h(F), h = log A - log B - log nu (...): one BAR update, Equation 10 (Equation 11 is minus it).

    log-ratios (..., n) and (..., m), F a number or (...). Where A or B underflows the update is still exact; where all
    data are at +inf it is +inf, where all noise is at -inf it is -inf. Raises as ``nce.loss``.
    """
    xp, r_data, r_noise, nu = enter(r_data, r_noise, nu, 0.0)
    F = check_F(F, r_data, xp)
    F = xp.broadcast_to(F, runs_shape(r_data=r_data, r_noise=r_noise, F=F[..., None]))
    return _update(r_data, r_noise, F, nu)[0]


@in_run_blocks
def _update(
    r_data: Array, r_noise: Array, F: Array, nu: float
) -> tuple[Array, Array, Array]:
    """Return (F - h, h, |(A - nu B)/(A - nu B)'|): the update, the step and the distance that Newton sees to the root."""
    xp = array_namespace(r_data, r_noise)
    M_d, V_d = _mean_sigmoid(r_data, F, nu, +1.0)
    M_n, V_n = _mean_sigmoid(r_noise, F, nu, -1.0)
    # F - h = F + log nu + M_d - M_n + log(V_n/V_d), the large terms summed in twofold precision: they may cancel.
    high, low = log_double_double(nu, machine_eps(F.dtype, xp))
    ratio = V_n / V_d
    log_ratio = xp.log(ratio)
    rest = xp.where(
        xp.isfinite(log_ratio), ratio * xp.exp(-log_ratio) - 1.0, xp.zeros_like(ratio)
    )
    total, error = F, rest + low
    for term in (xp.full_like(F, high), M_d, -M_n, log_ratio):
        total, e = two_sum(total, term)
        error = error + xp.where(xp.isfinite(e), e, xp.zeros_like(e))
    far = total + error  # Eq. (10)
    # Near the root h comes from the exact difference: log A - log nu B = -log1p(-(A - nu B)/A).
    g = balance(r_data, r_noise, F, nu, order=1)
    counts = xp.where(g.c == 0, g.c, g.c * xp.exp(M_d))
    near = -xp.log1p(
        -(counts + (g.U[0] - g.D[0]) * xp.exp(M_d - g.M)) * (1.0 + nu) / V_d
    )
    close = xp.abs(F - far) < 0.5
    # In a gap |U - D|/(U' + D') is at most 1 however far the root: half of |log P - log N| (see ``newton``) is not.
    P, N = (
        x + xp.maximum(y, xp.zeros_like(x))
        for x, y in ((g.U[0], g.count), (g.D[0], -g.count))
    )
    distance = xp.maximum(
        xp.abs(g.excess) / (g.U[1] + g.D[1]), 0.5 * xp.abs(xp.log(P) - xp.log(N))
    )
    return xp.where(close, F - near, far), xp.where(close, near, F - far), distance


def _mean_sigmoid(r: Array, F: Array, nu: float, sign: float) -> tuple[Array, Array]:
    """Return (M, V) with mean sigmoid(sign (F + log nu - r)) = V exp(-M), M > 0 only where every sample is in the tail."""
    xp = array_namespace(r)
    tops = [xp.max(sign * odds(x, F, nu)[0], axis=-1) for x in blocks(r)]
    top = xp.max(xp.stack(tops, axis=-1), axis=-1)
    M = xp.where((top < 0) & xp.isfinite(top), -top, xp.zeros_like(top))

    def scaled(x: Array) -> list[Array]:
        z, _, q = odds(x, F, nu, M)
        large = (z >= 0) == (sign > 0)
        return [xp.where(large, 1.0, q) / (1.0 + q * xp.exp(-M)[..., None])]

    (sums,) = over_blocks(scaled, r)
    return M, sums / r.shape[-1]


@interoperable
def bar(
    r_data: Array,
    r_noise: Array,
    *,
    nu: float = 1.0,
    F0: Any = None,
    step: float = 1.0,
    xtol: float = 0.0,
    max_updates: int = 500,
) -> LogZ:
    """Return the fixed point of F <- F - step h(F), Equation 9 iterated; log-ratios (..., n) and (..., m).

    step = 1 is the paper's update, step = 0.5 never overshoots (h' < 2). F0 = None starts at the middle of the bracket.
    A run is CONVERGED when |(A - nu B)/(A - nu B)'| <= max(xtol, eps |F|, 2 eps): what Newton's method would still move, not
    the last step, which is small without convergence where h' is. (With xtol of 0.1 and more the root may be half as far
    again.) CYCLE: the updates alternate in sign with |F_{k+2} - F_k| < 0.01 |F_{k+1} - F_k| four times running (h' near 2:
    slow convergence, not divergence); F is the last iterate, bracket the last two. MAX_UPDATES: neither after ``max_updates``.

    Raises as ``nce.loss``, and ValueError for step outside (0, 1], xtol negative, or max_updates < 1.
    """
    if (
        isinstance(step, bool)
        or not isinstance(step, (int, float))
        or not 0 < step <= 1
    ):
        raise ValueError(
            f"step must be a number in (0, 1] (1: as printed, 0.5: never overshoots); got {step!r}"
        )
    if (
        isinstance(max_updates, bool)
        or not isinstance(max_updates, int)
        or max_updates < 1
    ):
        raise ValueError(f"max_updates must be an integer >= 1; got {max_updates!r}")
    xp, r_data, r_noise, nu = enter(r_data, r_noise, nu, xtol)
    F0 = first_F(F0, r_data, r_noise, xp)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    F = 0.5 * lo + 0.5 * hi if F0 is None else F0
    eps = float(xp.finfo(lo.dtype).eps)
    count = xp.zeros(lo.shape, dtype=xp.int64, device=device(lo))
    turns, last = count, xp.zeros_like(F)
    running = ~start.rootless
    converged = cycle = start.rootless & ~start.rootless
    for update in range(max_updates + 1):
        F_next, h, distance = _update(r_data, r_noise, F, nu)
        if step != 1.0:
            F_next = F - step * h
        F_next = xp.where(xp.isfinite(F_next), F_next, 0.5 * lo + 0.5 * hi)
        count = count + xp.astype(running, count.dtype)
        lo = xp.where(running & (h < 0), xp.maximum(lo, F), lo)
        hi = xp.where(running & (h > 0), xp.minimum(hi, F), hi)
        # Past 1, the width of the logistic, the distance is no estimate.
        tol = xp.maximum(
            xp.full_like(F, max(xtol, 2.0 * eps)),
            xp.minimum(eps * xp.abs(F), xp.ones_like(F)),
        )
        converged = converged | (running & (distance <= tol))
        running = running & ~converged
        move = F_next - F
        turned = (move * last < 0) & (xp.abs(move + last) < 0.01 * xp.abs(last))
        turns = xp.where(turned, turns + 1, 0 * turns)
        arrived = running & (turns >= 4)
        lo = xp.where(arrived, xp.minimum(F, F_next), lo)
        hi = xp.where(arrived, xp.maximum(F, F_next), hi)
        cycle = cycle | arrived
        if update < max_updates:
            F = xp.where(running, F_next, F)
        running = running & ~cycle
        last = move
        if all_true(~running):
            break
    slack = 4.0 * (
        eps + eps * xp.abs(F)
    )  # the sign of h is good to the units that the update is
    lo, hi = xp.where(cycle, lo, xp.minimum(lo, F - slack)), xp.where(
        cycle, hi, xp.maximum(hi, F + slack)
    )
    status = xp.where(converged, 0 * count, 0 * count + int(Status.MAX_UPDATES))
    status = xp.where(cycle, 0 * count + int(Status.CYCLE), status)
    return finished(start, r_data, r_noise, nu, (F, status, count + 1, lo, hi))
