"""Numbers certain to 40 digits, by ball arithmetic of doubling precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

import mpmath
from flint import arb, ctx, fmpq

from tests.ulps import eps, ulp

START = 192  # bits; 40 digits are 133
STOP = 2**15
DIGITS = 40


class Exact(NamedTuple):
    """A value certain to 40 digits; its unit of error is ulp(scale) + slack eps."""

    value: mpmath.mpf
    scale: mpmath.mpf
    slack: int = 0

    def unit(self, dtype: str = "float64") -> mpmath.mpf:
        return ulp(self.scale, dtype) + self.slack * eps(dtype)


class Uncertain(ArithmeticError):
    """The present precision does not decide; take more."""


Ball = Callable[[], tuple[arb, arb]]  # a value and its scale, at the present precision


def to_mpf(x: arb) -> mpmath.mpf:
    """The midpoint of the ball, unrounded."""
    man, exp = x.mid().man_exp()
    return mpmath.mp.make_mpf(mpmath.libmp.from_man_exp(int(man), int(exp)))


def rational(x: Fraction | float) -> arb:
    exact = Fraction(x)
    return arb(fmpq(exact.numerator, exact.denominator))


def total(xs: Iterable[arb]) -> arb:
    return sum(xs, arb(0))


def _certain(ball: arb, scale: arb) -> mpmath.mpf | None:
    """The value if 40 digits are certain, or it is 0 to 2**-256 of the scale."""
    if not ball.is_finite() or not scale.is_finite():
        return None
    value, small = to_mpf(ball), ball.rad() * arb(2) ** 256
    if ball.rad() == 0:
        return value
    if 0 in ball:
        return mpmath.mpf(0) if bool(small <= scale) else None
    if _digits(to_mpf(ball.lower())) == _digits(to_mpf(ball.upper())):
        return value
    # A value half-way between two decimals, such as a dyadic number of 41 digits, is
    # known but never rounds with certainty.
    return value if bool(small <= abs(ball).lower()) else None


def _digits(x: mpmath.mpf) -> str:
    return mpmath.libmp.to_str(x._mpf_, DIGITS)


def certify(formula: Ball, slack: int = 0) -> Exact:
    """Double the precision until formula() -> (value, scale) is certain."""
    return certify_all(lambda: [formula()], slack)[0]


def certify_all(
    formula: Callable[[], list[tuple[arb, arb]]], slack: int = 0
) -> list[Exact]:
    """The same for several values that are computed together."""
    prec = START
    while prec <= STOP:
        with ctx.workprec(prec):
            try:
                balls = formula()
                values = [_certain(*pair) for pair in balls]
            except Uncertain:
                values = [None]
            if None not in values:
                scales = [to_mpf(scale) for _, scale in balls]
                pairs = zip(values, scales, strict=True)
                return [Exact(value, scale, slack) for value, scale in pairs]
        prec *= 2
    raise ArithmeticError(f"not certain at {STOP} bits")


def limit(x: float) -> Exact:
    return Exact(mpmath.mpf(x), mpmath.mpf(1))
