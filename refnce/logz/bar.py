"""The Bennett acceptance ratio: one update (Eqs. 10, 11), its fixed point (Eq. 9)."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, all_true, array_namespace, device, machine_eps
from refnce.array.interop import interoperable
from refnce.array.special import log_double_double, pairwise_sum, two_sum
from refnce.array.validation import check_count, samples
from refnce.logz.bracket import bracket, validate
from refnce.logz.result import LogZ, Status, make_result
from refnce.nce import (
    count_difference,
    is_certified,
    over_blocks,
    over_samples,
    quick_odds,
    residual,
    sides,
    split,
    weights,
    where_certified,
)


@interoperable
def bar_update(r_data, r_noise, F, *, nu=1.0):
    """Return F - h(F), h = log A - log B - log nu: one BAR update.

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Log-ratios on data and noise.
    F : float or array (...)
        Where the update starts. Leading shapes (runs) broadcast.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.

    Returns
    -------
    array (...)
        It is exact also where A or B underflows. It is +inf where all data are at +inf,
        and -inf where all noise is at -inf.

    Raises
    ------
    TypeError, ValueError
        As `refnce.nce.loss`.

    Notes
    -----
    Equation 10. Equation 11 is its negative: a gradient, to be subtracted.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> float(logz.bar_update(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.0).round(3))
    0.499
    """
    xp, r_data, r_noise, F, nu = samples(r_data, r_noise, F, nu)
    return _update(r_data, r_noise, F, nu)[0]


@interoperable
def bar(r_data, r_noise, *, nu=1.0, F0=None, step=1.0, xtol=0.0, max_updates=500):
    """Return the fixed point of F <- F - step h(F), Equation 9 iterated.

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Log-ratios on data and noise.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.
    F0 : float or array (...), optional
        The start; by default the middle of the bracket.
    step : float
        In (0, 1]. 1 is the paper's update. 0.5 never overshoots, since h' < 2.
    xtol : float
        Tolerance of F; 0 for the last unit.
    max_updates : int
        At least 1.

    Returns
    -------
    LogZ
        A run is CONVERGED when |(A - nu B)/(A - nu B)'| <= max(xtol, eps |F|, 2 eps):
        the step that Newton's method would still take. The last update itself can be
        small without convergence, where h' is. (For xtol of 0.1 and more the root may
        be half as far again.) CYCLE: the updates alternate in sign with
        |F_{k+2} - F_k| < 0.01 |F_{k+1} - F_k| four times running. That is slow
        convergence (h' near 2), not divergence; F is the last iterate, bracket the last
        two. MAX_UPDATES: neither after ``max_updates``.

    Raises
    ------
    TypeError, ValueError
        As `refnce.nce.loss`, and for step, xtol or max_updates out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> z = logz.bar(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    >>> float(z.F.round(6)), logz.Status(int(z.status)).name
    (0.5, 'CONVERGED')
    """
    if (
        isinstance(step, bool)
        or not isinstance(step, (int, float))
        or not 0 < step <= 1
    ):
        raise ValueError(
            f"step must be a number in (0, 1] (1: as printed, 0.5: never overshoots); "
            f"got {step!r}"
        )
    check_count("max_updates", max_updates, 1)
    xp, r_data, r_noise, F0, nu = validate(r_data, r_noise, F0, nu, xtol)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    F = 0.5 * lo + 0.5 * hi if F0 is None else F0
    eps = machine_eps(lo.dtype, xp)
    least = xp.full_like(F, max(xtol, 2.0 * eps))
    count = xp.zeros(lo.shape, dtype=xp.int64, device=device(lo))
    turns, last = count, xp.zeros_like(F)
    running = ~start.no_root
    converged = cycle = start.no_root & running
    for update in range(max_updates + 1):
        F_next, h, distance = _update(r_data, r_noise, F, nu)
        if step != 1.0:
            F_next = F - step * h
        F_next = xp.where(xp.isfinite(F_next), F_next, 0.5 * lo + 0.5 * hi)
        count = count + xp.astype(running, count.dtype)
        lo = xp.where(running & (h < 0), xp.maximum(lo, F), lo)
        hi = xp.where(running & (h > 0), xp.minimum(hi, F), hi)
        # Beyond 1, the width of the logistic, the distance is no estimate.
        tol = xp.maximum(least, xp.minimum(eps * abs(F), xp.ones_like(F)))
        converged = converged | (running & (distance <= tol))
        running = running & ~converged
        move = F_next - F
        turned = (move * last < 0) & (abs(move + last) < 0.01 * abs(last))
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
    slack = 4.0 * (eps + eps * abs(F))  # the sign of h is right to these units
    lo = xp.where(cycle, lo, xp.minimum(lo, F) - slack)
    hi = xp.where(cycle, hi, xp.maximum(hi, F) + slack)
    status = xp.where(converged, 0 * count, xp.full_like(count, Status.MAX_UPDATES))
    status = xp.where(cycle, xp.full_like(count, Status.CYCLE), status)
    found = F, status, count + 1, lo, hi
    return make_result(start, r_data, r_noise, nu, found)


def _update(r_data, r_noise, F, nu):
    """Return F - h, h and the distance to the root that Newton's method sees."""
    xp, n, m = array_namespace(r_data), r_data.shape[-1], r_noise.shape[-1]

    def sums(r, F):
        S, E, _ = quick_odds(r, F, nu)
        below, t = sides(S, E)
        k = xp.sum(below, axis=-1, dtype=xp.float64)
        return [k, pairwise_sum(t), xp.sum(abs(t) - t * t, axis=-1)]

    below, small, u = over_samples(sums, r_data, r_noise, F)
    A, B = (below[0] + small[0]) / n, ((m - below[1]) - small[1]) / m
    w_data, w_noise = weights(n, m, nu)
    g = count_difference(*below, n, m, nu) + (w_data * small[0] + w_noise * small[1])
    distance = abs(g) / (w_data * u[0] + w_noise * u[1])
    far = xp.log(A / (nu * B))
    near = -xp.log1p(-g * (1.0 + nu) / A)  # from the exact difference
    h = xp.astype(xp.where(abs(far) < 0.5, near, far), F.dtype)
    certified, values = is_certified(xp.minimum(A, B), F, nu), (F - h, h, distance)
    pair = r_data, r_noise
    return where_certified(certified, values, _scaled_update, *pair, F, nu)  # Eq. (10)


def _scaled_update(r_data, r_noise, F, nu):
    """``_update`` by the exact odds, with the largest term of A and of B factored out."""
    xp = array_namespace(r_data)
    M_data, V_data = _scaled_mean(r_data, F, nu, below=True)
    M_noise, V_noise = _scaled_mean(r_noise, F, nu, below=False)
    # F - h = F + log nu + M_data - M_noise + log(V_noise/V_data). The large terms may
    # cancel: they are summed in twofold precision.
    high, low = log_double_double(nu, machine_eps(F.dtype, xp))
    ratio = V_noise / V_data
    log_ratio = xp.log(ratio)
    rest = ratio * xp.exp(-log_ratio) - 1.0
    rest = xp.where(xp.isfinite(log_ratio), rest, xp.zeros_like(rest))
    total, error = F, rest + low
    for term in (xp.full_like(F, high), M_data, -M_noise, log_ratio):
        total, e = two_sum(total, term)
        error = error + xp.where(xp.isfinite(e), e, xp.zeros_like(e))
    far = total + error
    # Near the root h comes from the exact difference.
    g = residual(r_data, r_noise, F, nu, order=1)
    counts = xp.where(g.c == 0, g.c, g.c * xp.exp(M_data))
    U, D, none = g.U[0, ...], g.D[0, ...], xp.zeros_like(F)
    difference = (counts + (U - D) * xp.exp(M_data - g.M)) * (1.0 + nu)
    near = -xp.log1p(-difference / V_data)
    close = abs(F - far) < 0.5
    # In a gap |U - D|/(U' + D') is at most 1 however far the root is. Half of
    # |log P - log N| (see ``newton``) is not bounded.
    P, N = U + xp.maximum(g.counts, none), D + xp.maximum(-g.counts, none)
    distance = abs(g.scaled) / (g.U[1, ...] + g.D[1, ...])
    distance = xp.maximum(distance, 0.5 * abs(xp.log(P) - xp.log(N)))
    return xp.where(close, F - near, far), xp.where(close, near, F - far), distance


def _scaled_mean(r, F, nu, *, below):
    """Return (M, V): the mean sigmoid is V e^-M, M > 0 only if every sample is small.

    The sigmoid is near 1 for samples below F + log nu, or above it.
    """
    xp = array_namespace(r)
    inf = xp.full_like(F, float("inf"))

    def least(r, F):
        is_below, distance, _ = split(r, F, nu)
        zero = xp.zeros_like(distance)
        return xp.min(xp.where(is_below == below, zero, distance), axis=-1)

    M = least(r, F)
    M = xp.where(M < inf, M, xp.zeros_like(M))

    def sums(r, F, M):
        is_below, _, q = split(r, F, nu, M)
        one = xp.ones_like(q)
        s = xp.where(is_below == below, one, q) / (1.0 + q * xp.exp(-M)[..., None])
        return [pairwise_sum(s)]

    (total,) = over_blocks(sums, r, F, M)
    return M, total / r.shape[-1]
