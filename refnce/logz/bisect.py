"""Binary search for F (Section 3.3), on the sign of A - nu B."""

from __future__ import annotations

import math

from refnce import nce
from refnce.array.backend import (
    all_true,
    array_namespace,
    device,
    is_async_device,
    machine_eps,
)
from refnce.array.interop import interoperable
from refnce.array.runs import over_samples, where_certified
from refnce.array.special import last_sum
from refnce.logz.bracket import bracket, validate
from refnce.logz.residual import residual
from refnce.logz.result import make_result

# Plain sums of sigmoids are right to less than this many eps.
BLUR = 64.0


@interoperable
def bisect(r_data, r_noise, *, nu=1.0, xtol=0.0):
    """Return the root of A = nu B by bisection (Section 3.3).

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Log-ratios on data and noise.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.
    xtol : float
        Width of the bracket at which a run stops; 0 for the last unit.

    Returns
    -------
    LogZ

    Raises
    ------
    TypeError, ValueError
        As `refnce.nce.loss`, and for xtol negative or not finite.

    Notes
    -----
    dL/dF increases, so its sign halves the bracket, which starts at the extremes of the
    log-ratios. The number of halvings is known before the loop:
    ceil(log2((hi - lo)/max(xtol, eps))) of the widest run. A run stops moving once
    hi - lo <= max(xtol, ulp(F), eps).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> z = logz.bisect(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    >>> float(z.F.round(6)), bool(z.converged)
    (0.5, True)
    """
    xp, r_data, r_noise, _, nu = validate(r_data, r_noise, None, nu, xtol)
    start = bracket(r_data, r_noise, nu)
    lo, hi = start.lo, start.hi
    eps = machine_eps(lo.dtype, xp)
    width = float(xp.max(0.5 * hi - 0.5 * lo)) if 0 not in lo.shape else 0.0
    halvings = math.log2(max(width, eps)) - math.log2(max(xtol, eps)) + 1.0
    halvings = max(0, math.ceil(halvings))
    in_doubt, is_async = False, is_async_device(lo)
    least = xp.full_like(lo, max(xtol, eps))
    for _ in range(halvings):
        middle = 0.5 * lo + 0.5 * hi
        narrow = hi - lo <= xp.maximum(abs(middle) * (0.5 * eps), least)
        if not is_async and all_true(narrow):
            break
        if in_doubt:
            (sign,) = _certain_sign(r_data, r_noise, middle, nu)
        else:
            sign, in_doubt = _sign(r_data, r_noise, middle, nu)
        lo = xp.where((sign <= 0) & ~narrow, middle, lo)
        hi = xp.where((sign >= 0) & ~narrow, middle, hi)
    F = 0.5 * lo + 0.5 * hi
    slack = 4.0 * (eps + eps * abs(F))  # the sign is right to these units
    count = xp.full(lo.shape, halvings + 1, dtype=xp.int64, device=device(lo))
    found = F, 0 * count, count, lo - slack, hi + slack
    return make_result(start, r_data, r_noise, nu, found)


def _sign(r_data, r_noise, F, nu):
    """Return a number of the sign of A - nu B, and whether all runs are in doubt.

    It comes from plain sums where these leave no doubt.
    """
    xp = array_namespace(r_data)

    def sums(r, F):
        S, E = nce.quick_odds(r, F, nu)
        return [last_sum(S / (S + E))]

    ((data, noise),) = over_samples(sums, r_data, r_noise, F)
    data, noise = data / r_data.shape[-1], nu * (1.0 - noise / r_noise.shape[-1])
    difference, blur = data - noise, BLUR * machine_eps(F.dtype, xp)
    certain = abs(difference) > blur * (data + noise + nu)
    certain = certain & (abs(F + math.log(nu)) <= nce.limits(F.dtype, xp)[0])
    pair = r_data, r_noise
    values = (difference,)
    (sign,) = where_certified(certain, values, _certain_sign, *pair, F, nu)
    return sign, all_true(~certain)


def _certain_sign(r_data, r_noise, F, nu):
    """A number of the sign of A - nu B, from its exact counts and small sides."""

    def exact(r_data, r_noise, F, nu):
        return (residual(r_data, r_noise, F, nu, order=0).scaled,)

    sign = nce.grad_at(r_data, r_noise, F, nu)
    certified, pair = nce.is_certified(sign, F, nu), (r_data, r_noise)
    return where_certified(certified, (sign,), exact, *pair, F, nu)
