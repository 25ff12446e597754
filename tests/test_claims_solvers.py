"""Theory of the log-partition solvers: the unique root of Section 3.3, and how far off
bisection, BAR and Newton stop (Sections 3.3, 3.5, 4, Figure 7)."""

import math
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from scipy import optimize

from tests import certified
from tests.certified import root_F
from tests.close import tolerance
from tests.populations import sigmoid
from tests.regimes import gaussian_1d, ring, rng
from tests.strategies import infinite_samples, moderate, nus, on_grid, pairs, samples
from tests.strategies import seeds
from tests.test_claims_bar import update

theorem = partial(pytest.mark.claim, kind="theorem")
section_3_3 = partial(theorem, "Section 3.3", where="logz.newton")
CONVERGED, NO_ROOT, CYCLE, MAX_UPDATES = 0, 2, 3, 4
SOLVERS = ("newton", "bisect", "bar")
INF = math.inf


def solve(impl, solver, pair, nu=1.0, **options):
    """The LogZ of a solver; None where bar reports that it stopped before a root."""
    if solver == "bar":  # what has not converged by 60 updates crawls or zigzags
        options = {"max_updates": 60, **options}
    z = getattr(impl.logz, solver)(*pair, nu=nu, **options)
    return None if solver == "bar" and z.status in (CYCLE, MAX_UPDATES) else z


# Section 3.3: the root


@section_3_3(
    "for fixed theta~ there is a unique F, and the solvers find it on any finite"
    " samples",
    where="logz",
)
@pytest.mark.parametrize("solver", SOLVERS)
@given(pairs(samples(30)), nus)
def test_section_3_3_solvers_find_the_root(impl, solver, pair, nu):
    z, exact = solve(impl, solver, pair, nu), root_F(*pair, nu)
    if z is not None:
        assert z.status == CONVERGED
        assert abs(float(z.F) - exact) <= tolerance(impl, exact)


@section_3_3(
    "the pooled least and greatest log-ratio bracket the root, for any counts and any"
    " nu",
    where="logz.bisect",
)
@given(pairs(), nus)
def test_section_3_3_pooled_extremes_bracket_the_root(impl, pair, nu):
    pooled = np.concatenate(pair)
    low, high = float(pooled.min()), float(pooled.max())
    slack = tolerance(impl)
    assert impl.nce.grad_F(*pair, low, nu=nu) <= slack
    assert impl.nce.grad_F(*pair, high, nu=nu) >= -slack
    F = float(impl.logz.newton(*pair, nu=nu).F)
    assert low - tolerance(impl, pooled) <= F <= high + tolerance(impl, pooled)


@section_3_3("shift, swap and permutation move the root as they should")
@given(pairs(), st.floats(-300, 300), st.integers(-10, 10), seeds)
def test_section_3_3_symmetries_of_the_root(impl, pair, c, power, seed):
    c, nu = float(on_grid(c)), 2.0**power  # 1/nu is exact
    r_data, r_noise = (on_grid(r) for r in pair)
    newton = impl.logz.newton
    F = newton(r_data, r_noise, nu=nu).F
    slack = tolerance(impl, r_data, r_noise, c, math.log(nu))
    assert abs(newton(r_data + c, r_noise + c, nu=nu).F - (F + c)) <= slack
    assert abs(newton(-r_noise, -r_data, nu=1 / nu).F + F) <= slack
    shuffled = [rng(seed + k).permutation(r) for k, r in enumerate((r_data, r_noise))]
    assert abs(newton(*shuffled, nu=nu).F - F) <= slack


@section_3_3(
    "for nu = 1 and n = m the root does not change when data samples are exchanged"
    " with noise samples",
)
@pytest.mark.parametrize("nu", [1.0, 3.0])
@given(seeds, st.integers(1, 40), st.sampled_from([0.5, 5.0, 300.0]))
def test_section_3_3_exchanged_samples(impl, nu, seed, n, scale):
    """1 - s_noise = sigmoid(F + log nu - y), so that A = nu B reads

        sum_i sigmoid(F + log nu - x_i)/n + (nu/m) sum_j sigmoid(F + log nu - y_j) = nu:

    F + log nu is the nu/(1 + nu) quantile of the pooled samples, weighted 1/n and nu/m
    and smoothed by a logistic law. Samples of equal weight (m = nu n) may be exchanged.
    """
    g = rng(seed)
    pooled = scale * g.normal(size=round((1 + nu) * n))
    orders = pooled, g.permutation(pooled), np.sort(pooled), -np.sort(-pooled)
    roots = [float(impl.logz.newton(s[:n], s[n:], nu=nu).F) for s in orders]
    assert np.ptp(roots) <= tolerance(impl, scale)
    smoothed = np.mean(sigmoid(roots[0] + math.log(nu) - pooled))
    assert abs(smoothed - nu / (1 + nu)) <= tolerance(impl, pooled)


def evaluation_sets():
    """(name, most evaluations to |dF| <= 1e-12 max(1, |F|), samples, nu)."""
    for seed in range(20):
        yield "Figure 1", 5, ring(seed), 1.0
        g = rng(4000 + seed)
        pair = tuple(50 * g.standard_t(1.2, 512) for _ in range(2))
        yield "Student-t(1.2) x 50", 8, pair, 1.0
    for seed in range(5):
        for d in (1.0, 4.0, 16.0, 64.0):
            for n in (20, 512, 4096):
                yield f"{d:g} apart", 5, gaussian_1d(d, d, n, n, seed), 1.0
                wrong = gaussian_1d(d, -d, n, n, seed)
                yield f"{d:g} apart, wrong way round", 8, wrong, 1.0
        for nu in (1e-3, 1e-2, 0.1, 1 / 3, 3.0, 10.0, 1e2, 1e3):
            for d in (1.0, 16.0):
                yield f"nu = {nu:.3g}", 8, gaussian_1d(d, d, 512, 512, seed), nu
    for seed in range(60):
        g = rng(3000 + seed)
        sizes = [int(k) for k in g.integers(1, 3, size=2)]
        pair = tuple(10.0 ** g.uniform(-1, 3) * g.normal(size=k) for k in sizes)
        yield "one and two points", 5, pair, 1.0


@pytest.mark.claim(
    "Section 3.3",
    "Newton reaches |dF| <= 1e-12 max(1, |F|) from cold in at most 5 evaluations, "
    "8 on the hard sets",
    kind="experiment",
    where="logz.newton",
)
def test_section_3_3_evaluations_of_newton(impl, evidence):
    counts = defaultdict(list)
    for name, most, pair, nu in evaluation_sets():
        exact = root_F(*pair, nu)
        xtol = 1e-12 * max(1.0, abs(exact))
        z = impl.logz.newton(*pair, nu=nu, xtol=xtol)
        assert z.status == CONVERGED and abs(float(z.F) - exact) <= xtol, name
        counts[name, most].append(int(z.evaluations))
    for (name, most), found in counts.items():
        mean = np.mean(found)
        evidence(f"{name}: at most {max(found)} of {most} evaluations, mean {mean:.1f}")
    assert all(max(found) <= most for (_, most), found in counts.items()), counts


@section_3_3(
    "the number of halvings is known before the loop: log2 of the bracket over the"
    " tolerance",
    where="logz.bisect",
)
@given(pairs(moderate(30)), st.integers(1, 30))
def test_section_3_3_halvings_of_bisect(impl, pair, bits):
    xtol, pooled, exact = 2.0**-bits, np.concatenate(pair), root_F(*pair)
    z = impl.logz.bisect(*pair, xtol=xtol)
    expected = math.ceil(math.log2(max(1.0, np.ptp(pooled) / xtol)))
    # Bracketing is one evaluation, and a power of two may round either way.
    assert expected <= z.evaluations <= expected + 2
    assert abs(float(z.F) - exact) <= xtol
    (lo, hi), slack = z.bracket, tolerance(impl, pooled)
    assert hi - lo <= xtol and lo - slack <= exact <= hi + slack


# Sections 3.5 and 4: binary search


@theorem(
    "Section 3.5",
    "binary search needs one forward pass and only the changing loss values",
    where="nce.loss",
    verdict="holds corrected",
    why="one pass, yes; but loss values fix F to half the digits only: search on the"
    " sign of dL/dF",
)
def test_section_3_5_loss_values_lose_half_the_digits(impl, evidence):
    """Near the root the loss is flat: |L(F) - L(F*)| < eps L for |F - F*| under
    sqrt(2 eps L/L''), about 1e-8. The search on the sign of dL/dF reaches eps."""
    by_loss, by_sign = [], []
    for seed in range(20):
        pair = gaussian_1d(1.0, 1.0, 512, 512, seed)
        exact = root_F(*pair)
        ends = exact - 5.0, exact + 4.0
        F = optimize.golden(partial(impl.nce.loss, *pair), brack=ends, tol=4 * impl.eps)
        by_loss.append(abs(F - exact))
        F = optimize.bisect(partial(impl.nce.grad_F, *pair), *ends, xtol=4 * impl.eps)
        by_sign.append(abs(F - exact))
    typical = float(np.median(by_loss))
    half = impl.eps**0.5  # half the digits: L and L'' are of order 1
    assert half / 100 < typical < 100 * half and max(by_sign) <= tolerance(impl, 1.0)
    sign = np.median(by_sign)
    evidence(f"median |F - F*| by loss values {typical:.1e}, by the sign {sign:.1e}")


@theorem(
    "Section 4",
    "binary search stops when it returns the same value twice within a threshold: the"
    " bracket is then twice the threshold",
    where="nce.grad_F",
)
def test_section_4_stopping_rule(impl, evidence):
    steps, errors, threshold = [], [], 1e-6
    for seed in range(30):
        pair = ring(seed)
        lo, hi = float(np.min(pair)), float(np.max(pair))
        middle, last, count = 0.5 * (lo + hi), INF, 0
        while abs(middle - last) > threshold:
            above = impl.nce.grad_F(*pair, middle) > 0
            lo, hi = (lo, middle) if above else (middle, hi)
            last, middle, count = middle, 0.5 * (lo + hi), count + 1
        steps.append(count)
        errors.append(abs(middle - root_F(*pair)))
        # Successive middles differ by half the new bracket.
        assert hi - lo <= 2 * threshold and errors[-1] <= threshold
    assert 20 <= min(steps) and max(steps) <= 26
    found = f"{min(steps)} to {max(steps)} steps, worst error {max(errors):.1e}"
    evidence(f"threshold 1e-6 in the setting of Figure 1: {found}")


# Figure 7


@theorem(
    "Figure 7",
    "oscillation at low overlap is h' near 2: a strict contraction all the same,"
    " reported as CYCLE and cured by half steps",
    where="logz.bar",
)
@pytest.mark.parametrize("d", [16.0, 64.0])
def test_figure_7_bar_reports_cycle_when_oscillating(impl, evidence, d):
    pair = gaussian_1d(d, d, 512, 512, 7)
    root, z = root_F(*pair), impl.logz.bar(*pair, F0=0.0)
    assert z.status == CYCLE and z.evaluations < 50
    F, errors = 0.0, []
    for _ in range(12):
        F = update(impl, pair, F)
        errors.append(F - root)
    sides = np.sign(errors)
    assert np.all(sides[1:] == -sides[:-1])  # successive updates on opposite sides
    assert np.all(np.diff(np.abs(errors)) <= tolerance(impl, d * d))  # and no further
    half = impl.logz.bar(*pair, F0=0.0, step=0.5, xtol=1e-9)
    assert half.status == CONVERGED and abs(float(half.F) - root) <= 2e-9
    found = f"CYCLE after {z.evaluations} evaluations, off by {abs(z.F - root):.3g}"
    evidence(f"{d:g} apart: {found}; half steps converge in {half.evaluations}")


# What a LogZ reports


@example((np.asarray([INF]), np.asarray([-INF])), 1.0)  # every F is a root
@example((np.asarray([-INF]), np.asarray([INF])), 1.0)
@given(pairs(infinite_samples()), nus)
def test_no_root_status_and_limit(impl, pair, nu):
    limit = certified.verdict(*pair, nu)
    for solver in SOLVERS:
        z = solve(impl, solver, pair, nu)
        if limit is not None:
            assert z.status == NO_ROOT, solver
            assert np.array_equal(z.F, limit, equal_nan=True), solver
            assert np.isnan(z.standard_error) and np.isnan(z.overlap), solver
            assert not np.isnan(limit) or z.bracket == (-INF, INF), solver
        elif z is not None:
            exact = root_F(*pair, nu)
            slack = tolerance(impl, exact, math.log(nu))
            assert z.status == CONVERGED and abs(float(z.F) - exact) <= slack, solver


@pytest.mark.parametrize("xtol", [1e-2, 1e-6, 1e-12])
def test_standard_error_and_overlap_of_a_coarse_solve(impl, xtol):
    """At any xtol > 0 mean s^2 is right to 1e-6; variance and slope, being differences,
    to that times what cancels in them."""
    for seed in range(4):
        for d, theta in ((1.0, 1.0), (2.0, 2.0), (0.5, -0.5)):
            pair = gaussian_1d(d, theta, 200, 200, seed)
            z, exact = impl.logz.newton(*pair, xtol=xtol), certified.root(*pair)
            F = float(exact.F.value)
            assert abs(float(z.F) - F) <= xtol
            sides = sigmoid(F - pair[0]), sigmoid(pair[1] - F)
            sums = [0.5 / np.var(s) + 1 / np.mean(s * (1 - s)) for s in sides]
            cancel = max(np.mean(s**2) * x for s, x in zip(sides, sums, strict=True))
            for name in ("standard_error", "overlap"):
                ratio = float(getattr(z, name)) / float(getattr(exact, name).value)
                assert abs(ratio - 1) <= 1e-6 * cancel, name


def test_overlap_is_one_for_equal_laws_and_zero_without_overlap(impl):
    g, r = rng(5), np.full(50, 1.25)  # p proportional to q
    assert abs(float(impl.logz.newton(r, r[:20], nu=3.0).overlap) - 1) <= 16 * impl.eps
    for sign in (1.0, -1.0):
        pair = (sign * (x + g.normal(size=50)) for x in (60, -60))
        assert 0 <= impl.logz.newton(*pair).overlap < math.exp(-50.0)
