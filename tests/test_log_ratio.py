"""A log-ratio of digits and noise: its training, density and denoising."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.gallery import committed  # noqa: F401  (or skips)

from figures import fig13
from figures.io import FileError, to_json
from figures.mnist import files as mnist_files
from figures.mnist import log_ratio, network
from figures.mnist.experiment import Dequantized
from figures.mnist.gaussian import Gaussian, Whitened
from figures.mnist.log_ratio import Model, Smoothed, Task, WarmupCosine, learn
from figures.settings import Settings
from refnce import nn, optim
from refnce.array import make_rng
from refnce.nn.params import Flat
from refnce.train import models
from tests.close import assert_close
from tests.test_digit_measures import made_up
from tests.test_mixture import mixture

D = 784


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Quick settings, and made-up digits in the place of MNIST's."""
    parts = [x for seed, n in ((0, 600), (1, 300)) for x in made_up(n, seed)]
    digits = mnist_files.Digits(*parts)
    monkeypatch.setattr(mnist_files, "read", lambda folder: digits)
    # Workers of another process would read the folder.
    monkeypatch.setattr(fig13, "parallel_map", lambda f, jobs, backend: map(f, jobs))
    return Settings(quick=True, mnist=tmp_path, work=tmp_path / "work")


def small_task(**changes):
    """Two dozen steps of a perceptron's ratio between two laws of images."""
    shapes = nn.mlp_shapes(D, 4, 1)
    images = made_up(50, 0)[0]
    task = Task(
        label="a task, seed 0",
        layer=nn.mlp,
        shapes=shapes,
        data=Smoothed(Dequantized(images), 0.3),
        noise=mixture(0, 2, 3, D),
        seed=0,
        steps=6,
        batch=8,
        rate=1e-3,
        optimizer=WarmupCosine(6, warmup=2),
        decay=0.5,
    )
    return replace(task, **changes)


def test_figure_13_quick_on_made_up_digits(settings):
    numbers = json.loads(to_json(fig13.compute(settings)))
    for row, energies in numbers["energies"].items():
        assert tuple(energies) == fig13.SAMPLED
        for (one,) in energies.values():
            assert one["curve"]["step"] == [0, 3]
            assert all(error > 0.0 for _, error in one["F"].values())
            assert 0.0 < one["held_loss"] < 1.0
            names = set(one["measures"])
            assert names == set(one["median log_ratio"])
            assert names > {"noise", fig13.SHOWN_DIGITS[row]}
        assert len(numbers["pictures"][row]) == 6
    figure = fig13.draw(numbers)
    assert len(figure.axes) == 14


def test_training_resumes_to_the_same_bits(settings, monkeypatch):
    monkeypatch.setattr(log_ratio, "INTERVAL", 2)
    task = small_task()
    whole, rows = learn(task, settings)
    learn(replace(task, steps=4, optimizer=task.optimizer), settings)
    more = replace(settings, resume=True)
    resumed, again = learn(task, more)
    assert np.array_equal(whole, resumed)
    assert rows["F"][-1] == again["F"][-1] and rows["F"][0] == again["F"][0]
    with pytest.raises(FileError, match="is of another training"):
        learn(replace(task, decay=0.25), more)


def test_average_is_the_weighted_mean_of_the_thetas(settings, monkeypatch):
    monkeypatch.setattr(log_ratio, "INTERVAL", 1)
    task, mean = small_task(), None
    for steps in range(1, 7):
        last, _ = learn(replace(task, steps=steps, decay=0.0), settings)
        if mean is None:
            mean = log_ratio.begin(task, settings)[0].theta
        mean = 0.5 * mean + 0.5 * last
    averaged, _ = learn(task, settings)
    assert np.max(np.abs(averaged - mean)) < 1e-6 * np.max(np.abs(mean))


def test_the_rate_rises_and_falls():
    schedule = WarmupCosine(1000, warmup=100, last=0.1)
    assert schedule.factor(0) == 0.01 and schedule.factor(99) == 1.0
    assert schedule.factor(550) == pytest.approx(0.55)
    assert schedule.factor(1000) == schedule.factor(2000) == pytest.approx(0.1)
    gradient = np.ones(3)
    state, change = schedule(None, gradient, rate=0.5)
    expected = optim.adam(None, gradient, rate=0.005)[1]
    assert np.array_equal(change, expected)
    _, change = schedule(state, gradient, rate=0.5)
    assert np.array_equal(change, optim.adam(state, gradient, rate=0.01)[1])


def test_a_training_that_stops_keeps_its_last_finite_theta(settings):
    task = small_task(data=Huge(), noise=Huge())
    theta, rows = learn(task, settings)
    assert np.all(np.isfinite(theta)) and rows["step"][-1] < task.steps - 1


class Huge:
    """Images on which the log-ratio overflows float32."""

    def sample(self, rng, *shape):
        return 1e38 * rng.choice([-1.0, 1.0], (*shape, D))


def random_ratio(seed):
    shapes = network.small_log_ratio_shapes()
    theta = Flat(shapes).ravel(nn.init_params(shapes, make_rng(seed)))
    return models.energy(network.small_log_ratio(), shapes, theta)


@pytest.mark.parametrize("noise", ["mixture", "gaussian"])
def test_density_gradient_is_the_directional_derivative(noise):
    """A central difference with h = 1e-5 errs by some 1e-8 of the values' size."""
    law = mixture(1, 2, 3, D)
    if noise == "gaussian":
        law = Gaussian(np.zeros(D), np.diag(1.0 + make_rng(4).random(D)))
    model, h = Model(law, 0.3, random_ratio(0)), 1e-5
    x, v = make_rng(2).normal(size=(2, 3, D))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    high, low = (model.density(x + s * v)[0] for s in (h, -h))
    slope = np.sum(model.density(x)[1] * v, axis=-1)
    assert np.all(np.abs((high - low) / (2.0 * h) - slope) < 1e-6 * (1 + np.abs(slope)))


def test_whitened_density_is_that_of_x_up_to_a_constant():
    d = 784
    A = make_rng(5).normal(size=(d, d)) / d**0.5
    noise = Gaussian(make_rng(6).normal(size=d), A @ A.T + np.eye(d))
    model = Model(noise, 0.0, random_ratio(1))
    whitened = Whitened(noise, noise, model.ratio)
    z = make_rng(7).normal(size=(4, d))
    value, slope = whitened.density(z)
    expected, dx = model.density(noise.unwhiten(z))
    assert np.ptp(value - expected) < 1e-9 * np.max(np.abs(value))
    assert_close(slope, dx @ noise.factor, scale=1e4)


def test_denoising_is_the_posterior_mean_of_a_gaussian():
    """With q = N(m, C) of smoothed x: E[x | y] = m + (C - s^2 I) C^-1 (y - m)."""
    law = mixture(3, 1, 2, 5)
    model, y = Model(law, 0.3), make_rng(0).normal(size=(4, 5))
    (U,), (v,), (s,), (m,) = law.directions, law.variances, law.rest, law.means
    C = U.T * v @ U + s * (np.eye(5) - U.T @ U)
    shrunk = (C - 0.09 * np.eye(5)) @ np.linalg.solve(C, (y - m).T)
    assert_close(model.denoise(y), m + shrunk.T, scale=100.0)
    again = Model(Gaussian(m, 0.5 * (C + C.T)), 0.3).denoise(y)
    assert_close(again, m + shrunk.T, scale=100.0)


def test_smoothed_draws_have_the_variance_of_the_noise_added():
    """A constant image: each variance within 5 errors; fails 3 times in 10^5 seeds."""
    images = np.full((1, 50), 128, dtype=np.uint8)
    x = Smoothed(Dequantized(images), 0.3).sample(make_rng(0), 20_000)
    variance = 0.09 + 1.0 / (12 * 256**2)
    error = variance * np.sqrt(2.0 / 20_000)
    assert np.all(np.abs(x.var(axis=0) - variance) < 5.0 * error)
    plain = Smoothed(Dequantized(images), 0.0).sample(make_rng(0), 3)
    assert np.array_equal(plain, Dequantized(images).sample(make_rng(0), 3))
