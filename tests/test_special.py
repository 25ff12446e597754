"""Error-free sums and logarithms against mpmath and exact fractions."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st

from refnce import logz
from refnce.array import last_sum, log_double_double, two_product, two_sum, validation
from tests.regimes import rng
from tests.strategies import nus

sizes = st.floats(-1e100, 1e100, allow_subnormal=False)


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


def test_dot_products_are_too_short_for_the_threads_of_blas(monkeypatch):
    """A15: over rows of 8,192 numbers OpenBLAS starts threads, which wait."""
    lengths, vecdot = [], np.vecdot

    def watched(x, y):
        lengths.append(x.shape[-1])
        return vecdot(x, y)

    monkeypatch.setattr(np, "vecdot", watched)
    logz.newton(*np.random.default_rng(0).normal(size=(2, 100_001)))
    assert 0 < max(lengths) <= validation.SHORT == 8192
