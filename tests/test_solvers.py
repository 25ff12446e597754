"""What the docstrings of the solvers promise: statuses, starts, brackets, dtypes."""

import math

import numpy as np
import pytest

from tests import certified, regimes
from tests.certified import root_F
from tests.close import tolerance
from tests.regimes import gaussian_1d
from tests.test_claims_bar import update
from tests.test_claims_solvers import CONVERGED, CYCLE, MAX_UPDATES, NO_ROOT, SOLVERS
from tests.ulps import units_off

INF = math.inf
solvers = pytest.mark.parametrize("solver", SOLVERS)
started = pytest.mark.parametrize("solver", ["newton", "bar"])


@pytest.mark.parametrize(
    "regime", ["counts cancel", "root in a gap", "plateau", "total underflow"]
)
def test_newton_needs_no_more_evaluations_than_bisect(impl, regime):
    for case in regimes.REGIMES[regime]():
        pair = case.r_data, case.r_noise
        newton, bisect = (getattr(impl.logz, x)(*pair, nu=case.nu) for x in SOLVERS[:2])
        assert newton.evaluations <= bisect.evaluations, case.name


# bar


def test_bar_reports_max_updates(impl):
    pair = gaussian_1d(4.0, -4.0, 50, 50, 3)  # reversed: BAR crawls
    z = impl.logz.bar(*pair, max_updates=3, F0=0.0)
    assert z.status == MAX_UPDATES and not z.converged and np.isfinite(z.F)
    assert z.bracket[0] <= root_F(*pair) <= z.bracket[1]


@pytest.mark.parametrize("F0", [0.0, 30.0, 128.0])
def test_bar_reports_cycle_at_the_fourth_turn_in_a_row(impl, F0):
    """The rule of its docstring, followed with ``bar_update`` alone."""
    pair = gaussian_1d(16.0, 16.0, 512, 512, 7)
    F, last, turns, count = F0, 0.0, 0, 0
    while turns < 4:
        move, count = update(impl, pair, F) - F, count + 1
        turned = move * last < 0 and abs(move + last) < 0.01 * abs(last)
        turns, last, before, F = (turns + 1 if turned else 0), move, F, F + move
        assert count < 60
    z = impl.logz.bar(*pair, F0=F0)
    assert z.status == CYCLE and count <= z.evaluations <= count + 1
    expected = [F, min(before, F), max(before, F)]
    off = np.abs(np.asarray([z.F, *z.bracket]) - expected)
    assert np.all(off <= tolerance(impl, F))


def test_bar_converges_to_a_root_at_zero(impl):
    """eps |F| is 0 there, so 2 eps is the tightest tolerance; xtol saves updates."""
    r = np.asarray([0.5, -0.25, 1.75])
    tight, loose = (impl.logz.bar(r, -r, F0=1.0, xtol=xtol) for xtol in (0.0, 1e-2))
    assert tight.status == loose.status == CONVERGED
    assert abs(float(tight.F)) <= 4 * impl.eps and abs(float(loose.F)) <= 2e-2
    assert loose.evaluations < tight.evaluations < 60


@pytest.mark.parametrize("xtol", [1e-3, 1e-5])
def test_bar_stops_within_xtol_where_it_crawls(impl, xtol):
    """Reversed samples: each update goes a small share of the way to the root."""
    for seed in range(4):
        pair = gaussian_1d(2.0, -2.0, 100, 100, seed)
        exact = root_F(*pair)
        z = impl.logz.bar(*pair, F0=exact + 1.0, xtol=xtol)
        assert z.status == CONVERGED and z.evaluations > 10
        # Newton's distance is off by half of |L'''|/L'' <= 1 times its square.
        assert abs(float(z.F) - exact) <= xtol * (1 + xtol)


@pytest.mark.parametrize("away", [0.25, 3.0, -0.25, -3.0])
def test_each_F_that_bar_tried_bounds_the_root(impl, away):
    """h > 0 to the right of the root and h < 0 to its left."""
    pair = gaussian_1d(1.0, 1.0, 100, 100, 4)
    exact = root_F(*pair)
    z = impl.logz.bar(*pair, F0=exact + away, max_updates=1)
    assert z.bracket[0] <= exact <= z.bracket[1]
    assert abs(z.bracket[int(away > 0)] - exact) <= abs(away)


# Starts


def batch():
    """Runs that differ: easy, reversed, without overlap, and the easy one again."""
    settings = ((1.0, 1.0), (30.0, -30.0), (60.0, 60.0), (1.0, 1.0))
    found = [gaussian_1d(d, theta, 200, 200, 5) for d, theta in settings]
    return tuple(np.stack(r) for r in zip(*found, strict=True))


@started
@pytest.mark.parametrize(
    "F0", [0.5, np.asarray(0.5), np.asarray([0.5, -3.0, 100.0, 1.0])]
)
def test_each_run_has_its_own_start(impl, solver, F0):
    bar = {"step": 0.5, "max_updates": 30, "xtol": 1e-9}
    options = bar if solver == "bar" else {}
    r_data, r_noise = batch()
    solve = getattr(impl.logz, solver)
    together = solve(r_data, r_noise, F0=F0, **options)
    for k, start in enumerate(np.broadcast_to(F0, 4).tolist()):
        pair = r_data[k], r_noise[k]
        alone, exact = solve(*pair, F0=start, **options), root_F(*pair)
        assert together.status[k] == alone.status
        if alone.status == CONVERGED:
            slack = tolerance(impl, exact) + 2 * options.get("xtol", 0.0)
            assert abs(together.F[k] - exact) <= slack


@started
@pytest.mark.parametrize("F0", [-500.0, None, 500.0])
def test_start_and_xtol_are_respected(impl, solver, F0):
    pair = gaussian_1d(2.0, 2.0, 100, 100, 12)
    exact, solve = root_F(*pair), getattr(impl.logz, solver)
    tight = solve(*pair, F0=F0)
    assert abs(float(tight.F) - exact) <= tolerance(impl, exact)
    for xtol in (1e-2, 1e-3, 1e-6):
        loose = solve(*pair, F0=F0, xtol=xtol)
        assert abs(float(loose.F) - exact) <= (2 if solver == "bar" else 1) * xtol
        assert loose.evaluations <= tight.evaluations


# Infinite log-ratios


def assert_root(impl, solver, pair, nu):
    """The solver converges to 4 units, or is bar and reports MAX_UPDATES."""
    z = getattr(impl.logz, solver)(*pair, nu=nu)
    if solver != "bar" or z.status != MAX_UPDATES:
        assert z.status == CONVERGED
        assert units_off(z.F, certified.root(*pair, nu).F) <= 4.0


@solvers
@pytest.mark.parametrize("x", [-1000.3, -0.7, 1000.3])
@pytest.mark.parametrize(
    "data, noise", [("xx+", "x-"), ("x-", "xx"), ("x", "x--"), ("x++", "xx+")]
)
def test_ties_beside_infinite_samples(impl, solver, x, data, noise):
    """The finite samples are all x, so that the bracket has no width but rounding."""
    values = {"x": x, "+": INF, "-": -INF}
    pair = [np.asarray([values[c] for c in side]) for side in (data, noise)]
    assert_root(impl, solver, pair, 0.9)


@pytest.mark.parametrize("solver", ["newton", "bisect"])
@pytest.mark.parametrize("nu", [1 / 3, math.nextafter(1 / 3, 1.0)])
@pytest.mark.parametrize(
    "data, noise", [("x++", "+"), ("x--", "x"), ("-", "xx-"), ("xx-", "x")]
)
def test_the_exact_nu_decides_whether_a_root_exists(impl, solver, nu, data, noise):
    """3 nu is 1 - 2^-54 or 1 + 2^-53, both 1 when rounded.

    A finite root needs 3 nu < 1 in one case, and 3 nu > 1 in the other.
    """
    values = {"x": 0.5, "+": INF, "-": -INF}
    pair = [np.asarray([values[c] for c in side]) for side in (data, noise)]
    limit = certified.verdict(*pair, nu)
    if limit is None:
        return assert_root(impl, solver, pair, nu)
    z = getattr(impl.logz, solver)(*pair, nu=nu)
    assert z.status == NO_ROOT and z.F == limit


# Shapes and dtypes
