"""Sigmoids, logarithms of means and error-free sums against mpmath, at the edges of the exponential and between them."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnce.array.special import (
    log_double_double,
    log_sigmoid,
    logmeanexp,
    sigmoid,
    softplus,
    two_product,
    two_sum,
)
from tests.strategies import EDGES, log_ratios, nus
from tests.ulps import eps, error_in_units, ulp

# exp, log1p and the quotient are off by an ulp each at most; softplus adds two of them.
UNITS = 4.0
XS = np.asarray([*EDGES, *np.linspace(-750.0, 750.0, 301)])
sizes = st.floats(-1e100, 1e100, allow_subnormal=False)


def exact_sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def exact_softplus(x):
    return mpmath.log1p(mpmath.exp(x))


def exact_log_sigmoid(x):
    return -mpmath.log1p(mpmath.exp(-x))


@pytest.mark.parametrize(
    "function, exact",
    [
        (sigmoid, exact_sigmoid),
        (softplus, exact_softplus),
        (log_sigmoid, exact_log_sigmoid),
    ],
)
def test_elementwise_functions_keep_their_digits_in_both_tails(function, exact):
    with mpmath.workprec(3000):  # 1 + e^1000 and e^-1000 side by side
        for x, got in zip(XS.tolist(), function(XS).tolist(), strict=True):
            value = exact(mpmath.mpf(x))
            assert error_in_units(got, value, ulp(value)) <= UNITS, x


def test_limits():
    x = np.asarray([-math.inf, math.inf])
    assert sigmoid(x).tolist() == [0.0, 1.0]
    assert softplus(x).tolist() == [0.0, math.inf]
    assert log_sigmoid(x).tolist() == [-math.inf, 0.0]


@given(st.lists(log_ratios, min_size=1, max_size=8))
def test_logmeanexp(x):
    with mpmath.workprec(3000):
        exact = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in x) / len(x))
    # The largest is added last; the logarithm of the rest is between -log n and 0, and its argument has n rounded terms.
    unit = ulp(exact) + ulp(max(x)) + eps() * (len(x) + math.log(len(x)))
    assert error_in_units(logmeanexp(np.asarray(x)), exact, unit) <= UNITS


def test_logmeanexp_of_infinities_and_over_the_last_axis():
    inf = math.inf
    x = np.asarray([[-inf, -inf], [-inf, inf], [0.5, inf], [-inf, 0.5], [3.0, 3.0]])
    assert logmeanexp(x).tolist() == [
        -inf,
        inf,
        inf,
        pytest.approx(0.5 - math.log(2.0), rel=4e-16),
        3.0,
    ]
    assert logmeanexp(x[None, :, :]).shape == (1, 5) and logmeanexp(
        x[:, None, :]
    ).shape == (5, 1)
    # Each row has its own maximum: that of the others would make its exponentials 0 or infinite.
    assert logmeanexp(
        np.asarray([[-3000.0, -3000.0], [5.0, 5.0], [3000.0, 3000.0]])
    ).tolist() == [-3000.0, 5.0, 3000.0]


@given(sizes, sizes)
def test_two_sum_is_exact(a, b):
    s, e = two_sum(a, b)
    assert s == a + b and Fraction(s) + Fraction(e) == Fraction(a) + Fraction(b)


@given(st.floats(1e-3, 1e3), st.floats(1.0, 1e12))
def test_two_product_is_exact(a, b):
    p, e = two_product(a, b)
    assert p == a * b and Fraction(p) + Fraction(e) == Fraction(a) * Fraction(b)


@given(nus)
def test_log_of_nu_is_a_pair(nu):
    high, low = log_double_double(nu)
    with mpmath.workprec(300):
        exact = mpmath.log(mpmath.mpf(nu))
        assert high == pytest.approx(float(exact), rel=2.3e-16, abs=0.0)
        assert abs(mpmath.mpf(high) + mpmath.mpf(low) - exact) <= mpmath.ldexp(
            abs(exact), -104
        )
