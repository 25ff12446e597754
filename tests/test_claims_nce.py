"""Theory of the objective on any implementation: Definition 3.1 to Equation 4.

Definition 3.1 is Equation 1. The chain rule into a model and symmetries follow.
"""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests import certified
from tests.close import tolerance
from tests.populations import GRID, WEIGHTS, atoms, scored_atoms, sigmoid
from tests.regimes import HALF_LOG_2PI, rng
from tests.strategies import moderate, nus, on_grid, pairs, samples, seeds

theorem = partial(pytest.mark.claim, kind="theorem")
definition_3_1 = partial(theorem, "Definition 3.1", where="nce.loss")
section_3_1 = partial(theorem, "Section 3.1", where="nce.loss")
eq3 = partial(theorem, "Eq. 3", where="nce.grad_F")
partitions = st.floats(-10.0, 10.0)
wide = st.floats(-300.0, 300.0)

# Definition 3.1


@definition_3_1(
    "the loss of log-ratios is the printed loss of densities, -1/2 E log p/(p + q) -"
    " 1/2 E log q/(p + q)",
)
@given(pairs(moderate()), partitions)
def test_eq1_loss_of_densities(impl, pair, F):
    p_data, p_noise = (np.exp(r - F) for r in pair)  # q = 1
    data, noise = np.log(p_data / (p_data + 1)), np.log(1 / (p_noise + 1))
    printed = -0.5 * np.mean(data) - 0.5 * np.mean(noise)  # Eq. (1)
    # p + q near q loses eps of 1, not of the loss.
    assert abs(impl.nce.loss(*pair, F) - printed) <= tolerance(impl, *pair, F)


@definition_3_1(
    "with noise weight nu: mean softplus(F + log nu - r_data) + nu mean"
    " softplus(r_noise - F - log nu), over 1 + nu",
)
@given(pairs(), wide, nus)
def test_eq1_softplus_form(impl, pair, F, nu):
    u = F + math.log(nu)
    data, noise = (np.logaddexp(0.0, x).mean() for x in (u - pair[0], pair[1] - u))
    expected = (data + nu * noise) / (1 + nu)
    slack = tolerance(impl, *pair, F, expected)
    assert abs(impl.nce.loss(*pair, F, nu=nu) - expected) <= slack


EQ_3 = (
    "dL/dF = 1/2 E_p*[q/(p + q)] - 1/2 E_q[p/(p + q)] "
    "= 1/2 the integral of q (p* - p)/(p + q)"
)
EQ_4 = "d2L/dF2 = 1/2 the integral of q p (p* + q)/(p + q)^2 >= 0"
COMPUTED = (
    "the loss can be computed where the model is not normalised: "
    "it is the certified value for any r, F and nu"
)
CERTIFIED = [
    pytest.param("loss", marks=theorem("Definition 3.1", COMPUTED, where="nce.loss")),
    pytest.param("grad_F", marks=theorem("Eq. 3", EQ_3, where="nce.grad_F")),
    pytest.param("hess_F", marks=theorem("Eq. 4", EQ_4, where="nce.hess_F")),
]


@pytest.mark.parametrize("name", CERTIFIED)
@given(pairs(samples(20)), wide, nus)
def test_eq1_eq3_eq4_certified_values(impl, name, pair, F, nu):
    exact = float(getattr(certified, name)(*pair, F, nu).value)
    slack = tolerance(impl, *pair, F, exact)
    if name == "hess_F":  # relative, above the range in which float32 has no digits
        slack *= max(exact, 1e-37)
    assert abs(getattr(impl.nce, name)(*pair, F, nu=nu) - exact) <= slack


# Section 3.1

CONSISTENT = (
    "consistent: with a non-parametric model the loss has its unique minimum at "
    "p = p*, F = log Z (Q > 0 where P* is)"
)


@section_3_1(CONSISTENT)
@given(scored_atoms(6.0), st.floats(-5.0, 5.0), nus)
def test_section_3_1_minimum_is_unique_and_at_the_truth(impl, law, F, nu):
    atoms, offset = law
    P, Q = atoms.laws
    truth = atoms.truth + F  # log p~/q at theta~*, for any F
    least = impl.nce.loss(*atoms.samples(truth), F, nu=nu)
    elsewhere = impl.nce.loss(*atoms.samples(truth + offset), F, nu=nu)
    # Each atom adds a convex term with second derivative c s(1 - s) in r, where
    # c = (P + nu Q)/(1 + nu), and its minimum at offset 0. Over |offset| <= 6, s(1 - s)
    # is at least e^-6 times its value there, P nu Q/(P + nu Q)^2.
    curvature = np.exp(-6.0) * nu * P * Q / ((1 + nu) * (P + nu * Q))
    gain = float(np.sum(0.5 * curvature * offset**2))
    assert elsewhere >= least + gain - tolerance(impl, truth, F, elsewhere)


@section_3_1(CONSISTENT, where="nce.grad_r")
@given(atoms(), st.floats(-5.0, 5.0), nus)
def test_section_3_1_gradient_vanishes_at_the_truth(impl, atoms, F, nu):
    pair = atoms.samples(atoms.truth + F)
    slack = tolerance(impl, *pair, F)
    assert abs(impl.nce.grad_F(*pair, F, nu=nu)) <= slack
    atom, weights = atoms.samples(np.arange(atoms.data.size)), impl.nce.grad_r
    weights = np.concatenate(weights(*pair, F, nu=nu))
    assert np.all(np.abs(np.bincount(np.concatenate(atom), weights)) <= slack)


@section_3_1(
    "without Q > 0 where P* is there is no minimiser: the loss still falls as the"
    " model grows on the missing atom",
)
@given(st.floats(-3.0, 3.0), nus)
def test_section_3_1_noise_must_cover_the_data(impl, F, nu):
    # P* = (1/2, 1/2), Q = (1, 0): only data on the second atom, where r grows.
    none, rs = np.zeros(1), (0.0, 5.0, 10.0, 15.0)
    losses = [impl.nce.loss(np.asarray([0.0, r]), none, F, nu=nu) for r in rs]
    assert np.all(np.diff(losses) < 0)


def population(function, theta, d, F, nu=1.0):
    """The mean of a loss or derivative: data N(d, 1), noise N(0, 1), p~ e^{theta x}.

    Each node is a run of one sample of either law.
    """
    pair = (theta * (GRID + shift)[:, None] + HALF_LOG_2PI for shift in (d, 0.0))
    return float(WEIGHTS @ function(*pair, np.full(GRID.shape, F), nu=nu))


@section_3_1(
    "F* = log of the integral of exp E at theta~*: Gaussians by quadrature, gradient 0"
    " and minimum there",
    where="nce.grad_F",
)
@pytest.mark.parametrize("nu", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("d", [0.0, 1.0, 3.0])
def test_section_3_1_best_F_of_gaussians(impl, evidence, d, nu):
    F_star = 0.5 * d * d + HALF_LOG_2PI  # log of the integral of e^{-x^2/2 + d x}
    slope = population(impl.nce.grad_F, d, d, F_star, nu)
    assert abs(slope) <= tolerance(impl) * F_star
    least = population(impl.nce.loss, d, d, F_star, nu)
    g = rng(round(10 * d + nu))
    for theta, F in zip(d + g.normal(size=20), F_star + g.normal(size=20), strict=True):
        assert population(impl.nce.loss, theta, d, F, nu) > least
    evidence(f"d = {d:g}, nu = {nu:g}: dL/dF at F* is {slope:.1e}")


@section_3_1(
    "the constant that minimises the loss is F* = log of the integral of exp E,"
    " whatever theta~",
    where="nce.grad_F",
    verdict="holds corrected",
    why="only at theta~ = theta~*; elsewhere dL/dF at log Z is not 0",
)
@pytest.mark.printed_error(
    "Section 3.1",
    printed="F* = log of the integral of exp(E_theta~), whatever theta~",
    right="at theta~ = theta~* only; elsewhere the F that minimises the loss differs"
    " from log Z(theta~)",
)
@pytest.mark.parametrize("theta", [0.0, 1.0, 2.0, 4.0])
def test_section_3_1_best_F_elsewhere_is_not_log_z(impl, theta):
    log_Z = 0.5 * theta**2 + HALF_LOG_2PI
    slope = abs(population(impl.nce.grad_F, theta, 2.0, log_Z))
    # theta* is 2. At theta = 0 the model is the noise, so that A = B = 1/2 for any P*.
    assert slope < tolerance(impl, 10.0) if theta in (0.0, 2.0) else slope > 1e-2


# Section 3.3: Lemma 3.2, Equations 3 and 4

CONVEX = "the loss is convex in F at any fixed theta~"


@theorem("Lemma 3.2", CONVEX, where="nce.loss")
@given(pairs(), wide, wide, st.floats(0.0, 1.0), nus)
def test_lemma_3_2_loss_is_convex_in_F(impl, pair, F, G, t, nu):
    middle = t * F + (1 - t) * G
    L_F, L_G, L = (float(impl.nce.loss(*pair, x, nu=nu)) for x in (F, G, middle))
    assert L <= t * L_F + (1 - t) * L_G + tolerance(impl, *pair, F, G, L_F, L_G)


@theorem("Lemma 3.2", CONVEX, where="nce.hess_F")
@given(pairs(), st.floats(-2000, 2000), nus)
def test_lemma_3_2_second_derivative_is_not_negative(impl, pair, F, nu):
    H = impl.nce.hess_F(*pair, F, nu=nu)
    assert 0 <= H <= 0.25 * (1 + 8 * impl.eps)  # s(1 - s) <= 1/4 in both means


LIMITS = (
    "dL/dF increases in F from -nu/(1 + nu) to 1/(1 + nu) "
    "(the paper's -1/2 and 1/2), strictly inside"
)


@eq3(LIMITS)
@given(pairs(), st.floats(-2000, 2000), st.floats(0, 2000), nus)
def test_eq3_gradient_increases_within_its_limits(impl, pair, F, up, nu):
    low, high = (float(impl.nce.grad_F(*pair, x, nu=nu)) for x in (F, F + up))
    slack = tolerance(impl)
    assert -nu / (1 + nu) - slack <= low <= high + slack <= 1 / (1 + nu) + 2 * slack


@eq3(LIMITS)
@given(pairs(moderate()), nus)
def test_eq3_gradient_tends_to_its_limits(impl, pair, nu):
    far = 10 + 40 + abs(math.log(nu))  # every sigmoid is within e^-40 of its limit
    for F, limit in ((-far, -nu / (1 + nu)), (far, 1 / (1 + nu))):
        assert abs(impl.nce.grad_F(*pair, F, nu=nu) - limit) <= tolerance(impl)
    Fs = np.linspace(-12.0, 12.0, 9) - math.log(nu)
    grid = [float(impl.nce.grad_F(*pair, F, nu=nu)) for F in Fs.tolist()]
    assert np.all(np.diff([-nu / (1 + nu), *grid, 1 / (1 + nu)]) > 0)


@eq3(EQ_3)
@given(scored_atoms(), partitions, nus)
def test_eq3_integral_form(impl, law, F, nu):
    atoms, r = law
    P, Q = atoms.laws
    p = Q * np.exp(r - F)
    integral = np.sum(nu * Q * (P - p) / (p + nu * Q)) / (1 + nu)  # Eq. (3)
    got = impl.nce.grad_F(*atoms.samples(r), F, nu=nu)
    # P - p cancels by its largest term, and p/(p + nu q) is at most 1.
    assert abs(got - integral) <= tolerance(impl, r, F) * (1 + nu)


@theorem("Eq. 4", EQ_4, where="nce.hess_F")
@given(scored_atoms(), partitions, nus)
def test_eq4_integral_form(impl, law, F, nu):
    atoms, r = law
    P, Q = atoms.laws
    p, q = Q * np.exp(r - F), nu * Q
    integral = np.sum(q * p * (P + q) / (p + q) ** 2) / (1 + nu)  # Eq. (4)
    got = impl.nce.hess_F(*atoms.samples(r), F, nu=nu)
    assert abs(got - integral) <= tolerance(impl, r, F) * integral


@eq3("dL/dF and d2L/dF2 are the derivatives of the loss, by central differences")
@given(pairs(moderate()), partitions, nus)
def test_eq3_eq4_central_differences(impl, pair, F, nu):
    # The truncation is h^2/6 of a third derivative of at most 1/4, and the rounding
    # eps (|L| + |r|)/h; h = eps^(1/3) balances them.
    h = impl.eps ** (1 / 3)
    nce = impl.nce
    for f, derivative in ((nce.loss, nce.grad_F), (nce.grad_F, nce.hess_F)):
        low, high = (float(f(*pair, x, nu=nu)) for x in (F - h, F + h))
        slope = (high - low) / ((F + h) - (F - h))
        slack = h * h + tolerance(impl, *pair, F, low, high) / h
        assert abs(derivative(*pair, F, nu=nu) - slope) <= slack


ONE_F = "at fixed theta~ exactly one F minimises the loss: dL/dF changes sign once"


@theorem("Section 3.3", ONE_F, where="nce.grad_F")
@given(pairs(samples(20)), nus, st.floats(1e-3, 500.0))
def test_section_3_3_gradient_changes_sign_once(impl, pair, nu, away):
    F = certified.root_F(*pair, nu)
    Fs = (F - away, F, F + away)
    below, at, above = (float(impl.nce.grad_F(*pair, x, nu=nu)) for x in Fs)
    slack = tolerance(impl)
    assert below <= slack and abs(at) <= tolerance(impl, *pair, F) and above >= -slack
    losses = [float(impl.nce.loss(*pair, x, nu=nu)) for x in Fs]
    assert losses[1] <= min(losses) + tolerance(impl, *pair, F, away)


# The chain rule into any model (Equation 13)


@theorem(
    "Eq. 13",
    "the loss reaches a model through dL/dr: -s_data/(n(1 + nu)) and nu s_noise/(m(1 +"
    " nu))",
    where="nce.grad_r",
)
@given(pairs(moderate()), partitions, nus, seeds)
def test_eq13_derivatives_in_the_log_ratios(impl, pair, F, nu, seed):
    n, m = (r.size for r in pair)
    v = rng(seed).normal(size=n + m)
    size = np.max(np.abs(v))
    h = impl.eps ** (1 / 3) / (1 + size)  # as above, along v
    moved = [(pair[0] + dr[:n], pair[1] + dr[n:]) for dr in (-h * v, h * v)]
    low, high = (float(impl.nce.loss(*rs, F, nu=nu)) for rs in moved)
    weights = np.concatenate(impl.nce.grad_r(*pair, F, nu=nu))
    slack = h * h * size**3 + tolerance(impl, *pair, F, low, high) / h
    assert abs(weights @ v - (high - low) / (2 * h)) <= slack
    u = F + math.log(nu)
    data, noise = -sigmoid(u - pair[0]) / n, nu * sigmoid(pair[1] - u) / m
    exact = np.concatenate([data, noise]) / (1 + nu)
    assert np.all(np.abs(weights / exact - 1) <= tolerance(impl, *pair, F))


# Symmetries


def assert_same(impl, before, after, *sizes, signs=(1, 1, 1)):
    """Assert that loss, dL/dF and d2L/dF2 agree at two (pair, F, nu), up to signs."""
    for name, sign in zip(("loss", "grad_F", "hess_F"), signs, strict=True):
        f = getattr(impl.nce, name)
        a, b = (f(*pair, F, nu=nu) for pair, F, nu in (before, after))
        slack = tolerance(impl, *before[0], before[1], *sizes, a)
        assert abs(b - sign * a) <= slack, name


@section_3_1("shift: (r + c, F + c) leaves the objective as it is")
@given(pairs(), wide, wide, nus)
def test_section_3_1_shift(impl, pair, F, c, nu):
    F, c = float(on_grid(F)), float(on_grid(c))
    pair = [on_grid(r) for r in pair]
    assert_same(impl, (pair, F, nu), ([r + c for r in pair], F + c, nu), c)


@section_3_1(
    "swap: (r_data, r_noise, F, nu) -> (-r_noise, -r_data, -F, 1/nu) keeps the"
    " normalised loss, turns dL/dF's sign",
)
@given(pairs(), wide, nus)
def test_section_3_1_swap(impl, pair, F, nu):
    after = (-pair[1], -pair[0]), -F, 1 / nu
    assert_same(impl, (pair, F, nu), after, signs=(1, -1, 1))


@section_3_1("the order of the samples does not matter")
@given(pairs(), wide, nus, seeds)
def test_section_3_1_permutation(impl, pair, F, nu, seed):
    assert_same(impl, (pair, F, nu), ([rng(seed).permutation(r) for r in pair], F, nu))
