"""Values of ball arithmetic with a size, which rounding errors are relative to.

A number of a network or of a training is a sum of products, and nobody can compute it
nearer than a few ulps of its largest term. ``Sized`` carries that size along: sizes add
where values add, and multiply where they multiply.
"""

from __future__ import annotations

from typing import NamedTuple

from flint import arb

from tests.certainty import Uncertain


class Sized(NamedTuple):
    value: arb
    size: arb

    def __add__(self, other):
        return Sized(self.value + other.value, self.size + other.size)

    def __mul__(self, other):
        return Sized(self.value * other.value, self.size * other.size)

    def __neg__(self):
        return Sized(-self.value, self.size)


ZERO = Sized(arb(0), arb(0))


def sized(x):
    ball = arb(x)
    return Sized(ball, abs(ball))


def vector(xs):
    return [sized(float(x)) for x in xs]


def matrix(rows):
    return [vector(row) for row in rows]


def total(xs):
    return sum(xs, ZERO)


def dot(xs, ys):
    return total(x * y for x, y in zip(xs, ys, strict=True))


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def matmul(a, b):
    return [[dot(row, column) for column in transposed(b)] for row in a]


def times(a, b):
    """The products of the elements."""
    return [
        [x * y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)
    ]


def positive(x):
    """Whether x > 0. Inputs are chosen so that rounding cannot change the answer."""
    if x.value.rad() != 0 and 0 in x.value:
        raise Uncertain
    if x.value != 0 and not bool(abs(x.value) > x.size * arb(2) ** -16):
        raise AssertionError("an input too near a kink for float32")
    return bool(x.value > 0)
