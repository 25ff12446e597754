"""Numbers certain to 40 digits, by ball arithmetic of doubling precision."""

from collections.abc import Callable, Iterable
from contextlib import suppress
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


# A value and its scale at the present precision, or what needs no balls
Balls = tuple[arb, arb] | Exact


def to_mpf(x: arb) -> mpmath.mpf:
    """The midpoint of the ball, unrounded."""
    man, exp = x.mid().man_exp()
    return mpmath.mp.make_mpf(mpmath.libmp.from_man_exp(int(man), int(exp)))


def rational(x: Fraction | float) -> arb:
    exact = Fraction(x)
    return arb(fmpq(exact.numerator, exact.denominator))


def total(xs: Iterable[arb]) -> arb:
    return sum(xs, arb(0))


def _certain(ball: arb, scale: arb) -> bool:
    """Whether 40 digits are certain, or the value is 0 to 2**-256 of the scale."""
    if not ball.is_finite() or not scale.is_finite():
        return False
    small = ball.rad() * arb(2) ** 256
    if ball.rad() == 0:
        return True
    if 0 in ball:
        return bool(small <= scale)
    # A value half-way between two decimals, such as a dyadic number of 41 digits, is
    # known but never rounds with certainty.
    known = bool(small <= abs(ball).lower())
    return known or _digits(ball.lower()) == _digits(ball.upper())


def _digits(x: arb) -> str:
    return mpmath.libmp.to_str(to_mpf(x)._mpf_, DIGITS)


def _exact(found: Balls, slack: int) -> Exact:
    if isinstance(found, Exact):
        return found
    ball, scale = found
    if not _certain(ball, scale):
        raise Uncertain
    return Exact(mpmath.mpf(0) if 0 in ball else to_mpf(ball), to_mpf(scale), slack)


def certify(formula: Callable[[], Balls], slack: int = 0) -> Exact:
    """Double the precision until formula() -> (value, scale) is certain."""
    return certify_all(lambda: [formula()], slack)[0]


def certify_all(formula: Callable[[], list[Balls]], slack: int = 0) -> list[Exact]:
    """The same for several values that are computed together."""
    prec = START
    while prec <= STOP:
        with ctx.workprec(prec), suppress(Uncertain):
            return [_exact(found, slack) for found in formula()]
        prec *= 2
    raise ArithmeticError(f"not certain at {STOP} bits")


def limit(x: float) -> Exact:
    return Exact(mpmath.mpf(x), mpmath.mpf(1))
