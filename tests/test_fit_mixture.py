"""The fit of a Gaussian mixture by scikit-learn, and its smoothing."""

import numpy as np
import pytest

from figures.mnist import dequantize
from figures.mnist import files as mnist
from figures.mnist.mixture import fit_mixture, smooth
from refnce.array import make_rng
from tests.close import assert_close
from tests.real_mnist import FOLDER, REAL
from tests.test_mixture import covariances, mixture

why = "the figures need sklearn: pip install 'refnce[figures]'"
sklearn_mixture = pytest.importorskip("sklearn.mixture", reason=why)

ROWS, D, P, K = 3000, 6, 3, 4
X = mixture(1, K, P, D).sample(make_rng(0), ROWS)


def test_fit_is_that_of_scikit_learn_times_a_gaussian():
    law = fit_mixture(X, K, P, 50, seed=0)
    mean, (spectrum, basis) = X.mean(axis=0), np.linalg.eigh(np.cov(X.T, bias=True))
    along, across = (X - mean) @ basis[:, ::-1][:, :P], (X - mean) @ basis[:, : D - P]
    em = sklearn_mixture.GaussianMixture(K, max_iter=50, tol=0.0, random_state=0)
    with pytest.warns(match="did not converge"):
        expected = em.fit(along).score_samples(along)
    rest = spectrum[: D - P].mean()
    expected -= 0.5 * np.sum(across**2 / rest + np.log(2 * np.pi * rest), axis=-1)
    # Both solve with covariances of condition number 100 at most.
    assert_close(law.log_density(X), expected, scale=1e4)


def test_likelihood_does_not_fall_and_ends_near_the_true_one():
    """Twice the gain of the fit over the truth is chi-squared with some 50 degrees.

    It is under 150 except once in 1e11 seeds. The fit may be worse than the truth,
    because its rest is shared and k-means may start it at a lesser maximum.
    """
    paths = [fit_mixture(X, K, P, n, seed=0).log_density(X).mean() for n in range(1, 9)]
    assert np.all(np.diff(paths) >= -1e-6)  # what regularisation may cost
    assert paths[-1] > paths[0]
    truth = mixture(1, K, P, D).log_density(X).mean()
    assert paths[-1] - truth < 75.0 / ROWS


def test_fit_has_the_mean_of_the_data_and_depends_on_the_seed_alone():
    law, again = (fit_mixture(X, K, P, 3, seed=7) for _ in range(2))
    assert_close(law.weights @ law.means, X.mean(axis=0), scale=1e3)
    assert np.array_equal(law.log_density(X), again.log_density(X))


def test_smoothing_adds_to_the_covariances():
    law = mixture(2)
    more = covariances(smooth(law, 0.5)) - covariances(law)
    assert_close(more, np.broadcast_to(0.25 * np.eye(5), (4, 5, 5)), scale=10.0)


@REAL
def test_mixture_of_real_digits_beats_their_gaussian():
    """Nats per held-out image at smoothing 0.3: 10.6 +- 0.2 under one Gaussian's."""
    digits, rng = mnist.read(FOLDER), make_rng(0)
    x = dequantize.dequantize(digits.train_images[:8000], rng)
    y = dequantize.dequantize(digits.test_images[:1000], rng)
    y += 0.3 * rng.standard_normal(y.shape)
    one, many = (smooth(fit_mixture(x, k, 50, 3, seed=0), 0.3) for k in (1, 10))
    assert np.mean(many.log_density(y) - one.log_density(y)) > 8.0
