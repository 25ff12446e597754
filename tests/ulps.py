"""Units in the last place, and errors counted in them."""

import math
from typing import Any

import mpmath
import numpy as np

# mantissa bits, exponent of the smallest subnormal
FORMATS = {"float64": (53, -1074), "float32": (24, -149)}


def ulp(x: Any, dtype: str = "float64") -> mpmath.mpf:
    """The spacing of the floats of ``dtype`` at |x|, which may lie beyond their range.

    At 0 it is the smallest subnormal.
    """
    bits, smallest = FORMATS[dtype]
    x = mpmath.mpmathify(x)  # an mpf stays as it is, whatever the precision
    exponent = smallest if x == 0 else max(mpmath.frexp(x)[1] - bits, smallest)
    return mpmath.ldexp(mpmath.mpf(1), exponent)


def eps(dtype: str = "float64") -> mpmath.mpf:
    """The spacing at 1: 2**-52 for float64."""
    return mpmath.ldexp(mpmath.mpf(1), 1 - FORMATS[dtype][0])


def error_in_units(got: Any, exact: Any, unit: Any, dtype: str = "float64") -> float:
    """|got - exact| / unit.

    A nan or an infinity is right (0) only if the exact value is the same, or lies
    beyond the largest float; else the error is infinite.
    """
    got, exact = float(got), mpmath.mpmathify(exact)
    if not np.isfinite(got) or not mpmath.isfinite(exact):
        beyond = abs(exact) > float(np.finfo(dtype).max)
        same_nan = np.isnan(got) and mpmath.isnan(exact)
        same_infinity = np.isinf(got) and beyond and (got > 0) == (exact > 0)
        return 0.0 if same_nan or same_infinity else math.inf
    with mpmath.workprec(400):
        return float(abs(mpmath.mpf(got) - exact) / unit)


def units_off(
    got: Any, exact: Any, dtype: str = "float64", floor: float = 0.0
) -> float:
    """The error of ``got`` in units of a certified value (see certainty.Exact).

    In float32 a unit is at least ``floor`` (see conformance.surface.Impl).
    """
    unit = exact.unit(dtype)
    unit = max(unit, floor) if dtype == "float32" else unit
    return error_in_units(got, exact.value, unit, dtype)
