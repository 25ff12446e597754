"""The theory of the objective: Definition 3.1, Lemma 3.2, Equations 1, 3, 4 and the symmetries, on any implementation.

Samples of integer multiplicities k_i on a few atoms are a population: their means are exact expectations, and with
log-ratios free on each atom the model is non-parametric. Tolerances count the working eps against the size of what is
rounded (log-ratios and the terms of a mean), generously: how many units are really lost is judged in test_accuracy.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import certified
from tests.regimes import HALF_LOG_2PI, rng
from tests.strategies import moderate, nus, pairs, samples, seeds

claim = pytest.mark.claim
partitions = st.floats(-10.0, 10.0)


def tolerance(impl, *sizes):
    """64 eps of the sum of the largest |x| in each of `sizes`, plus 64 eps."""
    return 64 * impl.eps * (1 + sum(float(np.max(np.abs(x))) for x in sizes))


def sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))


@st.composite
def populations(draw):
    """P* and Q on K atoms as multiplicities (so that the means over the repeated atoms are expectations)."""
    K = draw(st.integers(2, 5))
    counts = st.lists(st.integers(1, 6), min_size=K, max_size=K).map(np.asarray)
    return draw(counts), draw(counts)


def expand(log_ratio, counts_p, counts_q):
    """(r_data, r_noise) whose means are the expectations under P* and Q."""
    return np.repeat(log_ratio, counts_p), np.repeat(log_ratio, counts_q)


# Definition 3.1


@claim(
    "Definition 3.1",
    "the loss of log-ratios is the printed loss of densities, -1/2 E log p/(p + q) - 1/2 E log q/(p + q)",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(moderate()), partitions)
def test_loss_of_log_ratios_is_the_loss_of_densities(impl, pair, F):
    p_data, p_noise = (np.exp(r - F) for r in pair)  # densities against q = 1
    q = 1.0
    printed = -0.5 * np.mean(np.log(p_data / (p_data + q))) - 0.5 * np.mean(
        np.log(q / (p_noise + q))
    )  # Eq. (1)
    # p + q near q loses eps of 1, not of the loss
    assert abs(impl.nce.loss(*pair, F) - printed) <= tolerance(impl, *pair, F)


@claim(
    "Definition 3.1",
    "with noise weight nu: mean softplus(F + log nu - r_data) + nu mean softplus(r_noise - F - log nu), over 1 + nu",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(), st.floats(-300.0, 300.0), nus)
def test_loss_is_the_softplus_form(impl, pair, F, nu):
    u = F + math.log(nu)
    data, noise = np.mean(np.logaddexp(0.0, u - pair[0])), np.mean(
        np.logaddexp(0.0, pair[1] - u)
    )
    expected = (data + nu * noise) / (1 + nu)
    assert abs(impl.nce.loss(*pair, F, nu=nu) - expected) <= tolerance(
        impl, *pair, F, expected
    )


@claim(
    "Definition 3.1",
    "the loss can be computed where the model is not normalised: it is the certified value for any r, F and nu",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(samples(20)), st.floats(-300.0, 300.0), nus)
def test_loss_is_its_certified_value(impl, pair, F, nu):
    exact = float(certified.loss(*pair, F, nu).value)
    assert abs(impl.nce.loss(*pair, F, nu=nu) - exact) <= tolerance(
        impl, *pair, F, exact
    )


CONSISTENT = "consistent: with a non-parametric model the loss has its unique minimum at p = p*, F = log Z (Q > 0 where P* is)"


@claim("Section 3.1", CONSISTENT, kind="theorem", where="nce.loss")
@given(populations(), st.floats(-5.0, 5.0), st.data(), nus)
def test_unique_global_minimum_at_the_truth(impl, counts, F, data, nu):
    P, Q = (k / k.sum() for k in counts)
    truth = np.log(P / Q) + F  # log p~/q at theta~*, for any choice of F
    least = impl.nce.loss(*expand(truth, *counts), F, nu=nu)
    offset = np.asarray(
        data.draw(st.lists(st.floats(-6.0, 6.0), min_size=P.size, max_size=P.size))
    )
    elsewhere = impl.nce.loss(*expand(truth + offset, *counts), F, nu=nu)
    # In r each atom adds a convex term of second derivative c s(1 - s), c = (P + nu Q)/(1 + nu), whose minimum is at offset 0;
    # over |offset| <= 6 s(1 - s) is at least e^-6 times its value there, P nu Q/(P + nu Q)^2.
    curvature = np.exp(-6.0) * nu * P * Q / ((1 + nu) * (P + nu * Q))
    gain = float(np.sum(0.5 * curvature * offset**2))
    assert elsewhere >= least + gain - tolerance(impl, truth, F, elsewhere)


@claim("Section 3.1", CONSISTENT, kind="theorem", where="nce.grad_r")
@given(populations(), st.floats(-5.0, 5.0), nus)
def test_gradient_vanishes_at_the_truth(impl, counts, F, nu):
    P, Q = (k / k.sum() for k in counts)
    pair = expand(np.log(P / Q) + F, *counts)
    assert abs(impl.nce.grad_F(*pair, F, nu=nu)) <= tolerance(impl, *pair, F)
    weights = impl.nce.grad_r(*pair, F, nu=nu)
    for k in range(P.size):
        per_atom = sum(
            np.sum(w[np.repeat(np.arange(P.size), c) == k])
            for w, c in zip(weights, counts, strict=True)
        )
        assert abs(per_atom) <= tolerance(impl, *pair, F)


@claim(
    "Section 3.1",
    "without Q > 0 where P* is there is no minimiser: the loss still falls as the model grows on the missing atom",
    kind="theorem",
    where="nce.loss",
)
@given(st.floats(-3.0, 3.0), nus)
def test_support_of_the_noise_is_needed(impl, F, nu):
    # P* = (1/2, 1/2), Q = (1, 0): on the second atom only data; its log-ratio r grows
    losses = [
        float(impl.nce.loss(np.asarray([0.0, r]), np.asarray([0.0]), F, nu=nu))
        for r in (0.0, 5.0, 10.0, 15.0)
    ]
    assert all(b < a for a, b in zip(losses, losses[1:], strict=False))


def trapezoid(distance):
    """Nodes and weights for the integrals of N(0, 1) and N(distance, 1): spectrally accurate on analytic integrands."""
    x = np.linspace(-12.0, 12.0 + distance, 400 + 20 * int(distance))
    step = x[1] - x[0]
    return (
        x,
        step * np.exp(-0.5 * (x - distance) ** 2 - HALF_LOG_2PI),
        step * np.exp(-0.5 * x**2 - HALF_LOG_2PI),
    )


def population(function, r, p, q, F, nu):
    """Integrate a loss or its F-derivative: each node a run of one sample; the other sample, at its infinity, adds 0."""
    node, none = r[:, None], np.full((r.size, 1), np.inf)
    F = np.full(r.shape, F)
    return p @ function(node, -none, F, nu=nu) + q @ function(none, node, F, nu=nu)


@claim(
    "Section 3.1",
    "F* = log of the integral of exp E at theta~*: Gaussians by quadrature, gradient 0 and minimum there",
    kind="theorem",
    where="nce.grad_F",
)
@pytest.mark.parametrize("nu", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("d", [0.0, 1.0, 3.0])
def test_gaussian_population(impl, evidence, d, nu):
    x, p, q = trapezoid(d)
    F_star = 0.5 * d * d + HALF_LOG_2PI  # log of the integral of e^{-x^2/2 + d x}
    r = d * x + HALF_LOG_2PI  # log e^{-x^2/2 + d x} - log q
    slope = float(population(impl.nce.grad_F, r, p, q, F_star, nu))
    assert abs(slope) <= tolerance(impl, 0.0) * F_star
    least = float(population(impl.nce.loss, r, p, q, F_star, nu))
    g = rng(round(10 * d + nu))
    for theta, F in zip(d + g.normal(size=20), F_star + g.normal(size=20), strict=True):
        elsewhere = float(
            population(impl.nce.loss, theta * x + HALF_LOG_2PI, p, q, F, nu)
        )
        assert elsewhere > least
    evidence(f"d = {d:g}, nu = {nu:g}: dL/dF at F* is {slope:.1e}")


@claim(
    "Section 3.1",
    "the constant that minimises the loss is F* = log of the integral of exp E, whatever theta~",
    kind="theorem",
    where="nce.grad_F",
    verdict="holds corrected",
    why="only at theta~ = theta~*; elsewhere dL/dF at log Z is not 0",
)
@pytest.mark.parametrize("theta", [0.0, 1.0, 4.0])
def test_gaussian_population_away_from_the_truth(impl, theta):
    x, p, q = trapezoid(2.0)
    log_Z = 0.5 * theta**2 + HALF_LOG_2PI
    slope = float(
        population(impl.nce.grad_F, theta * x + HALF_LOG_2PI, p, q, log_Z, 1.0)
    )
    # at theta = 0 the model is the noise and A = B = 1/2 whatever P* is: the one theta~ elsewhere where log Z is right
    assert (
        (abs(slope) < tolerance(impl, theta * x))
        if theta == 0.0
        else (abs(slope) > 1e-2)
    )


# Lemma 3.2, Equations 3 and 4

CONVEX = "the loss is convex in F at any fixed theta~"


@claim("Lemma 3.2", CONVEX, kind="theorem", where="nce.loss")
@given(pairs(), st.floats(-300, 300), st.floats(-300, 300), st.floats(0.0, 1.0), nus)
def test_loss_lies_below_its_chords(impl, pair, F, G, t, nu):
    middle = t * F + (1 - t) * G
    L_F, L_G, L = (float(impl.nce.loss(*pair, x, nu=nu)) for x in (F, G, middle))
    assert L <= t * L_F + (1 - t) * L_G + tolerance(impl, *pair, F, G, L_F, L_G)


@claim("Lemma 3.2", CONVEX, kind="theorem", where="nce.hess_F")
@given(pairs(), st.floats(-2000, 2000), nus)
def test_second_derivative_is_not_negative(impl, pair, F, nu):
    H = impl.nce.hess_F(*pair, F, nu=nu)
    assert 0 <= H <= 0.25 * (1 + 8 * impl.eps)  # s(1 - s) <= 1/4 in both means


LIMITS = "dL/dF increases in F from -nu/(1 + nu) to 1/(1 + nu) (the paper's -1/2 and 1/2), strictly inside"


@claim("Eq. 3", LIMITS, kind="theorem", where="nce.grad_F")
@given(pairs(), st.floats(-2000, 2000), st.floats(0, 2000), nus)
def test_gradient_increases_within_its_limits(impl, pair, F, up, nu):
    low, high = (float(impl.nce.grad_F(*pair, x, nu=nu)) for x in (F, F + up))
    slack = tolerance(impl, 0.0)
    assert low <= high + slack
    assert -nu / (1 + nu) - slack <= low and high <= 1 / (1 + nu) + slack


@claim("Eq. 3", LIMITS, kind="theorem", where="nce.grad_F")
@given(pairs(moderate()), nus)
def test_gradient_reaches_its_limits_only_far_out(impl, pair, nu):
    slack = tolerance(impl, 0.0)
    far = 10 + 40 + abs(math.log(nu))  # every sigmoid within e^-40 of its limit
    assert abs(impl.nce.grad_F(*pair, -far, nu=nu) + nu / (1 + nu)) <= slack
    assert abs(impl.nce.grad_F(*pair, far, nu=nu) - 1 / (1 + nu)) <= slack
    grid = [
        float(impl.nce.grad_F(*pair, F - math.log(nu), nu=nu))
        for F in np.linspace(-12.0, 12.0, 9)
    ]
    assert all(a < b for a, b in zip(grid, grid[1:], strict=False))
    assert -nu / (1 + nu) < grid[0] and grid[-1] < 1 / (1 + nu)


EQ_3 = "dL/dF = 1/2 E_p*[q/(p + q)] - 1/2 E_q[p/(p + q)] = 1/2 the integral of q (p* - p)/(p + q)"


@claim("Eq. 3", EQ_3, kind="theorem", where="nce.grad_F")
@given(populations(), st.data(), partitions, nus)
def test_gradient_is_the_integral_of_both_forms(impl, counts, data, F, nu):
    P, Q = (k / k.sum() for k in counts)
    r = np.asarray(
        data.draw(st.lists(st.floats(-5.0, 5.0), min_size=P.size, max_size=P.size))
    )
    p = Q * np.exp(r - F)
    integral = np.sum(nu * Q * (P - p) / (p + nu * Q)) / (
        1 + nu
    )  # Eq. (3), q weighted by nu
    got = impl.nce.grad_F(*expand(r, *counts), F, nu=nu)
    # P - p cancels by its largest term, and p/(p + nu q) is at most 1
    assert abs(got - integral) <= tolerance(impl, r, F) * (1 + nu)


@claim("Eq. 3", EQ_3, kind="theorem", where="nce.grad_F")
@given(pairs(samples(20)), st.floats(-300.0, 300.0), nus)
def test_gradient_is_its_certified_value(impl, pair, F, nu):
    exact = float(certified.grad_F(*pair, F, nu).value)
    assert abs(impl.nce.grad_F(*pair, F, nu=nu) - exact) <= tolerance(impl, *pair, F)


EQ_4 = "d2L/dF2 = 1/2 the integral of q p (p* + q)/(p + q)^2 >= 0"


@claim("Eq. 4", EQ_4, kind="theorem", where="nce.hess_F")
@given(populations(), st.data(), partitions, nus)
def test_second_derivative_is_the_printed_integral(impl, counts, data, F, nu):
    P, Q = (k / k.sum() for k in counts)
    r = np.asarray(
        data.draw(st.lists(st.floats(-5.0, 5.0), min_size=P.size, max_size=P.size))
    )
    p = Q * np.exp(r - F)
    integral = np.sum(nu * Q * p * (P + nu * Q) / (p + nu * Q) ** 2) / (
        1 + nu
    )  # Eq. (4)
    got = impl.nce.hess_F(*expand(r, *counts), F, nu=nu)
    assert abs(got - integral) <= tolerance(impl, r, F) * integral


@claim("Eq. 4", EQ_4, kind="theorem", where="nce.hess_F")
@given(pairs(moderate()), partitions, nus)
def test_second_derivative_is_its_certified_value(impl, pair, F, nu):
    exact = float(certified.hess_F(*pair, F, nu).value)
    assert (
        abs(impl.nce.hess_F(*pair, F, nu=nu) - exact)
        <= tolerance(impl, *pair, F) * exact
    )


@claim(
    "Eq. 3",
    "dL/dF and d2L/dF2 are the derivatives of the loss, by central differences",
    kind="theorem",
    where="nce.grad_F",
)
@given(pairs(moderate()), partitions, nus)
def test_derivatives_by_central_differences(impl, pair, F, nu):
    # With step h the truncation is h^2/6 of a third derivative that is at most 1/4 here, and the rounding eps (|L| + |r|)/h;
    # h = eps^(1/3) balances them.
    h = impl.eps ** (1 / 3)
    for function, derivative in (("loss", "grad_F"), ("grad_F", "hess_F")):
        low, high = (
            float(getattr(impl.nce, function)(*pair, x, nu=nu)) for x in (F - h, F + h)
        )
        slope = (high - low) / ((F + h) - (F - h))
        got = float(getattr(impl.nce, derivative)(*pair, F, nu=nu))
        assert (
            abs(got - slope) <= h * h + tolerance(impl, *pair, F, low, high) / h
        ), derivative


@claim(
    "Section 3.3",
    "at fixed theta~ exactly one F minimises the loss: dL/dF changes sign once",
    kind="theorem",
    where="nce.grad_F",
)
@given(pairs(samples(20)), nus, st.floats(1e-3, 500.0))
def test_gradient_changes_sign_once(impl, pair, nu, away):
    F = float(certified.root(*pair, nu).F.value)
    slack = tolerance(impl, 0.0)
    below, at, above = (
        float(impl.nce.grad_F(*pair, x, nu=nu)) for x in (F - away, F, F + away)
    )
    assert below <= slack and abs(at) <= tolerance(impl, *pair, F) and above >= -slack
    losses = [float(impl.nce.loss(*pair, x, nu=nu)) for x in (F - away, F, F + away)]
    assert losses[1] <= min(losses) + tolerance(impl, *pair, F, away)


# The chain rule into any model


@claim(
    "Eq. 13",
    "the loss reaches a model through dL/dr: -s_data/(n(1 + nu)) and nu s_noise/(m(1 + nu))",
    kind="theorem",
    where="nce.grad_r",
)
@given(pairs(moderate()), partitions, nus, seeds)
def test_weights_by_a_random_direction(impl, pair, F, nu, seed):
    v = [rng(seed + k).normal(size=r.size) for k, r in enumerate(pair)]
    h = impl.eps ** (1 / 3) / (
        1 + max(np.max(np.abs(x)) for x in v)
    )  # as above, along v
    low, high = (
        float(
            impl.nce.loss(
                *(r + s * h * x for r, x in zip(pair, v, strict=True)), F, nu=nu
            )
        )
        for s in (-1, 1)
    )
    weights = impl.nce.grad_r(*pair, F, nu=nu)
    inner = sum(float(w @ x) for w, x in zip(weights, v, strict=True))
    size = max(np.max(np.abs(x)) for x in v)
    assert (
        abs(inner - (high - low) / (2 * h))
        <= h * h * size**3 + tolerance(impl, *pair, F, low, high) / h
    )
    n, m = (r.size for r in pair)
    u = F + math.log(nu)
    expected = -sigmoid(u - pair[0]) / (n * (1 + nu)), nu * sigmoid(pair[1] - u) / (
        m * (1 + nu)
    )
    for w, e in zip(weights, expected, strict=True):
        assert np.all(np.abs(w - e) <= tolerance(impl, *pair, F) * np.abs(e))


@given(pairs(), st.floats(-2000, 2000), nus)
def test_weights_and_grad_F_agree(impl, pair, F, nu):
    """Shifting every r by c is shifting F by -c: the weights sum to -dL/dF."""
    weights = impl.nce.grad_r(*pair, F, nu=nu)
    total = sum(float(np.sum(w)) for w in weights)
    assert abs(total + float(impl.nce.grad_F(*pair, F, nu=nu))) <= tolerance(
        impl, *pair, F
    )


# Symmetries

NAMES = ("loss", "grad_F", "hess_F")


def on_grid(r):
    """Rounded to multiples of 2^-20, so that shifts by such numbers are exact."""
    return np.round(r * 2.0**20) / 2.0**20


@claim(
    "Section 3.1",
    "shift: (r + c, F + c) leaves the objective as it is",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(), st.floats(-300, 300), st.floats(-300, 300), nus)
def test_shift(impl, pair, F, c, nu):
    F, c = float(on_grid(F)), float(on_grid(c))
    pair = [on_grid(r) for r in pair]
    for name in NAMES:
        f = getattr(impl.nce, name)
        before, after = f(*pair, F, nu=nu), f(*(r + c for r in pair), F + c, nu=nu)
        assert abs(after - before) <= tolerance(impl, *pair, F, c, before), name


@claim(
    "Section 3.1",
    "swap: (r_data, r_noise, F, nu) -> (-r_noise, -r_data, -F, 1/nu) keeps the normalised loss, turns dL/dF's sign",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(), st.floats(-300, 300), nus)
def test_swap(impl, pair, F, nu):
    r_data, r_noise = pair
    for name, sign in zip(NAMES, (1, -1, 1), strict=True):
        f = getattr(impl.nce, name)
        before, after = f(r_data, r_noise, F, nu=nu), f(
            -r_noise, -r_data, -F, nu=1 / nu
        )
        assert abs(after - sign * before) <= tolerance(impl, *pair, F, before), name


@claim(
    "Section 3.1",
    "the order of the samples does not matter",
    kind="theorem",
    where="nce.loss",
)
@given(pairs(), st.floats(-300, 300), nus, seeds)
def test_permutation(impl, pair, F, nu, seed):
    shuffled = [rng(seed).permutation(r) for r in pair]
    for name in NAMES:
        f = getattr(impl.nce, name)
        before, after = f(*pair, F, nu=nu), f(*shuffled, F, nu=nu)
        assert abs(after - before) <= tolerance(impl, *pair, F, before), name


# Runs


@claim(
    "Section 4",
    "runs along leading axes are independent: batched equals looped",
    kind="theorem",
    where="nce",
)
@given(seeds, st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), nus)
def test_batched_equals_looped(impl, seed, runs, n, m, nu):
    g = rng(seed)
    r_data, r_noise, F = (
        30 * g.normal(size=(2, runs, n)),
        30 * g.normal(size=(runs, m)),
        30 * g.normal(size=(2, runs)),
    )
    for name in (*NAMES, "grad_r"):
        f = getattr(impl.nce, name)
        together = f(r_data, r_noise, F, nu=nu)
        for k in np.ndindex(2, runs):
            alone = f(r_data[k], r_noise[k[1]], float(F[k]), nu=nu)
            for a, b in zip(
                *((x if isinstance(x, tuple) else (x,)) for x in (together, alone)),
                strict=True,
            ):
                # sums over rows of a batch may be taken in another order: a few eps of terms that do not cancel
                assert np.all(
                    np.abs(a[k] - b) <= 8 * impl.eps * (np.abs(b) + (name == "grad_F"))
                ), name


@claim(
    "Section 4",
    "float32 agrees with float64 to the eps of float32",
    kind="theorem",
    where="nce",
)
@given(pairs(moderate()), partitions, nus)
def test_float32_agrees(impl, pair, F, nu):
    single = [r.astype(np.float32) for r in pair]
    F = float(np.float32(F))
    eps = float(np.finfo(np.float32).eps)
    for name in NAMES:
        f = getattr(impl.nce, name)
        low, high = f(*single, F, nu=nu), f(
            *(r.astype(np.float64) for r in single), F, nu=nu
        )
        # log nu and F + log nu - r may be rounded to float32: their size in eps is what a naive form loses
        size = (
            1 + abs(math.log(nu)) + abs(F) + max(float(np.max(np.abs(r))) for r in pair)
        )
        assert low.dtype == np.float32 or impl.eps > 1e-10
        assert abs(float(low) - float(high)) <= 16 * eps * size * max(
            float(abs(high)), 1.0 if name == "grad_F" else 0.0
        ), name


# Infinite log-ratios: the limits of the formulas


@pytest.mark.parametrize("nu", [1.0, 0.5])
def test_infinite_log_ratios_take_the_limit_and_count(impl, nu):
    inf = math.inf
    r_data, r_noise = np.asarray([0.3, inf]), np.asarray([-inf, 0.1, -inf])
    for name in NAMES:
        f = getattr(impl.nce, name)
        far = f(
            np.asarray([0.3, 2000.0]), np.asarray([-2000.0, 0.1, -2000.0]), 0.2, nu=nu
        )
        assert abs(f(r_data, r_noise, 0.2, nu=nu) - far) <= 8 * impl.eps, name
    impossible = np.asarray([0.3, -inf]), np.asarray([inf, 0.1, -inf])
    assert impl.nce.loss(*impossible, 0.2, nu=nu) == inf
    for name in ("grad_F", "hess_F"):
        f = getattr(impl.nce, name)
        far = f(
            np.asarray([0.3, -2000.0]), np.asarray([2000.0, 0.1, -2000.0]), 0.2, nu=nu
        )
        assert abs(f(*impossible, 0.2, nu=nu) - far) <= 8 * impl.eps, name
    weights = impl.nce.grad_r(*impossible, 0.2, nu=nu)
    assert (
        abs(weights[0][1] + 1 / (2 * (1 + nu))) <= impl.eps
        and abs(weights[1][0] - nu / (3 * (1 + nu))) <= impl.eps
    )
    assert weights[1][2] == 0


@given(st.floats(-700.0, 700.0), st.floats(-700.0, 700.0))
def test_tails_keep_their_relative_size(impl, r, F):
    """One point each: loss and derivatives are exp of the distance, in relative terms, down to 1e-304."""
    assume(-700 < F - r < -40)
    data, none = np.asarray([r]), np.asarray([-math.inf])
    expected = 0.5 * math.exp(F - r)
    for name in NAMES:
        assert abs(
            float(getattr(impl.nce, name)(data, none, F)) / expected - 1
        ) <= tolerance(impl, r, F), name
