"""Hamiltonian Monte Carlo: invariance, moments, adaptation; effective sample size.

Statistical tests have fixed seeds; each states how often a correct sampler would fail
it on a fresh seed. With leapfrog=1 hmc is the Metropolis-adjusted Langevin algorithm.
"""

import math
import sys

import numpy as np
import pytest

from refnce import nn, sampling
from refnce.array import backend, make_rng as rng
from refnce.nn.params import Flat
from refnce.sampling import effective_sample_size
from refnce.train import models
from tests import needs_docstrings
from tests.libraries import OTHERS, or_skip

HMC = sys.modules["refnce.sampling.hmc"]  # the package's ``hmc`` is the function

SIGMAS = 5.0  # a normal variable is further from its mean with probability 5.7e-7
LEAPFROG = pytest.mark.parametrize("leapfrog", [10, 1], ids=["hmc", "mala"])
MEAN, SCALE = np.asarray([1.0, -1.0]), np.asarray([1.0, 2.0])


def gaussian(x):
    """N((1, -1), diag(1, 4))."""
    z = (x - MEAN) / SCALE
    return -0.5 * np.sum(z**2, axis=-1), -z / SCALE


def skewed(x):
    """The standard Gumbel distribution, which no reflection preserves."""
    e = np.exp(-x[..., 0])
    return -x[..., 0] - e, (e - 1.0)[..., None]


def flat(x):
    """An improper target: E = 0 everywhere."""
    return np.zeros(x.shape[:-1]), np.zeros(x.shape)


# --- what makes the sampler correct


@pytest.mark.parametrize("leapfrog, step_size", [(1, 1.4), (3, 1.2)])
def test_detailed_balance(leapfrog, step_size):
    """E[f(x) g(x')] = E[g(x) f(x')] at stationarity, with acceptance of about one half.

    Three differences within 5 standard errors: fails twice in a million seeds.
    """
    x, options = rng(3).gumbel(size=(200_000, 1)), {"steps": 1, "warmup": 0}
    options |= {"leapfrog": leapfrog, "step_size": step_size}
    chains = sampling.hmc(skewed, x, rng(4), **options)
    assert 0.3 < np.mean(chains.acceptance) < 0.9
    before, after = x[:, 0], chains.samples[0, :, 0]
    for f, g in ((np.tanh, np.square), (np.exp, np.sign), (np.sin, np.arctan)):
        f_, g_ = (lambda z, f=f: f(np.minimum(z, 3.0))), g
        difference = f_(before) * g_(after) - g_(before) * f_(after)
        error = difference.std() / math.sqrt(difference.size)
        assert abs(difference.mean()) <= SIGMAS * error


SHAPES = nn.mlp_shapes(2, 16, 8, 1)
THETA = 3.0 * Flat(SHAPES).ravel(nn.init_params(SHAPES, rng(8)))


def network(x):
    """The energy of a network, times a Gaussian."""
    E, grad = models.energy(nn.mlp, SHAPES, THETA)(x)
    return E - 0.5 * np.sum(x**2, axis=-1), grad - x


@LEAPFROG
@pytest.mark.parametrize("density", [gaussian, network])
def test_moments_agree_with_quadrature(density, leapfrog):
    """From a distant start. Four moments within 5 standard errors, by the effective
    sample size: fails twice in a million seeds."""
    grid = np.linspace(-15.0, 15.0, 401)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    weight = np.exp(density(points)[0])[:, None]
    start, options = np.full((32, 2), 4.0), {"steps": 3000, "warmup": 500}
    chains = sampling.hmc(density, start, rng(7), leapfrog=leapfrog, **options)
    for power in (1, 2):
        exact = np.sum(weight * points**power, axis=0) / np.sum(weight)
        x = chains.samples**power
        error = np.std(x, axis=(0, 1)) / np.sqrt(effective_sample_size(x))
        assert np.all(np.abs(np.mean(x, axis=(0, 1)) - exact) <= SIGMAS * error)
    assert np.all(effective_sample_size(chains.samples) > 1000)


# --- adaptation


@pytest.mark.parametrize("leapfrog, target", [(10, 0.6), (10, 0.9), (1, 0.6), (1, 0.9)])
def test_warmup_finds_the_step_size(leapfrog, target):
    """From 1000 times too small and 20 times too large. The acceptance is up to 0.15
    high, because the averaged logarithm of a step size that swings across the steep
    end of a Gaussian's acceptance is a little small."""
    sizes = []
    for first in (1e-3, 30.0):
        x, options = rng(11).normal(size=(64, 2)), {"steps": 400, "warmup": 600}
        options |= {"leapfrog": leapfrog, "target": target, "step_size": first}
        chains = sampling.hmc(gaussian, x, rng(12), **options)
        assert chains.acceptance.shape == (64,)
        assert -0.05 <= np.mean(chains.acceptance) - target <= 0.15
        sizes.append(chains.step_size)
    assert abs(math.log(sizes[0] / sizes[1])) <= 0.1


def test_step_size_changes_during_the_warmup_alone(monkeypatch):
    x, update, log_sizes = rng(13).normal(size=(8, 2)), HMC._dual_averaging, []
    fixed = sampling.hmc(gaussian, x, rng(14), steps=50, warmup=0, step_size=0.37)
    assert fixed.step_size == 0.37

    def watched(*arguments):
        log_sizes.append(float(update(*arguments)[2]))
        return update(*arguments)

    monkeypatch.setattr(HMC, "_dual_averaging", watched)
    chains = sampling.hmc(gaussian, x, rng(14), steps=50, warmup=20)
    assert len(log_sizes) == len(set(log_sizes)) == 20
    averaged = 0.0  # weights t^-0.75, as Hoffman and Gelman 2014
    for t, log_size in enumerate(log_sizes, start=1):
        averaged += t**-0.75 * (log_size - averaged)
    assert math.log(chains.step_size) == pytest.approx(averaged, rel=1e-12)


# --- random numbers, runs, libraries


def test_samples_depend_on_the_seed_alone():
    x, lengths = rng(15).normal(size=(4, 2)), {"steps": 100, "warmup": 30}
    whole = sampling.hmc(gaussian, x, rng(16), **lengths).samples
    assert np.array_equal(sampling.hmc(gaussian, x, rng(16), **lengths).samples, whole)
    other = sampling.hmc(gaussian, x, rng(17), **lengths).samples
    assert not np.array_equal(other, whole)


def test_random_streams_differ_from_those_of_a_training():
    """make_rng(7).spawn(1)[0] is make_rng(7, 0), from which batches are drawn."""
    more = [(), *((k,) for k in range(4))]
    more += [(k, kind) for k in range(4) for kind in range(3)]
    for key in ((), (0,), (3,)):
        parent = backend.make_rng(7, *key)
        streams = [stream for _ in range(2) for stream in HMC._streams(parent, 3)]
        own = {float(stream.random()) for stream in streams}
        others = {float(backend.make_rng(7, *key, *rest).random()) for rest in more}
        assert len(own) == 6 and not own & others


def test_leading_axes_are_runs():
    x = rng(18).normal(size=(3, 5, 2))
    chains = sampling.hmc(gaussian, x, rng(19), steps=60, warmup=10)
    assert chains.samples.shape == (60, 3, 5, 2) and chains.acceptance.shape == (3, 5)
    alone = [effective_sample_size(chains.samples[:, k]) for k in range(3)]
    ess = effective_sample_size(chains.samples)
    assert np.allclose(ess, alone, rtol=1e-12) and ess.shape == (3, 2)


def test_progress_wraps_the_steps():
    counted, x = [], np.zeros((2, 2))
    options = {"progress": lambda ks: (counted.append(k) or k for k in ks)}
    sampling.hmc(gaussian, x, rng(0), steps=6, warmup=4, **options)
    assert counted == list(range(10))


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_draw_the_same_samples(name):
    """20 trajectories differ by the rounding of their sums alone."""
    library, x = or_skip(name), rng(22).normal(size=(4, 2))

    def density(x):
        z = (x - library(MEAN)) / library(SCALE)
        return -0.5 * library.xp.sum(z**2, axis=-1), -z / library(SCALE)

    expected = sampling.hmc(gaussian, x, rng(23), steps=10, warmup=10)
    chains = sampling.hmc(density, library(x), rng(23), steps=10, warmup=10)
    assert np.max(np.abs(backend.to_numpy(chains.samples) - expected.samples)) <= 1e-9
    assert abs(chains.step_size - expected.step_size) <= 1e-9
    ess, expected = map(effective_sample_size, (chains.samples, expected.samples))
    assert np.allclose(ess, expected, rtol=1e-6)


# --- targets and arguments that are not finite or not valid


@pytest.mark.parametrize("beyond", [np.nan, np.inf, -np.inf])
def test_chain_stays_where_energy_is_finite(beyond):
    """E = +inf would be accepted at once and never left."""

    def walled(x):
        E, grad = gaussian(x)
        out = np.any(np.abs(x) > 1.0, axis=-1)
        return np.where(out, beyond, E), np.where(out[..., None], np.inf, grad)

    chains = sampling.hmc(walled, np.zeros((16, 2)), rng(20), steps=200, warmup=50)
    assert np.all(np.abs(chains.samples) <= 1.0) and np.all(chains.acceptance > 0.1)
    assert np.all(chains.samples[180:].std(axis=0) > 0.0)


def test_proposal_with_a_gradient_that_is_not_finite_is_rejected():
    """A2: E = -|x| has no gradient at 0; steps land there on a grid of momenta."""

    def corner(x):
        return -np.abs(x[..., 0]), np.where(np.abs(x) < 0.1, np.nan, -np.sign(x))

    chains = sampling.hmc(corner, np.full((8, 1), 2.0), rng(32), steps=200, warmup=50)
    assert np.all(np.abs(chains.samples) >= 0.1) and chains.step_size > 0.01
    assert np.all(chains.samples.std(axis=0) > 0.0)


def test_start_that_is_not_finite_is_refused_and_its_chains_named():
    """A2: one such chain would stand still and stop the adaptation of all."""

    def absolute(x):
        with np.errstate(invalid="ignore"):
            return -np.abs(x[..., 0]), -x / np.abs(x)

    def run(density, x):
        return sampling.hmc(density, np.asarray(x), rng(21), steps=10, warmup=0)

    message = "where x, E and dE/dx are finite; got {} that do not: chains {}$"
    for density, x, found in (
        (absolute, [[0.0], [1.0]], ("1 of 2", r"\[\[0\]\]")),
        (absolute, [[[1.0], [1.0]], [[1.0], [0.0]]], ("1 of 4", r"\[\[1, 1\]\]")),
        (flat, [[0.0], [np.inf], [np.nan]], ("2 of 3", r"\[\[1\], \[2\]\]")),
        (lambda x: (np.log(x[..., 0]), 1 / x), [[1.0], [-1.0]], ("1 of 2", ".*")),
    ):
        with pytest.raises(ValueError, match=message.format(*found)):
            run(density, x)


@pytest.mark.parametrize("options", [{"step_size": 1e308}, {"warmup": 200}])
def test_improper_target_is_named(options):
    """A4: samples, or the step size, grow without bound."""
    options = {"steps": 20, "warmup": 0} | options
    with pytest.raises(ValueError, match=r"samples reach .* the target is improper"):
        sampling.hmc(flat, np.zeros((4, 1)), rng(33), **options)


def test_proposal_that_overflows_is_rejected():
    """A4: E is as high at infinity as at the start, and low between."""
    infinite = []

    def density(x):
        infinite.append(np.any(np.isinf(x)))
        E = np.where(np.isinf(x) | (x == 0.0), 0.0, -1e9)
        return E[..., 0], np.zeros(x.shape)

    options = {"steps": 50, "warmup": 0, "step_size": 1e308}
    chains = sampling.hmc(density, np.zeros((8, 1)), rng(33), **options)
    assert any(infinite) and np.all(chains.samples == 0.0)
    assert np.all(chains.acceptance == 0.0)


NUMBER = "must be a finite number > 0"
X_SHAPE = "x must be (..., chains, d) with chains >= 1 and d >= 1; "
RNG = "rng must be a NumPy Generator; got int: pass numpy.random.default_rng(seed)"
RETURN = "density must return shapes (2,) and (2, 2); got shapes (2,) and (2, 1)"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps must be a whole number >= 1; got 0"),
        ({"steps": True}, "steps must be a whole number >= 1; got True"),
        ({"warmup": -1}, "warmup must be a whole number >= 0; got -1"),
        ({"leapfrog": 0.5}, "leapfrog must be a whole number >= 1; got 0.5"),
        ({"step_size": 0.0}, f"step_size {NUMBER}; got 0.0"),
        ({"step_size": math.nan}, f"step_size {NUMBER}; got nan"),
        ({"step_size": math.inf}, f"step_size {NUMBER}; got inf"),
        ({"step_size": True}, f"step_size {NUMBER}; got True"),
        ({"step_size": "a"}, f"step_size {NUMBER}; got 'a'"),
        ({"target": "a"}, f"target {NUMBER}; got 'a'"),
        ({"target": 1.0}, "target must be < 1; got 1.0"),
        ({"target": 0.0}, f"target {NUMBER}; got 0.0"),
        ({"x": np.zeros(2)}, X_SHAPE),
        ({"x": np.zeros((0, 2))}, X_SHAPE),
        ({"x": np.zeros((4, 2), int)}, "x must hold float64 or float32 numbers; got"),
        ({"x": [[0.0, 0.0]]}, "x is a list; pass numpy.asarray"),
        ({"rng": 0}, RNG),
        ({"density": skewed}, RETURN),
    ],
)
def test_invalid_argument_is_named(change, message):
    arguments = {"density": gaussian, "x": np.zeros((2, 2)), "rng": rng(0)}
    with pytest.raises((ValueError, TypeError)) as error:
        sampling.hmc(**arguments | {"steps": 5, "warmup": 5} | change)
    assert str(error.value).startswith(message)


# --- effective sample size


def autoregression(phi, steps, chains, seed=25):
    """x' = phi x + noise of variance 1 - phi^2, (steps, chains, 1)."""
    noise = rng(seed).normal(size=(steps, chains, 1)) * math.sqrt(1 - phi * phi)
    x = noise.copy()
    x[0] /= math.sqrt(1 - phi * phi)
    for k in range(1, steps):
        x[k] += phi * x[k - 1]
    return x


@needs_docstrings
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
@pytest.mark.parametrize("steps, chains", [(1000, 4), (401, 1), (200, 16)])
def test_ess_agrees_with_arviz(phi, steps, chains):
    arviz = pytest.importorskip("arviz_stats.base", reason="arviz-stats is missing")
    x = 1e3 + autoregression(phi, steps, chains, seed=31)
    options = {"chain_axis": -2, "draw_axis": 0, "method": "mean"}
    expected = arviz.array_stats.ess(x, **options)
    assert np.allclose(effective_sample_size(x), expected, rtol=1e-9)


def test_ess_axes():
    """One chain along the first axis, or chains on any other axis."""
    x = autoregression(0.5, 300, 4)
    expected = effective_sample_size(x)
    assert np.array_equal(effective_sample_size(x[..., 0], chain_axis=-1), expected[0])
    runs = effective_sample_size(x[..., 0], chain_axis=None)
    assert runs.shape == (4,)
    assert runs[2] == effective_sample_size(x[:, 2, 0], chain_axis=None)


def test_ess_is_nan_for_short_constant_or_infinite_chains():
    """A3: one constant chain of 16 is not averaged away."""
    assert np.all(np.isnan(effective_sample_size(rng(26).normal(size=(3, 4, 2)))))
    assert np.isnan(effective_sample_size(np.full((50, 4, 1), 0.1))[0])
    x = rng(27).normal(size=(500, 16, 4))
    x[:, 3, 1], x[7, 3, 2], x[9, 0, 3] = 0.1, np.inf, np.nan
    assert np.isnan(effective_sample_size(x)).tolist() == [False, True, True, True]


@pytest.mark.parametrize("length", [1, 3, 10])
def test_trajectory_with_reversed_momentum_returns(length):
    x, p, size = rng(1).normal(size=(50, 2)), rng(2).normal(size=(50, 2)), 0.3
    x1, p1, _, grad1 = HMC._leapfrog(gaussian, x, p, gaussian(x)[1], size, length)
    x2, p2, E2, _ = HMC._leapfrog(gaussian, x1, -p1, grad1, size, length)
    rounding = 512 * length * np.finfo(float).eps
    assert np.max(np.abs(x2 - x)) <= rounding and np.max(np.abs(p2 + p)) <= rounding
    assert np.max(np.abs(E2 - gaussian(x)[0])) <= 1e-12
    assert np.max(np.abs(x1 - x)) > 0.1


@pytest.mark.parametrize("length", [1, 4])
def test_trajectory_preserves_volume(length):
    """The Jacobian of (x, p) -> (x', p'), by central differences, has determinant 1."""
    h, z = 1e-5, np.asarray([0.4, -0.3])

    def flow(z):
        x, p = z[:1, None], z[1:, None]
        x1, p1, _, _ = HMC._leapfrog(skewed, x, p, skewed(x)[1], 0.7, length)
        return np.asarray([x1.item(), p1.item()])

    columns = [(flow(z + h * e) - flow(z - h * e)) / (2 * h) for e in np.eye(2)]
    # Error: h^2 times third derivatives of size 1 to 10, and eps/h.
    assert abs(np.linalg.det(np.stack(columns, axis=1)) - 1.0) <= 1e-8


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_ess_of_an_autoregression(phi):
    """N (1 - phi)/(1 + phi) of N = 32,000. Geyer's sum over some 2/(1 - |phi|) lags of
    correlations known to 1/sqrt(N) has an error of some per cent: 20% is far out."""
    exact = 32_000 * (1 - phi) / (1 + phi)
    ess = effective_sample_size(autoregression(phi, 4000, 8))
    assert abs(ess[0] / exact - 1) <= 0.2


@pytest.mark.parametrize(
    "change", [np.ma.masked_array, lambda x: x + 1j, np.ndarray.tolist]
)
def test_ess_of_what_is_no_plain_array_is_refused(change):
    """A6: the filler of a mask was taken, and an imaginary part dropped."""
    with pytest.raises(TypeError, match="samples (is a|must hold)"):
        effective_sample_size(change(np.ones((9, 2, 1))))


@pytest.mark.parametrize("shape", [(), (20,), (20, 0, 3)])
def test_ess_of_no_chains_is_refused(shape):
    with pytest.raises(ValueError, match=r"samples must be \(steps, ..., chains, d\)"):
        effective_sample_size(np.ones(shape))
