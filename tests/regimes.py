"""Seeded samples of log-ratios for every regime in which the accuracy of the reference is promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import PCG64, Generator

Pair = tuple[np.ndarray, np.ndarray]
HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


class Case(NamedTuple):
    """One run: its log-ratios, nu, and the F (beside the root) at which the formulas are judged."""

    regime: str
    name: str
    r_data: np.ndarray
    r_noise: np.ndarray
    nu: float = 1.0
    F: tuple[float, ...] = ()


def rng(seed: int) -> Generator:
    return Generator(PCG64(seed))


def gaussian_1d(distance: float, theta: float, n: int, m: int, seed: int) -> Pair:
    """Log-ratios of e^{-x^2/2 + theta x} on data N(distance, 1) against noise N(0, 1)."""
    g = rng(seed)
    return (
        theta * (distance + g.standard_normal(n)) + HALF_LOG_2PI,
        theta * g.standard_normal(m) + HALF_LOG_2PI,
    )


def ring(seed: int, n: int = 512) -> Pair:
    """Figure 1: 10 unit Gaussians in 20 dimensions, means on a circle of radius 4; noise N(0, I)."""
    g = rng(seed)
    angles = 2 * np.pi * (np.arange(10) / 10 + g.random())
    means = 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def ratio(x: np.ndarray) -> np.ndarray:
        d = -0.5 * ((x[:, None, :2] - means) ** 2).sum(-1)
        top = d.max(axis=1)
        return (
            top
            + np.log(np.exp(d - top[:, None]).sum(1))
            + 0.5 * (x[:, :2] ** 2).sum(-1)
            + 20 * HALF_LOG_2PI
        )

    x, y = g.standard_normal((n, 20)), g.standard_normal((n, 20))
    x[:, :2] += means[g.integers(10, size=n)]
    return ratio(x), ratio(y)


def bimodal(n: int, m: int, share: float, seed: int) -> Pair:
    """Two clusters of log-ratios, `share` of the data and 1 - share of the noise in the upper one: the root lies in the gap."""
    g = rng(seed)
    up_data, up_noise = round(share * n), m - round(share * m)
    data = g.normal(size=n) + np.where(np.arange(n) < up_data, 300.0, -300.0)
    noise = g.normal(size=m) + np.where(np.arange(m) < up_noise, 300.0, -300.0)
    return data, noise


def _good() -> Iterator[Case]:
    for n, m in [(1, 1), (2, 3), (7, 5), (64, 64), (512, 512), (2000, 1000)]:
        yield Case(
            "good overlap",
            f"1 apart, {n} + {m}",
            *gaussian_1d(1.0, 1.0, n, m, 10 + n),
            F=(0.0, 1.5, -3.0),
        )
    for seed in range(3):
        yield Case("good overlap", f"ring {seed}", *ring(seed), F=(0.0, 20.0))
    yield Case(
        "good overlap", "equal laws", *gaussian_1d(0.0, 1.0, 500, 500, 4), F=(0.25,)
    )


def _chasm() -> Iterator[Case]:
    for d in (4.0, 16.0, 64.0):
        for n in (1, 20, 512):
            yield Case(
                "density chasm",
                f"{d:g} apart, {n}",
                *gaussian_1d(d, d, n, n, 100 + n),
                F=(0.0, d * d / 2),
            )


def _plateau() -> Iterator[Case]:
    for d in (4.0, 16.0, 64.0):
        for n in (1, 20, 512):
            yield Case(
                "plateau",
                f"{d:g} apart, theta = -{d:g}, {n}",
                *gaussian_1d(d, -d, n, n, 200 + n),
                F=(0.0, -d * d / 2 + 3),
            )
    r_data, r_noise = gaussian_1d(16.0, -16.0, 300, 200, 9)
    yield Case("plateau", "unequal counts", r_data, r_noise, F=(-60.0,))


def _tiny_loss() -> Iterator[Case]:
    for size in (230.0, 460.0, 700.0):
        g = rng(int(size))
        yield Case(
            "tiny loss",
            f"e^-{size:g}",
            size + g.normal(size=50),
            -size + g.normal(size=40),
            F=(0.0, 0.7),
        )


def _subnormal() -> Iterator[Case]:
    for seed, (sign, n) in enumerate([(1, 1), (-1, 1), (1, 30), (-1, 30)]):
        g = rng(300 + seed)
        r_data, r_noise = sign * g.uniform(709, 745.5, n), -sign * g.uniform(
            709, 745.5, n
        )
        yield Case(
            "subnormal sigma", f"{sign:+d}, {n}", r_data, r_noise, F=(0.0, 1.0, -2.5)
        )
    for x in (708.39, 709.78, 709.79, 744.44, 745.13, 745.14):
        yield Case(
            "subnormal sigma",
            f"at {x}",
            np.asarray([x]),
            np.asarray([-x, -x - 0.5]),
            F=(0.0,),
        )
        yield Case(
            "subnormal sigma",
            f"at -{x}",
            np.asarray([-x]),
            np.asarray([x, x + 0.5]),
            F=(0.0,),
        )


def _underflow() -> Iterator[Case]:
    for sign in (1, -1):
        for n, m in [(1, 1), (5, 8), (200, 200)]:
            g = rng(400 + n)
            r_data, r_noise = sign * 2000 + 30 * g.normal(
                size=n
            ), -sign * 2000 + 30 * g.normal(size=m)
            yield Case(
                "total underflow",
                f"{sign:+d}, {n} + {m}",
                r_data,
                r_noise,
                F=(0.0, 3.0, 1500.0),
            )
    g = rng(410)
    yield Case(
        "total underflow",
        "nu = 1/3",
        -2000 + g.normal(size=30),
        2000 + g.normal(size=60),
        1 / 3,
        F=(0.0,),
    )


def _cancelling() -> Iterator[Case]:
    for base in (1000.0, -1000.0, 123456.789):
        for nu in (1.0, 1 / 3, 7.0):
            r_data, r_noise = gaussian_1d(1.5, 1.5, 300, 200, 500)
            yield Case(
                "cancelling r - F",
                f"at {base:g}, nu {nu:.3g}",
                r_data + base,
                r_noise + base,
                nu,
                F=(base, base + 0.3),
            )


def _counts() -> Iterator[Case]:
    for n, m in [(1, 1000), (1000, 1), (17, 513), (3, 2), (100, 1)]:
        for d in (1.0, 16.0):
            yield Case(
                "unequal counts",
                f"{n} + {m}, {d:g} apart",
                *gaussian_1d(d, d, n, m, 600 + n),
                nu=m / n,
                F=(0.0,),
            )
            yield Case(
                "unequal counts",
                f"{n} + {m}, nu = 1, {d:g} apart",
                *gaussian_1d(d, d, n, m, 650 + n),
                F=(0.0,),
            )


def _nu() -> Iterator[Case]:
    for nu in (1e-3, 0.1, 1 / 3, 0.5, 3.0, 10.0, 1e3):
        for d, theta in [(1.0, 1.0), (16.0, 16.0), (6.0, -6.0)]:
            r_data, r_noise = gaussian_1d(d, theta, 300, 300, 700)
            yield Case(
                "nu",
                f"{nu:.3g}, {d:g} apart, theta {theta:g}",
                r_data,
                r_noise,
                nu,
                F=(0.0, 2.0),
            )


def _small() -> Iterator[Case]:
    g = rng(800)
    for k in range(12):
        n, m = int(g.integers(1, 3)), int(g.integers(1, 3))
        scale = 10.0 ** g.uniform(-2, 3)
        nu = (1.0, 0.5, 1 / 3)[k % 3]
        yield Case(
            "one and two points",
            f"draw {k}",
            scale * g.normal(size=n),
            scale * g.normal(size=m),
            nu,
            F=(0.0, scale),
        )
    yield Case(
        "one and two points",
        "all equal",
        np.asarray([2.5, 2.5]),
        np.asarray([2.5]),
        F=(2.5, 0.0),
    )


def _ties() -> Iterator[Case]:
    g = rng(900)
    for k in range(4):
        r_data, r_noise = (np.round(3 * g.normal(size=size)) for size in (60, 40))
        yield Case(
            "ties",
            f"integers {k}",
            r_data,
            r_noise,
            (1.0, 2.0, 1 / 3, 40 / 60)[k],
            F=(0.0, 1.0),
        )
    zeros = np.zeros(10)
    yield Case("ties", "zeros", zeros, zeros, F=(0.0, 1e-9, -1e-300))
    yield Case(
        "ties",
        "two values",
        np.repeat([-40.0, 40.0], 8),
        np.repeat([-40.0, 40.0], 8),
        F=(0.0,),
    )


def _student() -> Iterator[Case]:
    for seed in range(6):
        g = rng(1000 + seed)
        n, m = [(512, 512), (100, 300), (7, 7)][seed % 3]
        yield Case(
            "Student-t(1.2) x 50",
            f"{seed}",
            50 * g.standard_t(1.2, n),
            50 * g.standard_t(1.2, m),
            F=(0.0,),
        )


def _bimodal() -> Iterator[Case]:
    for share in (0.25, 0.5, 0.9):
        for n, m in [(40, 40), (20, 60)]:
            yield Case(
                "root in a gap",
                f"share {share}, {n} + {m}",
                *bimodal(n, m, share, 1100),
                F=(0.0,),
            )
    yield Case(
        "root in a gap", "nu = 1/3", *bimodal(40, 40, 0.25, 1101), nu=1 / 3, F=(0.0,)
    )
    yield Case(
        "root in a gap", "nu = 3", *bimodal(40, 40, 0.75, 1102), nu=3.0, F=(0.0,)
    )


def _counts_cancel() -> Iterator[Case]:
    """k/n - nu j/m is 0, or (nu = 1/3 as a double) about 1e-17, between the clusters."""
    g = rng(1200)
    for nu, n_low, n_up, m_low, m_up in [
        (1.0, 3, 3, 2, 2),
        (0.5, 1, 3, 2, 2),
        (2.0, 1, 1, 3, 1),
        (1 / 3, 1, 2, 0, 5),
        (1 / 3, 1, 5, 3, 3),
        (0.1, 1, 9, 0, 4),
        (10.0, 1, 1, 19, 1),
    ]:
        for width in (10.0, 40.0, 100.0, 500.0, 1500.0):
            clusters = [
                c * width + g.normal(size=k)
                for c, k in ((-1, n_low), (1, n_up), (-1, m_low), (1, m_up))
            ]
            r_data, r_noise = np.concatenate(clusters[:2]), np.concatenate(clusters[2:])
            yield Case(
                "counts cancel",
                f"nu {nu:.3g}, +-{width:g}",
                r_data,
                r_noise,
                nu,
                F=(0.0,),
            )


def _huge() -> Iterator[Case]:
    for size in (1e15, 1e300):
        for sign in (1.0, -1.0):
            r_data, r_noise = sign * size * np.asarray(
                [1.0, 0.5, 0.25]
            ), -sign * size * np.asarray([1.0, 0.5])
            yield Case("huge", f"{sign * size:g}", r_data, r_noise, F=(0.0, size))
        yield Case(
            "huge",
            f"outlier {size:g}",
            np.asarray([size, 0.5, 1.0]),
            np.asarray([-size, 0.2, -0.4]),
            F=(0.0, 1.0),
        )
        yield Case(
            "huge",
            f"all at {size:g}",
            np.full(3, size),
            np.full(2, size),
            3.0,
            F=(size,),
        )


def _large() -> Iterator[Case]:
    yield Case("n = 1e5", "1 apart", *gaussian_1d(1.0, 1.0, 100_000, 100_000, 1300))
    yield Case("n = 1e5", "16 apart", *gaussian_1d(16.0, 16.0, 100_000, 20_000, 1301))
    yield Case(
        "n = 1e5",
        "reversed, nu = 0.1",
        *gaussian_1d(6.0, -6.0, 20_000, 100_000, 1302),
        nu=0.1,
    )


REGIMES: dict[str, Callable[[], Iterator[Case]]] = {
    "good overlap": _good,
    "density chasm": _chasm,
    "plateau": _plateau,
    "tiny loss": _tiny_loss,
    "subnormal sigma": _subnormal,
    "total underflow": _underflow,
    "cancelling r - F": _cancelling,
    "unequal counts": _counts,
    "nu": _nu,
    "one and two points": _small,
    "ties": _ties,
    "Student-t(1.2) x 50": _student,
    "root in a gap": _bimodal,
    "counts cancel": _counts_cancel,
    "huge": _huge,
    "n = 1e5": _large,
}
