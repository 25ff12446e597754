"""Classes: a contrast of data with noise that knows its sums, solvers as its methods, optimizers with a memory of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.corpus import refuse

LEVEL = "C"  # the rounding of r - F is lost
SKIP = (
    "Huge",  # log nu is lost beside an F of 1e300
    "Subnormal",  # the logarithm of what is left of a sum
    "Underflow",
    "CountsCancel",  # between clusters 1000 apart every small side underflows, and so does the slope of Gaussians 64 apart
    "Chasm",
    "Plateau",
)
CONVERGED, NO_ROOT, MAX_UPDATES = 0, 2, 4


@dataclass
class Sample:
    """One side at one F: the share below F + log nu, and the sums of the small sides on the two sides of it."""

    z: np.ndarray

    def __post_init__(self):
        self.below = self.z >= 0
        q = np.exp(-np.abs(self.z))
        self.small = q / (1.0 + q)

    def up(self):
        return np.where(self.below, 0.0, self.small).mean(-1)

    def down(self):
        return np.where(self.below, self.small, 0.0).mean(-1)

    def bend(self):
        return (self.small * (1.0 - self.small)).mean(-1)

    def bends(self):
        """How the two sums of small sides change with F, one up and one down."""
        bend = self.small * (1.0 - self.small)
        return np.where(self.below, 0.0, bend).mean(-1), np.where(
            self.below, bend, 0.0
        ).mean(-1)

    def deviation(self):
        """Of the sigmoid, or of 1 - it, whichever is small for most, in units of the largest: squares may underflow."""
        most = self.below.mean(-1, keepdims=True) > 0.5
        s = np.where(self.below == most, self.small, 1.0 - self.small)
        top = s.max(-1, keepdims=True)
        return top[..., 0] * (s / np.where(top > 0, top, 1.0)).std(-1)

    def softplus(self):
        return np.where(self.below, self.z, 0.0) + np.log1p(np.exp(-np.abs(self.z)))


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

    def loss(self, F):
        data, noise = self.at(F)
        noise = Sample(-noise.z)
        return (data.softplus().mean(-1) + self.nu * noise.softplus().mean(-1)) / (
            1.0 + self.nu
        )

    def rise_and_fall(self, F):
        """Two positive numbers whose difference is A - nu B."""
        data, noise = self.at(F)
        n, m = (r.shape[-1] for r in self.r)
        count = (data.below.sum(-1) * m - self.nu * (~noise.below).sum(-1) * n) / (
            n * m
        )
        up, down = (
            data.up() + self.nu * noise.up(),
            data.down() + self.nu * noise.down(),
        )
        return (
            up + np.maximum(count, 0.0),
            down - np.minimum(count, 0.0),
            count + (up - down),
        )

    def slope(self, F):
        return self.rise_and_fall(F)[2] / (1.0 + self.nu)

    def curvature(self, F):
        data, noise = self.at(F)
        return (data.bend() + self.nu * noise.bend()) / (1.0 + self.nu)

    def pull(self, F):
        n, m = (r.shape[-1] for r in self.r)
        data, noise = self.at(F)
        s_data, s_noise = np.where(data.below, 1 - data.small, data.small), np.where(
            noise.below, noise.small, 1 - noise.small
        )
        return -s_data / n / (1.0 + self.nu), s_noise * self.nu / m / (1.0 + self.nu)

    def move(self, F):
        """h(F) of the Bennett acceptance ratio."""
        data, noise = self.at(F)
        A = np.where(data.below, 1.0 - data.small, data.small).mean(-1)
        return -np.log1p(-self.rise_and_fall(F)[2] / A)

    def limits(self):
        """Where there is no finite root: F, else 0; and whether."""
        a, b = self.r
        low = (a == -np.inf).mean(-1) < self.nu * (b > -np.inf).mean(-1)
        high = (a < np.inf).mean(-1) > self.nu * (b == np.inf).mean(-1)
        none = ~(low & high)
        return (
            np.where(none, np.where(low, np.inf, np.where(high, -np.inf, np.nan)), 0.0),
            none,
        )

    def bracket(self):
        pool = np.concatenate(self.r, axis=-1)
        finite = np.isfinite(pool)
        lo, hi = np.where(finite, pool, np.inf).min(-1), np.where(
            finite, pool, -np.inf
        ).max(-1)
        return (
            np.where(np.isfinite(lo), lo, 0.0) - 10.0,
            np.where(np.isfinite(hi), hi, 0.0) + 10.0,
        )

    def finish(self, F, status):
        limit, none = self.limits()
        F = np.where(none, 0.0, F)
        (n, m), (data, noise) = (r.shape[-1] for r in self.r), self.at(F)
        bend = data.bend() + self.nu * noise.bend()
        error = (
            np.hypot(
                data.deviation() / np.sqrt(n), self.nu * noise.deviation() / np.sqrt(m)
            )
            / bend
        )
        error = np.where(none | (min(n, m) == 1) | (bend == 0), np.nan, error)
        overlap = np.where(none, np.nan, (1.0 + self.nu) / self.nu * bend)
        return Solution(
            np.where(none, limit, F), np.where(none, NO_ROOT, status), error, overlap
        )

    def newton(self, F0=None):
        """On log rise - log fall; bisection where a step leaves the bracket, and every third time."""
        lo, hi = self.bracket()
        F = 0.5 * (lo + hi) if F0 is None else np.clip(F0, lo, hi)
        for k in range(400):
            rise, fall, _ = self.rise_and_fall(F)
            phi = np.log(rise) - np.log(fall)
            lo, hi = np.where(phi <= 0, F, lo), np.where(phi >= 0, F, hi)
            (up, down), (up_noise, down_noise) = (side.bends() for side in self.at(F))
            step = -phi / (
                (up + self.nu * up_noise) / rise + (down + self.nu * down_noise) / fall
            )
            if np.all(np.minimum(np.abs(step), hi - lo) <= 1e-14 * (1.0 + np.abs(F))):
                break
            good = np.isfinite(step) & (F + step > lo) & (F + step < hi) & (k % 3 < 2)
            F = np.where(good, F + step, 0.5 * (lo + hi))
        return self.finish(F, np.full(self.shape, CONVERGED))

    def bar(self, F0=None, xtol=0.0, step=1.0, max_updates=100):
        """Equation 9; what Newton's method would still move tells when it has arrived."""
        F = (
            np.mean(self.bracket(), axis=0)
            if F0 is None
            else np.broadcast_to(F0, self.shape)
        )
        for _ in range(max_updates):
            with np.errstate(all="ignore"):
                h = self.move(F)
                left = np.abs(self.slope(F)) / self.curvature(F)
            arrived = left <= np.maximum(xtol, 1e-14 * (1.0 + np.abs(F)))
            if arrived.all():
                break
            F = np.where(arrived | ~np.isfinite(h), F, F - step * h)
        return self.finish(F, np.where(arrived, CONVERGED, MAX_UPDATES))


def _asked(what):
    def call(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        return getattr(Contrast(r_data, r_noise, nu), what)(F)

    return staticmethod(call)


class Family:
    """Algorithm 1 on an exponential family: its parameters, and a step."""

    def __init__(self, theta, F, nu):
        self.theta, self.F, self.nu = theta, F, nu

    def step(self, T_data, T_noise, offset_data, offset_noise, rate, move, first):
        contrast = Contrast(
            T_data @ self.theta + offset_data,
            T_noise @ self.theta + offset_noise,
            self.nu,
        )
        after = move(contrast, self.F)
        w_data, w_noise = contrast.pull(after if first else self.F)
        self.theta, self.F = (
            self.theta - rate * (w_data @ T_data + w_noise @ T_noise),
            after,
        )
        return self.theta, self.F


class Optimizer:
    """A rule that remembers; the state that it returns is itself."""

    @classmethod
    def call(cls, state, gradient, *, rate):
        state = state or cls()
        return state, -rate * state.direction(gradient)


class Plain(Optimizer):
    """Gradient descent."""

    def direction(self, g):
        return g


class Normalised(Optimizer):
    """By the norm; a power of two keeps the squares in range."""

    def direction(self, g):
        g = np.ldexp(g, -np.frexp(np.abs(g).max(-1, keepdims=True))[1])
        norm = np.sqrt((g * g).sum(-1, keepdims=True))
        return g / np.where(norm > 0, norm, 1.0)


class Adam(Optimizer):
    """First and second moments with their bias correction in closed form."""

    def __init__(self):
        self.seen = []

    def direction(self, g):
        self.seen.append(g)
        age = np.arange(len(self.seen))[::-1].reshape(-1, *(1,) * g.ndim)
        sums = (
            ((b**age * np.asarray(self.seen) ** k).sum(0), b)
            for b, k in ((0.9, 1), (0.999, 2))
        )
        m, v = (total * (1 - b) / (1 - b ** len(self.seen)) for total, b in sums)
        return m / (np.sqrt(v) + 1e-8)


class Surface:
    """The names under which the kit looks for them."""

    class nce:
        """Definition 3.1 and its derivatives."""

        loss, grad_F, hess_F, grad_r = (
            _asked("loss"),
            _asked("slope"),
            _asked("curvature"),
            _asked("pull"),
        )

    class logz:
        """The solvers."""

        newton = staticmethod(
            lambda r_data, r_noise, *, nu=1.0, F0=None: Contrast(
                r_data, r_noise, nu
            ).newton(F0)
        )
        bar = staticmethod(
            lambda r_data, r_noise, *, nu=1.0, **options: Contrast(
                r_data, r_noise, nu
            ).bar(**options)
        )

    class optim:
        """The optimizers."""

        sgd, ngd, adam = Plain.call, Normalised.call, Adam.call

    class train:
        """Algorithm 1."""

        @staticmethod
        def trajectory(
            T_data,
            T_noise,
            offset_data,
            offset_noise,
            theta,
            F,
            *,
            nu=1.0,
            rate,
            rate_F,
            update,
            order,
        ):
            moves = {
                "gradient": lambda contrast, F: F - rate_F * contrast.slope(F),
                "bar": lambda contrast, F: F - rate_F * contrast.move(F),
                "root": lambda contrast, F: contrast.newton().F,
            }
            family = Family(theta, F, nu)
            samples = zip(T_data, T_noise, offset_data, offset_noise, strict=True)
            path = [
                family.step(*each, rate, moves[update], order == "first")
                for each in samples
            ]
            return tuple(np.asarray(part) for part in zip(*path, strict=True))


implementation = Surface()
