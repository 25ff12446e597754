"""Bridges between noise and digits: waymarks, gradients, other libraries, resuming."""

import numpy as np
import pytest

import tests.gallery  # noqa: F401, which skips where the figures' libraries are missing

from figures.io import FileError
from figures.mnist import bridges, network
from figures.mnist.experiment import Dequantized
from figures.mnist.gaussian import Gaussian
from figures.settings import Settings
from refnce import logz, nce, nn, optim
from refnce.array import make_rng, to_numpy
from refnce.nn.params import Flat
from refnce.train import models
from refnce.train.fit import Batches
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.test_digit_measures import made_up

D, K = 784, 3


def random_theta(seed):
    params = nn.init_params(bridges.shapes(K), make_rng(seed))
    return Flat(bridges.shapes(K)).ravel(params)


def random_waymarks(seed, n=4):
    x, y = make_rng(seed).normal(size=(2, n, D))
    return bridges.waymarks(x, y + 1.0, np.ones(D), K)


def total_loss(theta, x):
    """The sum of the bridges' losses, each at its own root."""
    r_data, r_noise, _ = bridges.log_ratios(theta, x)
    return nce.loss(r_data, r_noise, logz.newton(r_data, r_noise).F).sum()


def test_waymarks_by_hand():
    x, y, m = np.array([[3.0, 1.0]]), np.array([[6.0, 1.0]]), np.array([1.0, 0.0])
    found = bridges.waymarks(x, y, m, 5)
    assert_close(found[[0, 3, 5], 0], [[3.0, 1.0], [5.6, 1.4], [6.0, 1.0]], scale=6.0)


def test_waymarks_keep_a_variance_that_noise_and_data_share():
    """Each of 7 within 5 errors; fails 4 times in a million seeds."""
    x, y = make_rng(0).normal(size=(2, 40_000, 1))
    variances = bridges.waymarks(x, y, np.zeros(1), 6).var(axis=(1, 2))
    assert np.all(np.abs(variances - 1.0) < 5.0 * np.sqrt(2.0 / 40_000))


@pytest.mark.parametrize("part", ["1.", "2.triangle", "2.b", ""])
def test_gradient_of_the_summed_losses_is_the_directional_derivative(part):
    """At the roots F moves the loss in second order only.

    Rectifiers have kinks: a central difference with h = 1e-6 errs by some 1e-3 h, and
    by eps/h = 2e-10. The slopes are 2e-3 and more.
    """
    theta, x, h = random_theta(0), random_waymarks(1), 1e-6
    r_data, r_noise, pullback = bridges.log_ratios(theta, x)
    F = logz.newton(r_data, r_noise).F
    gradient = pullback(*nce.grad_r(r_data, r_noise, F))
    params, rng = Flat(bridges.shapes(K)).unravel(theta), make_rng(2)
    v = {k: rng.normal(size=p.shape) * k.startswith(part) for k, p in params.items()}
    v = Flat(bridges.shapes(K)).ravel(v)
    v /= np.linalg.norm(v)
    high, low = (total_loss(theta + s * v, x) for s in (h, -h))
    slope = gradient @ v
    assert abs((high - low) / (2.0 * h) - slope) < 1e-8 < 1e-5 * abs(slope)


def test_each_bridge_has_its_own_head_and_waymarks():
    theta, x = random_theta(3), random_waymarks(4)
    r_data, r_noise, _ = bridges.log_ratios(theta, x)
    layer, flat = network.small_log_ratio(), Flat(network.small_log_ratio_shapes())
    params, total = Flat(bridges.shapes(K)).unravel(theta), 0.0
    for k in range(K):
        own = {j: p[k] if j.startswith("2.") else p for j, p in params.items()}
        r = models.energy(layer, flat.shapes, flat.ravel(own))
        assert_close(r_noise[k], r(x[k])[0], scale=100.0)
        assert_close(r_data[k], r(x[k + 1])[0], scale=100.0)
        total = total + r(x[0])[0]
    assert_close(bridges.ratio(theta, K)(x[0])[0], total, scale=100.0)


def test_gradient_of_the_ratio_is_the_directional_derivative():
    """A central difference with h = 1e-5 errs by eps |r|/h, some 1e-11."""
    function, h = bridges.ratio(random_theta(5), K), 1e-5
    x, v = make_rng(6).normal(size=(2, 3, D))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    high, low = (function(x + s * v)[0] for s in (h, -h))
    slope = np.sum(function(x)[1] * v, axis=-1)
    assert np.all(np.abs((high - low) / (2.0 * h) - slope) < 1e-6 * np.abs(slope).max())


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_agree(name):
    library, theta, x = or_skip(name), random_theta(7), random_waymarks(8)

    def values(array):
        *r, pullback = bridges.log_ratios(array(theta), array(x))
        own = bridges.ratio(array(theta), K)(array(x[0]))
        return [to_numpy(v) for v in (*r, pullback(*r), *own)]

    for found, expected in zip(values(library), values(np.asarray), strict=True):
        assert_close(found, expected, scale=1e3 * np.abs(expected).max())


DATA = Dequantized(made_up(50, 0)[0])
NOISE = Gaussian(np.full(D, 0.4), 0.1 * np.eye(D))


def learn(settings, **options):
    options = {"steps": 5, "batch": 4, "bridges": K, "rate": 1e-3} | options
    return bridges.learn(settings, DATA, NOISE, NOISE.mean, **options)


def test_training_is_adam_on_the_bridges_from_noise_to_data(tmp_path):
    theta, rows = learn(Settings(work=tmp_path), steps=2)
    initial = network.log_ratio_init_params(bridges.shapes(K), make_rng(0, 0, 3))
    expected, state = Flat(bridges.shapes(K)).ravel(initial).astype("float32"), None
    for k in range(2):
        y, x = Batches(DATA, NOISE, 0, (), 4, 4)(k)
        marks = bridges.waymarks(x, y, NOISE.mean, K).astype("float32")
        r_data, r_noise, pullback = bridges.log_ratios(expected, marks)
        F = logz.newton(r_data, r_noise).F
        gradient = pullback(*nce.grad_r(r_data, r_noise, F))
        state, change = optim.adam(state, gradient, rate=1e-3)
        expected = expected + change
    assert rows["F"][-1] == pytest.approx(F, abs=1e-4)
    assert rows["loss"][-1] == pytest.approx(nce.loss(r_data, r_noise, F), abs=1e-4)
    # Where a gradient is rounding alone Adam's step may have either sign.
    assert np.mean(np.abs(theta - expected) < 1e-5) > 0.99


def test_training_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(bridges, "INTERVAL", 2)
    monkeypatch.setattr(bridges, "EVERY", 2)
    theta, rows = learn(Settings(work=tmp_path / "whole"))
    assert rows["step"].tolist() == [0, 2, 4] and rows["F"].shape == (3, K)
    settings = Settings(work=tmp_path / "cut", resume=True)
    step = bridges.step

    def stopping(state, y, x):
        if state.count == 3:
            raise KeyboardInterrupt
        return step(state, y, x)

    with monkeypatch.context() as patch:
        patch.setattr(bridges, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            learn(settings)
    theta_again, rows_again = learn(settings)
    assert np.array_equal(theta, theta_again) and theta.dtype == np.float32
    assert all(np.array_equal(rows[k], rows_again[k]) for k in rows)
    with pytest.raises(FileError, match="is of another training"):
        learn(settings, rate=2e-3)


def test_training_lowers_the_losses(tmp_path):
    """From 3 log 2 to a quarter of it, on made-up digits that are easy to tell."""
    _, rows = learn(Settings(work=tmp_path), steps=30, batch=8)
    first, last = rows["loss"].sum(axis=-1)[[0, -1]]
    assert last < 0.5 * first


@pytest.mark.parametrize("name", OTHERS)
def test_training_on_other_libraries(name, tmp_path):
    """F of the first batch agrees to some digits of float32."""
    or_skip(name)
    theta, rows = learn(Settings(backend=name, work=tmp_path / name), steps=2)
    _, expected = learn(Settings(work=tmp_path / "numpy"), steps=2)
    assert np.all(np.isfinite(to_numpy(theta)))
    assert rows["F"] == pytest.approx(expected["F"], rel=1e-2)
    assert rows["loss"][0] == pytest.approx(expected["loss"][0], rel=1e-4)
