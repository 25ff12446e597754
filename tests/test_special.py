"""Logarithms of means and error-free sums against mpmath and exact fractions."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnce.array import last_sum, log_double_double, two_product, two_sum
from refnce.distributions.common import logmeanexp
from tests.regimes import rng
from tests.strategies import log_ratios, nus
from tests.ulps import eps, error_in_units, ulp

INF = math.inf
sizes = st.floats(-1e100, 1e100, allow_subnormal=False)


@given(st.lists(log_ratios, min_size=1, max_size=8))
def test_logmeanexp(x):
    with mpmath.workprec(3000):
        exact = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in x) / len(x))
    # The largest is added last. The logarithm of the rest is between -log n and 0, and
    # its argument has n rounded terms.
    unit = ulp(exact) + ulp(max(x)) + eps() * (len(x) + math.log(len(x)))
    assert error_in_units(logmeanexp(np.asarray(x)), exact, unit) <= 4.0


def test_logmeanexp_of_each_row():
    """Each row has its own maximum: another's makes its exponentials 0 or infinite."""
    x = [[-INF, -INF], [-INF, INF], [0.5, INF], [-INF, 0.5], [3000.0, 3000.0]]
    exact = [-INF, INF, INF, pytest.approx(0.5 - math.log(2.0), rel=4e-16), 3000.0]
    for shape in ((5,), (1, 5), (5, 1)):
        found = logmeanexp(np.reshape(x, (*shape, 2)))
        assert found.shape == shape and found.ravel().tolist() == exact


@given(sizes, sizes)
def test_two_sum_is_exact(a, b):
    s, e = two_sum(a, b)
    assert s == a + b and Fraction(s) + Fraction(e) == Fraction(a) + Fraction(b)


@given(st.floats(1e-3, 1e3), st.floats(1.0, 1e12))
def test_two_product_is_exact(a, b):
    p, e = two_product(a, b)
    assert p == a * b and Fraction(p) + Fraction(e) == Fraction(a) * Fraction(b)


@given(nus)
def test_log_double_double(nu):
    high, low = log_double_double(nu)
    with mpmath.workprec(300):
        exact = mpmath.log(mpmath.mpf(nu))
        assert high == pytest.approx(float(exact), rel=2.3e-16, abs=0.0)
        error = abs(mpmath.mpf(high) + mpmath.mpf(low) - exact)
        assert error <= mpmath.ldexp(abs(exact), -104)


@pytest.mark.parametrize("n", [1, 2, 16, 17, 33, 1000, 8191])
def test_last_sum(n):
    """Within log2(n) + 16 roundings of the sum; equal terms too, which round alike."""
    for x in (np.full((2, n), 0.1), rng(n).random((2, n))):
        for row, got in zip(x.tolist(), last_sum(x).tolist(), strict=True):
            exact = math.fsum(row)
            assert abs(got - exact) <= (math.log2(n) + 16) * 2.0**-53 * exact
