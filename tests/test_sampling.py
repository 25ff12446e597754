"""Samplers leave their target invariant, reach known moments, adapt in the warm-up alone, and say how far to trust them.

Statistical tests are on fixed seeds; each states how often a right sampler would fail it on a fresh one.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy import stats

from refnce import distributions, nn, sampling
from refnce.array import backend
from refnce.train import models
from refnce.nn.params import Flat
from tests.libraries import OTHERS, or_skip

HMC = sys.modules["refnce.sampling.hmc"]  # the package's ``hmc`` is the function

SIGMAS = 5.0  # a normal variable is further out with chance 5.7e-7
SAMPLERS = pytest.mark.parametrize("sampler", [sampling.hmc, sampling.mala])


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


SCALE = np.asarray([1.0, 2.0])


def gaussian(x):
    """N((1, -1), diag(1, 4))."""
    z = (x - np.asarray([1.0, -1.0])) / SCALE
    return -0.5 * np.sum(z**2, axis=-1), -z / SCALE


def skewed(x):
    """The logarithm of a standard Gumbel density, which no reflection leaves as it is."""
    e = np.exp(-x[..., 0])
    return -x[..., 0] - e, (e - 1.0)[..., None]


def gumbel(seed, *shape):
    return rng(seed).gumbel(size=(*shape, 1))


# --- what makes them right


@pytest.mark.parametrize("length", [1, 3, 10])
def test_trajectories_reverse(length):
    """With the momentum turned round, a trajectory comes back: to the rounding of its steps."""
    x, p = rng(1).normal(size=(50, 2)), rng(2).normal(size=(50, 2))
    size = np.asarray(0.3)
    x1, p1, _, slope1 = HMC._leapfrog(gaussian, x, p, gaussian(x)[1], size, length)
    x2, p2, E2, _ = HMC._leapfrog(gaussian, x1, -p1, slope1, size, length)
    assert (
        np.max(np.abs(x2 - x)) <= 64 * length * np.finfo(float).eps * 8
        and np.max(np.abs(p2 + p)) <= 64 * length * 2e-15
    )
    assert np.max(np.abs(E2 - gaussian(x)[0])) <= 1e-12
    assert np.max(np.abs(x1 - x)) > 0.1


@pytest.mark.parametrize("length", [1, 4])
def test_trajectories_preserve_volume(length):
    """The Jacobian of (x, p) -> (x', p') by central differences has determinant 1."""
    size, h, z = np.asarray(0.7), 1e-5, np.asarray([0.4, -0.3])

    def flow(z):
        x = np.asarray([[z[0]]])
        x1, p1, _, _ = HMC._leapfrog(
            skewed, x, np.asarray([[z[1]]]), skewed(x)[1], size, length
        )
        return np.asarray([x1.item(), p1.item()])

    J = np.stack(
        [(flow(z + h * e) - flow(z - h * e)) / (2 * h) for e in np.eye(2)], axis=1
    )
    assert (
        abs(np.linalg.det(J) - 1.0) <= 1e-8
    )  # h^2 times third derivatives of size 1 to 10, and eps/h


@pytest.mark.parametrize("leapfrog, step_size", [(1, 1.4), (3, 1.2)])
def test_detailed_balance(leapfrog, step_size):
    """At stationarity E[f(x) g(x')] = E[g(x) f(x')] for any f and g; half of the proposals are rejected or nearly so."""
    x = gumbel(3, 200_000)
    chains = sampling.hmc(
        skewed, x, rng(4), steps=1, warmup=0, leapfrog=leapfrog, step_size=step_size
    )
    assert 0.3 < np.mean(chains.acceptance) < 0.9
    before, after = x[:, 0], chains.samples[0, :, 0]
    for f, g in ((np.tanh, np.square), (np.exp, np.sign), (np.sin, np.arctan)):
        f_, g_ = (lambda z, f=f: f(np.minimum(z, 3.0))), g
        difference = f_(before) * g_(after) - g_(before) * f_(after)
        assert abs(difference.mean()) <= SIGMAS * difference.std() / math.sqrt(
            difference.size
        )


@SAMPLERS
def test_the_target_is_invariant(sampler):
    """Chains that start in the target are in it after ten steps: Kolmogorov and Smirnov's p-value falls under 1e-6 so often."""
    x = gumbel(5, 20_000)
    chains = sampler(skewed, x, rng(6), steps=10, warmup=0, step_size=0.9)
    assert stats.kstest(chains.samples[-1, :, 0], stats.gumbel_r.cdf).pvalue >= 1e-6
    assert np.mean(chains.samples[-1] == x) < 0.01


@SAMPLERS
def test_known_moments(sampler):
    """From a start that is all wrong; means and variances within 5 standard errors, by the effective sample size: 4 of 1.7e6."""
    chains = sampler(gaussian, np.full((32, 2), 4.0), rng(7), steps=3000, warmup=500)
    x = chains.samples.reshape(-1, 2)
    assert np.all(
        np.abs(x.mean(axis=0) - [1.0, -1.0]) <= SIGMAS * SCALE / np.sqrt(chains.ess)
    )
    squares = (chains.samples - np.asarray([1.0, -1.0])) ** 2
    _, ess = sampling.diagnose(squares)
    assert np.all(
        np.abs(squares.mean(axis=(0, 1)) - SCALE**2)
        <= SIGMAS * math.sqrt(2.0) * SCALE**2 / np.sqrt(ess)
    )
    assert np.all(chains.r_hat < 1.01) and np.all(chains.ess > 1000)


@SAMPLERS
def test_a_network_s_energy(sampler):
    """The learnt energy is a density on the plane too: 16 chains agree with quadrature of exp(E) times a Gaussian's tails."""
    shapes = nn.mlp_shapes(2, 16, 8, 1)
    energy = models.energy(
        nn.mlp, shapes, 3.0 * Flat(shapes).ravel(nn.init_params(shapes, rng(8)))
    )

    def density(x):
        E, slope = energy(x)
        return E - 0.5 * np.sum(x**2, axis=-1), slope - x

    grid = np.linspace(-8.0, 8.0, 401)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(density(points)[0])
    exact = (weight[:, None] * points).sum(axis=0) / weight.sum()
    chains = sampler(
        density, rng(9).normal(size=(16, 2)), rng(10), steps=3000, warmup=300
    )
    x = chains.samples.reshape(-1, 2)
    assert np.all(
        np.abs(x.mean(axis=0) - exact) <= SIGMAS * x.std(axis=0) / np.sqrt(chains.ess)
    )
    assert np.all(chains.r_hat < 1.05)


# --- adaptation


@SAMPLERS
@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_warm_up_finds_the_step_size(sampler, target):
    """From 1000 times too small and 20 times too large alike. The averaged logarithm of a step size that swings across the steep
    end of a Gaussian's acceptance comes out a little small, the acceptance up to 0.15 high: safe, and not biased by it.
    """
    ends = []
    for first in (1e-3, 30.0):
        x = rng(11).normal(size=(64, 2))
        chains = sampler(
            gaussian, x, rng(12), steps=400, warmup=600, target=target, step_size=first
        )
        assert -0.05 <= np.mean(
            chains.acceptance
        ) - target <= 0.15 and chains.acceptance.shape == (64,)
        ends.append(chains.step_size)
    assert abs(math.log(ends[0] / ends[1])) <= 0.1


def test_the_step_size_moves_in_the_warm_up_alone():
    x = rng(13).normal(size=(8, 2))
    fixed = sampling.hmc(gaussian, x, rng(14), steps=50, warmup=0, step_size=0.37)
    assert fixed.step_size == 0.37
    sizes = []

    class Watched(HMC._DualAveraging):
        def update(self, acceptance):
            sizes.append(float(super().update(acceptance)))
            return np.asarray(sizes[-1])

    original, HMC._DualAveraging = HMC._DualAveraging, Watched
    try:
        chains = sampling.hmc(gaussian, x, rng(14), steps=50, warmup=20)
    finally:
        HMC._DualAveraging = original
    assert len(sizes) == 20 and len(set(sizes)) == 20 and chains.step_size not in sizes
    assert min(sizes) < chains.step_size < max(sizes)


# --- what they are given


def test_the_same_seed_gives_the_same_samples_in_any_blocks(monkeypatch):
    x = rng(15).normal(size=(4, 2))
    whole = sampling.hmc(gaussian, x, rng(16), steps=100, warmup=30)
    for block in (1, 7, 1000):
        monkeypatch.setattr(HMC, "BLOCK", block)
        assert np.array_equal(
            sampling.hmc(gaussian, x, rng(16), steps=100, warmup=30).samples,
            whole.samples,
        )
    assert not np.array_equal(
        sampling.hmc(gaussian, x, rng(17), steps=100, warmup=30).samples, whole.samples
    )


def test_leading_axes_are_runs():
    x = rng(18).normal(size=(3, 5, 2))
    chains = sampling.hmc(gaussian, x, rng(19), steps=60, warmup=10)
    assert chains.samples.shape == (60, 3, 5, 2) and chains.acceptance.shape == (3, 5)
    assert chains.r_hat.shape == chains.ess.shape == (3, 2)
    for k in range(3):
        alone = sampling.diagnose(chains.samples[:, k])
        assert np.allclose(alone[0], chains.r_hat[k], rtol=1e-12) and np.allclose(
            alone[1], chains.ess[k], rtol=1e-12
        )


def test_a_chain_stays_where_the_energy_is_finite():
    """A wall: nan beyond 1, where a proposal is rejected, and +inf slope does no harm."""

    def walled(x):
        E, slope = gaussian(x)
        out = np.any(np.abs(x) > 1.0, axis=-1)
        return np.where(out, np.nan, E), np.where(out[..., None], np.inf, slope)

    chains = sampling.hmc(walled, np.zeros((16, 2)), rng(20), steps=200, warmup=50)
    assert np.all(np.abs(chains.samples) <= 1.0) and np.all(chains.acceptance > 0.1)
    with pytest.raises(
        ValueError,
        match="x must start each chain where its energy is finite; 2 of 4 do not",
    ):
        sampling.hmc(
            walled,
            np.asarray([[0.0, 0.0], [2.0, 0.0], [0.0, 0.5], [0.0, -3.0]]),
            rng(21),
            steps=10,
            warmup=0,
        )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps must be a whole number >= 1; got 0"),
        ({"steps": True}, "steps must be a whole number >= 1; got True"),
        ({"warmup": -1}, "warmup must be a whole number >= 0; got -1"),
        ({"leapfrog": 0.5}, "leapfrog must be a whole number >= 1; got 0.5"),
        ({"step_size": 0.0}, "step_size must be a finite number > 0; got 0.0"),
        ({"step_size": math.nan}, "step_size must be a finite number > 0; got nan"),
        ({"step_size": math.inf}, "step_size must be a finite number > 0; got inf"),
        ({"step_size": "a"}, "step_size must be a finite number > 0; got 'a'"),
        ({"target": "a"}, "target must be a number between 0 and 1; got 'a'"),
        ({"target": 1.0}, "target must be a number between 0 and 1; got 1.0"),
        ({"target": 0.0}, "target must be a number between 0 and 1; got 0.0"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError) as error:
        sampling.hmc(
            gaussian, np.zeros((2, 2)), rng(), **({"steps": 5, "warmup": 5} | change)
        )
    assert str(error.value) == message


@SAMPLERS
@pytest.mark.parametrize(
    "x, seed, error, message",
    [
        (
            np.zeros(2),
            rng(),
            ValueError,
            r"x must be \(..., chains, d\); got shape \(2,\): one chain is x\[None, :\]",
        ),
        (
            np.zeros((4, 2), int),
            rng(),
            TypeError,
            "x must hold float64 or float32 numbers; got int64",
        ),
        ([[0.0, 0.0]], rng(), TypeError, "got x: builtins.list"),
        (np.zeros((4, 2)), 0, TypeError, "rng must be a NumPy Generator; got int"),
    ],
)
def test_bad_starts_are_named(sampler, x, seed, error, message):
    with pytest.raises(error, match=message):
        sampler(gaussian, x, seed, steps=5, warmup=5)


def test_a_chain_does_not_enter_an_infinite_energy():
    """E = +inf beyond 1 would be accepted at once and left never: the chain stays inside and keeps moving."""

    def pole(x):
        E, slope = gaussian(x)
        return np.where(np.abs(x[..., 0]) > 1.0, np.inf, E), slope

    chains = sampling.hmc(
        pole, np.zeros((6, 2)), rng(30), steps=100, warmup=0, step_size=0.3
    )
    assert np.all(np.abs(chains.samples[..., 0]) <= 1.0) and np.all(
        chains.samples[90:].std(axis=0) > 0.0
    )


def test_random_streams_are_not_those_of_a_training():
    """generator(7).spawn(1)[0] is generator(7, 0): what hmc draws with it must not be what the batches of a seed are made of."""
    for key in ((), (0,), (3,)):
        parent = backend.make_rng(7, *key)
        own = {
            float(stream.random())
            for _ in range(2)
            for stream in HMC._streams(parent, 3)
        }
        more = [
            (),
            *((k,) for k in range(4)),
            *((k, way) for k in range(4) for way in range(3)),
        ]
        others = {float(backend.make_rng(7, *key, *rest).random()) for rest in more}
        assert len(own) == 6 and not own & others


def test_progress():
    counted = []
    sampling.mala(
        gaussian,
        np.zeros((2, 2)),
        rng(),
        steps=6,
        warmup=4,
        track=lambda steps: (counted.append(k) or k for k in steps),
    )
    assert counted == list(range(10))


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_sample_the_same(name):
    """The same draws on every library: 20 trajectories part by the rounding of their sums alone."""
    library = or_skip(name)

    def theirs(x):
        z = (x - library([1.0, -1.0])) / library(SCALE)
        return -0.5 * library.xp.sum(z**2, axis=-1), -z / library(SCALE)

    x = rng(22).normal(size=(4, 2))
    here = sampling.hmc(gaussian, x, rng(23), steps=10, warmup=10)
    there = sampling.hmc(theirs, library(x), rng(23), steps=10, warmup=10)
    assert np.max(np.abs(backend.to_numpy(there.samples) - here.samples)) <= 1e-9
    assert abs(there.step_size - here.step_size) <= 1e-9 and np.allclose(
        there.r_hat, here.r_hat, rtol=1e-6
    )


# --- diagnostics


def test_r_hat_is_its_formula_and_sees_chains_apart():
    x = rng(24).normal(size=(101, 4, 1))
    halves = np.concatenate([x[:50], x[51:]], axis=1)[
        ..., 0
    ]  # of an odd number the middle one belongs to neither
    W, B = halves.var(axis=0, ddof=1).mean(), 50 * halves.mean(axis=0).var(ddof=1)
    r_hat, _ = sampling.diagnose(x)
    assert abs(r_hat[0] - math.sqrt((49 / 50 * W + B / 50) / W)) <= 1e-12
    assert sampling.diagnose(x + np.asarray([0.0, 0.0, 0.0, 3.0])[:, None])[0][0] > 1.3
    drifting = (
        x + np.linspace(0.0, 3.0, 101)[:, None, None]
    )  # each chain alone drifts: only its halves tell
    # Halves 1.5 apart, half of that squared over their own variance 1 + 1.5^2/12: sqrt(1 + 0.64/1.19) = 1.24, give or take.
    assert sampling.diagnose(drifting)[0][0] > 1.15


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_effective_samples_of_an_autoregression(phi):
    """x' = phi x + noise has N (1 - phi)/(1 + phi) effective samples; 8 chains of 4000 estimate that to some per cent."""
    g, chains, n = rng(25), 8, 4000
    noise = g.normal(size=(n, chains, 1)) * math.sqrt(1 - phi * phi)
    x = np.empty((n, chains, 1))
    x[0] = g.normal(size=(chains, 1))
    for k in range(1, n):
        x[k] = phi * x[k - 1] + noise[k]
    _, ess = sampling.diagnose(x)
    exact = n * chains * (1 - phi) / (1 + phi)
    # Geyer's sum over some 2/(1 - |phi|) lags of correlations known to 1/sqrt(32000).
    assert abs(ess[0] / exact - 1) <= 0.2


def test_diagnostics_of_what_is_too_short_or_stands_still():
    r_hat, ess = sampling.diagnose(rng(26).normal(size=(3, 4, 2)))
    assert np.all(np.isnan(r_hat)) and np.all(np.isnan(ess)) and r_hat.shape == (2,)
    r_hat, ess = sampling.diagnose(np.zeros((10, 4, 2)))
    assert np.all(np.isnan(r_hat)) and np.all(np.isnan(ess))
    r_hat, ess = sampling.diagnose(np.full((50, 4, 1), 0.1))  # whose mean is not 0.1
    assert np.isnan(r_hat[0]) and np.isnan(ess[0])


def test_effective_samples_by_hand():
    """Vehtari et al. 2021, their estimator written out as loops: pairs until one is not positive, whose even term counts once."""
    for phi in (0.0, 0.5, 0.9):
        g, n, m = rng(31), 200, 4
        x = np.zeros((n, m))
        for k in range(1, n):
            x[k] = phi * x[k - 1] + g.normal(size=m)
        halves = np.concatenate([x[: n // 2], x[n // 2 :]], axis=1)
        n, m = halves.shape
        z = halves - halves.mean(axis=0)
        covariance = [
            np.mean([z[: n - t, c] @ z[t:, c] / n for c in range(m)]) for t in range(n)
        ]
        within = covariance[0] * n / (n - 1)
        pooled = within * (n - 1) / n + halves.mean(axis=0).var(ddof=1)
        rho = [1.0] + [1.0 - (within - c) / pooled for c in covariance[1:]]
        time, least, t = -1.0, math.inf, 0
        while rho[t] + rho[t + 1] > 0:
            least = min(least, rho[t] + rho[t + 1])
            time, t = time + 2.0 * least, t + 2
        assert (
            abs(
                sampling.diagnose(x[..., None])[1][0]
                / (n * m / (time + max(rho[t], 0.0)))
                - 1.0
            )
            <= 1e-10
        )


def test_laws_of_the_plane_can_be_sampled():
    """The pinwheel's own density, its slope by differences: what HMC draws has the law's radius, to 5 standard errors."""
    law, h = distributions.Pinwheel(), 1e-5

    def density(x):
        slopes = [
            (law.energy(x + h * e) - law.energy(x - h * e)) / (2 * h) for e in np.eye(2)
        ]
        return law.energy(x), np.stack(slopes, axis=-1)

    chains = sampling.hmc(
        density, law.sample(rng(27), 64), rng(28), steps=400, warmup=100
    )
    radius = np.linalg.norm(chains.samples, axis=-1, keepdims=True)
    _, ess = sampling.diagnose(radius)
    exact = np.linalg.norm(law.sample(rng(29), 200_000), axis=-1)
    error = math.sqrt(radius.var() / ess[0] + exact.var() / exact.size)
    assert abs(radius.mean() - exact.mean()) <= SIGMAS * error
