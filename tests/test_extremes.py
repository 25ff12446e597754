"""Inputs that once broke a promise: far starts, ties, weights of noise at the ends of their range, the largest floats."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from refnce import expfam, logz, nce
from tests import certified
from tests.regimes import rng
from tests.ulps import error_in_units

PROMISE = 4.0
# The roundings of a single term, the same for all where all are equal: exp 1, its correction, the four operations of s(1 - s),
# weight, product and sum 1/2 each or 3/4; whatever the samples, nothing is further off. It takes a search to come near.
LIMIT = 6.0


def off(got, exact, dtype="float64"):
    return error_in_units(got, exact.value, exact.unit(dtype), dtype)


def array(*xs, dtype="float64"):
    return np.asarray(xs, dtype=dtype)


SOLVERS = ("newton", "bisect", "bar")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("nu", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize(
    "r_data, r_noise",
    [
        ([-200.0, -199.0, 200.0], [-150.0, 150.0]),
        ([0.0] * 300 + [np.inf], [0.0] * 3),
        ([0.1] * 3, [0.1] * 200 + [-np.inf] * 3),
        ([0.5, -np.inf], [0.5, 0.5]),
    ],
)
def test_roots_at_the_ends_of_nu(solver, r_data, r_noise, nu):
    pair = array(*r_data), array(*r_noise)
    root, found = certified.root(*pair, nu), getattr(logz, solver)(*pair, nu=nu)
    if not root.has_root:
        assert found.status == logz.Status.NO_ROOT
    elif found.status == logz.Status.CONVERGED or solver != "bar":
        assert found.status == logz.Status.CONVERGED and off(found.F, root.F) <= PROMISE


@pytest.mark.parametrize("nu", [1e-30, 0.3, 1e5, 1e10, 1e30])
def test_float32_keeps_the_rest_of_log_nu(nu):
    g = rng(1)
    pair = (1.0 + g.normal(size=100)).astype(np.float32), g.normal(size=90).astype(
        np.float32
    )
    for name, module in (
        ("loss", nce),
        ("grad_F", nce),
        ("hess_F", nce),
        ("bar_update", logz),
    ):
        assert (
            off(
                getattr(module, name)(*pair, 0.5, nu=nu),
                getattr(certified, name)(*pair, 0.5, nu),
                "float32",
            )
            <= PROMISE
        )
    for name in SOLVERS:
        assert (
            off(
                getattr(logz, name)(*pair, nu=nu).F,
                certified.root(*pair, nu).F,
                "float32",
            )
            <= PROMISE
        )


@pytest.mark.parametrize("nu", [0, -1.0, 1e-31, 1e31, np.nan, np.inf, 10**400])
def test_nu_out_of_range_is_refused(nu):
    with pytest.raises(ValueError, match="nu must be a number > 0, from 1e-30 to 1e30"):
        logz.newton(array(1.0), array(0.0), nu=nu)


@pytest.mark.parametrize("F0", [100.0, 300.0, 600.0])
def test_a_far_start_costs_no_digits(F0):
    """The odds are then about a centre, from which G is further than its ulp says."""
    for seed in range(8):
        g = rng(seed)
        pair = 1 + g.normal(size=100), -1 + g.normal(size=90)
        assert off(logz.newton(*pair, F0=F0).F, certified.root(*pair).F) <= PROMISE
    r_data, r_noise = np.linspace(-1, 3, 70), np.linspace(-3, 1, 70)
    r_data[:5] = 5000.0
    assert (
        off(logz.newton(r_data, r_noise).F, certified.root(r_data, r_noise).F)
        <= PROMISE
    )


def test_a_start_on_a_huge_outlier_is_no_root():
    r_data, r_noise = array(1e17, 1.0), array(-1e17, 2.0, 3.0)
    assert (
        off(logz.newton(r_data, r_noise, F0=1e17).F, certified.root(r_data, r_noise).F)
        <= PROMISE
    )


@pytest.mark.parametrize("n", [188, 271, 512, 1307, 4096, 32768])
def test_ties_do_not_add_up(n):
    """Equal terms round alike: a running sum of n of them would be off by n/2 units."""
    tenth = np.arange(n) % 10 == 0
    for low in (0.1, 0.37):
        pair = np.where(tenth, 2.3, low), np.where(tenth, -1.7, low - 0.3)
        exact = certified.root(*pair).F
        for name in SOLVERS:
            assert off(getattr(logz, name)(*pair).F, exact) <= LIMIT


def test_nothing_exceeds_the_roundings_of_a_term():
    """A seeded search over small samples, one in three of equal numbers, with weights of noise."""
    g = rng(11)
    for k in range(600):
        n, m = (int(g.integers(1, 200 if k % 3 == 0 else 4)) for _ in range(2))
        scale, nu = 10 ** g.uniform(-1, 1.5), float(
            g.choice([1.0, 0.1, 1 / 3, 1.7, 0.001, 50.0])
        )
        r_data, r_noise, F = (
            scale * g.normal(size=n),
            scale * g.normal(size=m),
            float(scale * g.normal()),
        )
        if k % 3 == 0:
            r_data[:], r_noise[:] = r_data[0], r_noise[0]
        for name, module in (
            ("loss", nce),
            ("grad_F", nce),
            ("hess_F", nce),
            ("bar_update", logz),
        ):
            got = getattr(module, name)(r_data, r_noise, F, nu=nu)
            assert (
                off(got, getattr(certified, name)(r_data, r_noise, F, nu)) <= LIMIT
            ), (name, n, m, nu)


def test_batches_of_no_runs_are_empty():
    none = np.zeros((0, 5)), np.zeros((0, 6))
    for name in SOLVERS:
        assert getattr(logz, name)(*none).F.shape == (0,)


def test_bar_s_bracket_holds_its_F():
    for seed in range(20):
        g = rng(seed)
        pair = 1e7 + g.normal(size=(30, 20)), 1e7 + g.normal(size=(30, 3))
        z = logz.bar(
            *pair,
            nu=(1e-10, 1.0, 30.0)[seed % 3],
            F0=1e7 + 3 * g.normal(size=30),
            step=0.3,
            max_updates=100,
        )
        assert np.all((z.bracket[0] <= z.F) & (z.F <= z.bracket[1])) and np.all(
            np.isfinite(z.F)
        )


def test_bar_stays_finite():
    assert np.isfinite(logz.bar(array(-99.5), array(1e300, 0.135), nu=1e-30).F)


@pytest.mark.parametrize("name", ["nu", "xtol", "F0"])
def test_an_integer_beyond_floats_is_named(name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        logz.newton(array(1.0), array(0.0), **{name: 10**400})


def test_masked_arrays_are_refused():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for function in (logz.newton, logz.bisect, nce.loss):
        with pytest.raises(TypeError, match="is a masked array"):
            function(masked, array(0.0), *([0.0] if function is nce.loss else []))


def test_scores_that_overflow_are_refused_and_nothing_is_said_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="T_data theta holds 1 NaN or infinite"):
            expfam.loss(
                array([3.0]), array([0.0]), array(1e308), 0.0, array(0.0), array(0.0)
            )
        expfam.hessian(
            array([1e160]), array([0.0]), array(0.0), 0.0, array(0.0), array(0.0)
        )
