"""The exponential loss of Liu et al. (2021): exact values, the best F, limits, Gaussian means."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import certified
from tests.ulps import error_in_units, ulp

LIU = "Liu et al. 2021"
FORMULA = "eNCE loss L = 1/2 E_p*[e^{-(r-F)/2}] + 1/2 E_q[e^{(r-F)/2}] and its derivatives in F and r"
BEST_F = "the F that minimises eNCE is log E_q[e^{r/2}] - log E_p*[e^{-r/2}]"
CONVEX = "eNCE is convex in F for any log-ratios, as NCE is"
QUADRATIC = "on Gaussian means the log of the profiled eNCE loss is quadratic: one step of rate 4 lands on theta*"
LIMITS = "infinite log-ratios take the limit of the eNCE formulas"

# A mean S e^p is computed as (S e^{p/2}) e^{p/2}: an exponential good to 2 ulps twice, S good to 3, one
# rounding more.
ULPS = 8.0

# Where data and noise log-ratios lie: overlap, chasm, plateau, and where exponentials overflow or vanish.
PLACES = [
    *[(0, 0), (5, -5), (-5, 5), (100, -100), (-500, 500), (500, -500)],
    *[(1300, 900), (-1300, 1300), (1600, 1600), (-1600, 1700)],
]


def units(got, exact, unit):
    """``error_in_units``, but a subnormal value, which has no relative precision, may be flushed to 0."""
    if abs(exact) < mpmath.ldexp(1, -1022):
        return 0.0 if abs(got) <= 2.0**-1021 else math.inf
    return error_in_units(got, exact, unit)


def draws(seed, place):
    rng = np.random.Generator(np.random.PCG64(seed))
    for _ in range(40):
        width = rng.choice([0.0, 0.1, 1.0, 20.0])
        r_data = place[0] + width * rng.normal(size=rng.integers(1, 40))
        r_noise = place[1] + width * rng.normal(size=rng.integers(1, 40))
        yield r_data, r_noise, float(
            rng.choice([0.0, *place, sum(place) / 2]) + rng.normal()
        )


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.loss")
@pytest.mark.parametrize("place", PLACES)
def test_the_loss_is_exact(impl, evidence, place):
    seen = []
    for r_data, r_noise, F in draws(1, place):
        exact = certified.ence_loss(r_data, r_noise, F)
        seen.append(
            units(float(impl.ence.loss(r_data, r_noise, F)), exact.value, exact.unit())
        )
    evidence(f"loss, log-ratios about {place}: worst {max(seen):.2f} ulps")
    assert max(seen) <= ULPS * impl.eps / 2.0**-52


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.grad_F")
@pytest.mark.parametrize("place", PLACES)
def test_the_derivative_in_F_is_exact(impl, evidence, place):
    seen = []
    for r_data, r_noise, F in draws(1, place):
        exact = certified.ence_grad_F(
            r_data, r_noise, F
        )  # its unit is that of its terms, which cancel at the best F
        got = float(impl.ence.grad_F(r_data, r_noise, F))
        if (
            exact.scale > 2.0**1023
        ):  # the terms overflow: their difference is the right infinity
            seen.append(
                0.0 if got == math.copysign(math.inf, exact.value) else math.inf
            )
        else:
            seen.append(units(got, exact.value, exact.unit()))
    evidence(
        f"grad_F, log-ratios about {place}: worst {max(seen):.2f} ulps of its terms"
    )
    assert max(seen) <= ULPS * impl.eps / 2.0**-52


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.grad_r")
@pytest.mark.parametrize("place", PLACES)
def test_the_derivatives_in_r_are_exact(impl, evidence, place):
    seen = []
    for r_data, r_noise, F in draws(1, place):
        for gradient, r, sign in zip(
            impl.ence.grad_r(r_data, r_noise, F),
            (r_data, r_noise),
            (-1, 1),
            strict=True,
        ):
            for g, x in zip(gradient.tolist(), r.tolist(), strict=True):
                with mpmath.workprec(200):
                    term = (
                        sign * mpmath.exp(sign * (mpmath.mpf(x) - F) / 2) / (4 * len(r))
                    )
                seen.append(units(g, term, ulp(term)))
    evidence(f"grad_r, log-ratios about {place}: worst {max(seen):.2f} ulps")
    assert max(seen) <= ULPS * impl.eps / 2.0**-52


@pytest.mark.claim(LIU, BEST_F, kind="theorem", where="ence.log_z")
@pytest.mark.parametrize("place", PLACES)
def test_best_F_is_exact(impl, evidence, place):
    worst = []
    for r_data, r_noise, _ in draws(2, place):
        exact = certified.ence_log_z(r_data, r_noise)
        worst.append(
            error_in_units(
                float(impl.ence.log_z(r_data, r_noise)), exact.value, exact.unit()
            )
        )
    evidence(f"log-ratios about {place}: worst {max(worst):.2f} of ulp(F) + eps")
    assert max(worst) <= 4.0 * impl.eps / 2.0**-52


log_ratios = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-60.0, 60.0))


@pytest.mark.claim(LIU, BEST_F, kind="theorem", where="ence.log_z")
def test_best_F_is_stationary_and_the_minimum(impl):
    @given(log_ratios, log_ratios, st.floats(-30.0, 30.0))
    def check(r_data, r_noise, away):
        F = float(impl.ence.log_z(r_data, r_noise))
        least = float(impl.ence.loss(r_data, r_noise, F))
        # F is rounded by |F| eps, where the slope is L/4 per unit of F; the means cancel to a few eps.
        assert (
            abs(float(impl.ence.grad_F(r_data, r_noise, F)))
            <= (ULPS + 4.0 * abs(F)) * impl.eps * least
        )
        # L(F* + t) = L(F*) cosh(t/2) exactly.
        other = float(impl.ence.loss(r_data, r_noise, F + away))
        t = (F + away) - F
        expected = least * math.cosh(t / 2)
        assert abs(other - expected) <= (2 * ULPS + 4.0 * abs(F)) * impl.eps * expected

    check()


@pytest.mark.claim(LIU, BEST_F, kind="theorem", where="ence.log_z")
def test_swapping_the_samples_negates_F_and_a_shift_adds_to_it(impl):
    @given(log_ratios, log_ratios, st.integers(-64, 64))
    def check(r_data, r_noise, shift):
        F = float(impl.ence.log_z(r_data, r_noise))
        size = max(1.0, np.abs(r_data).max(), np.abs(r_noise).max(), abs(shift))
        tolerance = 16 * impl.eps * size  # r + shift and both exponents round
        assert abs(float(impl.ence.log_z(-r_noise, -r_data)) + F) <= tolerance
        assert (
            abs(float(impl.ence.log_z(r_data + shift, r_noise + shift)) - (F + shift))
            <= tolerance
        )

    check()


@pytest.mark.claim(LIU, CONVEX, kind="theorem", where="ence.grad_F")
def test_the_derivative_in_F_increases(impl):
    @given(log_ratios, log_ratios, st.floats(-60.0, 60.0), st.floats(0.0, 60.0))
    def check(r_data, r_noise, F, ahead):
        lower, upper = (
            float(impl.ence.grad_F(r_data, r_noise, G)) for G in (F, F + ahead)
        )
        size = max(float(impl.ence.loss(r_data, r_noise, G)) for G in (F, F + ahead))
        assert (
            upper >= lower - ULPS * impl.eps * size
        )  # rounding of the larger of the two means

    check()


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.grad_r")
def test_derivatives_along_random_directions(impl, evidence):
    rng = np.random.Generator(np.random.PCG64(3))
    worst = []
    for _ in range(50):
        r_data, r_noise = 3 * rng.normal(size=17), 3 * rng.normal(size=11)
        u, v, w, F = (
            rng.normal(size=17),
            rng.normal(size=11),
            rng.normal(),
            rng.normal(),
        )
        # Every exponent is linear along the direction, so d3L/dt3 <= L |rate/2|^3 to a percent within h; the
        # step balances that truncation h^2/6 d3L against the rounding eps L/h of the difference.
        rate = max(np.abs(u - w).max(), np.abs(v - w).max())
        h = impl.eps ** (1 / 3) / rate
        up, down = (
            float(impl.ence.loss(r_data + t * u, r_noise + t * v, F + t * w))
            for t in (h, -h)
        )
        g_data, g_noise = impl.ence.grad_r(r_data, r_noise, F)
        slope = (
            g_data @ u + g_noise @ v + float(impl.ence.grad_F(r_data, r_noise, F)) * w
        )
        # Arguments round by eps |r|/2 (|r| under 16 here), values by a few ulps.
        allowed = (
            h**2 / 6 * up * (rate / 2) ** 3 * 1.01
            + (ULPS + 16) * impl.eps * max(up, down) / h
        )
        worst.append(abs((up - down) / (2 * h) - slope) / allowed)
    evidence(f"worst difference {np.max(worst):.2f} of truncation plus rounding")
    assert np.max(worst) <= 1.0


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.loss")
def test_runs_are_batched_along_leading_axes(impl):
    rng = np.random.Generator(np.random.PCG64(4))
    r_data, r_noise, F = (
        rng.normal(size=(3, 1, 20)),
        rng.normal(size=(4, 9)),
        rng.normal(size=(3, 4)),
    )
    loss, grad_F = impl.ence.loss(r_data, r_noise, F), impl.ence.grad_F(
        r_data, r_noise, F
    )
    log_z = impl.ence.log_z(r_data, r_noise)
    g_data, g_noise = impl.ence.grad_r(r_data, r_noise, F)
    assert loss.shape == grad_F.shape == log_z.shape == (3, 4)
    assert g_data.shape == (3, 4, 20) and g_noise.shape == (3, 4, 9)
    for i, j in np.ndindex(3, 4):
        one = r_data[i, 0], r_noise[j], float(F[i, j])
        pairs = [
            (loss[i, j], impl.ence.loss(*one)),
            (grad_F[i, j], impl.ence.grad_F(*one)),
            (log_z[i, j], impl.ence.log_z(*one[:2])),
            (g_data[i, j], impl.ence.grad_r(*one)[0]),
            (g_noise[i, j], impl.ence.grad_r(*one)[1]),
        ]
        for (
            batched,
            alone,
        ) in pairs:  # sums may associate differently, in at most 5 levels
            np.testing.assert_allclose(
                batched, alone, rtol=8 * impl.eps, atol=8 * impl.eps
            )


INF = math.inf


@pytest.mark.claim(LIU, LIMITS, kind="theorem", where="ence.loss")
def test_infinite_log_ratios(impl):
    def values(r_data, r_noise):
        r_data, r_noise = np.asarray(r_data), np.asarray(r_noise)
        return float(impl.ence.loss(r_data, r_noise, 0.0)), float(
            impl.ence.grad_F(r_data, r_noise, 0.0)
        )

    # A vanishing exponential adds 0 and counts; an infinite one is the whole loss.
    assert values([INF, 0.0], [-INF, 0.0]) == (0.5, 0.0)
    assert values([INF, 0.0], [0.0]) == (0.75, -0.125)
    assert values([-INF, 0.0], [0.0]) == (INF, INF)
    assert values([0.0], [0.0, INF]) == (INF, -INF)
    assert values([INF], [-INF]) == (0.0, 0.0)
    # ... also where the finite samples of the other side are larger beyond all comparison.
    assert values([-INF, 0.0], [4000.0]) == (INF, INF)
    assert values([-4000.0], [INF, 0.0]) == (INF, -INF)
    loss, slope = values([-INF], [INF])
    assert loss == INF and math.isnan(slope)

    g_data, g_noise = impl.ence.grad_r(
        np.asarray([INF, -INF, 0.0, 0.0]), np.asarray([INF, -INF]), 0.0
    )
    assert g_data.tolist() == [0.0, -INF, -1 / 16, -1 / 16] and g_noise.tolist() == [
        INF,
        0.0,
    ]


@pytest.mark.claim(LIU, LIMITS, kind="theorem", where="ence.log_z")
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
def test_best_F_with_infinite_log_ratios(impl, r_data, r_noise, F):
    got = float(impl.ence.log_z(np.asarray(r_data), np.asarray(r_noise)))
    if math.isfinite(F):
        assert abs(got - F) <= 2 * impl.eps
    else:
        assert got == F or (math.isnan(got) and math.isnan(F))


@pytest.mark.claim(LIU, FORMULA, kind="theorem", where="ence.grad_F")
def test_the_sign_of_the_slope_survives_overflow(impl):
    low, high = np.asarray([-2000.0]), np.asarray([2500.0])  # e^{1000} against e^{1250}
    assert float(impl.ence.grad_F(low, high, 0.0)) == -INF
    assert float(impl.ence.grad_F(low, high, 600.0)) == INF
    assert float(impl.ence.grad_F(low, high, 250.0)) == 0.0  # e^{1125} on both sides
    assert float(impl.ence.log_z(low, high)) == 250.0
    assert float(impl.ence.grad_F(2 * low, 2 * high, 500.0)) == 0.0  # e^{2250}


# Gauss-Hermite takes E[e^{az}], z ~ N(0, 1), with a relative error under P(Poisson(a^2/2) >= nodes), being
# exact on z^{2j} for j < nodes and between 0 and the truth beyond: 1e-35 for |a| = theta/2 <= 10 and 160
# nodes.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(160)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@pytest.mark.claim(LIU, QUADRATIC, kind="theorem", where="ence.loss")
@pytest.mark.parametrize("distance", [0.5, 1.0, 4.0, 16.0])
def test_the_profiled_loss_is_quadratic_in_theta_for_gaussian_means(
    impl, evidence, distance
):
    """Data N(distance, 1), noise N(0, 1), r = theta x: log min_F L = theta^2/8 - theta distance/4.

    Its slope is (theta - distance)/4, so theta less 4 slopes is theta* = distance.
    """
    off = []
    for theta in (-1.0, 0.0, 0.7, distance / 2, distance, 1.25 * distance):
        x, y = NODES + distance, NODES
        # One run per node (n = m = 1): L is linear in both laws, so the weighted runs are the population.
        F = theta * distance / 2  # theta^2/8 - (theta^2/8 - theta distance/2)
        runs = theta * x[:, None], theta * y[:, None], np.full(NODES.shape, F)
        loss = WEIGHTS @ impl.ence.loss(*runs)
        g_data, g_noise = impl.ence.grad_r(*runs)
        slope = (WEIGHTS @ (g_data[:, 0] * x) + WEIGHTS @ (g_noise[:, 0] * y)) / loss
        # Nodes and log-ratios round; the mass is where |z| is about |theta|/2, |r| about |theta| (|theta|/2 +
        # distance).
        allowed = impl.eps * (16.0 + 2.0 * abs(theta) * (abs(theta) / 2 + distance))
        off.append(
            abs(math.log(loss) - (theta**2 / 8 - theta * distance / 4)) / allowed
        )
        off.append(abs(WEIGHTS @ impl.ence.grad_F(*runs)) / loss / allowed)
        # The terms of the slope are x e^{..}/4, |x| about |theta|/2 + distance.
        off.append(
            abs(theta - 4 * slope - distance)
            / (allowed * max(1.0, abs(theta) / 2 + distance))
        )
    evidence(
        f"distance {distance}: worst deviation {np.max(off):.2f} of the rounding of r"
    )
    assert np.max(off) <= 1.0


@pytest.mark.claim(LIU, QUADRATIC, kind="theorem", where="ence.log_z")
@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_one_step_of_rate_four_lands_on_samples_too(impl, evidence, distance):
    """From theta = 0 to mean(data) - mean(noise): at most 5 standard errors from theta* (chance 6e-7)."""
    rng = np.random.Generator(np.random.PCG64(5))
    n = 4096
    x, y = distance + rng.normal(size=n), rng.normal(size=n)
    zero = np.zeros(n)
    F = float(impl.ence.log_z(zero, zero))
    g_data, g_noise = impl.ence.grad_r(zero, zero, F)
    theta = -4 * (g_data @ x + g_noise @ y) / float(impl.ence.loss(zero, zero, F))
    error = math.sqrt(2 / n)
    evidence(
        f"distance {distance}: lands {theta - distance:+.3f} from theta*, standard error {error:.3f}"
    )
    assert abs(theta - (x.mean() - y.mean())) <= 64 * impl.eps * max(1.0, distance)
    assert abs(theta - distance) <= 5 * error


BAD = [
    (np.zeros(0), np.zeros(3), 0.0, ValueError, "r_data"),
    (np.zeros(3), np.zeros((2, 0)), 0.0, ValueError, "r_noise"),
    (np.array([0.0, np.nan]), np.zeros(3), 0.0, ValueError, "r_data holds 1 NaN"),
    (
        np.zeros(3),
        np.array([[0.0, np.nan], [np.nan, np.nan]]),
        0.0,
        ValueError,
        "r_noise holds 3 NaN",
    ),
    (np.zeros(3), np.zeros(3, dtype=np.int64), 0.0, TypeError, "r_noise"),
    (np.zeros(3, dtype=np.int64), np.zeros(3), 0.0, TypeError, "r_data"),
    (np.zeros(3), np.zeros(3, dtype=np.float32), 0.0, TypeError, "r_data and r_noise"),
    (
        np.zeros((2, 3)),
        np.zeros(3),
        np.zeros(3),
        ValueError,
        r"leading shapes .*F \(3, 1\)",
    ),
    (np.zeros(3), np.zeros(3), np.nan, ValueError, "F"),
    (np.zeros(3), np.zeros(3), "0", TypeError, "F"),
    (np.zeros((2, 3)), np.zeros((3, 3)), 0.0, ValueError, "leading shapes"),
]


@pytest.mark.parametrize(("r_data", "r_noise", "F", "error", "names"), BAD)
def test_bad_input_is_named(r_data, r_noise, F, error, names):
    from refnce import ence

    for function in (ence.loss, ence.grad_F, ence.grad_r):
        with pytest.raises(error, match=names):
            function(r_data, r_noise, F)
    if "F" not in names:
        with pytest.raises(error, match=names):
            ence.log_z(r_data, r_noise)
