"""Seeded samples of log-ratios for every regime in which accuracy is promised."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.random import PCG64, Generator

Pair = tuple[np.ndarray, np.ndarray]
HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


class Case(NamedTuple):
    """One run: log-ratios, nu, and the F (and root) at which to judge formulas."""

    name: str
    r_data: np.ndarray
    r_noise: np.ndarray
    nu: float
    F: tuple[float, ...]

    @property
    def r(self) -> dict[str, np.ndarray]:
        return {"r_data": self.r_data, "r_noise": self.r_noise}

    @property
    def size(self) -> int:
        return self.r_data.size + self.r_noise.size


# name -> a function that yields the cases of the regime
REGIMES: dict[str, Callable[[], Iterator[Case]]] = {}
Rows = Callable[[], Iterator[tuple[str, Any, float, tuple[float, ...]]]]


def regime(name: str) -> Callable[[Rows], Rows]:
    """Register a generator of rows (name, pair, nu, Fs) as the regime ``name``."""

    def register(rows: Rows) -> Rows:
        REGIMES[name] = lambda: (Case(case, *r, nu, Fs) for case, r, nu, Fs in rows())
        return rows

    return register


def rng(seed: int) -> Generator:
    return Generator(PCG64(seed))


def gaussian_1d(distance: float, theta: float, n: int, m: int, seed: int) -> Pair:
    """Log-ratios of e^{-x^2/2 + theta x}: data N(distance, 1), noise N(0, 1)."""
    g = rng(seed)
    data = theta * (distance + g.standard_normal(n)) + HALF_LOG_2PI
    return data, theta * g.standard_normal(m) + HALF_LOG_2PI


def ring(seed: int, n: int = 512) -> Pair:
    """Figure 1: 10 unit Gaussians in 20 dimensions on a circle of radius 4; N(0, I)."""
    g = rng(seed)
    angles = 2 * np.pi * (np.arange(10) / 10 + g.random())
    means = 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def ratio(x: np.ndarray) -> np.ndarray:
        d = -0.5 * ((x[:, None, :2] - means) ** 2).sum(-1)
        top = d.max(axis=1)
        log_sum = top + np.log(np.exp(d - top[:, None]).sum(1))
        return log_sum + 0.5 * (x[:, :2] ** 2).sum(-1) + 20 * HALF_LOG_2PI

    x, y = g.standard_normal((n, 20)), g.standard_normal((n, 20))
    x[:, :2] += means[g.integers(10, size=n)]
    return ratio(x), ratio(y)


def bimodal(n: int, m: int, share: float, seed: int) -> Pair:
    """Two clusters, ``share`` of the data and 1 - share of the noise in the upper one.

    The root lies in the gap.
    """
    g = rng(seed)
    up = np.arange(n) < round(share * n), np.arange(m) < m - round(share * m)
    data, noise = (g.normal(size=x.size) + np.where(x, 300.0, -300.0) for x in up)
    return data, noise


def apart(g: Generator, size: float, spread: float, n: int, m: int) -> Pair:
    """Data about ``size``, noise about -``size``."""
    return size + spread * g.normal(size=n), -size + spread * g.normal(size=m)


@regime("good overlap")
def good_overlap():
    for n, m in [(1, 1), (2, 3), (7, 5), (64, 64), (512, 512), (2000, 1000)]:
        pair = gaussian_1d(1.0, 1.0, n, m, 10 + n)
        yield f"1 apart, {n} + {m}", pair, 1.0, (0.0, 1.5, -3.0)
    for seed in range(3):
        yield f"ring {seed}", ring(seed), 1.0, (0.0, 20.0)
    yield "equal laws", gaussian_1d(0.0, 1.0, 500, 500, 4), 1.0, (0.25,)


@regime("density chasm")
def chasm():
    for d, n in product((4.0, 16.0, 64.0), (1, 20, 512)):
        pair = gaussian_1d(d, d, n, n, 100 + n)
        yield f"{d:g} apart, {n}", pair, 1.0, (0.0, d * d / 2)


@regime("plateau")
def plateau():
    for d, n in product((4.0, 16.0, 64.0), (1, 20, 512)):
        pair = gaussian_1d(d, -d, n, n, 200 + n)
        yield f"{d:g} apart, theta = -{d:g}, {n}", pair, 1.0, (0.0, -d * d / 2 + 3)
    yield "unequal counts", gaussian_1d(16.0, -16.0, 300, 200, 9), 1.0, (-60.0,)


@regime("tiny loss")
def tiny_loss():
    for size in (230.0, 460.0, 700.0):
        yield f"e^-{size:g}", apart(rng(int(size)), size, 1.0, 50, 40), 1.0, (0.0, 0.7)


@regime("subnormal sigma")
def subnormal():
    for seed, (sign, n) in enumerate([(1, 1), (-1, 1), (1, 30), (-1, 30)]):
        g = rng(300 + seed)
        pair = sign * g.uniform(709, 745.5, n), -sign * g.uniform(709, 745.5, n)
        yield f"{sign:+d}, {n}", pair, 1.0, (0.0, 1.0, -2.5)
    edges = 708.39, 709.78, 709.79, 744.44, 745.13, 745.14
    for x, (sign, at) in product(edges, ((1, "at"), (-1, "at -"))):
        pair = np.asarray([sign * x]), np.asarray([-sign * x, sign * (-x - 0.5)])
        yield f"{at:<3}{x}", pair, 1.0, (0.0,)


@regime("total underflow")
def underflow():
    for sign, (n, m) in product((1, -1), [(1, 1), (5, 8), (200, 200)]):
        pair = apart(rng(400 + n), sign * 2000, 30, n, m)
        yield f"{sign:+d}, {n} + {m}", pair, 1.0, (0.0, 3.0, 1500.0)
    yield "nu = 1/3", apart(rng(410), -2000, 1.0, 30, 60), 1 / 3, (0.0,)


@regime("cancelling r - F")
def cancelling_differences():
    for base, nu in product((1000.0, -1000.0, 123456.789), (1.0, 1 / 3, 7.0)):
        pair = [r + base for r in gaussian_1d(1.5, 1.5, 300, 200, 500)]
        yield f"at {base:g}, nu {nu:.3g}", pair, nu, (base, base + 0.3)


@regime("unequal counts")
def unequal_counts():
    counts = (1, 1000), (1000, 1), (17, 513), (3, 2), (100, 1)
    for (n, m), d in product(counts, (1.0, 16.0)):
        for seed, label, nu in ((600, "", m / n), (650, "nu = 1, ", 1.0)):
            pair = gaussian_1d(d, d, n, m, seed + n)
            yield f"{n} + {m}, {label}{d:g} apart", pair, nu, (0.0,)


@regime("nu")
def weights():
    laws = (1.0, 1.0), (16.0, 16.0), (6.0, -6.0)
    for nu, law in product((1e-3, 0.1, 1 / 3, 0.5, 3.0, 10.0, 1e3), laws):
        name = "{:.3g}, {:g} apart, theta {:g}".format(nu, *law)
        yield name, gaussian_1d(*law, 300, 300, 700), nu, (0.0, 2.0)


@regime("one and two points")
def few_points():
    g = rng(800)
    for k in range(12):
        n, m = int(g.integers(1, 3)), int(g.integers(1, 3))
        scale = 10.0 ** g.uniform(-2, 3)
        pair = scale * g.normal(size=n), scale * g.normal(size=m)
        yield f"draw {k}", pair, (1.0, 0.5, 1 / 3)[k % 3], (0.0, scale)
    yield "all equal", (np.full(2, 2.5), np.full(1, 2.5)), 1.0, (2.5, 0.0)


@regime("ties")
def ties():
    g = rng(900)
    for k, nu in enumerate((1.0, 2.0, 1 / 3, 40 / 60)):
        pair = [np.round(3 * g.normal(size=size)) for size in (60, 40)]
        yield f"integers {k}", pair, nu, (0.0, 1.0)
    yield "zeros", (np.zeros(10), np.zeros(10)), 1.0, (0.0, 1e-9, -1e-300)
    yield "two values", (np.repeat([-40.0, 40.0], 8),) * 2, 1.0, (0.0,)


@regime("Student-t(1.2) x 50")
def student():
    for seed in range(6):
        g = rng(1000 + seed)
        n, m = [(512, 512), (100, 300), (7, 7)][seed % 3]
        pair = 50 * g.standard_t(1.2, n), 50 * g.standard_t(1.2, m)
        yield f"{seed}", pair, 1.0, (0.0,)


@regime("root in a gap")
def gap():
    for share, (n, m) in product((0.25, 0.5, 0.9), [(40, 40), (20, 60)]):
        yield f"share {share}, {n} + {m}", bimodal(n, m, share, 1100), 1.0, (0.0,)
    yield "nu = 1/3", bimodal(40, 40, 0.25, 1101), 1 / 3, (0.0,)
    yield "nu = 3", bimodal(40, 40, 0.75, 1102), 3.0, (0.0,)


# nu, data below and above, noise below and above: between the clusters k/n - nu j/m is
# 0, or about 1e-17 (nu = 1/3 as a double).
CANCELLING = [(1.0, 3, 3, 2, 2), (0.5, 1, 3, 2, 2), (2.0, 1, 1, 3, 1)]
CANCELLING += [(1 / 3, 1, 2, 0, 5), (1 / 3, 1, 5, 3, 3)]
CANCELLING += [(0.1, 1, 9, 0, 4), (10.0, 1, 1, 19, 1)]


@regime("counts cancel")
def cancelling_counts():
    g = rng(1200)
    widths = 10.0, 40.0, 100.0, 500.0, 1500.0
    for (nu, *counts), width in product(CANCELLING, widths):
        sides = zip((-1, 1, -1, 1), counts, strict=True)
        clusters = [c * width + g.normal(size=k) for c, k in sides]
        pair = np.concatenate(clusters[:2]), np.concatenate(clusters[2:])
        yield f"nu {nu:.3g}, +-{width:g}", pair, nu, (0.0,)


@regime("huge")
def huge():
    for size in (1e15, 1e300):
        for x in (size, -size):
            pair = x * np.asarray([1.0, 0.5, 0.25]), -x * np.asarray([1.0, 0.5])
            yield f"{x:g}", pair, 1.0, (0.0, size)
        pair = np.asarray([size, 0.5, 1.0]), np.asarray([-size, 0.2, -0.4])
        yield f"outlier {size:g}", pair, 1.0, (0.0, 1.0)
        yield f"all at {size:g}", (np.full(3, size), np.full(2, size)), 3.0, (size,)


@regime("n = 1e5")
def large():
    yield "1 apart", gaussian_1d(1.0, 1.0, 100_000, 100_000, 1300), 1.0, ()
    yield "16 apart", gaussian_1d(16.0, 16.0, 100_000, 20_000, 1301), 1.0, ()
    yield "reversed, nu = 0.1", gaussian_1d(6.0, -6.0, 20_000, 100_000, 1302), 0.1, ()
