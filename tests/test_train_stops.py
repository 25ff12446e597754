"""Algorithm 1 where numbers are not finite: a run stops alone."""

from itertools import product

import numpy as np
import pytest

from refnce import ence, optim, train
from refnce.array import make_rng
from refnce.train import Method, Training
from refnce.train.training import UPDATES
from tests.close import assert_close
from tests.test_train import best_F


def shifted(theta, x, y):
    """The model r = theta + x."""
    r = [theta + z[:, 0] for z in (x, y)]
    return *r, lambda *drs: sum(np.sum(dr, axis=-1, keepdims=True) for dr in drs)


def constant(data, noise):
    """The model r = theta x^2, and these two constants where theta > 3."""

    def model(theta, x, y):
        pairs = (x, data), (y, noise)
        r = [np.where(theta > 3, c, theta * z[:, 0] ** 2) for z, c in pairs]
        return *r, lambda dr_data, dr_noise: dr_data @ x**2 + dr_noise @ y**2

    return model


def explosive(theta, x, y):
    """The model r = theta x^2, -inf where theta > 3, nan on data where theta > 5."""
    r_data, r_noise, pullback = constant(-INF, -INF)(theta, x, y)
    return np.where(theta > 5, np.nan, r_data), r_noise, pullback


INF = np.inf
LIMITS = [(-INF, -INF), (INF, INF), (INF, -INF), (-INF, INF), (np.nan, 0.0)]
LIMITS += [(0.0, np.nan), (-3e3, 3e3), (3e3, -3e3)]
LOSSES = [*((None, name) for name in UPDATES), (ence, "gradient"), (ence, best_F)]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("loss", "update"), LOSSES)
def test_no_run_stops_another(loss, update, limit):
    """Nothing is raised, and a run trains as it does beside one that is well."""
    combinations = product((False, True), (1, 2), (optim.sgd, optim.adam, optim.ngd))
    for F_first, repeats, optimizer in combinations:
        method = Method(update, 1.0, F_first, repeats, optimizer)
        training = Training(constant(*limit), method, optim.adam, 1e-3, loss=loss)
        ends = []
        for second in (0.1, 4.0):
            state = train.start(training, np.asarray([[0.1], [second]]), np.zeros(2))
            with np.errstate(all="raise"):  # as a caller may have set it
                for k in range(3):
                    x = 1.0 + make_rng(k).standard_normal((12, 1))
                    y = make_rng(9 + k).standard_normal((9, 1))
                    state = train.step(state, x, y)
            assert state.stopped_at[0] == -1
            assert np.all(np.isfinite(state.theta)) and np.all(np.isfinite(state.F))
            ends.append((state.theta[0, 0], state.F[0]))
        if update in ("bisect", "newton"):
            # The passes that a batch takes move a root by its last units.
            assert_close(np.asarray(ends[0]), np.asarray(ends[1]), scale=1.0)
        else:
            assert ends[0] == ends[1]


@pytest.mark.parametrize("update", ["bar", "newton", "gradient"])
def test_a_run_that_is_not_finite_stops_and_the_others_train_on(update):
    """It keeps the theta and F of the step before."""

    theta, F = np.asarray([0.1, 4.0, 6.0, 0.2])[:, None], np.asarray([0, 0.5, 0.25, 0])
    training = Training(explosive, Method(update, rate=0.1), rate=1e-3)
    groups = slice(None), [0, 3]
    state, alone = (train.start(training, theta[k], F[k]) for k in groups)
    for k in range(6):
        x, y = make_rng(k).standard_normal((12, 1)), make_rng(9 + k).random((9, 1))
        state, alone = train.step(state, x, y), train.step(alone, x, y)
    assert state.stopped_at.tolist() == [-1, 0, 0, -1] and state.count == 6
    assert state.theta[1:3, 0].tolist() == [4.0, 6.0]
    assert state.F[1:3].tolist() == [0.5, 0.25]
    assert_close(state.theta[[0, 3]], alone.theta, scale=1.0)
    assert_close(state.F[[0, 3]], alone.F, scale=1.0, ulps=512.0)


def test_a_run_stops_at_the_step_that_fails():
    """Infinite log-ratios of noise are an infinite loss too."""

    def jump(state, gradient, *, rate):
        return None, np.asarray([[0.0], [1.5]])

    def model(theta, x, y):
        r = [theta + z[:, 0] for z in (x, y)]
        return r[0], np.where(theta > 4, INF, r[1]), lambda *dr: np.zeros((2, 1))

    training = Training(model, Method("gradient"), jump)
    state = train.start(training, np.zeros((2, 1)), np.zeros(2))
    for _ in range(6):
        state = train.step(state, np.ones((5, 1)), np.zeros((4, 1)))
    assert state.stopped_at.tolist() == [-1, 3]
    assert state.theta[:, 0].tolist() == [0.0, 4.5]


def test_a_theta_an_F_or_a_loss_that_is_not_finite_stops_a_run():
    def jump(*values):
        return lambda state, g, *, rate: (None, np.asarray(values)[:, None] + 0 * g)

    training = Training(shifted, Method("gradient"), jump(1.0, INF, np.nan))
    state = train.start(training, np.zeros((3, 1)), np.zeros(3))
    state = train.step(state, np.ones((5, 1)), np.zeros((4, 1)))
    assert state.stopped_at.tolist() == [-1, 0, 0]
    assert state.theta[:, 0].tolist() == [1.0, 0.0, 0.0]
    training = Training(shifted, Method("gradient", optimizer=jump(INF, 1.0)))
    state = train.start(training, np.zeros((2, 1)), np.zeros(2))
    state = train.step(state, np.ones((5, 1)), np.zeros((4, 1)))
    assert state.stopped_at.tolist() == [0, -1] and state.F[0] == 0.0
    # e^{1500} is infinite although its log-ratios, F and theta are not.
    for method in (Method("gradient"), Method(best_F, F_first=True)):
        training = Training(constant(-3e3, 3e3), method, loss=ence)
        state = train.start(training, np.full((1, 1), 4.0), np.zeros(1))
        state = train.step(state, np.ones((4, 1)), np.ones((5, 1)))
        assert state.stopped_at.tolist() == [0]
