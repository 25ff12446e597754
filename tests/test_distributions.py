"""The laws: normalised densities, analytic theta* and log Z, draws that follow the density and the seed."""

import array_api_strict as strict
import numpy as np
import pytest
from scipy import integrate, stats

from refnce import distributions
from tests.close import assert_close

UNIT = distributions.UnitGaussian(np.array([1.5, -0.5]))
DIAGONAL = distributions.DiagonalGaussian(np.array([0.5, -2.0]), np.array([0.7, 9.0]))
RING = distributions.RingMixture(dimension=2, components=5, radius=3.0, phase=0.3)
EIGHT = distributions.RingMixture(
    dimension=2, components=8, radius=4.0 / 2**0.5, sd=0.5 / 2**0.5
)  # the 8-Gaussians of Section 4.3
PINWHEEL = distributions.Pinwheel()
ALL = pytest.mark.parametrize(
    "law",
    [UNIT, DIAGONAL, RING, EIGHT, PINWHEEL],
    ids=["unit", "diagonal", "ring", "eight", "pinwheel"],
)
FAMILIES = pytest.mark.parametrize("law", [UNIT, DIAGONAL], ids=["unit", "diagonal"])


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


@ALL
def test_density_integrates_to_one(law):
    grid = np.linspace(-24.0, 24.0, 1201)
    x = np.stack(np.meshgrid(grid, grid), axis=-1)
    density = np.exp(law.log_density(x))
    mass = integrate.trapezoid(integrate.trapezoid(density, grid, axis=0), grid)
    # The trapezoid rule converges geometrically on these; the grid ends 7 deviations of the widest law out.
    assert mass == pytest.approx(1.0, abs=1e-10)


@ALL
def test_density_is_energy_less_log_z(law):
    x = 3.0 * generator().standard_normal((50, 2))
    assert_close(
        law.log_density(x),
        law.energy(x) - law.log_z,
        scale=np.abs(law.energy(x)) + np.abs(law.log_z) + 1.0,
    )


def test_gaussians_against_scipy():
    x = 3.0 * generator().standard_normal((50, 2))
    for law, covariance in ((UNIT, np.eye(2)), (DIAGONAL, np.diag(DIAGONAL.variance))):
        expected = stats.multivariate_normal(law.mean, covariance).logpdf(x)
        assert_close(law.log_density(x), expected, scale=1.0 + np.abs(expected))


def test_ring_against_scipy():
    x = 3.0 * generator().standard_normal((50, 2))
    angles = RING.phase + 2 * np.pi * np.arange(RING.components) / RING.components
    means = RING.radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    expected = np.log(
        np.mean([stats.multivariate_normal(mean).pdf(x) for mean in means], axis=0)
    )
    # x^2 - 2 x mu + mu^2 cancels: the error is that of its terms.
    assert_close(
        RING.log_density(x), expected, scale=np.sum(x**2, axis=-1) + RING.radius**2
    )


@FAMILIES
def test_energy_is_linear_in_theta(law):
    x = 3.0 * generator().standard_normal((50, 2))
    assert_close(
        law.energy(x),
        law.statistics(x) @ law.theta + law.log_base(x),
        scale=1.0 + np.sum(x**2, axis=-1) * 4,
    )


def test_printed_values_of_the_line():
    """Section 4.2: F* = theta^2/2 + log(2 pi)/2, and the noise N(0, 1) is theta = 0, F = log(2 pi)/2."""
    law, noise = distributions.UnitGaussian(
        np.array([16.0])
    ), distributions.UnitGaussian(np.array([0.0]))
    assert law.theta == 16.0
    assert_close(law.log_z, 128.0 + 0.5 * np.log(2 * np.pi), scale=128.0)
    assert_close(noise.log_z, 0.5 * np.log(2 * np.pi), scale=1.0)


@ALL
def test_draws_follow_the_density(law):
    x = law.sample(generator(), 40_000)
    assert x.shape == (40_000, 2)
    # E[x x^T] and E[x] of the density by quadrature; 5 standard errors of the sample.
    grid = np.linspace(-16.0, 16.0, 401)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    weight = np.exp(law.log_density(points)) * (grid[1] - grid[0]) ** 2
    for power in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (4, 0)):
        moment = x[:, 0] ** power[0] * x[:, 1] ** power[1]
        exact = np.sum(weight * points[:, 0] ** power[0] * points[:, 1] ** power[1])
        assert abs(moment.mean() - exact) < 5.0 * moment.std() / np.sqrt(moment.size)


@FAMILIES
def test_draws_depend_on_the_seed_alone(law):
    """The same stream whether drawn at once, in blocks of steps or step by step; other seeds differ."""
    whole = law.sample(generator(3), 6, 5)
    rng = generator(3)
    parts = np.concatenate(
        [law.sample(rng, 4, 5), law.sample(rng, 1, 5), law.sample(rng, 1, 5)]
    )
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, law.sample(generator(4), 6, 5))


def test_one_law_per_run():
    variance = generator().uniform(6.0, 12.0, (3, 1, 4))
    law = distributions.DiagonalGaussian(np.zeros((3, 1, 4)), variance)
    x = law.sample(generator(), 3, 7)
    assert (
        x.shape == (3, 7, 4)
        and law.theta.shape == (3, 1, 8)
        and law.log_z.shape == (3, 1)
    )
    for run in range(3):
        alone = distributions.DiagonalGaussian(np.zeros(4), variance[run, 0])
        assert np.array_equal(law.log_density(x)[run], alone.log_density(x[run]))


def test_samples_are_contiguous():
    x = DIAGONAL.sample(generator(), 3, 100)
    assert x[0, :, 1].flags.c_contiguous
    assert DIAGONAL.statistics(x)[0, :, 3].flags.c_contiguous


@ALL
def test_strict_namespace_on_another_device(law):
    x = generator().standard_normal((20, 2))
    moved = strict.asarray(x, device=strict.Device("device1"))
    for name in ("energy", "log_density"):
        value = getattr(law, name)(moved)
        assert value.device == moved.device
        back = np.from_dlpack(value.to_device(strict.Device("CPU_DEVICE")))
        expected = getattr(law, name)(x)
        assert_close(
            back,
            expected,
            scale=np.abs(expected) + np.sum(x**2, axis=-1) + RING.radius**2,
        )


@ALL
def test_one_draw(law):
    """No shape is one sample (d,), the first of many."""
    assert law.sample(generator()).shape == (2,)
    assert np.array_equal(law.sample(generator()), law.sample(generator(), 1)[0])


@FAMILIES
def test_whole_numbers_are_refused(law):
    """Parameters are moved to the dtype of the samples, where half a deviation would be none."""
    for function in (law.log_density, law.energy):
        with pytest.raises(
            TypeError, match="x must hold float64 or float32 numbers; got int64"
        ):
            function(np.asarray([[1, 2]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: distributions.RingMixture(1, 3), "dimension must be >= 2"),
        (lambda: distributions.RingMixture(2, 0), "components >= 1"),
        (lambda: distributions.RingMixture(sd=0.0), "sd > 0"),
        (
            lambda: distributions.DiagonalGaussian(np.zeros(1), np.asarray([-1.0])),
            r"variance must be > 0; got -1.0",
        ),
        (
            lambda: distributions.DiagonalGaussian(np.zeros(2), np.ones(1)),
            r"mean and variance must have one shape; got \(2,\) and \(1,\)",
        ),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
