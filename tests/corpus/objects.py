"""Classes: a contrast of data with noise whose methods are the sums and solvers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.corpus import refuse

LEVEL = "C"  # the rounding of r - F is lost
SKIP = (
    "Huge",  # log nu is lost beside an F of 1e300
    "Subnormal",  # the logarithm of what is left of a sum
    "Underflow",
    # Between clusters 1000 apart every small side underflows, and so does the slope of
    # Gaussians 64 apart.
    "CountsCancel",
    "Chasm",
    "Plateau",
)
CONVERGED, NO_ROOT, MAX_UPDATES = 0, 2, 4


@dataclass
class Sample:
    """One side at one F: which samples lie below F + log nu, and the small sides."""

    z: np.ndarray

    def __post_init__(self):
        self.below = self.z >= 0
        q = np.exp(-np.abs(self.z))
        self.small = q / (1.0 + q)
        self.bend = self.small * (1.0 - self.small)

    def means(self, x):
        """Two parts of the mean of x: from the samples above, and from those below."""
        up, down = np.where(self.below, 0.0, x), np.where(self.below, x, 0.0)
        return np.stack([up.mean(-1), down.mean(-1)])

    def deviation(self):
        """The deviation of the sigmoid, or of 1 - it, whichever is small for most.

        It is computed in units of the largest, since squares may underflow.
        """
        most = self.below.mean(-1, keepdims=True) > 0.5
        s = np.where(self.below == most, self.small, 1.0 - self.small)
        top = s.max(-1, keepdims=True)
        return top[..., 0] * (s / np.where(top > 0, top, 1.0)).std(-1)


@dataclass(frozen=True)
class Solution:
    """What a solver returns."""

    F: np.ndarray
    status: np.ndarray
    standard_error: np.ndarray
    overlap: np.ndarray


class Contrast:
    """Log-ratios of data and noise, and their weight."""

    def __init__(self, r_data, r_noise, nu=1.0):
        shape = refuse(r_data, r_noise, nu=nu)
        self.r = tuple(
            np.broadcast_to(r, (*shape, r.shape[-1])) for r in (r_data, r_noise)
        )
        self.nu, self.shape = nu, shape

    def at(self, F):
        return [Sample(np.asarray(F)[..., None] + np.log(self.nu) - r) for r in self.r]

    def rise_and_fall(self, F):
        """Two positive numbers whose difference is A - nu B, which is the third."""
        data, noise = self.at(F)
        n, m = (r.shape[-1] for r in self.r)
        counts = data.below.sum(-1), (~noise.below).sum(-1)
        count = (counts[0] * m - self.nu * counts[1] * n) / (n * m)
        up, down = data.means(data.small) + self.nu * noise.means(noise.small)
        rise, fall = up + np.maximum(count, 0.0), down - np.minimum(count, 0.0)
        return rise, fall, count + (up - down)

    def bends(self, F):
        """The derivatives of rise and of -fall."""
        data, noise = self.at(F)
        return data.means(data.bend) + self.nu * noise.means(noise.bend)

    def slope(self, F):
        return self.rise_and_fall(F)[2] / (1.0 + self.nu)

    def curvature(self, F):
        return self.bends(F).sum(0) / (1.0 + self.nu)

    def move(self, F):
        """h(F) of the Bennett acceptance ratio."""
        data, _ = self.at(F)
        A = np.where(data.below, 1.0 - data.small, data.small).mean(-1)
        return -np.log1p(-self.rise_and_fall(F)[2] / A)

    def limits(self):
        """Where there is no finite root: F, else 0; and whether."""
        a, b = self.r
        low = (a == -np.inf).mean(-1) < self.nu * (b > -np.inf).mean(-1)
        high = (a < np.inf).mean(-1) > self.nu * (b == np.inf).mean(-1)
        none = ~(low & high)
        F = np.where(low, np.inf, np.where(high, -np.inf, np.nan))
        return np.where(none, F, 0.0), none

    def bracket(self):
        pool = np.concatenate(self.r, axis=-1)
        finite = np.isfinite(pool)
        lo = np.where(finite, pool, np.inf).min(-1)
        hi = np.where(finite, pool, -np.inf).max(-1)
        lo, hi = (np.where(np.isfinite(end), end, 0.0) for end in (lo, hi))
        return lo - 10.0, hi + 10.0

    def finish(self, F, status):
        limit, none = self.limits()
        F = np.where(none, 0.0, F)
        (n, m), (data, noise) = (r.shape[-1] for r in self.r), self.at(F)
        bend = self.bends(F).sum(0)
        error = data.deviation() / np.sqrt(n), noise.deviation() / np.sqrt(m)
        error = np.hypot(error[0], self.nu * error[1]) / bend
        error = np.where(none | (min(n, m) == 1) | (bend == 0), np.nan, error)
        overlap = np.where(none, np.nan, (1.0 + self.nu) / self.nu * bend)
        status = np.where(none, NO_ROOT, status)
        return Solution(np.where(none, limit, F), status, error, overlap)

    def newton(self, F0=None):
        """Newton's method on log rise - log fall.

        It bisects where a step leaves the bracket, and every third time.
        """
        lo, hi = self.bracket()
        F = 0.5 * (lo + hi) if F0 is None else np.clip(F0, lo, hi)
        for k in range(400):
            rise, fall, _ = self.rise_and_fall(F)
            phi = np.log(rise) - np.log(fall)
            lo, hi = np.where(phi <= 0, F, lo), np.where(phi >= 0, F, hi)
            up, down = self.bends(F)
            step = -phi / (up / rise + down / fall)
            if np.all(np.minimum(np.abs(step), hi - lo) <= 1e-14 * (1.0 + np.abs(F))):
                break
            good = np.isfinite(step) & (F + step > lo) & (F + step < hi) & (k % 3 < 2)
            F = np.where(good, F + step, 0.5 * (lo + hi))
        return self.finish(F, np.full(self.shape, CONVERGED))

    def bar(self, F0=None, xtol=0.0, step=1.0, max_updates=100):
        """Equation 9, until a step of Newton's method would be small."""
        F = np.mean(self.bracket(), axis=0) if F0 is None else F0 + np.zeros(self.shape)
        for _ in range(max_updates):
            with np.errstate(all="ignore"):
                h = self.move(F)
                left = np.abs(self.slope(F)) / self.curvature(F)
            arrived = left <= np.maximum(xtol, 1e-14 * (1.0 + np.abs(F)))
            if arrived.all():
                break
            F = np.where(arrived | ~np.isfinite(h), F, F - step * h)
        return self.finish(F, np.where(arrived, CONVERGED, MAX_UPDATES))


class nce:
    """The derivatives of Definition 3.1."""

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        return Contrast(r_data, r_noise, nu).slope(F)

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        return Contrast(r_data, r_noise, nu).curvature(F)


def newton(r_data, r_noise, *, nu=1.0, F0=None):
    return Contrast(r_data, r_noise, nu).newton(F0)


def bar(r_data, r_noise, *, nu=1.0, **options):
    return Contrast(r_data, r_noise, nu).bar(**options)
