"""Distributions: normalised densities, analytic theta* and log Z, draws, refused input.

Statistical tests have fixed seeds; each states how often a correct program would fail
it on a fresh seed.
"""

import array_api_strict as strict
import numpy as np
import pytest
from scipy import integrate, stats

from figures.mnist.gaussian import Gaussian
from refnce import distributions
from refnce.array import make_rng
from tests.close import assert_close

UNIT = distributions.UnitGaussian(np.array([1.5, -0.5]))
DIAGONAL = distributions.DiagonalGaussian(np.array([0.5, -2.0]), np.array([0.7, 9.0]))
FULL = Gaussian(np.array([0.5, -1.0]), np.array([[2.0, 0.8], [0.8, 1.0]]))
RING = distributions.RingMixture(dimension=2, components=5, radius=3.0)
# The 8-Gaussians of Section 4.3.
EIGHT = distributions.RingMixture(2, 8, radius=4.0 / 2**0.5, sd=0.5 / 2**0.5)
PINWHEEL = distributions.Pinwheel()
TURNED = np.array([[[0.6, 0.8]], [[1.0, 0.0]], [[0.0, 1.0]]])
MIXTURE = distributions.GaussianMixture(
    weights=np.array([0.5, 0.3, 0.2]),
    means=np.array([[1.0, -2.0], [-2.0, 0.0], [3.0, 1.0]]),
    directions=TURNED,
    variances=np.array([[3.0], [0.5], [1.0]]),
    rest=np.array([0.6, 2.0, 0.8]),
)
LAWS = {"unit": UNIT, "diagonal": DIAGONAL, "full": FULL}
LAWS |= {"ring": RING, "eight": EIGHT, "pinwheel": PINWHEEL, "mixture": MIXTURE}
ALL = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
FAMILIES = pytest.mark.parametrize("law", [UNIT, DIAGONAL], ids=["unit", "diagonal"])
X = 3.0 * make_rng(0).standard_normal((50, 2))
SQUARES = np.sum(X**2, axis=-1)


@ALL
def test_density_integrates_to_one(law):
    grid = np.linspace(-24.0, 24.0, 1201)
    density = np.exp(law.log_density(np.stack(np.meshgrid(grid, grid), axis=-1)))
    mass = integrate.trapezoid(integrate.trapezoid(density, grid, axis=0), grid)
    # The trapezoid rule converges geometrically here, and the grid ends at 7 standard
    # deviations of the widest distribution.
    assert mass == pytest.approx(1.0, abs=1e-10)


def test_densities_agree_with_scipy():
    covariances = (np.eye(2), np.diag(DIAGONAL.variance), FULL.covariance)
    for law, covariance in zip((UNIT, DIAGONAL, FULL), covariances, strict=True):
        expected = stats.multivariate_normal(law.mean, covariance).logpdf(X)
        assert_close(law.log_density(X), expected, scale=10.0 + np.abs(expected))
    angles = 2 * np.pi * np.arange(RING.components) / RING.components
    means = RING.radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    densities = [stats.multivariate_normal(mean).pdf(X) for mean in means]
    expected = np.log(np.mean(densities, axis=0))
    # x^2 - 2 x mu + mu^2 cancels: the error is that of its terms.
    assert_close(RING.log_density(X), expected, scale=SQUARES + RING.radius**2)


@FAMILIES
def test_eq2_log_density_is_linear_in_theta(law):
    energy = law.statistics(X) @ law.theta + law.log_base(X)
    assert_close(law.log_density(X), energy - law.log_z, scale=2.0 + 4 * SQUARES)


def test_printed_values_of_the_one_dimensional_family():
    """Section 4.2: F* = theta^2/2 + log(2 pi)/2; the noise N(0, 1) has theta = 0."""
    data, noise = (distributions.UnitGaussian(np.array([m])) for m in (16.0, 0.0))
    assert data.theta == 16.0 and noise.theta == 0.0
    assert_close(data.log_z, 128.0 + 0.5 * np.log(2 * np.pi), scale=128.0)
    assert_close(noise.log_z, 0.5 * np.log(2 * np.pi), scale=1.0)


@ALL
def test_draws_have_the_moments_of_the_density(law):
    """Six moments, each within 5 standard errors; fails 3 times in a million seeds."""
    x = law.sample(make_rng(1), 40_000)
    assert x.shape == (40_000, 2)
    grid = np.linspace(-16.0, 16.0, 401)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    weight = np.exp(law.log_density(points)) * (grid[1] - grid[0]) ** 2
    for power in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (4, 0)):
        moment = np.prod(x ** np.array(power), axis=-1)
        exact = np.sum(weight * np.prod(points ** np.array(power), axis=-1))
        assert abs(moment.mean() - exact) < 5.0 * moment.std() / np.sqrt(moment.size)


@pytest.mark.parametrize("name", ["unit", "diagonal", "full"])
def test_draws_depend_on_the_seed_alone(name):
    """The same numbers whether drawn at once or in blocks of runs."""
    law, rng = LAWS[name], make_rng(3)
    whole = law.sample(make_rng(3), 6, 5)
    blocks = np.concatenate([law.sample(rng, runs, 5) for runs in (4, 1, 1)])
    assert np.array_equal(whole, blocks)
    assert not np.array_equal(whole, law.sample(make_rng(4), 6, 5))


@ALL
def test_draw_without_a_shape_is_the_first_sample(law):
    assert law.sample(make_rng(0)).shape == (2,)
    assert_close(law.sample(make_rng(0)), law.sample(make_rng(0), 1)[0], scale=1.0)


def test_parameters_with_runs_are_one_distribution_per_run():
    variance = make_rng(0).uniform(6.0, 12.0, (3, 1, 4))
    law = distributions.DiagonalGaussian(np.zeros((3, 1, 4)), variance)
    x = law.sample(make_rng(0), 3, 7)
    assert x.shape == (3, 7, 4)
    assert law.theta.shape == (3, 1, 8) and law.log_z.shape == (3, 1)
    for run in range(3):
        alone = distributions.DiagonalGaussian(np.zeros(4), variance[run, 0])
        assert np.array_equal(law.log_density(x)[run], alone.log_density(x[run]))
    for shape in ((7,), (1, 7), ()):  # all runs would share their draws
        with pytest.raises(ValueError, match=r"begin with the runs of the mean"):
            law.sample(make_rng(0), *shape)


def test_each_coordinate_of_the_samples_is_contiguous():
    """Those of the Gaussian with full covariance are contiguous sample by sample."""
    assert FULL.sample(make_rng(0), 3, 100).flags.c_contiguous
    x = DIAGONAL.sample(make_rng(0), 3, 100)
    assert x[0, :, 1].flags.c_contiguous
    assert DIAGONAL.statistics(x)[0, :, 3].flags.c_contiguous


@ALL
def test_strict_namespace_on_another_device(law):
    moved = strict.asarray(X, device=strict.Device("device1"))
    value, expected = law.log_density(moved), law.log_density(X)
    assert value.device == moved.device
    back = np.from_dlpack(value.to_device(strict.Device("CPU_DEVICE")))
    assert_close(back, expected, scale=np.abs(expected) + SQUARES + RING.radius**2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_far_tail_of_the_pinwheel(dtype):
    """exp(|x|/scale) overflows from 1420 on (from 177 in float32)."""
    for radius in (50.0, 200.0, 1500.0, 1e6):
        rho = radius / PINWHEEL.scale
        x = radius * np.array([[1.0, 0.0], [0.6, -0.8]])
        E = PINWHEEL.log_density(x.astype(dtype)) + PINWHEEL.log_z
        largest = -0.5 * ((rho - 1.0) / PINWHEEL.radial) ** 2
        assert np.all(E <= 0.999 * largest) and np.all(E >= -50.0 * (rho + 1.0) ** 2)
    with np.errstate(over="ignore"):
        assert np.all(PINWHEEL.log_density(1e200 * x) == -np.inf)


@pytest.mark.parametrize(
    "law", [*LAWS.values(), distributions.RingMixture()], ids=[*LAWS, "20-d"]
)
def test_x_of_another_dimension_or_dtype_is_refused(law):
    """A7: (1, 1) and (1, 2) would broadcast."""
    function, d = law.log_density, getattr(law, "dimension", 2)
    for shape in ((), (1,), (4, 1), (3, d + 1), *([(1, 2)] if d != 2 else [])):
        with pytest.raises(ValueError, match=rf"x must be \(\.\.\., {d}\), its coord"):
            function(np.ones(shape))
    with pytest.raises(TypeError, match="x must hold float64 or float32 .* got int64"):
        function(np.ones((1, d), dtype=np.int64))


Ring = distributions.RingMixture
Diagonal, Unit = distributions.DiagonalGaussian, distributions.UnitGaussian
ONE = np.ones(1)


@pytest.mark.parametrize(
    ("law", "parameters", "message"),
    [
        (Ring, {"dimension": 1}, "dimension must be a whole number >= 2; got 1"),
        (Ring, {"dimension": 2.5}, "dimension must be a whole number >= 2; got 2.5"),
        (Ring, {"components": 0}, "components must be a whole number >= 1; got 0"),
        (Ring, {"radius": np.nan}, "radius must be a finite number >= 0; got nan"),
        (Ring, {"sd": 0.0}, "sd must be a finite number > 0; got 0.0"),
        (Ring, {"sd": np.inf}, "sd must be a finite number > 0; got inf"),
        (Diagonal, {"mean": 0 * ONE, "variance": -ONE}, "variance must be > 0; got -1"),
        (Diagonal, {"mean": np.zeros(2), "variance": ONE}, r"shapes \(2,\) and \(1,\)"),
        (Unit, {"mean": np.nan * np.ones(2)}, r"finite numbers; got ndarray .* \(2,\)"),
        (Unit, {"mean": np.asarray(1.0)}, r"array \(\.\.\., d\) .* of shape \(\)"),
    ],
)
def test_invalid_parameters_are_named(law, parameters, message):
    with pytest.raises(ValueError, match=message):
        law(**parameters)
