"""Measures of images: nearest neighbours, Frechet distance, classifier, nats.

Statistical tests have fixed seeds; each states how often a correct program would fail
it on a fresh seed.
"""

import numpy as np
import pytest
from hypothesis import given
from scipy import linalg

from figures.mnist import classifier, dequantize
from figures.mnist import files as mnist
from figures.mnist.annealed import anneal, nats
from figures.mnist.classifier import Classifier, judge, train_classifier
from figures.mnist.frechet import frechet
from figures.mnist.nearest import nearest_error
from refnce import nn
from refnce.array import make_rng, to_numpy
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.real_mnist import FOLDER, REAL
from tests.strategies import seeds
from tests.test_mixture import covariances, mixture

# --- nearest neighbours


def test_nearest_error_is_a_half_for_one_law():
    """512 + 512 in 3 dimensions; fails once in a million seeds.

    Over 400 seeds the standard deviation was 0.020.
    """
    x, y = make_rng(0).random((2, 512, 3))
    assert abs(nearest_error(x, y) - 0.5) < 0.1


def test_nearest_error_of_laws_apart_of_copies_and_without_order():
    x, y = make_rng(1).random((2, 40, 5)) * 0.4
    assert nearest_error(x, y + 0.6) == 0.0
    assert nearest_error(x, x + 1e-6) == 1.0  # each is nearest to its copy
    assert nearest_error(x, y) == nearest_error(y[::-1], x[::-1])


def test_nearest_error_counts_by_hand():
    # 0.0 and 0.1 are nearest to each other; 0.4 and 0.5 are of different samples.
    x, y = np.array([[0.0], [0.1], [0.4]]), np.array([[0.5], [0.9], [0.8]])
    assert nearest_error(x, y) == pytest.approx(2 / 6)


# --- Frechet distance


@given(seed=seeds)
def test_frechet_agrees_with_the_matrix_root_of_scipy(seed):
    rng = make_rng(seed)
    x, y = rng.normal(size=(2, 50, 4)) @ rng.normal(size=(2, 4, 4)) + rng.normal(size=4)
    C_x, C_y = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(linalg.sqrtm(C_x) @ C_y @ linalg.sqrtm(C_x)).real
    gap = x.mean(axis=0) - y.mean(axis=0)
    expected = gap @ gap + np.trace(C_x + C_y - 2.0 * root)
    # A root halves the digits of the smallest eigenvalues.
    size = np.trace(C_x + C_y)
    assert frechet(x, y) == pytest.approx(expected, abs=1e-7 * size)
    assert frechet(y, x) == pytest.approx(frechet(x, y), abs=1e-7 * size)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-7 * size)


def test_frechet_of_singular_covariances():
    """Moved by 3 along a constant coordinate, and stretched by 2 along another."""
    x = make_rng(0).normal(size=(30, 3)) * np.array([1.0, 0.0, 1.0])
    x -= x.mean(axis=0)
    y = x * np.array([2.0, 1.0, 1.0]) + np.array([0.0, 3.0, 0.0])
    C = np.cov(x.T)
    C_y = np.cov(y.T)
    root = linalg.sqrtm(C[::2, ::2] @ C_y[::2, ::2]).real
    expected = 9.0 + np.trace(C + C_y) - 2.0 * np.trace(root)
    assert frechet(x, y) == pytest.approx(expected, abs=1e-9)


# --- classifier


def made_up(n, seed):
    """Images of ten prototypes with noise, and their labels."""
    rng = make_rng(seed)
    labels, prototypes = rng.integers(10, size=n), make_rng(99).random((10, 784))
    images = 150.0 * prototypes[labels] + 50.0 * rng.random((n, 784))
    return images.astype(np.uint8), labels


def test_cross_entropy_gradient_is_the_directional_derivative():
    """A central difference with h = 1e-5 errs by h^2 and by eps/h, about 1e-10."""
    rng, h = make_rng(0), 1e-5
    logits, v = 3.0 * rng.normal(size=(2, 6, 10))
    labels = rng.integers(10, size=6)
    gradient = classifier.cross_entropy(logits, labels)[1]
    ends = [classifier.cross_entropy(logits + s * v, labels)[0] for s in (h, -h)]
    assert abs((ends[0] - ends[1]) / (2.0 * h) - np.sum(gradient * v)) < 1e-8


def test_classifier_learns_made_up_digits_and_depends_on_the_seed_alone():
    images, labels = made_up(600, 0)
    found, again = (train_classifier(images, labels, seed=3, batch=30) for _ in "ab")
    held, answers = made_up(200, 1)
    x = dequantize.dequantize(held, make_rng(2))
    p = found.probabilities(x)
    assert np.mean(p.argmax(axis=-1) == answers) > 0.99
    assert np.array_equal(p, again.probabilities(x)) and p.dtype == np.float32
    last = {"0.weight": found.params["4.weight"], "0.bias": found.params["4.bias"]}
    logits, _ = nn.mlp(found.params, x.astype(np.float32))
    scale = 1e9 * np.abs(logits).max()  # float32
    assert_close(nn.mlp(last, found.features(x))[0], logits, scale=scale)


def test_judgement_of_a_classifier_that_knows_nothing():
    shapes = nn.mlp_shapes(*classifier.WIDTHS)
    blind = Classifier({name: np.zeros(shape) for name, shape in shapes.items()})
    found = judge(blind, np.ones((20, 784)), np.zeros((30, 784)))
    assert found.confidence == pytest.approx(0.1) and found.frechet == 0.0
    assert found.class_entropy == pytest.approx(np.log(10.0))


def test_judgement_of_one_class():
    images, labels = made_up(600, 0)
    found = train_classifier(images, labels, seed=3, batch=30)
    x = images / 256
    every, one = judge(found, x, x), judge(found, x[labels == 4], x)
    assert every.class_entropy > 2.25 > 0.3 > one.class_entropy
    assert one.frechet > 1.0 > 1e-3 > abs(every.frechet)


@REAL
def test_classifier_of_real_digits():
    """Held-out accuracy 0.979; the measures tell digits from noise and from a class."""
    digits = mnist.read(FOLDER)
    found = train_classifier(digits.train_images, digits.train_labels, seed=0)
    x = dequantize.dequantize(digits.test_images, make_rng(1))
    answers = found.probabilities(x).argmax(axis=-1)
    assert np.mean(answers == digits.test_labels) >= 0.97
    x = x[make_rng(2).permutation(len(x))]
    real, noise = judge(found, x[:2000], x[2000:4000]), make_rng(3).random((2000, 784))
    assert real.confidence > 0.95 and real.class_entropy > 2.28
    assert real.frechet < 0.1 * judge(found, noise, x[2000:4000]).frechet
    assert nearest_error(noise[:512], x[:512]) == 0.0
    assert abs(nearest_error(x[:512], x[512:1024]) - 0.5) < 0.1


# --- nats

QUADRATIC = np.array([[2.0, 0.5], [0.5, 1.0]])
LINEAR = np.array([1.0, -0.5])
SHORT = {"chains": 16, "steps": 2}


def ratio(x):
    """r = b^T x - x^T A x/2."""
    xp = x.__array_namespace__()
    A, b = (xp.asarray(v, device=x.device) for v in (QUADRATIC, LINEAR))
    Ax = x @ A
    return xp.sum(x * (b - 0.5 * Ax), axis=-1), b - Ax


def exact_log_z(law):
    """log sum_k w_k E exp(b^T x - x^T A x/2), x ~ N(m_k, C_k), in closed form."""
    logs = []
    for w, m, C in zip(law.weights, law.means, covariances(law), strict=True):
        P = np.linalg.inv(C)
        S, h = P + QUADRATIC, P @ m + LINEAR
        exponent = 0.5 * (h @ np.linalg.solve(S, h) - m @ P @ m)
        logs.append(np.log(w) + exponent - 0.5 * np.linalg.slogdet(S @ C)[1])
    return np.logaddexp.reduce(logs)


@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_annealed_log_z_is_that_of_a_closed_form(name):
    """Within 5 standard errors, in both ways; fails 12 times in ten million seeds.

    The weights do so although chains hardly change modes in 4 moves; the states need
    more of them.
    """
    library = or_skip(name)
    like = library(np.zeros(1))
    for k, warmup in ((3, 2), (1, 6)):
        law, options = mixture(4, k=k, p=1, d=2), {"chains": 512, "steps": 2}
        found = anneal(law, ratio, make_rng(0), like, warmup=warmup, **options)
        exact = exact_log_z(law)
        assert abs(found.log_z - exact) < 5.0 * found.error
        assert 0.0 < found.error < 0.2 and len(found.betas) > 2
        assert 10.0 < found.effective < 512.0
        if k == 1:
            log_z, error = found.by_states
            assert abs(log_z - exact) < 5.0 * error and 0.0 < error < 0.2
        assert 0.1 < found.acceptance < 1.0 and 0.05 < found.overlap < 1.0
        assert to_numpy(found.samples).shape == (2, 512, 2)
        assert found.samples.device == like.device


def test_annealed_log_z_of_the_noise_itself_is_zero():
    law = mixture(4, k=2, p=1, d=2)

    def flat(x):
        return 0.0 * x[:, 0], 0.0 * x

    found = anneal(law, flat, make_rng(0), np.zeros(1), **SHORT)
    assert found.log_z == found.error == 0.0 and found.betas == [0.0, 1.0]
    assert found.by_states == (0.0, 0.0) and found.effective == 16.0
    x = law.sample(make_rng(1), 4000)
    value, error = nats(law.log_density(x), found)
    spread = law.log_density(x).std() / 4000**0.5
    assert value == -law.log_density(x).mean() and error == pytest.approx(spread, 1e-3)


def test_error_of_annealing_is_the_spread_of_repetitions():
    """Over 60 seeds, z^2 has its mean within 4 errors; fails in 4 of 10^4 seeds.

    The jackknife's 15 degrees of freedom make z^2 that of Student's t, of mean 1.15 and
    variance 3.6. One Gaussian, because chains do not change modes in few moves.
    """
    law, options = mixture(4, k=1, p=1, d=2), {"chains": 64, "steps": 1, "warmup": 5}
    exact, scores = exact_log_z(law), []
    for seed in range(60):
        found = anneal(law, ratio, make_rng(seed, 1), np.zeros(1), **options)
        pairs = (found.log_z, found.error), found.by_states
        scores.append([(value - exact) / error for value, error in pairs])
    gap = np.mean(np.square(scores), axis=0) - 1.15
    assert np.all(np.abs(gap) < 4.0 * (3.6 / 60) ** 0.5)


def test_each_beta_keeps_half_of_the_samples():
    law, options = mixture(4, k=3, p=1, d=2), {"chains": 512, "steps": 1}
    found = anneal(law, ratio, make_rng(0), np.zeros(1), **options)
    r = ratio(law.sample(make_rng(0), 1, 512)[0])[0]
    w = np.exp(found.betas[1] * r)
    assert np.sum(w) ** 2 / np.sum(w**2) / 512 == pytest.approx(0.5, abs=0.002)
    assert found.betas[0] == 0.0 and found.betas[-1] == 1.0
    assert np.all(np.diff(found.betas) > 0.0)


def test_annealing_refuses_few_chains_and_ratios_that_are_not_finite():
    law = mixture(4, k=2, p=1, d=2)
    with pytest.raises(ValueError, match="chains must be at least 16; got 5"):
        anneal(law, ratio, make_rng(0), np.zeros(1), chains=5, steps=1)

    def broken(x):
        return np.inf * x[:, 0], x

    with pytest.raises(ValueError, match="ratio must give finite numbers"):
        anneal(law, broken, make_rng(0), np.zeros(1), **SHORT)
