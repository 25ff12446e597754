"""The root by order: both samples are sorted into one, and bisected in long doubles.

Between two neighbours of the pooled sample the counts do not change.
"""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from tests.corpus import over_runs, without_root

Long = np.longdouble
# Where a long double is a double, the rounding of r - F is lost.
LEVEL = "A" if np.finfo(Long).nmant > 60 else "C"
SKIP = ()


class Pool:
    """One run: the log-ratios in order, their weights, and the counts below each."""

    def __init__(self, data, noise, nu):
        self.n, self.m, self.nu = data.size, noise.size, nu
        r = np.concatenate([data, noise])
        order = np.argsort(r)
        is_data = (np.arange(r.size) < self.n)[order]
        self.r, self.is_data = r[order].astype(Long), is_data
        self.weight = np.where(is_data, Long(1) / self.n, Long(nu) / self.m)
        self.data_below = np.concatenate([[0], np.cumsum(is_data)])
        self.noise_below = np.concatenate([[0], np.cumsum(~is_data)])
        self.log_nu = np.log(Long(nu))

    def count(self, k):
        """A - nu B if every sigmoid were 0 or 1, with k numbers below F + log nu."""
        data, noise = int(self.data_below[k]), self.m - int(self.noise_below[k])
        return Fraction(data, self.n) - Fraction(self.nu) * Fraction(noise, self.m)

    def excess(self, k, F):
        """A positive multiple of A - nu B: e to the smallest distance is a factor."""
        z = (F - self.r) + self.log_nu
        finite = np.abs(z[np.isfinite(z)])
        M = finite.min() if finite.size else Long(0)
        q = self.weight * np.exp(M - np.abs(z)) / (1 + np.exp(-np.abs(z)))
        count = self.count(k)
        size = Long(count.numerator) / Long(count.denominator) if count else Long(0)
        size *= np.exp(np.minimum(M, Long(11000)))
        return (q[k:].sum() - q[:k].sum()) + size

    def below(self, F):
        return int(np.searchsorted(self.r - self.log_nu, F, side="right"))

    def root(self):
        """Bisection: over the numbers of the pool, then between two neighbours."""
        finite = self.r[np.isfinite(self.r)]
        ends = np.concatenate([finite[:1] - 100, finite, finite[-1:] + 100])
        ends = ends - self.log_nu
        lo, hi = 0, ends.size - 1
        while hi - lo > 1:
            k = (lo + hi) // 2
            above = self.excess(self.below(ends[k]), ends[k]) > 0
            lo, hi = (lo, k) if above else (k, hi)
        lo, hi = ends[lo], ends[hi]
        k = self.below(lo)
        while True:
            F = (lo + hi) / 2
            if F in (lo, hi) or hi - lo < 1e-19:
                return F
            lo, hi = (lo, F) if self.excess(k, F) > 0 else (F, hi)

    def sampling(self, F):
        """The standard error and the overlap at F."""
        below = np.arange(self.r.size) < self.below(F)
        q = np.exp(-np.abs((F - self.r) + self.log_nu))
        slope, error = Long(0), Long(0)
        for here, share in ((self.is_data, Long(1)), (~self.is_data, Long(self.nu))):
            t = (q / (1 + q))[here]
            slope += share * (t * (1 - t)).mean()
            most = 2 * below[here].sum() > here.sum()
            s = np.where(below[here] == most, t, 1 - t)
            # Subtracting s[0] makes the variance of equal numbers exactly 0.
            error += share**2 * (s - s[0]).var() / here.sum()
        usable = min(self.n, self.m) > 1 and slope > 0
        overlap = (1 + Long(self.nu)) / self.nu * slope
        return np.sqrt(error) / slope if usable else np.nan, overlap


@over_runs
def _solve(data, noise, _, nu):
    none, limit = without_root(data, noise, nu)
    if none:
        return limit, 2, np.nan, np.nan
    pool = Pool(data, noise, nu)
    F = pool.root()
    return F, 0, *pool.sampling(F)


def newton(r_data, r_noise, *, nu=1.0):
    F, status, error, overlap = _solve(r_data, r_noise, nu=nu)
    return SimpleNamespace(F=F, status=status, standard_error=error, overlap=overlap)
