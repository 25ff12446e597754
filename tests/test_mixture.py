"""GaussianMixture: density, score and responsibilities against independent ways."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from scipy import special, stats

from refnce.array import make_rng, to_numpy
from refnce.distributions import DiagonalGaussian, GaussianMixture
from refnce.sampling import effective_sample_size, hmc
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.strategies import seeds

K, P, D = 4, 2, 5
EPS = float(np.finfo(float).eps)


def mixture(seed=0, k=K, p=P, d=D):
    rng = make_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(k, d, d)))[0][:, :p]
    v, s = rng.uniform(0.5, 4.0, (k, p)), rng.uniform(0.2, 2.0, k)
    weights, means = rng.dirichlet(np.full(k, 3.0)), 2.0 * rng.normal(size=(k, d))
    return GaussianMixture(weights, means, directions, v, s)


def covariances(law):
    U, d = law.directions, law.means.shape[-1]
    rest = np.eye(d) - U.mT @ U
    return (U.mT * law.variances[:, None, :]) @ U + law.rest[:, None, None] * rest


def joint(law, x):
    """log w_k + log N(x; m_k, C_k), (..., k), by SciPy."""
    laws = zip(law.weights, law.means, covariances(law), strict=True)
    parts = [np.log(w) + stats.multivariate_normal(m, C).logpdf(x) for w, m, C in laws]
    return np.stack(parts, axis=-1)


def terms(law, x):
    """Size of the largest term of a log-density."""
    size = np.sum(x**2, axis=-1) + np.max(np.sum(law.means**2, axis=-1))
    return 10.0 + 4.0 * size / min(law.rest.min(), law.variances.min(initial=9.0))


def points(*shape):
    return 3.0 * make_rng(5).normal(size=(*shape, D))


LAW = mixture()


@given(seed=seeds)
def test_density_and_responsibilities_agree_with_scipy(seed):
    law, x = mixture(seed), points(20)
    expected, scale = joint(law, x), terms(law, x)
    assert_close(law.log_density(x), special.logsumexp(expected, axis=-1), scale=scale)
    # The error of a share is that of the logarithms, times a share <= 1.
    shares, scale = special.softmax(expected, axis=-1), scale[:, None]
    assert_close(law.responsibilities(x), shares, scale=scale)
    assert_close(law.responsibilities(x).sum(axis=-1), np.ones(20), scale=1.0)


@given(seed=seeds)
def test_score_is_the_directional_derivative(seed):
    """A central difference errs by h^2 in truncation and by eps terms/h in rounding.

    The third derivative is at most some 1e3 for these variances and distances of the
    means, and h = 1e-5 makes both errors about 1e-7.
    """
    law, rng, h = mixture(seed), make_rng(seed, 1), 1e-5
    x, v = law.sample(rng, 10), rng.normal(size=(10, D))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    ends = law.log_density(x + h * v) - law.log_density(x - h * v)
    error = 1e3 * h**2 + 4.0 * EPS * terms(law, x) / h
    assert np.all(np.abs(ends / (2.0 * h) - np.sum(law.score(x) * v, -1)) <= error)


def test_score_of_one_component_is_exact():
    law, x = mixture(k=1), points(7)
    expected = -np.linalg.solve(covariances(law)[0], (x - law.means[0])[..., None])
    assert_close(law.score(x), expected[..., 0], scale=terms(law, x)[:, None])


@pytest.mark.parametrize("p", [0, D])
def test_no_directions_and_all_of_them(p):
    law, x = mixture(p=p), points(9)
    expected = special.logsumexp(joint(law, x), axis=-1)
    assert_close(law.log_density(x), expected, scale=terms(law, x))
    assert law.score(x).shape == x.shape and law.sample(make_rng(0), 3).shape == (3, D)
    assert law.score(x[:0]).shape == (0, D) and law.log_density(x[:0]).shape == (0,)


def test_one_isotropic_component_is_the_diagonal_gaussian():
    mean = np.array([1.0, -2.0, 0.5])
    empty = np.zeros((1, 0, 3)), np.zeros((1, 0))
    law = GaussianMixture(np.ones(1), mean[None], *empty, np.array([0.7]))
    same, x = DiagonalGaussian(mean, np.full(3, 0.7)), make_rng(0).normal(size=(8, 3))
    assert_close(law.log_density(x), same.log_density(x), scale=100.0)
    assert_close(law.score(x), (mean - x) / 0.7, scale=100.0)


def test_draws_have_the_mean_and_covariance_of_the_mixture():
    """20 moments, each within 5 standard errors; fails 12 times in a million seeds."""
    x, w = LAW.sample(make_rng(1), 40_000), LAW.weights
    mean = w @ LAW.means
    centred = LAW.means - mean
    products = centred[:, :, None] * centred[:, None, :]
    covariance = np.sum(w[:, None, None] * (covariances(LAW) + products), axis=0)
    for i in range(D):
        assert abs(x[:, i].mean() - mean[i]) < 5.0 * x[:, i].std() / len(x) ** 0.5
        for j in range(i + 1):
            product = (x[:, i] - mean[i]) * (x[:, j] - mean[j])
            error = product.std() / len(x) ** 0.5
            assert abs(product.mean() - covariance[i, j]) < 5.0 * error


def test_components_are_drawn_by_their_weights():
    """Means far apart tell the component; 4 shares within 5 standard errors."""
    far = 100.0 * np.eye(K, D)
    law = GaussianMixture(LAW.weights, far, LAW.directions, LAW.variances, LAW.rest)
    shares = law.responsibilities(law.sample(make_rng(2), 300, 100))
    found, error = shares.mean(axis=(0, 1)), np.sqrt(LAW.weights / 30_000)
    assert np.all(np.abs(found - LAW.weights) < 5.0 * error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_array_libraries_agree(name, dtype):
    library, x = or_skip(name), points(2, 9).astype(dtype)
    exact, moved = x.astype(float), library(x, dtype)
    ulps = 64.0 * float(np.finfo(dtype).eps) / EPS
    scale = terms(LAW, exact)[..., None]
    for function in ("log_density", "responsibilities", "score"):
        value, expected = getattr(LAW, function)(moved), getattr(LAW, function)(exact)
        assert value.device == moved.device and value.dtype == moved.dtype
        size = scale[..., 0] if expected.ndim == 2 else scale
        assert_close(to_numpy(value).astype(float), expected, scale=size, ulps=ulps)


def test_runs_are_independent_and_far_points_are_finite():
    x = points(3, 4)
    for function in (LAW.log_density, LAW.score, LAW.responsibilities):
        one_by_one = np.stack([function(x[k]) for k in range(3)])
        scale = terms(LAW, x).max()
        assert_close(function(x), one_by_one, scale=scale)
    far = 1e6 * points(4)
    assert np.all(np.isfinite(LAW.log_density(far)) & (LAW.log_density(far) < -1e10))
    assert_close(LAW.responsibilities(far).sum(axis=-1), np.ones(4), scale=1.0)


def test_mixture_is_frozen_and_pickles():
    with pytest.raises(AttributeError):
        LAW.rest = LAW.rest
    again = pickle.loads(pickle.dumps(LAW))
    assert np.array_equal(again.log_density(points(3)), LAW.log_density(points(3)))


def test_hamiltonian_monte_carlo_samples_the_mixture():
    """Four moments, each within 5 standard errors; fails 3 times in a million seeds."""
    law = mixture(3, k=2, p=1, d=2)
    start, rng = law.sample(make_rng(3), 400), make_rng(4)
    chains = hmc(law.log_density_and_score, start, rng, steps=100, warmup=50)
    y = law.sample(make_rng(5), 40_000)
    for power in (1, 2):
        x, z = chains.samples**power, y**power
        ess = np.minimum(effective_sample_size(x), x[..., 0].size)
        error = np.sqrt(x.var(axis=(0, 1)) / ess + z.var(axis=0) / len(z))
        assert np.all(np.abs(x.mean(axis=(0, 1)) - z.mean(axis=0)) < 5.0 * error)


GOOD = {name: getattr(LAW, name) for name in LAW.__dataclass_fields__}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.array([0.5, 0.5, 0.5, -0.5]), r"weights must be > 0; got -0\.5"),
        ("weights", np.full(K, 0.5), "weights must sum to 1; got the sum 2"),
        ("weights", np.full(K + 1, 0.2), r"got shapes \(5,\) and \(4, 5\) and"),
        ("means", np.full((K, D), np.nan), "means must be a NumPy array .* finite"),
        ("directions", np.eye(D)[:P], r"must be \(k,\), \(k, d\), \(k, p, d\), \(k, p"),
        (
            "directions",
            np.ones((K, P, D)),
            "directions must have orthonormal rows; got",
        ),
        ("variances", np.zeros((K, P)), "variances must be > 0; got 0"),
        ("rest", -np.ones(K), "rest must be > 0; got -1"),
    ],
)
def test_invalid_parameters_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**GOOD | {name: value})
