"""Binary search for F (Section 3.3), on the sign of A - nu B."""

import math

from refnce.array import all_true, check_positive, host, interoperable, last_sum
from refnce.array import samples, where, where_certified
from refnce.logz.bracket import bracket
from refnce.logz.result import completed, make_result
from refnce.nce import EPS, FAR, TINY, residual

# Plain sums of sigmoids are right to less than this many eps of A + nu B + nu.
BLUR = 16.0


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
    hi - lo <= max(xtol, eps |F|/2, eps). ``evaluations`` is the number known before the
    loop, plus 1 for the bracket, also where the loop ends earlier.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import logz
    >>> z = logz.bisect(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    >>> float(z.F.round(6)), bool(z.converged)
    (0.5, True)
    """
    xtol = check_positive("xtol", xtol, zero=True)
    ratios, _ = samples(r_data, r_noise, None, nu, start=True)
    ratios.keep_exponentials()
    lo, hi, limit = bracket(ratios)
    eps = ratios.eps
    width = float(host.max(0.5 * hi - 0.5 * lo)) if 0 not in lo.shape else 0.0
    halvings = math.log2(max(width, eps)) - math.log2(max(xtol, eps)) + 1.0
    halvings = max(0, math.ceil(halvings))
    in_doubt = False
    for _ in range(halvings):
        middle = 0.5 * lo + 0.5 * hi
        wide = hi - lo > host.maximum(abs(middle) * (0.5 * eps), max(xtol, eps))
        if all_true(~wide):
            break
        if in_doubt:
            sign = residual(ratios, middle, order=0).scaled
        else:
            sign, in_doubt = _sign(ratios, middle)
        lo = where(wide & (sign <= 0), middle, lo)
        hi = where(wide & (sign >= 0), middle, hi)
    F = 0.5 * lo + 0.5 * hi
    slack = 6.0 * (eps + eps * abs(F))  # the sign is right to these units
    count = host.full(lo.shape, halvings + 1)[()]
    fields = F, 0 * count, count, lo - slack, hi + slack
    return make_result(ratios, completed(limit, ratios, *fields))


def _sign(ratios, F):
    """Return a number of the sign of A - nu B, and whether all runs are in doubt.

    It comes from plain sums where these leave no doubt.
    """

    def plain(E, S):
        return [last_sum(S / (S + E))]

    def exact(ratios, F):
        return (residual(ratios, F, order=0).scaled,)

    nu, (n, m) = ratios.nu, ratios.sizes
    (data,), (noise,) = ratios.over_odds(F, plain, plain)
    A, nu_B = data / n, nu * (1.0 - noise / m)
    blur = BLUR * EPS * (A + nu_B + nu) + TINY  # what underflows is less than TINY
    certain = (abs(F + math.log(nu)) <= FAR) & (abs(A - nu_B) > blur)
    (sign,) = where_certified(certain, (A - nu_B,), exact, ratios, F)
    return sign, all_true(~certain)
