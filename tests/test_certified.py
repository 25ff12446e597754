"""The certified values themselves: two precisions of mpmath, closed forms, and the units."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import certified, in_mpmath, regimes
from tests.strategies import infinite_samples, moderate, nus, pairs
from tests.ulps import eps, error_in_units, ulp


def by_mpmath(
    r_data: np.ndarray, r_noise: np.ndarray, F: float, nu: float, digits: int
) -> dict[str, mpmath.mpf]:
    """The formulas as DESIGN writes them, in plain arithmetic of so many digits."""
    with mpmath.workdps(digits):
        found = in_mpmath.nce(
            *map(in_mpmath.to_mp, (r_data, r_noise)), mpmath.mpf(F), mpmath.mpf(nu)
        )
        return {
            name: found[name] for name in ("loss", "grad_F", "hess_F", "bar_update")
        }


@given(pairs(moderate()), st.floats(-10, 10), nus)
def test_formulas_agree_with_mpmath_at_two_precisions(pair, F, nu):
    r_data, r_noise = pair
    low, high = (by_mpmath(r_data, r_noise, F, nu, digits) for digits in (70, 110))
    for name in low:
        exact = getattr(certified, name)(r_data, r_noise, F, nu)
        # 70 digits less the few that moderate log-ratios and nu can cancel; the certified value has 40
        with mpmath.workdps(110):
            assert abs(low[name] - high[name]) <= mpmath.mpf(10) ** -60, name
            assert abs(exact.value - high[name]) <= mpmath.mpf(10) ** -40 * max(
                1, abs(high[name])
            ), name
            if name != "bar_update" and abs(high[name]) > mpmath.mpf(10) ** -15:
                assert abs(exact.value - high[name]) <= mpmath.mpf(10) ** -39 * abs(
                    high[name]
                ), name


@given(pairs(moderate()), nus)
def test_root_error_and_overlap_agree_with_mpmath(pair, nu):
    r_data, r_noise = pair
    root = certified.root(r_data, r_noise, nu)
    with mpmath.workdps(90):
        samples, v, F = (
            [in_mpmath.to_mp(r) for r in (r_data, r_noise)],
            mpmath.mpf(nu),
            root.F.value,
        )
        width = mpmath.mpf(10) ** -39
        assert (
            in_mpmath.balance(*samples, F - width, v)
            < 0
            < in_mpmath.balance(*samples, F + width, v)
        )
        found = in_mpmath.at_root(*samples, F, v)
        error = found["standard_error"]
        assert abs(root.overlap.value / found["overlap"] - 1) < mpmath.mpf(10) ** -35
        if min(r_data.size, r_noise.size) > 1:
            assert abs(root.standard_error.value - error) <= mpmath.mpf(
                10
            ) ** -35 * max(1, error)
        else:
            assert mpmath.isnan(root.standard_error.value)


@given(pairs(infinite_samples()), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_verdict_is_the_sign_of_the_balance_far_out(pair, nu):
    """With F at -+1e6 the finite ratios have reached their limits, and what is left of A - nu B are counts."""
    r_data, r_noise = pair
    ends = [float(certified.grad_F(r_data, r_noise, F, nu).value) for F in (-1e6, 1e6)]
    verdict = certified.verdict(r_data, r_noise, nu)
    left, right = ends[0] < 0, ends[1] > 0
    if left and right:
        assert verdict is None and math.isfinite(
            float(certified.root(r_data, r_noise, nu).F.value)
        )
    elif left or right:
        assert verdict == (math.inf if left else -math.inf)
    else:
        assert verdict is not None and math.isnan(verdict)


def test_root_of_one_point_each_is_their_mean():
    """n = m = 1, nu = 1: sigmoid(F - r) = sigmoid(r' - F) gives F = (r + r')/2, wherever the two are."""
    for r, s in [
        (3.0, -1.0),
        (2000.0, -1999.0),
        (-2000.0, 2001.0),
        (1e300, -5e299),
        (-1e300, 5e299),
    ]:
        F = certified.root([r], [s]).F
        assert (
            F.value == mpmath.mpf(r / 2 + s / 2)
            or abs(F.value / mpmath.mpf(r / 2 + s / 2) - 1) < mpmath.mpf(10) ** -39
        )


@given(pairs(moderate()), st.floats(-5, 5))
def test_ence_agrees_with_mpmath_and_its_log_z_is_its_minimiser(pair, F):
    r_data, r_noise = pair
    with mpmath.workdps(60):
        a = (
            mpmath.fsum(
                mpmath.exp((mpmath.mpf(F) - mpmath.mpf(r)) / 2) for r in r_data.tolist()
            )
            / r_data.size
        )
        b = (
            mpmath.fsum(
                mpmath.exp((mpmath.mpf(r) - mpmath.mpf(F)) / 2)
                for r in r_noise.tolist()
            )
            / r_noise.size
        )
        assert (
            abs(certified.ence_loss(r_data, r_noise, F).value / ((a + b) / 2) - 1)
            < mpmath.mpf(10) ** -38
        )
        assert abs(
            certified.ence_grad_F(r_data, r_noise, F).value - (a - b) / 4
        ) < mpmath.mpf(10) ** -38 * (a + b)
        assert (
            abs(certified.ence_log_z(r_data, r_noise).value - (F + mpmath.log(b / a)))
            < mpmath.mpf(10) ** -38
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ulp_is_numpys_spacing(dtype):
    g = regimes.rng(1)
    for x in [
        *(g.normal(size=200) * 10.0 ** g.uniform(-36, 36, 200)),
        1.0,
        2.0,
        0.0,
        float(np.finfo(dtype).smallest_subnormal),
    ]:
        x = np.dtype(dtype).type(x)
        assert float(ulp(float(x), dtype)) == float(np.spacing(abs(x)))
    assert float(eps(dtype)) == float(np.finfo(dtype).eps)


def test_error_in_units_never_excuses_a_wrong_kind():
    one = mpmath.mpf(1)
    assert error_in_units(1.0 + 2.0**-52, one, ulp(one)) == 1.0
    assert error_in_units(math.nan, one, ulp(one)) == math.inf
    assert error_in_units(0.0, mpmath.nan, ulp(one)) == math.inf
    assert error_in_units(math.inf, one, ulp(one)) == math.inf
    assert error_in_units(-math.inf, mpmath.inf, ulp(one)) == math.inf
    assert error_in_units(math.inf, mpmath.mpf(10) ** 400, ulp(one)) == 0.0
