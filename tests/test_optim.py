"""The optimizers against their formulas, for one step, many steps and many runs."""

import numpy as np
import pytest

from refnce import optim
from tests.close import assert_close


def gradients(count, shape=(3, 4)):
    return np.random.Generator(np.random.PCG64(1)).standard_normal((count, *shape))


def test_sgd():
    (g,) = gradients(1)
    state, step = optim.sgd(None, g, rate=0.3)
    assert state is None
    assert np.array_equal(step, -0.3 * g)


def test_ngd_has_length_rate_in_each_run():
    (g,) = gradients(1)
    state, step = optim.ngd(None, 1e-200 * g, rate=0.3)
    assert state is None
    assert_close(np.linalg.norm(step * 1.0, axis=-1), np.full(3, 0.3), scale=1.0)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (step, -g)]
    assert_close(*unit, scale=1.0)


def test_ngd_of_zero_stays():
    g = np.zeros((2, 3))
    g[1, 0] = 5.0
    _, step = optim.ngd(None, g, rate=1.0)
    assert step.tolist() == [[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]


def test_adam_step_by_step():
    """Kingma & Ba 2015, Algorithm 1, written out element by element."""
    rate, beta1, beta2, eps = 0.01, 0.9, 0.999, 1e-8
    state, path = None, gradients(6)
    m, v = np.zeros((3, 4)), np.zeros((3, 4))
    for t, g in enumerate(path, start=1):
        state, step = optim.adam(state, g, rate=rate)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        expected = -rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        assert_close(step, expected, scale=rate)


def test_adam_eps_is_outside_the_root():
    _, step = optim.adam(None, np.array([1e-8]), rate=1.0)
    # 1e-8/(sqrt(1e-16) + 1e-8); with eps inside the root it would be -1e-4.
    assert step[0] == pytest.approx(-0.5, rel=1e-12)


@pytest.mark.parametrize("method", [optim.sgd, optim.ngd, optim.adam])
def test_pure_and_batched(method):
    """Nothing passed in is changed, and a batch of runs is its runs."""
    path = gradients(4)
    kept = path.copy()
    together, alone = None, [None] * 3
    for g in path:
        before = together
        together, step = method(together, g, rate=0.1)
        again = method(before, g, rate=0.1)[1]
        assert np.array_equal(step, again)
        for run in range(3):
            alone[run], one = method(alone[run], g[run], rate=0.1)
            assert np.array_equal(step[run], one)
    assert np.array_equal(path, kept)


@pytest.mark.parametrize("optimizer", [optim.sgd, optim.ngd, optim.adam])
def test_gradients_that_are_not_plain_arrays_are_refused(optimizer):
    for bad in (np.ma.masked_array(np.ones(2)), [1.0], np.ones(2, int)):
        with pytest.raises(TypeError, match="gradient (is a|must hold)"):
            optimizer(None, bad, rate=0.1)
