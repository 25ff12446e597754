"""The exponential loss of Liu et al. (2021): values, best F, limits, Gaussians."""

import math
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from tests import certified
from tests.populations import GRID, WEIGHTS
from tests.regimes import rng
from tests.ulps import units_off

theorem = partial(pytest.mark.claim, "Liu et al. 2021", kind="theorem")
FORMULA = (
    "eNCE loss L = 1/2 E_p*[e^{-(r-F)/2}] + 1/2 E_q[e^{(r-F)/2}] "
    "and its derivatives in F and r"
)
BEST_F = "the F that minimises eNCE is log E_q[e^{r/2}] - log E_p*[e^{-r/2}]"
QUADRATIC = (
    "on Gaussian means the log of the profiled eNCE loss is quadratic: "
    "one step of rate 4 lands on theta*"
)
LIMITS = "infinite log-ratios take the limit of the eNCE formulas"
INF = math.inf

# A mean S e^p is computed as (S e^{p/2}) e^{p/2}: an exponential is right to 2 ulps
# twice, S to 3, and there is one more rounding.
ULPS = 8.0

# Where data and noise log-ratios lie: overlap, chasm, plateau, and where exponentials
# overflow or vanish.
NEAR = [(0, 0), (5, -5), (-5, 5), (100, -100), (-500, 500), (500, -500)]
FAR = [(1300, 900), (-1300, 1300), (1600, 1600), (-1600, 1700)]
places = pytest.mark.parametrize("place", NEAR + FAR)
log_ratios = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-60.0, 60.0))


def draws(place):
    g = rng(1)
    for _ in range(40):
        width = g.choice([0.0, 0.1, 1.0, 20.0])
        pair = [c + width * g.normal(size=g.integers(1, 40)) for c in place]
        yield *pair, float(g.choice([0.0, *place, sum(place) / 2]) + g.normal())


def error(got, exact):
    """In units; a subnormal value may be flushed to 0, an overflowing one infinite."""
    if exact.scale > 2.0**1023 and abs(exact.value) < exact.scale:  # terms overflow
        return 0.0 if got == math.copysign(INF, exact.value) else INF
    if abs(exact.value) < mpmath.ldexp(1, -1022):
        return 0.0 if abs(got) <= 2.0**-1021 else INF
    return units_off(got, exact)


@theorem(FORMULA, where="ence.loss")
@theorem(FORMULA, where="ence.grad_F")
@theorem(FORMULA, where="ence.grad_r")
@places
def test_loss_and_derivatives_are_exact(impl, evidence, place):
    worst = 0.0
    for r_data, r_noise, F in draws(place):
        run = r_data, r_noise, F
        got = [impl.ence.loss(*run), impl.ence.grad_F(*run)]
        exact = [certified.ence_loss(*run), certified.ence_grad_F(*run)]
        got += np.concatenate(impl.ence.grad_r(*run)).tolist()
        exact += sum(certified.ence_grad_r(*run), [])
        pairs = zip(map(float, got), exact, strict=True)
        worst = max(worst, *(error(x, e) for x, e in pairs))
    evidence(f"formulas, log-ratios about {place}: worst {worst:.2f} ulps")
    assert worst <= ULPS * impl.eps / 2.0**-52


def test_roundings_of_a_mean_do_not_accumulate(impl):
    """On some hundred ordinary samples: 4 units, where a running sum loses 5."""
    g = rng(4)
    for _ in range(60):
        pair = [g.normal(size=g.integers(100, 400)) for _ in range(2)]
        run = *pair, float(g.normal())
        for name in ("loss", "grad_F"):
            exact = getattr(certified, f"ence_{name}")(*run)
            got = float(getattr(impl.ence, name)(*run))
            assert units_off(got, exact) <= 4.0 * impl.eps / 2.0**-52


@theorem(BEST_F, where="ence.log_z")
@places
def test_best_F_is_exact(impl, evidence, place):
    pairs = [draw[:2] for draw in draws(place)]
    got = [float(impl.ence.log_z(*pair)) for pair in pairs]
    exact = [certified.ence_log_z(*pair) for pair in pairs]
    worst = max(units_off(x, e) for x, e in zip(got, exact, strict=True))
    evidence(f"best F, log-ratios about {place}: worst {worst:.2f} units")
    assert worst <= 4.0 * impl.eps / 2.0**-52


@theorem(BEST_F, where="ence.log_z")
@given(log_ratios, log_ratios, st.floats(-30.0, 30.0))
def test_best_F_is_stationary_and_the_minimum(impl, r_data, r_noise, away):
    pair = r_data, r_noise
    F = float(impl.ence.log_z(*pair))
    slope, least = (float(f(*pair, F)) for f in (impl.ence.grad_F, impl.ence.loss))
    # F is rounded by |F| eps, the slope is L/4 per unit of F, and the means cancel.
    slack = (ULPS + 4.0 * abs(F)) * impl.eps
    assert abs(slope) <= slack * least
    t = (F + away) - F
    expected = least * math.cosh(t / 2)  # L(F* + t) = L(F*) cosh(t/2) exactly
    slack += ULPS * impl.eps
    assert abs(float(impl.ence.loss(*pair, F + away)) - expected) <= slack * expected


@theorem("eNCE is convex in F for any log-ratios, as NCE is", where="ence.grad_F")
@given(log_ratios, log_ratios, st.floats(-60.0, 60.0), st.floats(0.0, 60.0))
def test_derivative_in_F_increases(impl, r_data, r_noise, F, ahead):
    Fs = F, F + ahead
    lower, upper = (float(impl.ence.grad_F(r_data, r_noise, x)) for x in Fs)
    size = max(float(impl.ence.loss(r_data, r_noise, x)) for x in Fs)
    assert upper >= lower - ULPS * impl.eps * size


# Infinite log-ratios, and overflow


@theorem(LIMITS, where="ence.loss")
@pytest.mark.parametrize(
    ("r_data", "r_noise", "loss", "slope"),
    [
        # A vanishing exponential adds 0 and counts; an infinite one is the whole loss.
        ([INF, 0.0], [-INF, 0.0], 0.5, 0.0),
        ([INF, 0.0], [0.0], 0.75, -0.125),
        ([-INF, 0.0], [0.0], INF, INF),
        ([0.0], [0.0, INF], INF, -INF),
        ([INF], [-INF], 0.0, 0.0),
        # It is so also where finite samples of the other side are far larger.
        ([-INF, 0.0], [4000.0], INF, INF),
        ([-4000.0], [INF, 0.0], INF, -INF),
        ([-INF], [INF], INF, math.nan),
    ],
)
def test_infinite_log_ratios(impl, r_data, r_noise, loss, slope):
    run = np.asarray(r_data), np.asarray(r_noise), 0.0
    got = float(impl.ence.loss(*run)), float(impl.ence.grad_F(*run))
    np.testing.assert_equal(got, (loss, slope))


@theorem(LIMITS, where="ence.loss")
def test_infinite_log_ratios_in_grad_r(impl):
    pair = np.asarray([INF, -INF, 0.0, 0.0]), np.asarray([INF, -INF])
    data, noise = impl.ence.grad_r(*pair, 0.0)
    assert data.tolist() == [0.0, -INF, -1 / 16, -1 / 16] and noise.tolist() == [INF, 0]


@theorem(LIMITS, where="ence.log_z")
@pytest.mark.parametrize(
    ("r_data", "r_noise", "F"),
    [
        ([0.0, INF], [0.0, -INF], 0.0),
        ([0.0, INF], [0.0], math.log(2.0)),
        ([0.0], [0.0, -INF], -math.log(2.0)),
        ([-INF, 0.0], [0.0], -INF),
        ([0.0], [INF, 0.0], INF),
        ([INF], [0.0], INF),
        ([0.0], [-INF], -INF),
        ([-INF], [INF], math.nan),
        ([INF], [-INF], math.nan),
        ([INF], [INF], INF),
        ([-INF], [-INF], -INF),
    ],
)
def test_infinite_log_ratios_in_best_F(impl, r_data, r_noise, F):
    got = float(impl.ence.log_z(np.asarray(r_data), np.asarray(r_noise)))
    np.testing.assert_allclose(got, F, rtol=0, atol=2 * impl.eps)


@theorem(FORMULA, where="ence.grad_F")
def test_sign_of_the_slope_survives_overflow(impl):
    low, high = np.asarray([-2000.0]), np.asarray([2500.0])  # e^{1000} against e^{1250}
    for F, slope in ((0.0, -INF), (600.0, INF), (250.0, 0.0)):
        assert float(impl.ence.grad_F(low, high, F)) == slope
    assert float(impl.ence.log_z(low, high)) == 250.0
    assert float(impl.ence.grad_F(2 * low, 2 * high, 500.0)) == 0.0  # e^{2250} on both


@pytest.mark.parametrize("F", [1e17, 1e300, -1e17, -1e300])
def test_F_beyond_the_exponents(impl, F):
    """D11: all overflows, with the right sign, on the side where F is far too large."""
    run = np.asarray([5.0]), np.asarray([0.0]), F
    data, noise = impl.ence.grad_r(*run)
    assert float(impl.ence.loss(*run)) == INF
    assert float(impl.ence.grad_F(*run)) == math.copysign(INF, F)
    assert (data[0], noise[0]) == ((-INF, 0.0) if F > 0 else (0.0, INF))


# Gaussian means


@theorem(QUADRATIC, where="ence.loss")
@pytest.mark.parametrize("distance", [0.5, 1.0, 4.0, 16.0])
def test_profiled_loss_of_gaussians_is_quadratic(impl, evidence, distance):
    """Data N(distance, 1), noise N(0, 1), r = theta x: the log of the least loss is
    theta^2/8 - theta distance/4.

    Its slope is (theta - distance)/4, so that theta less 4 slopes is distance.
    """
    x, y, worst = GRID + distance, GRID, 0.0
    for theta in (-1.0, 0.0, 0.7, distance / 2, distance, 1.25 * distance):
        # Each node is a run with n = m = 1: L is linear in both laws.
        F = theta * distance / 2  # theta^2/8 - (theta^2/8 - theta distance/2)
        runs = theta * x[:, None], theta * y[:, None], np.full(GRID.shape, F)
        loss = WEIGHTS @ impl.ence.loss(*runs)
        data, noise = impl.ence.grad_r(*runs)
        slope = (WEIGHTS @ (data[:, 0] * x) + WEIGHTS @ (noise[:, 0] * y)) / loss
        # Nodes and log-ratios round. The mass is where |z| is about |theta|/2 and |r|
        # about |theta| reach; the terms of the slope are x e^{..}/4.
        reach = abs(theta) / 2 + distance
        rounding = impl.eps * (16.0 + 2.0 * abs(theta) * reach)
        expected = theta**2 / 8 - theta * distance / 4
        stationary = abs(WEIGHTS @ impl.ence.grad_F(*runs)) / loss
        off = abs(math.log(loss) - expected), stationary
        landed = abs(theta - 4 * slope - distance) / max(1.0, reach)
        worst = max(worst, *(x / rounding for x in (*off, landed)))
    evidence(f"distance {distance}: worst deviation {worst:.2f} of the rounding of r")
    assert worst <= 1.0


@theorem(QUADRATIC, where="ence.log_z")
@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_one_step_of_rate_four_lands_on_samples_too(impl, evidence, distance):
    """From theta = 0 to mean(data) - mean(noise), within 5 standard errors of theta*
    (which fails by chance with 6e-7)."""
    g, n = rng(5), 4096
    x, y, zero = distance + g.normal(size=n), g.normal(size=n), np.zeros(n)
    F = float(impl.ence.log_z(zero, zero))
    data, noise = impl.ence.grad_r(zero, zero, F)
    theta = -4 * (data @ x + noise @ y) / float(impl.ence.loss(zero, zero, F))
    error = math.sqrt(2 / n)
    evidence(f"distance {distance}: {theta - distance:+.3f} off, error {error:.3f}")
    assert abs(theta - (x.mean() - y.mean())) <= 64 * impl.eps * max(1.0, distance)
    assert abs(theta - distance) <= 5 * error
