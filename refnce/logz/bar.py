"""The Bennett acceptance ratio: one update (Eqs. 10, 11), its fixed point (Eq. 9)."""

from __future__ import annotations

import math

from refnce import nce
from refnce.array.backend import all_true, array_namespace, device, machine_eps
from refnce.array.interop import interoperable
from refnce.array.runs import over_blocks, over_samples, where_certified
from refnce.array.special import dot, last_sum, log_double_double, two_sum
from refnce.array.validation import check_count, samples
from refnce.logz.bracket import bracket, validate
from refnce.logz.result import Status, make_result


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
        It is within 4 units, for log-ratios and F up to 1e15 in size, also where A or B
        underflows. It is +inf where all data are at +inf, and -inf where all noise is
        at -inf.

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
    >>> r_data, r_noise = np.array([1.0, 2.0]), np.array([0.0, -1.0])
    >>> round(float(logz.bar_update(r_data, r_noise, 0.0)), 3)
    0.684
    """
    xp, r_data, r_noise, F, nu = samples(r_data, r_noise, F, nu)
    return _update(r_data, r_noise, F, nu, only_F=True)[0]


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
        A run is CONVERGED when |(A - nu B)/(A - nu B)'| <= max(xtol, eps |F|, 2 eps)
        (at most 0.25): the step that Newton's method would still take. The last update
        itself can be small without convergence, where h' is small. CYCLE: the updates
        alternate in sign with
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
            "step must be a number in (0, 1] (1: as printed, 0.5: never overshoots); "
            f"got {step!r}"
        )
    check_count("max_updates", max_updates, 1)
    xp, r_data, r_noise, F0, nu = validate(r_data, r_noise, F0, nu, xtol)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    F = 0.5 * lo + 0.5 * hi if F0 is None else F0
    eps = machine_eps(lo.dtype, xp)
    margin = min(xtol, 0.5)  # the distance is right to first order
    least = xp.full_like(F, max(margin - margin**2, 2.0 * eps))
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
        # In a gap between samples the distance is nearly 1, however far the root is.
        tol = xp.maximum(least, xp.minimum(eps * abs(F), 0.25 + 0.0 * F))
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
    lo = xp.where(cycle, lo, xp.minimum(lo, F)) - slack
    hi = xp.where(cycle, hi, xp.maximum(hi, F)) + slack
    status = xp.where(converged, 0 * count, xp.full_like(count, Status.MAX_UPDATES))
    status = xp.where(cycle, xp.full_like(count, Status.CYCLE), status)
    found = F, status, count + 1, lo, hi
    return make_result(start, r_data, r_noise, nu, found)


def _update(r_data, r_noise, F, nu, only_F=False):
    """Return F - h, h and the distance to the root that Newton's method sees.

    With ``only_F`` the distance is not computed.
    """
    xp, n, m = array_namespace(r_data), r_data.shape[-1], r_noise.shape[-1]
    k, small, *u = over_samples(_sums, r_data, r_noise, F, nu, None, only_F)
    A, B = (k[0] + small[0]) / n, ((m - k[1]) - small[1]) / m
    w_data, w_noise = nce.weights(n, m, nu)
    g = nce.count_difference(k[0], k[1], n, m, nu) + (
        w_data * small[0] + w_noise * small[1]
    )
    far, rest = _log_and_rest(A / (nu * B))
    total, error = two_sum(F, -far)
    near = -xp.log1p(-g * (1.0 + nu) / A)  # near the root from the exact difference
    close = abs(far) < 0.5
    F_next = xp.where(close, F - near, total + (error - rest))  # Eq. (10)
    slope = 1.0 if only_F else w_data * u[0][0] + w_noise * u[0][1]
    distance = abs(g) / slope
    values = F_next, xp.where(close, near, far), distance
    if g.dtype != F.dtype:
        values = tuple(xp.astype(x, F.dtype) for x in values)
    least, pair = xp.minimum(A, B), (r_data, r_noise)
    least = least if least.dtype == F.dtype else xp.astype(least, F.dtype)
    certified = nce.is_certified(least, F, nu)
    return where_certified(certified, values, _scaled_update, *pair, F, nu)


def _log_and_rest(x):
    """log x, rounded, and the rest that the rounding loses."""
    xp = array_namespace(x)
    high = xp.log(x)
    rest = x * xp.exp(-high) - 1.0
    return high, xp.where(abs(high) < math.inf, rest, xp.zeros_like(rest))


def _sums(r, F, nu, M, only_F=False):
    """How many samples are below F + log nu, the sum of +-t, and that of t (1 - t)."""
    below, t, scale = nce.small_sides(r, F, nu, M)
    count = array_namespace(r).sum(below, axis=-1, dtype=array_namespace(r).float64)
    total = last_sum(t)
    sums = [count, total - 2.0 * last_sum(below * t)]
    return sums if only_F else [*sums, total - dot(t, t * scale)]


def _scaled_update(r_data, r_noise, F, nu):
    """``_update`` by the exact way, the largest term of A and of B factored out."""
    xp, n, m = array_namespace(r_data), r_data.shape[-1], r_noise.shape[-1]
    M_data, M_noise = nce.nearest(r_data, F, nu), nce.nearest(r_noise, F, nu)
    data = over_blocks(_sums, r_data, F, nu, M_data)
    k, small, u = zip(data, over_blocks(_sums, r_noise, F, nu, M_noise))
    M = xp.minimum(M_data, M_noise)
    # A = V_data e^-K_data. If every sigmoid is small there is no count, only e^-M.
    K_data = xp.where(k[0] == 0, M_data, xp.zeros_like(M))
    K_noise = xp.where(k[1] == m, M_noise, xp.zeros_like(M))
    V_data = (k[0] + small[0] * xp.exp(K_data - M_data)) / n
    V_noise = ((m - k[1]) - small[1] * xp.exp(K_noise - M_noise)) / m
    # F - h = F + log nu + K_data - K_noise + log(V_noise/V_data). The large terms may
    # cancel: they are summed in twofold precision.
    high, low = log_double_double(nu, machine_eps(F.dtype, xp))
    log_ratio, rest = _log_and_rest(V_noise / V_data)
    total, error = F, low + rest
    for term in (high, K_data, -K_noise, log_ratio):
        total, e = two_sum(total, term + 0.0 * F)
        error = error + xp.where(abs(e) < math.inf, e, xp.zeros_like(e))
    far = total + error
    # Near the root h comes from the exact difference (A - nu B)/A.
    w_data, w_noise = nce.weights(n, m, nu)
    w_data, w_noise = w_data * xp.exp(M - M_data), w_noise * xp.exp(M - M_noise)
    small = w_data * small[0] + w_noise * small[1]
    counts = nce.count_difference(k[0], k[1], n, m, nu)
    scaled = [
        xp.where(counts == 0, counts, counts * xp.exp(x)) + small * xp.exp(x - M)
        for x in (M, K_data)
    ]
    distance = abs(scaled[0]) / (w_data * u[0] + w_noise * u[1])
    near = -xp.log1p(-scaled[1] * (1.0 + nu) / V_data)
    close = abs(F - far) < 0.5
    values = xp.where(close, F - near, far), xp.where(close, near, F - far), distance
    return tuple(xp.astype(x, F.dtype, copy=False) for x in values)
