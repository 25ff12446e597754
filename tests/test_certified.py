"""The certified values themselves, against mpmath and closed forms; and the units."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import certified, in_mpmath
from tests.regimes import rng
from tests.strategies import infinite_samples, moderate, nus, pairs
from tests.ulps import eps, ulp

INF = math.inf
TEN = mpmath.mpf(10)


def off(got, exact, least=0.0):
    """The difference relative to the larger of |exact| and ``least``."""
    return abs(got - exact) / max(abs(exact), mpmath.mpf(least))


@given(pairs(moderate()), st.floats(-10, 10), nus)
def test_formulas_agree_with_mpmath_at_two_precisions(pair, F, nu):
    for name in ("loss", "grad_F", "hess_F", "bar_update"):
        exact = getattr(certified, name)(*pair, F, nu).value
        found = []
        for digits in (70, 110):
            with mpmath.workdps(digits):
                run = *map(in_mpmath.to_mp, pair), mpmath.mpf(F), mpmath.mpf(nu)
                found.append(getattr(in_mpmath, name)(*run))
        low, high = found
        with mpmath.workdps(110):
            # 70 digits less the few that moderate log-ratios and nu can cancel; the
            # certified value has 40.
            assert abs(low - high) <= TEN**-60, name
            assert off(exact, high, 1.0) <= TEN**-40, name
            if name != "bar_update" and abs(high) > TEN**-15:
                assert off(exact, high) <= TEN**-39, name


@given(pairs(moderate()), nus)
def test_root_error_and_overlap_agree_with_mpmath(pair, nu):
    root = certified.root(*pair, nu)
    with mpmath.workdps(90):
        samples = [in_mpmath.to_mp(r) for r in pair]
        v, F, width = mpmath.mpf(nu), root.F.value, TEN**-39
        ends = (in_mpmath.balance(*samples, F + d, v) for d in (-width, width))
        assert next(ends) < 0 < next(ends)
        found = in_mpmath.at_root(*samples, F, v)
        assert off(root.overlap.value, found["overlap"]) < TEN**-35
        error, exact = root.standard_error.value, found["standard_error"]
        if min(r.size for r in pair) > 1:
            assert off(error, exact, 1.0) <= TEN**-35
        else:
            assert mpmath.isnan(error)


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
        expected = INF if left else -INF if right else math.nan
        np.testing.assert_equal(verdict, expected)


@pytest.mark.parametrize(
    "r, s",
    [
        (3.0, -1.0),
        (2000.0, -1999.0),
        (-2000.0, 2001.0),
        (1e300, -5e299),
        (-1e300, 5e299),
    ],
)
def test_root_of_one_point_each_is_their_mean(r, s):
    """n = m = 1, nu = 1: sigmoid(F - r) = sigmoid(s - F) gives F = (r + s)/2."""
    F, mean = certified.root([r], [s]).F.value, mpmath.mpf(r / 2 + s / 2)
    assert off(F, mean) < TEN**-39


@given(pairs(moderate()), st.floats(-5, 5))
def test_ence_agrees_with_mpmath(pair, F):
    with mpmath.workdps(60):
        run = (*map(in_mpmath.to_mp, pair), mpmath.mpf(F))
        L = in_mpmath.ence_loss(*run)
        assert off(certified.ence_loss(*pair, F).value, L) < TEN**-38
        slope = certified.ence_grad_F(*pair, F).value
        assert off(slope, in_mpmath.ence_grad_F(*run), L) < TEN**-38
        log_z = certified.ence_log_z(*pair).value
        assert abs(log_z - in_mpmath.ence_log_z(*run)) < TEN**-38
        exacts = sum(certified.ence_grad_r(*pair, F), [])
        found = np.concatenate(in_mpmath.ence_grad_r(*run))
        for exact, x in zip(exacts, found, strict=True):
            assert off(exact.value, x) < TEN**-38


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ulp_is_numpys_spacing(dtype):
    g, info = rng(1), np.finfo(dtype)
    drawn = g.normal(size=200) * 10.0 ** g.uniform(-36, 36, 200)
    for x in (*drawn, 1.0, 2.0, 0.0, float(info.smallest_subnormal)):
        x = np.dtype(dtype).type(x)
        assert float(ulp(float(x), dtype)) == float(np.spacing(abs(x)))
    assert float(eps(dtype)) == float(info.eps)
