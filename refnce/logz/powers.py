r"""Sums of powers of the sigmoids at any F, from one exponential a sample, and what they tell of the neighbourhood.

With G = F + log nu, s = exp(G) and the odds E = exp(r),

    p = sigmoid(G - r_data) = s/(s + E),    q = sigmoid(r_noise - G) = E/(s + E),

so E serves every F and only s moves: a pass over the samples is an addition, a division and a few dot products. r itself enters
exp, so nothing of it is rounded away; where powers of s would leave the range of the floats, E = exp(r - c), s = exp(G - c)
with a centre c, and the TwoSum remainder of r - c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from refnce.array.backend import (
    BLOCK,
    Array,
    Namespace,
    blocks,
    all_true,
    is_numpy,
    run_blocks,
    is_async_device,
)
from refnce.logz.series import Derivatives
from refnce.array.special import pairwise_sum, two_sum

ORDERS = (1, 2, 3, 6, 8)  # how many powers a pass may sum
# The largest |log s| whose eighth power is still a float, by the bits of the dtype.
REACH = {64: 80.0, 32: 10.0}
# With so few temporaries a long sample goes faster in longer blocks than BLOCK: calls cost more than the third-level cache.
LONG = 4 * BLOCK
# Where many numbers are equal, all that are added to one accumulator round alike. A dot product has LANES of them, to one of
# which it adds what is left over; sums of SHORT numbers are added in halves.
LANES, SHORT = 32, 512

Sums = list[Array]  # sum sigmoid^k over the samples, k = 1, 2, ...


class Pair:
    """Both samples of a single run of float64, equally many, as the rows of one array: half the calls. Sums are Python floats."""

    def __init__(self, xp: Namespace, r_data: Array, r_noise: Array) -> None:
        self.xp, self.n = xp, r_data.shape[0]
        self.r = xp.concat([r_data[None, :], r_noise[None, :]])
        self.ones = _ones(xp, self.n, r_data.dtype, "cpu")

    def means(self) -> float:
        """The sum of both means."""
        data, noise = self.xp.vecdot(self.r, self.ones).tolist()
        return (data + noise) / self.n

    def weigh(self, G: float) -> None:
        """Compute the odds, about the first G where it is far from 0."""
        self.centre = 0.0 if abs(G) <= REACH[64] else G
        self.E = _odds(self.xp, self.r, self.centre)
        # The numerators are 1 and E, which leaves a power of s to the sums over data.
        self.X = self.xp.concat([self.ones[None, :], self.E[1:, :]])

    def sums(self, G: float, order: int) -> tuple[Sums, Sums]:
        """The sums of p^k over data and of q^k over noise at G, k = 1 .. order."""
        s = scale = _moved(math, G, self.centre)
        A, B = [], []
        for pair in _powers(self.xp, self.X, s, self.E, self.ones, order):
            data, noise = pair.tolist()
            A.append(data * scale)
            B.append(noise)
            scale *= s
        return A, B


class Samples:
    """Both samples of any runs, some runs or a block of a long sample at a time, so that what is made of them stays in cache.

    Where ``calc`` is ``math`` there is a single run, and the sums are Python floats.
    """

    def __init__(self, xp: Namespace, r_data: Array, r_noise: Array, calc: Any) -> None:
        self.xp, self.calc = xp, calc
        self.n, self.m = r_data.shape[-1], r_noise.shape[-1]
        self.pieces = run_blocks(r_data, r_noise)
        self.samples = [(r_data[k], r_noise[k]) for k in self.pieces]
        self.width = max(next(blocks(r, LONG)).shape[-1] for r in self.samples[0])
        # On a CPU NumPy's dot product beats its sum; elsewhere the sum is as fast and adds in pairs.
        self.ones = (
            _ones(xp, self.width, r_data.dtype, "cpu") if is_numpy(r_data) else None
        )

    def means(self) -> Array:
        """The sum of both means."""
        return self._over_runs(
            [self._mean(data) + self._mean(noise) for data, noise in self.samples]
        )

    def weigh(self, G: Array) -> None:
        """Compute the odds, about the first G where it is far from 0; those of a long sample are computed in every pass."""
        near = not is_async_device(G) and all_true(
            abs(G) <= REACH[self.xp.finfo(self.samples[0][0].dtype).bits]
        )
        self.centre = 0.0 if near else G
        pieces = zip(self.pieces, self.samples, strict=True)
        self.odds = [
            [self._of(r, 0.0 if near else self._column(G, k)) for r in both]
            for k, both in pieces
        ]

    def sums(self, G: Array, order: int) -> tuple[Sums, Sums]:
        """The sums of p^k over data and of q^k over noise at G, k = 1 .. order."""
        s = _moved(self.calc, G, self.centre)
        parts = []
        for k, (data, noise) in zip(self.pieces, self.odds, strict=True):
            column = self._column(s, k)
            A = [_powers(self.xp, column, column, E, self.ones, order) for E in data()]
            B = [_powers(self.xp, E, column, E, self.ones, order) for E in noise()]
            parts.append(self._joined(A) + self._joined(B))
        sums = [self._over_runs(list(part)) for part in zip(*parts, strict=True)]
        return sums[:order], sums[order:]

    def _mean(self, r: Array) -> Array:
        return (
            self._joined([[_sum(self.xp, x, self.ones)] for x in blocks(r, LONG)])[0]
            / r.shape[-1]
        )

    def _of(self, r: Array, centre: Array) -> Callable[[], Iterable[Array]]:
        """The odds of one sample, block by block."""
        if r.shape[-1] > self.width:
            return lambda: (_odds(self.xp, x, centre) for x in blocks(r, LONG))
        E = _odds(self.xp, r, centre)
        return lambda: (E,)

    def _column(self, x: Array, k: Any) -> Array:
        """The numbers of the runs ``k``, to stand beside their samples."""
        return x if self.calc is math else x[k][..., None]

    def _joined(self, rows: list[Sums]) -> Sums:
        """The sums over a sample from those over its blocks."""
        xp = self.xp
        return (
            rows[0]
            if len(rows) == 1
            else [
                xp.sum(xp.stack(list(k), axis=-1), axis=-1)
                for k in zip(*rows, strict=True)
            ]
        )

    def _over_runs(self, parts: list[Array]) -> Array:
        """One array over the runs (a float for a single run) from those of the pieces."""
        whole = parts[0] if len(parts) == 1 else self.xp.concat(parts)
        return float(whole) if self.calc is math else whole


def _odds(xp: Namespace, r: Array, centre: Array) -> Array:
    """exp(r - centre), r - centre unrounded."""
    if isinstance(centre, float) and centre == 0.0:
        return xp.exp(r)
    z, e = two_sum(r, -centre)
    return xp.exp(z) * (1.0 + e)


def _moved(calc: Any, G: Array, centre: Array) -> Array:
    """exp(G - centre), G - centre unrounded."""
    z, e = two_sum(G, -centre)
    return calc.exp(z) * (1.0 + e)


@lru_cache(maxsize=8)
def _ones(xp: Namespace, width: int, dtype: Any, device: Any) -> Array:
    return xp.ones((width,), dtype=dtype, device=device)


def _sum(xp: Namespace, x: Array, ones: Array | None) -> Array:
    """The sum over the last axis, on a CPU by dot products with ones that are short and whole: see SHORT and LANES."""
    n = x.shape[-1]
    if ones is None:
        return xp.sum(x, axis=-1)
    cut = n - n % (LANES if n <= SHORT else SHORT)
    if cut == n <= SHORT or cut == 0:
        return xp.vecdot(x, ones[:n])
    rest = _sum(xp, x[..., cut:], ones)
    if n <= SHORT:
        return xp.vecdot(x[..., :cut], ones[:cut]) + rest
    rows = xp.reshape(x[..., :cut], (*x.shape[:-1], cut // SHORT, SHORT))
    return pairwise_sum(xp.vecdot(rows, ones[:SHORT])) + rest


def _powers(
    xp: Namespace, X: Array, s: Array, E: Array, ones: Array | None, order: int
) -> Sums:
    """Sums over the last axis of (X/(s + E))^k, k = 1 .. order."""
    p, dot = X / (s + E), xp.vecdot
    sums = [_sum(xp, p, ones)]
    if order > 1:
        sums.append(dot(p, p))
    if order > 2:
        square = p * p
        sums.append(dot(p, square))
    if order > 3:
        fourth = square * square
        sums += [dot(square, square), dot(p, fourth), dot(square, fourth)]
    if order > 6:
        sums += [dot(p * square, fourth), dot(fourth, fourth)]
    return sums


def derivatives(sums: Sums) -> Derivatives:
    """The first and, from three powers on, the second derivative of log mean sigmoid."""
    scale = 1.0 / sums[0]
    x = sums[1] * scale
    return (
        (1.0 - x,)
        if len(sums) == 2
        else (1.0 - x, 2.0 * scale * sums[2] - x * (1.0 + x))
    )


def moved(sums: Sums, u: Array, n: int) -> tuple[Array, Array]:
    """Mean sigmoid and mean sigmoid^2 at a distance log(1 + u): (1 + u) p/(1 + u p) and its square as series in u."""
    mean, square = sums[-1], 0.0 * u
    for k in range(len(sums) - 1, 0, -1):
        square = k * sums[k] - u * square
        mean = sums[k - 1] - u * mean
    scale = (1.0 + u) / n
    return scale * mean, scale * (1.0 + u) * square
