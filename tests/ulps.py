"""Units in the last place, and errors counted in them."""

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
    x = mpmath.mpf(x) if not isinstance(x, mpmath.mpf) else x
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
    got = float(got)
    exact = exact if isinstance(exact, mpmath.mpf) else mpmath.mpf(exact)
    if mpmath.isnan(exact) or np.isnan(got):
        return 0.0 if mpmath.isnan(exact) and np.isnan(got) else float("inf")
    if mpmath.isinf(exact) or np.isinf(got):
        beyond = abs(exact) > float(np.finfo(dtype).max)
        return (
            0.0
            if np.isinf(got) and beyond and (got > 0) == (exact > 0)
            else float("inf")
        )
    with mpmath.workprec(400):
        return float(abs(mpmath.mpf(got) - exact) / unit)


def units_off(got: Any, exact: Any, dtype: str = "float64") -> float:
    """The error of ``got`` in units of a certified value (see certainty.Exact)."""
    return error_in_units(got, exact.value, exact.unit(dtype), dtype)
