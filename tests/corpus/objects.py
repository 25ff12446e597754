"""Classes: a contrast of data with noise whose methods are the sums and solvers."""

from types import SimpleNamespace

import numpy as np

from tests.corpus import refuse, without_root

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
CONVERGED, NO_ROOT, CYCLE, MAX_UPDATES = 0, 2, 3, 4


class Contrast:
    """The log-ratios of data and noise in one array, and the weight of each."""

    def __init__(self, r_data, r_noise, nu=1.0, F=0.0):
        self.nu, self.shape = nu, refuse(r_data, r_noise, F, nu)
        self.n, self.m = r_data.shape[-1], r_noise.shape[-1]
        self.r = np.concatenate(
            [np.broadcast_to(r, self.shape + r.shape[-1:]) for r in (r_data, r_noise)],
            axis=-1,
        )
        self.is_data = np.arange(self.n + self.m) < self.n
        self.weight = np.where(self.is_data, 1.0 / self.n, nu / self.m)

    def at(self, F):
        """Which log-ratios lie below F + log nu, and the small sides."""
        z = np.asarray(F)[..., None] + np.log(self.nu) - self.r
        q = np.exp(-np.abs(z))
        return z >= 0, q / (1.0 + q)

    def sums(self, below, x):
        """The weighted sums of x: over the samples above F + log nu, over the rest."""
        x = self.weight * x
        return np.where(below, 0.0, x).sum(-1), np.where(below, x, 0.0).sum(-1)

    def rise_and_fall(self, F):
        """Two positive numbers whose difference is A - nu B, which is the third."""
        below, small = self.at(F)
        data, noise = (below & self.is_data).sum(-1), (~below & ~self.is_data).sum(-1)
        count = (data * self.m - self.nu * noise * self.n) / (self.n * self.m)
        up, down = self.sums(below, small)
        rise, fall = up + np.maximum(count, 0.0), down - np.minimum(count, 0.0)
        return rise, fall, count + (up - down)

    def bends(self, F):
        """The derivatives of rise and of -fall."""
        below, small = self.at(F)
        return self.sums(below, small * (1.0 - small))

    def slope(self, F):
        return self.rise_and_fall(F)[2] / (1.0 + self.nu)

    def curvature(self, F):
        return sum(self.bends(F)) / (1.0 + self.nu)

    def move(self, F):
        """h(F) of the Bennett acceptance ratio."""
        below, small = self.at(F)
        A = np.where(below, 1.0 - small, small)[..., : self.n].mean(-1)
        return -np.log1p(-self.rise_and_fall(F)[2] / A)

    def bracket(self):
        finite = np.isfinite(self.r)
        lo = np.where(finite, self.r, np.inf).min(-1)
        hi = np.where(finite, self.r, -np.inf).max(-1)
        lo, hi = (np.where(np.isfinite(end), end, 0.0) for end in (lo, hi))
        return lo - 10.0, hi + 10.0

    def finish(self, F, status):
        n, m = self.n, self.m
        none, limit = without_root(self.r[..., :n], self.r[..., n:], self.nu)
        F = np.where(none, 0.0, F)
        below, small = self.at(F)
        bend = sum(self.bends(F))
        error = np.hypot(
            _deviation(below[..., :n], small[..., :n]) / np.sqrt(n),
            _deviation(below[..., n:], small[..., n:]) / np.sqrt(m) * self.nu,
        )
        error = np.where(none | (min(n, m) == 1) | (bend == 0), np.nan, error / bend)
        overlap = np.where(none, np.nan, (1.0 + self.nu) / self.nu * bend)
        F, status = np.where(none, limit, F), np.where(none, NO_ROOT, status)
        return SimpleNamespace(
            F=F, status=status, standard_error=error, overlap=overlap
        )

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
        """Equation 9, until a step of Newton's method would be small or F cycles."""
        F = np.mean(self.bracket(), axis=0) if F0 is None else F0 + np.zeros(self.shape)
        turns, last = np.zeros(self.shape), 0.0
        for _ in range(max_updates):
            with np.errstate(all="ignore"):
                h = self.move(F)
                left = np.abs(self.slope(F)) / self.curvature(F)
            arrived = left <= np.maximum(xtol, 1e-14 * (1.0 + np.abs(F)))
            still = arrived | ~np.isfinite(h) | (turns >= 4)
            if still.all():
                break
            move = np.where(still, 0.0, -step * h)
            turned = (move * last < 0) & (np.abs(move + last) < 0.01 * np.abs(last))
            turns, last = np.where(still, turns, (turns + 1) * turned), move
            F = F + move
        stopped = np.where(turns >= 4, CYCLE, MAX_UPDATES)
        return self.finish(F, np.where(arrived, CONVERGED, stopped))


def _deviation(below, small):
    """The deviation of the sigmoid, or of 1 - it, whichever is small for most.

    It is computed in units of the largest, since squares may underflow.
    """
    most = below.mean(-1, keepdims=True) > 0.5
    s = np.where(below == most, small, 1.0 - small)
    top = s.max(-1, keepdims=True)
    return top[..., 0] * (s / np.where(top > 0, top, 1.0)).std(-1)


class nce:
    """The derivatives of Definition 3.1."""

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        return Contrast(r_data, r_noise, nu, F).slope(F)

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        return Contrast(r_data, r_noise, nu, F).curvature(F)


def newton(r_data, r_noise, *, nu=1.0, F0=None):
    return Contrast(r_data, r_noise, nu).newton(F0)


def bar(r_data, r_noise, *, nu=1.0, **options):
    return Contrast(r_data, r_noise, nu).bar(**options)
