"""Regimes of log-ratios for Dask arrays: (data, noise) of one size, and nu."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator

Pair = tuple[np.ndarray, np.ndarray]
Make = Callable[[Generator, int], Pair]


def rng(seed: Any) -> Generator:
    return Generator(PCG64(seed))


def normal(data: float, noise: float, sd: float = 1.0) -> Make:
    """Data N(data, sd), noise N(noise, sd)."""
    return lambda g, n: (g.normal(data, sd, n), g.normal(noise, sd, n))


def constants(data: float, noise: float) -> Make:
    return lambda g, n: (np.full(n, data), np.full(n, noise))


def cauchy(g: Generator, n: int) -> Pair:
    return 3.0 * g.standard_cauchy(n), 3.0 * g.standard_cauchy(n)


def student(g: Generator, n: int) -> Pair:
    return 50.0 * g.standard_t(1.2, n), 50.0 * g.standard_t(1.2, n)


def ties(g: Generator, n: int) -> Pair:
    return np.round(g.normal(1.0, 3.0, n)), np.round(g.normal(0.0, 3.0, n))


def infinities(g: Generator, n: int) -> Pair:
    """A tenth of the data at +inf, a fifth of the noise at -inf."""
    data, noise = normal(1.0, -1.0)(g, n)
    data[: n // 10], noise[: n // 5] = np.inf, -np.inf
    return g.permuted(data), g.permuted(noise)


def two_clusters(g: Generator, n: int) -> Pair:
    """A quarter of the data above, three of the noise; the root lies in the gap."""
    above = np.arange(n) % 4 == 0
    sides = (np.where(x, 30.0, -30.0) for x in (above, ~above))
    data, noise = (g.normal(size=n) + side for side in sides)
    return data, noise


def increasing(g: Generator, n: int) -> Pair:
    """Sorted samples, so that no two chunks are alike."""
    data, noise = normal(1.0, -1.0)(g, n)
    return np.sort(data), np.sort(noise)


def drifting(g: Generator, n: int) -> Pair:
    """The mean moves by 4 from the first sample to the last, up and down."""
    data, noise = normal(0.5, -0.5)(g, n)
    drift = np.linspace(-2.0, 2.0, n)
    return data + drift, noise - drift


REGIMES: dict[str, tuple[Make, float]] = {
    "good overlap": (normal(1.0, -1.0), 1.0),
    "equal laws": (normal(0.25, 0.25), 1.0),
    "narrow": (normal(0.3, -0.2, 0.5), 1.0),
    "at 500": (normal(501.0, 499.0), 1.0),
    "at -123456": (normal(-123455.0, -123457.0), 1.0),
    "nu = 0.01": (normal(1.0, -1.0), 0.01),
    "infinities": (infinities, 1.0),
    "drifting": (drifting, 1.0),
    "nu = 5": (normal(1.0, -1.0), 5.0),
    "sorted": (increasing, 1.0),
    "chasm, 16 apart": (normal(8.0, -8.0), 1.0),
    "chasm, 64 apart": (normal(32.0, -32.0, 8.0), 1.0),
    "tiny loss": (normal(230.0, -230.0), 1.0),
    "plateau, 16 apart": (normal(-8.0, 8.0), 1.0),
    "plateau, 80 apart": (normal(-40.0, 40.0), 1.0),
    "data below noise, nu = 5": (normal(-1.0, 1.0), 5.0),
    "plateau, nu = 5": (normal(-8.0, 8.0), 5.0),
    "Cauchy x 3": (cauchy, 1.0),
    "Student-t(1.2) x 50": (student, 1.0),
    "ties": (ties, 1.0),
    "constants": (constants(0.3, -0.2), 1.0),
    "two clusters": (two_clusters, 1.0),
}
WELL_OVERLAPPING = list(REGIMES)[:8]  # the others are hard
