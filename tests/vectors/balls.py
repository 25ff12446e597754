"""Values of ball arithmetic with a size, which rounding errors are relative to.

A number of a network or of a training is a sum of products, and nobody can compute it
nearer than a few ulps of its largest term. ``Sized`` carries that size along: sizes add
where values add, and multiply where they multiply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flint import arb

from tests.certainty import Uncertain


class Sized(NamedTuple):
    value: arb
    size: arb

    def __add__(self, other: Sized) -> Sized:  # type: ignore[override]
        return Sized(self.value + other.value, self.size + other.size)

    def __mul__(self, other: Sized) -> Sized:  # type: ignore[override]
        return Sized(self.value * other.value, self.size * other.size)

    def __neg__(self) -> Sized:
        return Sized(-self.value, self.size)


Vector = list[Sized]
Matrix = list[Vector]
ZERO = Sized(arb(0), arb(0))


def sized(x: float | arb) -> Sized:
    ball = arb(x)
    return Sized(ball, abs(ball))


def vector(xs: Iterable[float]) -> Vector:
    return [sized(float(x)) for x in xs]


def matrix(rows: Iterable[Iterable[float]]) -> Matrix:
    return [vector(row) for row in rows]


def total(xs: Iterable[Sized]) -> Sized:
    return sum(xs, ZERO)


def dot(xs: Sequence[Sized], ys: Sequence[Sized]) -> Sized:
    return total(x * y for x, y in zip(xs, ys, strict=True))


def transposed(rows: Matrix) -> Matrix:
    return [list(column) for column in zip(*rows, strict=True)]


def matmul(a: Matrix, b: Matrix) -> Matrix:
    return [[dot(row, column) for column in transposed(b)] for row in a]


def times(a: Matrix, b: Matrix) -> Matrix:
    """The products of the elements."""
    return [
        [x * y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)
    ]


def positive(x: Sized) -> bool:
    """Whether x > 0. Inputs are chosen so that rounding cannot change the answer."""
    if x.value.rad() != 0 and 0 in x.value:
        raise Uncertain
    if x.value != 0 and not bool(abs(x.value) > x.size * arb(2) ** -16):
        raise AssertionError("an input too near a kink for float32")
    return bool(x.value > 0)
