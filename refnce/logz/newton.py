"""Newton's method for F, exact to the last units; bracketed where that is not enough.

In F, phi = log A - log B - log nu is nearly linear unless the data's log-ratios lie
below the noise's. ``_quick`` solves phi = 0 by series reversion from the sums of p,
p^2, p^3 and p^4 over the sigmoids p of each sample. They give phi and three
derivatives, so three passes over the samples are usually enough.

``bracketed`` serves every run that ``_quick`` does not certify: data scored below the
noise, samples far from each other or from 0, few distinct values.
"""

from __future__ import annotations

import math

from refnce import nce
from refnce.array.backend import (
    BLOCK,
    all_true,
    array_namespace,
    is_async_device,
    is_numpy,
    machine_eps,
)
from refnce.array.interop import interoperable
from refnce.array.runs import chosen_runs, over_blocks
from refnce.array.special import dot, last_sum
from refnce.logz.bracket import validate
from refnce.logz.bracketed import bracketed, pooled_quantile
from refnce.logz.result import LogZ, error_and_overlap

PASSES = 6
BLIND_PASSES = 2  # on an accelerator, before the host first waits for a result
FEW = 16  # samples in all, for which phi is seldom nearly linear
# A variance below this part of the mean square has lost too many digits.
NARROW = 1e-3


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
        The start; by default halfway between the means of the samples.
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
    A unit is ulp(F) + eps. A run converges when the next term of the series that gave
    the last step is at most max(xtol, ulp(F), eps).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> z = logz.newton(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    >>> float(z.F.round(6)), bool(z.converged)
    (0.5, True)
    """
    xp, r_data, r_noise, F0, nu = validate(r_data, r_noise, F0, nu, xtol)
    if r_data.shape[-1] + r_noise.shape[-1] <= FEW:
        return bracketed(r_data, r_noise, F0, nu, xtol, 0)
    z, certified, passes = _quick(r_data, r_noise, F0, nu, xtol)
    if z is None or z.F.ndim == 0 and not certified:
        return bracketed(r_data, r_noise, F0, nu, xtol, passes)
    if all_true(certified):
        return z
    hard = ~certified
    start = z.F if F0 is None else F0
    data, noise, start = chosen_runs(hard, r_data, r_noise, start)
    start = None if F0 is None else start
    slow = bracketed(data, noise, start, nu, xtol, passes)
    for name in ("F", "status", "evaluations", "standard_error", "overlap"):
        getattr(z, name)[hard] = getattr(slow, name)
    for end, slow_end in zip(z.bracket, slow.bracket, strict=True):
        end[hard] = slow_end
    return z


def _quick(r_data, r_noise, F0, nu, xtol):
    """Return a LogZ, in which runs it is certified, and the number of passes.

    Where no run can be certified the LogZ is None. The numbers of a single run are
    Python's, which are faster than NumPy's scalars.
    """
    xp = array_namespace(r_data)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    eps, (largest, tiny) = machine_eps(r_data.dtype, xp), nce.limits(r_data.dtype, xp)
    tol, log_nu = max(xtol, eps), math.log(nu)
    # Standard error and overlap are extrapolated over the last step, to its cube.
    longest = 0.02 if xtol > 0.0 else eps**0.25 / 4.0
    F, passes = (_start(r_data, r_noise, nu), 1) if F0 is None else (F0, 0)
    is_async, single = is_async_device(r_data), is_numpy(r_data) and F.ndim == 0
    # Far from 0 samples are shifted: r - c is exact from c/2 to 2c, and elsewhere the
    # sample is too far from a root near c to matter.
    near, shift, shifted = abs(F + log_nu) <= largest, 0.0, (r_data, r_noise)
    if not all_true(near):
        shift = xp.where(near, 0.0 * F, F)
        shifted = r_data - shift[..., None], r_noise - shift[..., None]
        F = F - shift
    power_sums = _power_sums(*shifted, nu)
    F, log1p = (float(F), _log1p) if single else (F, xp.log1p)
    for passes in range(passes + 1, passes + PASSES + 1):
        A, B = power_sums(F)
        if single and not (A[0] >= n * tiny and B[0] >= m * tiny):
            return None, False, passes
        a, b = _log_derivatives(A), _log_derivatives(B)
        slope = a[0] + b[0]
        if single and not slope >= 0.5:
            return None, False, passes
        # log A - log B - log nu from the difference, which near the root is exact.
        scaled = B[0] * (nu * n / m)
        w = -log1p((A[0] - scaled) / scaled) / slope
        c2, c3 = 0.5 * (a[1] - b[1]) / slope, (a[2] + b[2]) / (6.0 * slope)
        step = w - w * w * (c2 - w * (2.0 * c2 * c2 - c3))
        # The next term is (5 c2^3 - 5 c2 c3 + c4) w^4; |c4| <= 1/12 for phi' >= 1/2.
        missed = (5.0 * abs(c2 * (c2 * c2 - c3)) + 1.0 / 12.0) * (w * w) ** 2
        certified = (slope >= 0.5) & (missed <= tol) & (abs(step) <= longest)
        may_wait = not is_async or passes >= BLIND_PASSES
        if may_wait and all_true(certified | (slope < 0.5) | (slope != slope)):
            break
        F = F + step
    in_range = abs(F + log_nu) <= largest
    in_range = in_range & (near | (abs(F) <= 0.25 * abs(shift)))
    certified = certified & in_range & (A[0] >= n * tiny) & (B[0] >= m * tiny)
    hess_A, var_A = _moments(A, step, n)
    hess_B, var_B = _moments(B, -step, m)
    hess = hess_A + nu * hess_B
    F = shift + (F + step)
    error = abs(var_A / n + (nu * nu / m) * var_B) ** 0.5 / hess
    overlap = hess * ((1.0 + nu) / nu)  # Eq. (4), normalised
    reach = 2.0 * abs(step) + 4.0 * (tol + eps * abs(F))
    fields = F, F - reach, F + reach, error, overlap
    if single:
        fields = tuple(xp.asarray(x, r_data.dtype) for x in fields)
    F, lo, hi, error, overlap = fields
    has_digits = (var_A * n > NARROW * A[1]) & (var_B * m > NARROW * B[1])
    if not all_true(has_digits):
        finite = xp.where(xp.isfinite(F), F, xp.zeros_like(F))
        exact = error_and_overlap(r_data, r_noise, finite, nu)
        error = xp.where(has_digits, error, exact[0])
    count = xp.asarray(0) if single else xp.zeros_like(F, dtype=xp.int64)
    return LogZ(F, count, count + passes, (lo, hi), error, overlap), certified, passes


def _log1p(x):
    return math.log1p(x) if x > -1.0 else -math.inf


def _start(r_data, r_noise, nu):
    """Halfway between the means; for long samples the root of a quarter of them."""
    xp, n, m = array_namespace(r_data), r_data.shape[-1], r_noise.shape[-1]
    if is_numpy(r_data) and max(n, m) > BLOCK:
        return newton(_quarter(r_data), _quarter(r_noise), nu=nu, xtol=1e-3).F
    F = 0.5 * (last_sum(r_data) / n + last_sum(r_noise) / m - math.log(nu))
    finite = abs(F) < math.inf
    if all_true(finite):
        return F
    return xp.where(finite, F, pooled_quantile(r_data, r_noise, nu))


def _quarter(r):
    """The middle 1024 of every 4096 neighbours, which are all parts of a sorted r."""
    n, stretch = r.shape[-1], 4096
    if n <= stretch:
        return r
    rows = r[..., : n - n % stretch].reshape((*r.shape[:-1], -1, stretch))
    return rows[..., 1536:2560].reshape((*r.shape[:-1], -1))


def _power_sums(r_data, r_noise, nu):
    """Return f(F): the sums of s_data^k, and of s_noise^k, k = 1 .. 4.

    They are Python's numbers if F is one.
    """
    xp = array_namespace(r_data)
    if r_data.shape == r_noise.shape and r_data.size <= 2 * BLOCK:
        E = xp.exp(xp.concat([r_data[None, ...], r_noise[None, ...]]))
        numerators = E + 0.0

        def at_once(F):
            is_number = isinstance(F, float)
            S = xp.exp(F) * nu if is_number else (xp.exp(F) * nu)[..., None]
            numerators[0, ...] = S
            sums = _powers(numerators / (E + S))
            if is_number:
                return zip(*(x.tolist() for x in sums))
            return [x[0, ...] for x in sums], [x[1, ...] for x in sums]

        return at_once

    def data(r, F):
        S, E = nce.quick_odds(r, F, nu)
        return _powers(S / (S + E))

    def noise(r, F):
        S, E = nce.quick_odds(r, F, nu)
        return _powers(E / (S + E))

    def in_blocks(F):
        is_number = isinstance(F, float)
        F = xp.asarray(F, dtype=r_data.dtype) if is_number else F
        both = over_blocks(data, r_data, F), over_blocks(noise, r_noise, F)
        return [[float(x) for x in sums] for sums in both] if is_number else both

    return in_blocks


def _powers(p):
    """The sums of p, p^2, p^3 and p^4 over samples."""
    square, by = p * p, dot if p.shape[-1] > 8192 else array_namespace(p).vecdot
    return [last_sum(p), by(p, p), by(p, square), by(square, square)]


def _log_derivatives(sums):
    """Three derivatives of the logarithm of the mean of p, with p' = p (1 - p)."""
    x, y, z = sums[1] / sums[0], sums[2] / sums[0], sums[3] / sums[0]
    dx = x + x * x - 2.0 * y
    return 1.0 - x, -dx, 4.0 * y - 6.0 * z + 2.0 * x * y - (1.0 + 2.0 * x) * dx


def _moments(sums, d, n):
    """The mean of p (1 - p) and the variance of p at a distance d, by their series."""
    p1, p2, p3, p4 = (x / n for x in sums)
    d1, d2 = p1 - p2, 2.0 * (p2 - p3)
    dd1 = d1 - d2
    mean = d1 + d * (dd1 + 0.5 * d * (p1 - 7.0 * p2 + 12.0 * p3 - 6.0 * p4))
    second = 4.0 * p2 - 10.0 * p3 + 6.0 * p4 - 2.0 * (d1 * d1 + p1 * dd1)
    return mean, (p2 - p1 * p1) + d * (d2 - 2.0 * p1 * d1 + 0.5 * d * second)
