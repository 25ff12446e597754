"""Inputs that once broke a promise: far starts, ties, extreme nu, largest floats."""

from fractions import Fraction

import numpy as np
import pytest

from refnce import expfam, logz, nce
from tests import certified
from tests.regimes import rng
from tests.ulps import units_off

PROMISE = 4.0
# If all terms are equal, their roundings are: exp 1, its correction, the four
# operations of s(1 - s), weight, product and sum 1/2 or 3/4 each. A sum of some hundred
# equal terms rounds worse, as it adds up to 16 of them one by one: a search of 140,000
# found 8 units for loss, 9.3 for grad_F, 10 for hess_F. One in 100 was beyond 4.
LIMIT = 6.0
INF = np.inf
SOLVERS = ("newton", "bisect", "bar")
solvers = pytest.mark.parametrize("solver", SOLVERS)


def array(*xs):
    return np.asarray(xs, dtype=np.float64)


def formulas_off(pair, F, nu, dtype="float64"):
    """The worst error of loss, dL/dF, d2L/dF2 and the BAR update, in units."""
    found = []
    for name in ("loss", "grad_F", "hess_F", "bar_update"):
        exact = getattr(certified, name)(*pair, F, nu)
        module = logz if name == "bar_update" else nce
        found.append(units_off(getattr(module, name)(*pair, F, nu=nu), exact, dtype))
    return max(found)


def root_off(solver, pair, nu=1.0, dtype="float64", **options):
    got = getattr(logz, solver)(*pair, nu=nu, **options).F
    return units_off(got, certified.root(*pair, nu).F, dtype)


# nu


PAIRS = [([-200.0, -199.0, 200.0], [-150.0, 150.0]), ([0.5, -INF], [0.5, 0.5])]
PAIRS += [([0.0] * 300 + [INF], [0.0] * 3), ([0.1] * 3, [0.1] * 200 + [-INF] * 3)]


@solvers
@pytest.mark.parametrize("nu", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize("r_data, r_noise", PAIRS)
def test_roots_at_extreme_nu(solver, r_data, r_noise, nu):
    pair = array(*r_data), array(*r_noise)
    root, z = certified.root(*pair, nu), getattr(logz, solver)(*pair, nu=nu)
    if not root.has_root:
        assert z.status == logz.Status.NO_ROOT
    elif z.status == logz.Status.CONVERGED or solver != "bar":
        assert z.status == logz.Status.CONVERGED and units_off(z.F, root.F) <= PROMISE


@pytest.mark.parametrize("nu", [1e-30, 0.3, 1e5, 1e10, 1e30])
def test_float32_keeps_the_low_part_of_log_nu(nu):
    g = rng(1)
    pair = [g.normal(size=size).astype(np.float32) for size in (100, 90)]
    pair[0] += 1
    assert formulas_off(pair, 0.5, nu, "float32") <= PROMISE
    for solver in SOLVERS:
        assert root_off(solver, pair, nu, "float32") <= PROMISE
        z = getattr(logz, solver)(*pair, nu=nu, xtol=np.float64(1e-3))
        assert z.F.dtype == z.bracket[0].dtype == np.float32
    # e^88.9 overflows. The distances of F + log nu differ in size if nu = 1e-30.
    pair = [np.asarray([r], dtype=np.float32) for r in (88.9, 8.1)]
    assert formulas_off(pair, 99.0, nu, "float32") <= PROMISE
    assert root_off("bisect", pair, nu, "float32") <= PROMISE


# Subnormal exponentials


@pytest.mark.parametrize("x", [708.3, 709.79, 720.3, 728.0, 744.4])
@pytest.mark.parametrize("sign", [1, -1])
def test_subnormal_exponential_beside_ordinary_samples(x, sign):
    """e^{-x} has few digits or none, which the mean of the others may hide."""
    far, near = array(sign * x, 0.3, -1.0), array(0.5, 0.0)
    for pair in ((far, near), (near, far), (far, -far)):
        for F in (0.0, -19.0, 300.0):
            assert formulas_off(pair, F, 1.0) <= PROMISE, F
        for solver in ("newton", "bisect"):
            assert root_off(solver, pair) <= PROMISE, solver


# Starts and outliers


@pytest.mark.parametrize("F0", [100.0, 300.0, 600.0])
def test_far_start_loses_no_digits(F0):
    for seed in range(8):
        g = rng(seed)
        pair = 1 + g.normal(size=100), -1 + g.normal(size=90)
        assert root_off("newton", pair, F0=F0) <= PROMISE


def test_outliers_lose_no_digits():
    r_data, r_noise = np.linspace(-1, 3, 70), np.linspace(-3, 1, 70)
    r_data[:5] = 5000.0
    assert root_off("newton", (r_data, r_noise)) <= PROMISE
    pair = array(1e17, 1.0), array(-1e17, 2.0, 3.0)
    assert root_off("newton", pair, F0=1e17) <= PROMISE


def test_bar_update_from_far_loses_no_digits():
    """F and h are large, and cancel to an update of ordinary size."""
    g = rng(1)
    for _ in range(200):
        pair = [3 * g.normal(size=g.integers(1, 20)) for _ in range(2)]
        F = float(60 * g.normal())
        exact = certified.bar_update(*pair, F)
        assert units_off(logz.bar_update(*pair, F), exact) <= PROMISE, F


# Ties


@pytest.mark.parametrize("n", [188, 271, 512, 1307, 4096, 32768])
def test_roundings_of_ties_do_not_accumulate(n):
    """Equal terms round alike: a running sum of n of them would lose n/2 units."""
    tenth = np.arange(n) % 10 == 0
    for low in (0.1, 0.37):
        pair = np.where(tenth, 2.3, low), np.where(tenth, -1.7, low - 0.3)
        for solver in SOLVERS:
            assert root_off(solver, pair) <= LIMIT


def test_search_finds_nothing_beyond_the_roundings_of_a_term():
    """Small samples of random scale and nu; in one of three all numbers are equal."""
    g = rng(11)
    for k in range(600):
        n, m = (int(g.integers(1, 200 if k % 3 == 0 else 4)) for _ in range(2))
        scale = 10 ** g.uniform(-1, 1.5)
        nu = float(g.choice([1.0, 0.1, 1 / 3, 1.7, 0.001, 50.0]))
        r_data, r_noise = scale * g.normal(size=n), scale * g.normal(size=m)
        F = float(scale * g.normal())
        if k % 3 == 0:
            r_data[:], r_noise[:] = r_data[0], r_noise[0]
        assert formulas_off((r_data, r_noise), F, nu) <= LIMIT, (n, m, nu)


# bar


def test_bracket_of_bar_holds_its_F():
    for seed in range(20):
        g = rng(seed)
        pair = [1e7 + g.normal(size=(30, size)) for size in (20, 3)]
        options = {"nu": (1e-10, 1.0, 30.0)[seed % 3], "step": 0.3, "max_updates": 100}
        z = logz.bar(*pair, F0=1e7 + 3 * g.normal(size=30), **options)
        assert np.all((z.bracket[0] <= z.F) & (z.F <= z.bracket[1]) & np.isfinite(z.F))


def test_bar_stays_finite_and_ends():
    assert np.isfinite(logz.bar(array(-99.5), array(1e300, 0.135), nu=1e-30).F)
    # Here the roundings of an update are larger than eps |F|.
    assert logz.bar(array(-7.2, -10.1, -9.7), array(-17.8, -0.8)).converged


# Invalid input


def test_overflowing_scores_raise_and_do_not_warn():
    """A warning would fail the test, as it does any."""
    zeros = array(0.0), array(0.0)
    with pytest.raises(ValueError, match="T_data theta holds 1 NaN or infinite"):
        expfam.loss(array([3.0]), array([0.0]), array(1e308), 0.0, *zeros)
    expfam.hessian(array([1e160]), array([0.0]), array(0.0), 0.0, *zeros)


def test_bar_in_float32_where_exp_overflows():
    """e^90 overflows in float32. The quick way must not be certified by float64."""
    pair = array(88.0, 90.0).astype("float32"), array(0.0).astype("float32")
    assert root_off("bar", pair, dtype="float32", step=0.5) <= PROMISE


@pytest.mark.parametrize("F", [-9.007199254740992e16, -3.742698017257462e19])
@pytest.mark.parametrize("nu", [1e-30, 0.3, 1e30])
def test_F_plus_log_nu_beyond_1e15(F, nu):
    """F + log nu - r is log nu, all of it in the TwoSum remainder."""
    pair = array(F), array(0.0)
    for name in ("loss", "grad_F", "hess_F"):
        exact = getattr(certified, name)(*pair, F, nu)
        assert units_off(getattr(nce, name)(*pair, F, nu=nu), exact) <= LIMIT


@pytest.mark.parametrize("solver", ["newton", "bar"])
def test_wide_xtol_is_kept(solver):
    """Neither a step of that length nor a bracket of twice its width ends a run."""
    g, solve = rng(1), getattr(logz, solver)
    for nu, xtol in ((1e-3, 5.0), (1e3, 5.0), (10.0, 9.0), (1.0, 0.3)):
        pair, F0 = 20 * g.normal(size=(2, 300, 2)), 20 * g.normal(size=300)
        z = solve(*pair, nu=nu, F0=F0, xtol=xtol)
        assert np.all(~z.converged | (abs(z.F - logz.bisect(*pair, nu=nu).F) <= xtol))


def test_standard_error_where_squares_underflow():
    pair = array(*[383.0, 383.0, 469.0] * 6), array(*[-361.0, -545.0, -679.0] * 6)
    exact = certified.root(*pair).standard_error
    assert units_off(logz.newton(*pair).standard_error, exact) <= 64


@pytest.mark.parametrize("solver", ["newton", "bar"])
@pytest.mark.parametrize("infinite", [INF, -INF])
def test_an_infinite_sample_keeps_the_fast_path(monkeypatch, solver, infinite):
    """A12: the exact sums take ten times as long."""
    monkeypatch.setattr(nce, "exact_sums", None)
    for side in range(2):
        g = rng(3)
        pair = 1 + g.normal(size=(4, 300)), -1 + g.normal(size=(4, 300))
        pair[side][0, 5] = infinite
        assert np.all(getattr(logz, solver)(*pair).converged)


# Counts


def test_counts_beyond_the_integers_of_float32():
    """A13: 2^24 + 1 samples below F, and 3 above it, cancel."""
    r_data = np.full(2**24 + 1, -60.0, dtype=np.float32)
    assert abs(nce.grad_F(r_data, np.full(3, 60.0, dtype=np.float32), 0.0)) <= 1e-25


@pytest.mark.parametrize("nu", [1.0, 0.3, 1e-30, 1e30])
def test_counts_whose_products_are_no_float64(nu):
    """A13: n m is beyond 2^53; the difference of the products has its sign."""
    g, exact_nu = rng(7), Fraction(nu)
    for _ in range(200):
        n, m = (int(x) for x in g.integers(9 * 10**7, 2**32, size=2))
        k_noise = int(g.integers(m))
        k_data = min(n, round(exact_nu * n * (m - k_noise) / m))
        exact = m * k_data - exact_nu * n * (m - k_noise)
        counts = np.float64(k_data), np.float64(k_noise)
        found = nce.count_difference(*counts, (n, m), nu)
        assert abs(Fraction(float(found)) - exact) <= abs(exact) * Fraction(2, 2**52)


# Brackets


@pytest.mark.parametrize("nu", [1.0, 0.1, 1e10])
def test_root_is_inside_the_reported_bracket(nu):
    """A8: to the last bit, the widening by the rounding of the sign included."""
    g, pairs = rng(5), [(array(0.0), array(0.0, 1.0))]
    for scale in (0.01, 0.3, 3.0, 30.0, 1000.0):
        for n, m in ((1, 1), (5, 3), (2, 30)):
            pairs.append((scale * g.normal(size=n), scale * g.normal(size=m)))
    for pair in pairs:
        root = certified.root(*pair, nu).F.value
        for solver in SOLVERS:
            lo, hi = map(float, getattr(logz, solver)(*pair, nu=nu).bracket)
            assert lo <= root <= hi, (solver, pair)


# Faults that others' numbers found


@pytest.mark.parametrize(
    "r_data, r_noise, nu, F0",
    [
        ([2.9060582384346367] * 14, [2.9060580330655075] * 31, 3.2e-30, 2.9060582384),
        ([-8999999999999994.0], [8999999999999986.0, 4500000000000033.5], 1e-30, None),
        ([0.0], [0.0, 1.0], 1.0, None),
        ([1.0, 2e17], [0.0, -2.9e17], 1.0, None),
        ([1e238, 1e238], [1.0, -1e238], 1.0, 7.0),
    ],
)
def test_newton_ends_soon_at_a_root_in_its_bracket(r_data, r_noise, nu, F0):
    pair = array(*r_data), array(*r_noise)
    z = logz.newton(*pair, nu=nu, F0=F0)
    assert z.converged and z.evaluations <= 120
    for solver in SOLVERS[:2]:
        assert root_off(solver, pair, nu) <= PROMISE
        lo, hi = getattr(logz, solver)(*pair, nu=nu).bracket
        assert lo <= certified.root(*pair, nu).F.value <= hi


@solvers
@pytest.mark.parametrize("scale", [1e24, 1e238, 1e300])
def test_errors_at_any_scale(solver, scale):
    """One sample of each decides, at 0: overlap and error are those at scale 1e3."""
    exact = certified.root(array(0.0, 1e3), array(-1e3, 0.0))
    z = getattr(logz, solver)(array(0.0, scale), array(-scale, 0.0))
    assert z.converged and abs(z.overlap - float(exact.overlap.value)) <= 1e-15
    assert abs(z.standard_error - float(exact.standard_error.value)) <= 1e-15


@solvers
def test_one_sample_has_no_standard_error_in_float32(solver):
    pair = array(1.0).astype("f"), rng(1).normal(size=576).astype("f")
    z = getattr(logz, solver)(*pair)
    assert np.isnan(z.standard_error) and not z.trusted


def test_sums_that_overflow_where_their_mean_does_not():
    assert nce.loss(array(-1e308, -1e308), array(0.0, 0.0), 0.0) == 5e307
    pair = np.full(4, -3e38, dtype="f"), np.zeros(4, dtype="f")
    assert nce.loss(*pair, 0.0) == np.float32(0.5) * np.float32(3e38)


@pytest.mark.parametrize("F", [1e18, -1e300])
def test_bar_update_is_never_a_plausible_number_beyond_its_range(F):
    exact = certified.bar_update(array(1.0, 2.0), array(0.0, -1.0), np.sign(F) * 1e3)
    got = logz.bar_update(array(1.0, 2.0), array(0.0, -1.0), F)
    assert np.isnan(got) or units_off(got, exact) <= PROMISE


def test_curvature_of_ties_at_a_nu_other_than_1():
    """Of 99 and of 483 equal numbers: 4 units, and one more for nu (hess_F)."""
    pair = np.full(99, -0.0005595839591352121), np.full(483, 0.2048125230848525)
    F, nu = 0.0019673677819856566, 7.0
    exact = certified.hess_F(*pair, F, nu)
    assert units_off(nce.hess_F(*pair, F, nu=nu), exact) <= PROMISE + 1


@pytest.mark.parametrize("nu", [1.0, 1e-6, 2.6e28])
def test_float32_standard_errors(nu):
    g = rng(5)
    for _ in range(20):
        pair = [(c + g.normal(size=n)).astype("f") for c, n in ((1, 30), (0, 25))]
        exact = certified.root(*(r.astype(float) for r in pair), nu).standard_error
        got = logz.newton(*pair, nu=nu).standard_error
        assert units_off(got, exact, "float32") <= 1


def test_float32_curvature_at_a_large_F():
    g = rng(5)
    pair = [(1e9 + 200 * g.normal(size=n)).astype("f") for n in (30, 25)]
    exact = certified.hess_F(*(r.astype(float) for r in pair), 1e9, 1e-6)
    got = nce.hess_F(*pair, np.float32(1e9), nu=1e-6)
    assert units_off(got, exact, "float32") <= 1


@pytest.mark.parametrize("kind", ["two scales", "nearly equal"])
def test_float32_is_right_to_half_a_unit(kind):
    """D10: each formula, and grad_r in every sample."""
    g = rng(8)
    for _ in range(20):
        pair = [10.0 ** g.choice([-5, 5], n) * g.normal(size=n) for n in (20, 31)]
        if kind == "nearly equal":
            x = np.float32(10.0 ** g.uniform(-3, 3))
            pair = [x + np.spacing(x) * g.integers(-3, 4, n) for n in (20, 31)]
        pair = [r.astype("f") for r in pair]
        F, nu = g.choice(pair[0]), float(10.0 ** g.uniform(-3, 3))
        given = *(r.astype(float) for r in pair), float(F), nu
        for name in ("loss", "grad_F", "hess_F"):
            exact = getattr(certified, name)(*given)
            got = getattr(nce, name)(*pair, F, nu=nu)
            assert units_off(got, exact, "float32") <= 0.51, name
        got = np.concatenate(nce.grad_r(*pair, F, nu=nu)).tolist()
        for x, exact in zip(got, sum(certified.grad_r(*given), []), strict=True):
            assert units_off(x, exact, "float32") <= 0.51


@solvers
def test_samples_without_variance_have_no_standard_error(solver):
    """D9: it is 0, and no residue of rounding."""
    g = rng(6)
    for _ in range(50):
        pair = [np.full(g.integers(2, 200), 0.5 * g.normal()) for _ in range(2)]
        assert getattr(logz, solver)(*pair).standard_error == 0


def test_bar_ends_at_the_last_unit():
    """On ordinary samples, at the default xtol = 0."""
    for seed in range(100):
        g = rng(seed)
        pair = 1 + g.normal(size=20), -1 + g.normal(size=20)
        assert logz.bar(*pair).converged
