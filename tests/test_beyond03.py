"""Digits from a mixture and one log-ratio: a quick run on made-up digits, its parts."""

import json

import numpy as np
import pytest

from tests.gallery import committed  # noqa: F401  (or skips)

from figures import beyond03
from figures.io import FileError, to_json
from figures.mnist import files as mnist_files
from figures.mnist import network, smoothed
from figures.mnist.experiment import Dequantized
from figures.mnist.smoothed import Model, Smoothed
from figures.settings import Settings
from refnce import nn
from refnce.array import make_rng
from refnce.nn.params import Flat
from tests.close import assert_close
from tests.test_digit_measures import made_up
from tests.test_mixture import mixture

pytest.importorskip("sklearn", reason="the figures need sklearn")
D = 784


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Quick settings, and made-up digits in the place of MNIST's."""
    parts = [x for seed, n in ((0, 600), (1, 300)) for x in made_up(n, seed)]
    digits = mnist_files.Digits(*parts)
    monkeypatch.setattr(mnist_files, "read", lambda folder: digits)
    return Settings(quick=True, mnist=tmp_path, work=tmp_path / "work")


def random_theta(seed):
    shapes = network.small_log_ratio_shapes()
    params = nn.init_params(shapes, make_rng(seed))
    return Flat(shapes).ravel(params)


def test_quick_run_on_made_up_digits(settings):
    numbers = json.loads(to_json(beyond03.compute(settings)))
    names = beyond03.DIGITS, beyond03.DENOISED, beyond03.MIXTURE, beyond03.RATIO
    assert tuple(numbers["measures"]) == tuple(numbers["pictures"]) == names
    for own in numbers["measures"].values():
        assert 0.0 <= own["nearest_error"] <= 1.0 and own["frechet"] >= -1e-3
        assert 0.1 <= own["confidence"] <= 1.0 and own["class_entropy"] <= 2.3027
    for found in numbers["nats"].values():
        alone, both, gain = (found[k] for k in (names[2], names[3], "gain"))
        assert alone[0] - both[0] == pytest.approx(gain[0], abs=1e-3)
        assert all(error > 0.0 for _, error in found.values())
    assert numbers["curve"]["step"] == [0, 3]
    assert len(numbers["pictures"][names[0]]) == 64
    figure = beyond03.draw(numbers)
    assert len(figure.axes) == 5
    again = json.loads(to_json(beyond03.compute(settings)))
    assert again == numbers


def test_training_resumes_to_the_same_bits(settings, monkeypatch):
    monkeypatch.setattr(smoothed, "INTERVAL", 2)
    monkeypatch.setattr(smoothed, "BATCH", 8)
    images, noise = made_up(50, 0)[0], mixture(0, 2, 3, D)

    def learn(settings, steps):
        return smoothed.learn(settings, Dequantized(images), noise, 0.3, steps)

    whole, rows = learn(settings, 6)
    learn(settings, 2)
    more = Settings(**vars(settings) | {"resume": True})
    resumed, again = learn(more, 6)
    assert np.array_equal(whole.theta, resumed.theta)
    assert np.array_equal(rows["F"][:1], again["F"][:1])
    assert rows["F"][-1] == again["F"][-1]
    other = Settings(**vars(more) | {"seed": 1})
    with pytest.raises(FileError, match="is of another training"):
        learn(other, 6)


def test_density_gradient_is_the_directional_derivative():
    """A central difference with h = 1e-5 errs by some 1e-8 of the values' size."""
    model, h = Model(mixture(1, 2, 3, D), 0.3, random_theta(0)), 1e-5
    x, v = make_rng(2).normal(size=(2, 3, D))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    high, low = (model.density(x + s * v)[0] for s in (h, -h))
    slope = np.sum(model.density(x)[1] * v, axis=-1)
    assert np.all(np.abs((high - low) / (2.0 * h) - slope) < 1e-6 * (1 + np.abs(slope)))


def test_denoising_is_the_posterior_mean_of_a_gaussian():
    """With q = N(m, C) of smoothed x: E[x | y] = m + (C - s^2 I) C^-1 (y - m)."""
    law = mixture(3, 1, 2, 5)
    model, y = Model(law, 0.3), make_rng(0).normal(size=(4, 5))
    (U,), (v,), (s,), (m,) = law.directions, law.variances, law.rest, law.means
    C = U.T * v @ U + s * (np.eye(5) - U.T @ U)
    shrunk = (C - 0.09 * np.eye(5)) @ np.linalg.solve(C, (y - m).T)
    assert_close(model.denoise(y), m + shrunk.T, scale=100.0)


def test_smoothed_draws_have_the_variance_of_the_noise_added():
    """A constant image: each variance within 5 errors; fails 3 times in 10^5 seeds."""
    images = np.full((1, 50), 128, dtype=np.uint8)
    x = Smoothed(Dequantized(images), 0.3).sample(make_rng(0), 20_000)
    variance = 0.09 + 1.0 / (12 * 256**2)
    error = variance * np.sqrt(2.0 / 20_000)
    assert np.all(np.abs(x.var(axis=0) - variance) < 5.0 * error)


def test_root_of_a_constant_log_ratio_is_its_value():
    model, x = Model(mixture(1, 2, 3, D), 0.3, random_theta(1)), np.zeros((4, D))
    assert abs(model.root(x, x).F - model.ratio(x)[0][0]) < 1e-12
