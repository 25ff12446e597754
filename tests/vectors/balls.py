"""Arrays of balls with a size, which rounding errors are relative to.

A number of a network or of a training is a sum of products, and nobody can compute it
nearer than a few ulps of its largest term. ``Sized`` carries that size along: sizes add
where values add, and multiply where they multiply.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

from tests.certainty import Uncertain

balls = np.frompyfunc(arb, 1, 1)


@dataclass(frozen=True)
class Sized:
    """Values and sizes: two object arrays of balls, or two balls."""

    value: Any
    size: Any

    def __add__(self, other):
        return Sized(self.value + other.value, self.size + other.size)

    def __mul__(self, other):
        return Sized(self.value * other.value, self.size * other.size)

    def __matmul__(self, other):
        return Sized(self.value @ other.value, self.size @ other.size)

    def __neg__(self):
        return Sized(-self.value, self.size)

    def __getitem__(self, index):
        return Sized(self.value[index], self.size[index])

    def __setitem__(self, index, x):
        self.value[index], self.size[index] = x.value, x.size

    @property
    def mT(self):
        return Sized(self.value.mT, self.size.mT)

    def sum(self, axis):
        return Sized(self.value.sum(axis), self.size.sum(axis))


def sized(x):
    """Numbers or balls that are one term each: their size is their absolute value."""
    value = balls(x)
    return Sized(value, abs(value))


def stacked(xs):
    return Sized(np.stack([x.value for x in xs]), np.stack([x.size for x in xs]))


def einsum(subscripts, a, b):
    values, sizes = (a.value, b.value), (a.size, b.size)
    return Sized(np.einsum(subscripts, *values), np.einsum(subscripts, *sizes))


@np.vectorize
def _positive(value, size):
    if value.rad() != 0 and 0 in value:
        raise Uncertain
    if value != 0 and not bool(abs(value) > size * arb(2) ** -16):
        raise AssertionError("an input too near a kink for float32")
    return bool(value > 0)


def positive(x):
    """Whether x > 0. Inputs are chosen so that rounding cannot change the answer."""
    return _positive(x.value, x.size)
