"""Newton's method for F, exact to the last units.

In F, phi = log A - log B - log nu is nearly linear unless the data's log-ratios lie
below the noise's. At nu = 1 data and noise that lie so are exchanged: the root stays,
and phi is nearly linear. ``_quick`` solves phi = 0 from the sums of p, p^2, p^3 and p^4
over the sigmoids p of each sample (``series``). They give phi and three derivatives, so
three passes are usually enough, the one for the start included. Dask arrays are read
once: the start is the root of a part of them, and the sums go to p^8.

``_bracketed`` serves every run that ``_quick`` does not certify: data scored below the
noise at another nu, samples far from each other or from 0, few distinct values. It
keeps a bracket and works on the exact residual.
"""

import math

from refnce import nce
from refnce.array import BLOCK, all_true, array_namespace, check_positive, host
from refnce.array import interoperable, is_numpy, last_sum, part_of, samples, to_numpy
from refnce.array import two_product, where, where_certified
from refnce.logz.bracket import bracket
from refnce.logz.result import NARROW, Status, completed, error_and_overlap, make_result
from refnce.logz.series import LONG, SHORT

PASSES = 6
FEW = 16  # samples in all, for which phi is seldom nearly linear
SUBSET = 1024
HARD = 5  # passes over a part of the samples: then the bracketed solver was needed
MAX_PASSES = 2200  # bisection alone needs no more between the extremes of float64


@interoperable
def newton(r_data, r_noise, *, nu=1.0, F0=None, xtol=0.0):
    """Return the root of A = nu B, within max(xtol, 4 units).

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Log-ratios on data and noise.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.
    F0 : float or array (...), optional
        The start; by default halfway between the means of the samples or, on a CPU
        where n or m is over 65536, the root of every 61st of them. For Dask arrays it
        is the root of parts of at most 16 chunks.
    xtol : float
        Tolerance of F; 0 for the last unit. With xtol > 0 the standard error and the
        overlap are right to 1e-5.

    Returns
    -------
    LogZ

    Raises
    ------
    TypeError, ValueError
        As `refnce.nce.loss`, and for xtol negative or not finite.

    Notes
    -----
    A unit is ulp(F) + eps. A run converges when a bound on what its last step misses is
    at most max(xtol, eps), or max(xtol, eps |F|/2, eps) in the bracketed solver. There
    it also converges when the bracket is at most twice as wide.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> z = logz.newton(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    >>> float(z.F.round(6)), bool(z.converged)
    (0.5, True)
    """
    xtol = check_positive("xtol", xtol, zero=True)
    ratios, F0 = samples(r_data, r_noise, F0, nu, start=True)
    if sum(ratios.sizes) <= FEW and not ratios.is_lazy:
        return make_result(ratios, _bracketed(ratios, F0, xtol, 0))
    F, is_reversed, is_hard = _start(ratios) if F0 is None else (F0, False, False)
    if is_hard and ratios.is_lazy:
        return make_result(ratios, _bracketed(ratios, F, xtol, 0))
    ordered = ratios.like(ratios.pair[::-1]) if is_reversed else ratios
    to_start = F0 is None and not ratios.is_lazy
    found, certified, passes = _quick(ordered, F, xtol, int(to_start))

    def bracketed(ratios, F):
        return _bracketed(ratios, None if to_start else F, xtol, passes)

    found = where_certified(certified, found, bracketed, ratios, F)
    return make_result(ratios, found)


def _start(ratios):
    """Return a start, whether to exchange data and noise, and whether a run is hard.

    The start is halfway between the means of what is finite; for long samples it is the
    root of a part of them, and a run is hard if that took the bracketed solver. Data
    and noise are exchanged if nu = 1, which keeps the root, and in every run the mean
    of the data is below that of the noise. phi' is then above 1/2 where it was below.
    """
    pair, nu = ratios.pair, ratios.nu
    if is_part := ratios.is_lazy or is_numpy(pair[0]) and max(ratios.sizes) > BLOCK:
        pair = [part_of(r) for r in pair]
    data, noise = _means(ratios, pair)
    F, is_hard = 0.5 * (data + noise - math.log(nu)), False
    if is_part:
        z = newton(*pair, nu=nu, xtol=1e-4)
        F, is_hard = z.F, not all_true(z.evaluations < HARD)
    F = where(abs(F) < math.inf, F, 0.0)
    return F, nu == 1.0 and all_true(data < noise), is_hard


def _means(ratios, pair):
    """The means of data and noise, over what is finite where a sample is not."""
    sums = ratios.to_host([last_sum(r) for r in pair])
    means = [x / r.shape[-1] for x, r in zip(sums, pair)]
    if all_true(abs(means[0] + means[1]) < math.inf):
        return means
    xp, finite = array_namespace(*pair), [abs(r) < math.inf for r in pair]
    kept = [xp.where(ok, r, 0.0) for ok, r in zip(finite, pair)]
    kept += [xp.astype(ok, xp.float64) for ok in finite]
    data, noise, n, m = ratios.to_host(list(map(last_sum, kept)))
    return data / n, noise / m


def _quick(ratios, F, xtol, passes):
    """Return the fields of a LogZ, where they are certified, and the passes."""
    nu, (n, m) = ratios.nu, ratios.sizes
    eps, tol, log_nu = ratios.eps, max(xtol, ratios.eps), math.log(nu)
    series, ratio = LONG if ratios.is_lazy else SHORT, nu * (n / m)
    # SHORT extrapolates standard error and overlap over the last step to its cube.
    longest = 0.02 if xtol > 0.0 or series is LONG else eps**0.25 / 4.0
    # Far from 0 samples are shifted: r - c is exact from c/2 to 2c, and elsewhere the
    # sample is too far from a root near c to matter.
    near, shift, step, original = abs(F + log_nu) <= nce.FAR, 0.0, 0.0, ratios
    if not all_true(near):
        shift = where(near, 0.0, F)
        c = ratios.to_device(shift)[..., None]
        ratios = ratios.like([r - c for r in ratios.pair])
        F = F - shift
    if max(n, m) <= BLOCK:
        ratios.keep_exponentials()
    for passes in range(passes + 1, passes + PASSES + 1):
        F = F + step
        A, B = series.powers(ratios, F)
        slope, step, missed = series.step(A, B, ratio)
        certified = (missed <= tol) & (abs(step) <= longest)
        hopeful = (slope >= 0.5) & (A[0] >= n * nce.TINY) & (B[0] >= m * nce.TINY)
        if all_true(certified >= hopeful):  # certified, or not hopeful
            break
    in_range = (abs(F + log_nu) <= nce.FAR) & (near | (abs(F) <= 0.25 * abs(shift)))
    certified = certified & hopeful & in_range
    if n != m or nu != 1.0:  # A m = B nu n without the rounding of B ratio
        (a, a_low), (b, b_low) = two_product(B[0] * ratio, m), two_product(B[0], nu * n)
        step = step - ((a - b) + (a_low - b_low)) / b / slope
    hess_A, var_A = series.moments(A, step, n)
    hess_B, var_B = series.moments(B, -step, m)
    hess = hess_A + nu * hess_B
    F = shift + (F + step)
    error = abs(var_A / n + (nu * nu / m) * var_B) ** 0.5 / hess
    overlap = hess * ((1.0 + nu) / nu)  # Eq. (4), normalised
    reach = 2.0 * abs(step) + 6.0 * (tol + eps * abs(F))
    has_digits = var_A * n > NARROW * A[1] + nce.TINY
    has_digits = has_digits & (var_B * m > NARROW * B[1] + nce.TINY)
    has_digits, values = has_digits | ~certified, (error, overlap)
    values = where_certified(has_digits, values, error_and_overlap, original, F)
    status = host.zeros(F.shape, dtype=int)[()]
    fields = F, status, status + passes, F - reach, F + reach, *values
    return fields, certified, passes


def _bracketed(ratios, F, xtol, passes):
    """Return the fields of a LogZ from a start F, or None, after so many passes.

    At F the samples split into those below and those above (``residual``). With the
    split frozen, phi = log(U + max(c, 0)) - log(D + max(-c, 0)) has the same root, is
    smooth, and is linear in F where no sample is near. As t <= 1/2 on both sides,
    phi' >= 1/2 and |phi''| <= 1/2. A step that leaves the bracket, or is more than half
    the last but one, is replaced by bisection. A step of Chebyshev's method from the
    Newton step w misses the root by at most |w|^3.
    """
    ratios.keep_exponentials()
    lo, hi, limit = bracket(ratios)
    eps = ratios.eps
    F = _pooled_quantile(ratios) if F is None else F
    inside = host.isfinite(F) & (F >= lo) & (F <= hi)
    F = where(inside, F, _middle(lo, hi))
    running = limit == 0
    count = host.zeros(lo.shape, dtype=host.int64)[()]
    step = before = 0.0 * F + math.inf
    for _ in range(MAX_PASSES):
        g = nce.residual(ratios, F, order=2)
        sign, counts = g.scaled, g.counts
        count = where(running, count + 1, count)
        lo = where(running & (sign <= 0), F, lo)
        hi = where(running & (sign >= 0), F, hi)
        P = g.U[0] + host.maximum(counts, 0.0)
        N = g.D[0] + host.maximum(-counts, 0.0)
        phi = where(
            abs(sign) < 0.5 * N, host.log1p(sign / N), host.log(P) - host.log(N)
        )
        p, q = g.U[1] / P, g.D[1] / N
        slope = p + q
        w = -phi / slope
        curvature = (g.U[2] / P - p * p) - (g.D[2] / N - q * q)
        move = w - 0.5 * w * w * curvature / slope  # Chebyshev
        inside = (F + move >= lo) & (F + move <= hi) & host.isfinite(move)
        good = inside & (abs(move) <= 0.5 * before)
        move = where(good, move, _middle(lo, hi) - F)
        move = where(sign == 0, 0.0, move)
        ulp = host.maximum(abs(F) * (0.5 * eps), eps)
        # The bound holds for steps of at most 1, the width of the logistic.
        near = abs(w) ** 3 <= host.minimum(host.maximum(ulp, xtol), 1.0)
        narrow = hi - lo <= host.maximum(2.0 * ulp, xtol)
        done = (sign == 0) | (good & near) | narrow
        F = where(running, F + move, F)
        before, step = abs(step), where(running, move, step)
        running = running & ~done
        if all_true(~running):
            break
    reach = 2.0 * abs(step) + 6.0 * (max(xtol, eps) + eps * abs(F))
    slack = 6.0 * (eps + eps * abs(F))
    lo, hi = host.maximum(lo - slack, F - reach), host.minimum(hi + slack, F + reach)
    status = where(running, int(Status.MAX_UPDATES), 0 * count)
    return completed(limit, ratios, F, status, count + (1 + passes), lo, hi)


def _middle(lo, hi):
    """Halfway between lo and hi, in their logarithms where one is far larger."""
    small, large = (f(abs(lo), abs(hi)) for f in (host.minimum, host.maximum))
    small = host.maximum(small, 1.0)
    root = host.copysign(host.sqrt(small) * host.sqrt(large), lo + hi)
    geometric = where((lo < 0) & (hi > 0), 0.0, root)
    return where(large > 1e4 * small, geometric, 0.5 * lo + 0.5 * hi)


def _pooled_quantile(ratios):
    """The nu/(1 + nu) quantile of the pooled samples, data of weight 1/n, noise nu/m.

    Return it minus log nu, from about 1,000 samples each. In a gap between samples it
    is the middle.
    """
    nu, steps = ratios.nu, [n // SUBSET or 1 for n in ratios.sizes]
    data, noise = (to_numpy(r[..., ::k]) for r, k in zip(ratios.pair, steps))
    k, j = data.shape[-1], noise.shape[-1]
    runs = host.broadcast_shapes(data.shape[:-1], noise.shape[:-1])
    pooled = host.empty((*runs, k + j))
    pooled[..., :k], pooled[..., k:] = data, noise
    slack = (k + j) * nce.EPS
    q = host.minimum(host.asarray([1.0 - slack, 1.0 + slack]) * nu / (1.0 + nu), 1.0)
    w = host.repeat([1.0 / k, nu / j], [k, j])
    ends = host.quantile(pooled, q, axis=-1, method="inverted_cdf", weights=w)
    return 0.5 * ends[0] + 0.5 * ends[1] - math.log(nu)
