"""The certified values where test_vectors_again does not judge them; and the units.

It compares their digits in the test vectors with formulas at two precisions of mpmath.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests import certified
from tests.regimes import rng
from tests.strategies import infinite_samples, pairs
from tests.ulps import eps, ulp

INF = math.inf
TEN = mpmath.mpf(10)


@given(pairs(infinite_samples()), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_verdict_is_the_sign_of_dL_dF_far_out(pair, nu):
    """At F = -+1e6 the finite log-ratios are at their limits: A - nu B is a count."""
    left, right = (
        sign * certified.grad_F(*pair, sign * 1e6, nu).value > 0 for sign in (-1, 1)
    )
    verdict = certified.verdict(*pair, nu)
    if left and right:
        assert verdict is None and math.isfinite(certified.root_F(*pair, nu))
    else:
        np.testing.assert_equal(verdict, INF if left else -INF if right else math.nan)


PAIRS = [(3.0, -1.0), (2000.0, -1999.0), (-2000.0, 2001.0), (1e300, -5e299)]


@pytest.mark.parametrize("r, s", [*PAIRS, (-1e300, 5e299)])
def test_root_of_one_point_each_is_their_mean(r, s):
    """n = m = 1, nu = 1: sigmoid(F - r) = sigmoid(s - F) gives F = (r + s)/2."""
    F, mean = certified.root([r], [s]).F.value, mpmath.mpf(r / 2 + s / 2)
    assert abs(F - mean) < TEN**-39 * abs(mean)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ulp_is_numpys_spacing(dtype):
    g, info = rng(1), np.finfo(dtype)
    drawn = g.normal(size=200) * 10.0 ** g.uniform(-36, 36, 200)
    for x in (*drawn, 1.0, 2.0, 0.0, float(info.smallest_subnormal)):
        x = np.dtype(dtype).type(x)
        assert float(ulp(float(x), dtype)) == float(np.spacing(abs(x)))
    assert float(eps(dtype)) == float(info.eps)
