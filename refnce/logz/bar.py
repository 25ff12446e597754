"""The Bennett acceptance ratio: one update (Eqs. 10, 11), its fixed point (Eq. 9)."""

import math

from refnce import nce
from refnce.array import all_true, check_count, check_positive, host, interoperable
from refnce.array import invalid, log_double_double, samples, two_sum, where
from refnce.array import where_certified
from refnce.logz.bracket import bracket
from refnce.logz.result import Status, completed, make_result

FEW = 16  # samples in all: their sums do not average rounding errors
CYCLE, MAX_UPDATES = int(Status.CYCLE), int(Status.MAX_UPDATES)


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
        underflows. Beyond that it is nan where digits are lost. It is +inf where all
        data are at +inf, and -inf where all noise is at -inf.

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
    ratios, F = samples(r_data, r_noise, F, nu)
    return ratios.result(_update(ratios, F)[0])


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
        A run is CONVERGED when the step of Newton's method, |(A - nu B)/(A - nu B)'|,
        is at most max(xtol, 4 eps |F|, 8 eps). (xtol counts up to 0.5, 4 eps |F| up to
        0.25.) F is then the end of that step: right to max(xtol, 4 units), or 6 units
        where 16 or more samples are equal to rounding. The last update itself can be
        small without convergence, where h' is small. CYCLE: the updates alternate in
        sign with |F_{k+2} - F_k| < 0.01 |F_{k+1} - F_k| four times running. That is
        slow convergence (h' near 2), not divergence; F is the last iterate, bracket the
        last two. MAX_UPDATES: neither after ``max_updates``.

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
    step = check_positive("step", step)
    if step > 1.0:
        raise invalid("step", "be at most 1 (1: as printed, 0.5: no overshoot)", step)
    check_count("max_updates", max_updates, 1)
    xtol = check_positive("xtol", xtol, zero=True)
    ratios, F0 = samples(r_data, r_noise, F0, nu, start=True)
    ratios.keep_exponentials()
    lo, hi, limit = bracket(ratios)
    F = 0.5 * lo + 0.5 * hi if F0 is None else F0
    eps = ratios.eps
    least = max(min(xtol, 0.5), 8.0 * eps)
    running = limit == 0
    count = turns = host.zeros(lo.shape, dtype=host.int64)[()]
    status, last = count + MAX_UPDATES, 0.0 * lo
    for update in range(max_updates + 1):
        F_next, h, newton = _update(ratios, F)
        if step != 1.0:
            F_next = F - step * h
        F_next = where(host.isfinite(F_next), F_next, 0.5 * lo + 0.5 * hi)
        count = where(running, count + 1, count)
        lo = where(running & (h < 0), host.maximum(lo, F), lo)
        hi = where(running & (h > 0), host.minimum(hi, F), hi)
        # In a gap between samples that step is nearly 1, however far the root is.
        tol = host.maximum(host.minimum(4.0 * eps * abs(F), 0.25), least)
        done = running & (abs(newton) <= tol)
        status = where(done, 0, status)
        running = running & ~done
        move = F_next - F
        turned = (move * last < 0) & (abs(move + last) < 0.01 * abs(last))
        turns, last = where(turned, turns + 1, 0), move
        cycle = running & (turns >= 4)
        status = where(cycle, CYCLE, status)
        lo = where(cycle, host.minimum(F, F_next), lo)
        hi = where(cycle, host.maximum(F, F_next), hi)
        F = where(done, F - newton, F)  # right to the square of that step
        if update < max_updates:
            F = where(running, F_next, F)
        running = running & ~cycle
        if all_true(~running):
            break
    slack = 6.0 * (eps + eps * abs(F))  # the sign of h is right to these units
    lo, hi = host.minimum(lo, F) - slack, host.maximum(hi, F) + slack
    return make_result(ratios, completed(limit, ratios, F, status, count + 1, lo, hi))


def _update(ratios, F):
    """Return F - h, h and the step (A - nu B)/(A - nu B)' of Newton's method."""
    nu, (n, m) = ratios.nu, ratios.sizes
    (A, A_square), (B, B_square) = ratios.over_sigmoids(F, nce.two_powers)
    scaled = B * (nu * n / m)
    h = host.log1p((A - scaled) / scaled)  # Eq. (10)
    slope = 2.0 - A_square / A - B_square / B
    certified = nce.is_certified(host.minimum(A / n, B / m), F, nu)
    certified = certified & (abs(h) <= 1.0) & (slope >= 0.5) & (n + m > FEW)
    return where_certified(certified, (F - h, h, h / slope), _exact_update, ratios, F)


def _exact_update(ratios, F):
    """``_update`` without cancellation and underflow."""
    nu, (n, m) = ratios.nu, ratios.sizes
    sums, distances = nce.exact_sums(ratios, F, order=1)
    (k_data, U_data, D_data, *_), (k_noise, U_noise, D_noise, *_) = sums
    counts = k_data, m - k_noise
    smalls = U_data - D_data, D_noise - U_noise
    # A, B = V e^-K. If every sigmoid is small there is no count, only e^-M.
    K_data, K_noise = (where(k == 0, M, 0.0) for k, M in zip(counts, distances))
    parts = zip(counts, smalls, (K_data, K_noise), distances, (n, m))
    V_data, V_noise = ((k + x * host.exp(K - M)) / n for k, x, K, M, n in parts)
    # F - h = F + log nu + K_data - K_noise + log(V_noise/V_data). The large terms may
    # cancel: they are summed in twofold precision.
    high, low = log_double_double(nu)
    ratio = V_noise / V_data
    log_ratio = host.log(ratio)
    rest = ratio * host.exp(-log_ratio) - 1.0  # lost in rounding the logarithm
    total, error = high + 0.0 * F, low + where(abs(log_ratio) < math.inf, rest, 0.0)
    for term in (K_data, -K_noise, log_ratio, F):
        close = abs(total) < 0.5  # in the end: of h, all terms but F
        total, e = two_sum(total, term)
        error = error + where(abs(e) < math.inf, e, 0.0)
    far = total + error
    # K beyond 64/EPS is rounded (``split``): a much smaller result has no digits.
    size = host.maximum(abs(F), host.maximum(K_data, K_noise))
    lost = (size > 64.0 / nce.EPS) & (size > 4.0 * (abs(far) + 1.0))
    far = where(lost, math.nan, far)
    # Near the root h comes from the exact difference (A - nu B)/A.
    c, M, U, slope_U, D, slope_D = nce.combined(ratios, sums, distances)
    by_M, by_A = (
        where(c == 0, 0.0, c * host.exp(K)) + (U - D) * host.exp(K - M)
        for K in (M, K_data)
    )
    near = -host.log1p(-by_A / (n * m) / V_data)
    newton = by_M / (slope_U + slope_D)
    return where(close, F - near, far), where(close, near, F - far), newton
