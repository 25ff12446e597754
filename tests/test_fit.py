"""Training from start to end: the same bits however it is cut, apart or together; what it records; what stops a run."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile

import array_api_strict as strict
import numpy as np
import pytest

from refnce import distributions, ence, files, logz, nce, nn, optim, train
from refnce.train import models
from refnce.train.apart import join, split
from refnce.array.backend import make_rng, to_numpy
from refnce.train.fit import Batches, fit
from refnce.nn.params import Flat
from refnce.train.algorithm1 import Method, Stopped, Training
from tests.close import assert_close

DATA, NOISE = distributions.UnitGaussian(np.asarray([1.0])), distributions.UnitGaussian(
    np.asarray([0.0])
)
FAMILY = models.exponential_family(DATA, NOISE)
METHODS = (
    Method("gradient", rate=0.5),
    Method("gradient", rate=2.0),
    Method("bar"),
    Method("bar", rate=0.1, optimizer=optim.adam),
    Method("bar", times=3, order="first"),
    Method("newton", order="first"),
)
SHAPES = nn.mlp_shapes(2, 8, 4, 1)
RING, WIDE = distributions.RingMixture(
    2, 8, 2.8, sd=0.35
), distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))


def line(runs=2, methods=METHODS, optimizer=optim.adam, rate=0.05, **options):
    training = Training(FAMILY, methods, optimizer, rate, **options)
    return train.start(
        training, np.zeros((runs, len(methods), 1)), np.zeros((runs, len(methods)))
    )


def batches(runs=2, n=30, m=20, seed=3):
    return Batches(DATA, NOISE, seed, (runs,), n, m)


def plane(runs=2, methods=METHODS[:3]):
    """A small network on the 8-Gaussians."""
    theta = Flat(SHAPES).ravel(nn.init_params(SHAPES, make_rng(1), runs, 1))
    training = Training(models.network(nn.mlp, SHAPES, WIDE), methods, optim.adam, 1e-2)
    return train.start(
        training, np.repeat(theta, len(methods), axis=1), np.zeros((runs, len(methods)))
    )


def same(a, b):
    """The same bits in all that goes on."""
    assert (
        a.count == b.count
        and np.array_equal(a.theta, b.theta)
        and np.array_equal(a.F, b.F)
    )
    assert np.array_equal(a.stopped, b.stopped) and np.array_equal(
        a.stopped_at, b.stopped_at
    )
    assert _equal(a.memory, b.memory)


def _equal(a, b):
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return a is b if a is None else np.array_equal(a, b)


def recorded(record):
    return [
        getattr(record, name)
        for name in ("step", "loss", "F", "distance", "stopped", "stopped_at")
    ]


# --- batches


def test_a_batch_is_a_function_of_seed_and_step():
    one, two = batches(), batches()
    for k in (0, 5, 1, 5):
        for a, b in zip(one(k), two(k), strict=True):
            assert np.array_equal(a, b)
    x, y = one(4)
    assert x.shape == (2, 30, 1) and y.shape == (2, 20, 1)
    for other in (one(5), batches(seed=4)(4)):
        assert not np.any(other[0] == x) and not np.any(other[1] == y)
    assert not np.any(x[0, :20] == y[0]) and not np.any(x[0] == x[1])


def test_an_array_is_gone_through_once_an_epoch():
    data = np.arange(65.0)[:, None]
    draw = Batches(
        data, NOISE, 0, (2,), 10, 5
    )  # three batches of 20, and 5 samples that this epoch leaves out
    epochs = [
        np.concatenate([draw(3 * e + k)[0].ravel() for k in range(3)]) for e in range(2)
    ]
    for epoch in epochs:
        assert len(set(epoch)) == 60 and set(epoch) <= set(data.ravel())
    assert not np.array_equal(*epochs)
    assert draw(0)[0].shape == (2, 10, 1) and draw(0)[1].shape == (2, 5, 1)
    with pytest.raises(
        ValueError,
        match=r"the 70 samples that one step of all runs takes; got shape \(65, 1\)",
    ):
        Batches(data, NOISE, 0, (7,), 10, 5)


# --- the loop


@pytest.mark.parametrize("apart", [False, True])
def test_fit_is_steps_one_after_another(apart):
    state, record = fit(line(), batches(), 7, every=3, apart=apart)
    expected, rows = line(), []
    for k in range(7):
        x, y = batches()(k)
        after = train.step(expected, x, y)
        if k in (0, 3, 6):
            first = np.asarray([method.order == "first" for method in METHODS])
            F = np.where(first, after.F, expected.F)
            r = FAMILY(expected.theta, x, y)[:2]
            rows.append((nce.loss(*r, F), F))
        expected = after
    assert state.count == 7 and record.step.tolist() == [0, 3, 6]
    assert_close(state.theta, expected.theta, scale=1.0)
    assert_close(state.F, expected.F, scale=1.0, ulps=512.0)
    assert_close(record.loss, np.stack([row[0] for row in rows]), scale=1.0)
    assert_close(record.F, np.stack([row[1] for row in rows]), scale=1.0, ulps=512.0)
    assert np.array_equal(record.log_loss, np.log(record.loss))
    assert (
        np.all(np.isnan(record.distance))
        and np.all(record.seconds > 0)
        and record.seconds.shape == (3,)
    )
    assert np.all(record.stopped == 0) and np.all(record.stopped_at == -1)


def test_apart_is_together():
    """Two runs, a network, several methods: stepping each by itself changes the rounding of products and nothing else."""
    together, one = fit(plane(), Batches(RING, WIDE, 0, (2,), 20, 20), 5)
    apart, other = fit(plane(), Batches(RING, WIDE, 0, (2,), 20, 20), 5, apart=True)
    assert_close(
        apart.theta, together.theta, scale=1.0, ulps=2.0**30
    )  # Adam divides small gradients by their own size
    assert_close(other.loss, one.loss, scale=1.0, ulps=2.0**24)


def test_a_noise_law_of_several_runs_is_not_for_runs_apart():
    """Together each run has its own law; alone a run would be given the log-ratios of all, which is said."""
    noise = distributions.UnitGaussian(np.array([[[0.0]], [[1.0]]]))
    training = Training(
        models.exponential_family(distributions.UnitGaussian, noise),
        METHODS,
        optim.sgd,
        0.1,
    )
    begin = train.start(
        training, np.zeros((2, len(METHODS), 1)), np.zeros((2, len(METHODS)))
    )
    x, y = np.ones((2, 4, 1)), np.zeros((2, 3, 1))
    after, _ = fit(begin, lambda k: (x, y), 2)
    assert not np.array_equal(after.F[0], after.F[1])
    with pytest.raises(
        ValueError,
        match=r"the model must give log-ratios \(\*\(1,\), n\).* got \(2, 1, 4\).*of none with apart",
    ):
        fit(begin, lambda k: (x, y), 2, apart=True)


@pytest.mark.parametrize("count", [0, 3])
def test_split_and_join_are_inverse(count):
    state = line() if count == 0 else fit(line(), batches(), count)[0]
    parts = split(state, True)
    assert len(parts) == 12 and all(
        part.theta.shape == (1, 1) and part.F.shape == (1,) for part in parts.values()
    )
    assert [
        part.training.methods[0] for (run, _), part in parts.items() if run == (1,)
    ] == list(METHODS)
    same(join(state, parts), state)
    same(join(state, split(state, False)), state)


def test_distance_to_a_known_optimum():
    optimum = (DATA.theta, DATA.log_z)
    begin = line()
    _, record = fit(begin, batches(), 3, optimum=optimum)
    assert_close(record.distance[0, :, 0], [np.hypot(1.0, DATA.log_z)] * 2, scale=2.0)
    assert record.distance.shape == (3, 2, 6) and np.all(
        record.distance[2] < record.distance[0]
    )


def test_progress_and_callback():
    seen, counted = [], []

    def track(steps):
        for k in steps:
            counted.append(k)
            yield k

    def call(k, state):
        seen.append((k, state.count, state.F.shape))

    fit(line(), batches(), 5, every=2, track=track, callback=call, apart=True)
    assert counted == [0, 1, 2, 3, 4] and seen == [
        (0, 1, (2, 6)),
        (2, 3, (2, 6)),
        (4, 5, (2, 6)),
    ]


@pytest.mark.parametrize("name", ["steps", "every", "interval"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_counts_are_checked(name, value):
    options = {"steps": 2} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1"):
        fit(line(), batches(), **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_s_dtype_is_kept(dtype):
    begin = line()
    begin = train.start(
        begin.training, begin.theta.astype(dtype), begin.F.astype(dtype)
    )
    state, record = fit(begin, batches(), 3)
    assert (
        state.theta.dtype == state.F.dtype == dtype and record.loss.dtype == np.float64
    )


# --- methods of F


def test_times_and_optimizer_of_F():
    """Three BAR updates are three; Adam's first step on F is its rate, whatever the gradient."""
    adaptive = (
        Method("gradient", rate=0.1, optimizer=optim.adam),
        Method("bar", rate=0.2, optimizer=optim.adam),
    )
    state = line(1, (Method("bar", times=3), *adaptive))
    x, y = batches(1)(0)
    after = train.step(state, x, y)
    r = [z[0, 0] for z in FAMILY(state.theta, x, y)[:2]]
    F = 0.0
    for _ in range(3):
        F = logz.bar_update(*r, F)
    signs = -np.sign([nce.grad_F(*r, 0.0)] * 2)
    assert_close(
        after.F[0], [F, 0.1 * signs[0], 0.2 * signs[1]], scale=1.0, ulps=2.0**26
    )  # Adam's eps, 1e-8 of the gradient


@pytest.mark.parametrize("order", train.ORDERS)
def test_the_exponential_loss(order):
    methods = (Method("gradient", rate=0.5, order=order), Method("closed", order=order))
    state = line(1, methods, optim.sgd, 0.3, loss="ence")
    x, y = batches(1)(0)
    after = train.step(state, x, y)
    r = [z[0, 0] for z in FAMILY(state.theta, x, y)[:2]]
    Fs = [-0.5 * ence.grad_F(*r, 0.0), ence.log_z(*r)]
    for k, F in enumerate(Fs):
        g = ence.grad_r(*r, F if order == "first" else 0.0)
        assert_close(after.F[0, k], F, scale=1.0)
        assert_close(
            after.theta[0, k, 0],
            -0.3 * (g[0] @ x[0, :, 0] + g[1] @ y[0, :, 0]),
            scale=1.0,
        )
    _, record = fit(state, batches(1), 1)
    assert_close(
        record.loss[0, 0],
        [ence.loss(*r, F if order == "first" else 0.0) for F in Fs],
        scale=1.0,
    )


NCE, ENCE = (
    "one of gradient, bar, bisect, newton for loss 'nce'",
    "one of gradient, closed for loss 'ence'",
)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: Method("bars"),
            "update must be one of gradient, bar, bisect, newton, closed; got 'bars'",
        ),
        (
            lambda: Method("bar", order="last"),
            "order must be one of together, first; got 'last'",
        ),
        (lambda: Method("bar", rate=0.0), "rate must be a finite number > 0; got 0.0"),
        (lambda: Method("bar", times=0), "times must be a whole number >= 1; got 0"),
        (
            lambda: Training(FAMILY, (Method("closed"),)),
            f"update must be {NCE}; got 'closed'",
        ),
        (
            lambda: Training(FAMILY, (Method("bar"),), loss="ence"),
            f"update must be {ENCE}; got 'bar'",
        ),
        (
            lambda: Training(FAMILY, (), loss="mle"),
            "loss must be one of nce, ence; got 'mle'",
        ),
        (
            lambda: Training(FAMILY, (), loss="ence", nu=2.0),
            "nu must be 1 for the exponential loss, which it scales; got 2.0",
        ),
    ],
)
def test_what_a_training_refuses(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


# --- runs that stop


def explosive(theta, x, y):
    """A model whose log-ratios are theta x^2, nan for theta > 5 and infinite for theta > 3."""
    ratios = []
    for z in (x, y):
        r = np.where(theta > 3, -np.inf, theta * np.swapaxes(z**2, -1, -2))
        ratios.append(np.where(theta > 5, np.nan, r))
    return *ratios, lambda dr_data, dr_noise: np.matmul(dr_data, x**2) + np.matmul(
        dr_noise, y**2
    )


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("update", ["bar", "newton", "gradient"])
def test_a_run_that_is_not_finite_stops_and_the_others_go_on(update, apart):
    methods = (Method(update, rate=0.1),) * 4
    theta = np.asarray([0.1, 4.0, 6.0, 0.2]).reshape(1, 4, 1)
    F = np.asarray([[0.0, 0.5, 0.25, 0.0]])
    begin = train.start(Training(explosive, methods, rate=1e-3), theta, F)
    state, record = fit(begin, batches(1), 6, apart=apart)
    assert record.stopped.tolist() == [
        [0, Stopped.LOSS, Stopped.LOSS, 0]
    ] and record.stopped_at.tolist() == [[-1, 0, 0, -1]]
    assert state.theta[0, 1:3, 0].tolist() == [4.0, 6.0] and state.F[
        0, 1:3
    ].tolist() == [0.5, 0.25]
    alone = fit(
        train.start(
            Training(explosive, methods[:2], rate=1e-3), theta[:, [0, 3]], F[:, [0, 3]]
        ),
        batches(1),
        6,
    )[0]
    assert_close(state.theta[:, [0, 3]], alone.theta, scale=1.0)
    assert_close(state.F[:, [0, 3]], alone.F, scale=1.0, ulps=512.0)
    assert np.all(np.isfinite(record.loss[:, 0, [0, 3]])) and not np.any(
        np.isfinite(record.loss[:, 0, 1:3])
    )


def test_a_run_stops_where_it_is():
    """At the step that fails, with what the step before left; infinite log-ratios of noise are an infinite loss too."""

    def jump(state, gradient, *, rate):
        return None, np.asarray([[0.0], [1.5]])

    def ratios(theta, x, y):
        r = [theta + z[:, 0] for z in (x, y)]
        return (
            r[0],
            np.where(theta > 4, np.inf, r[1]),
            lambda dr_data, dr_noise: np.zeros((2, 1)),
        )

    state = train.start(
        Training(ratios, (Method("gradient"),) * 2, jump), np.zeros((2, 1)), np.zeros(2)
    )
    for _ in range(6):
        state = train.step(state, *(x[0] for x in batches(1)(0)))
    assert state.stopped.tolist() == [
        Stopped.NOT,
        Stopped.LOSS,
    ] and state.stopped_at.tolist() == [-1, 3]
    assert state.theta[:, 0].tolist() == [0.0, 4.5]


def test_each_quantity_is_named():
    def overflow(state, gradient, *, rate):
        return None, np.asarray([1.0, np.inf, np.nan])[:, None] * np.ones_like(gradient)

    def overflow_F(state, slope, *, rate):
        return None, np.full_like(slope, np.inf)

    training = Training(
        FAMILY, (Method("gradient"), Method("bar"), Method("gradient")), overflow
    )
    state = train.step(
        train.start(training, np.zeros((3, 1)), np.zeros(3)),
        *(x[0] for x in batches(1)(0)),
    )
    assert state.stopped.tolist() == [Stopped.NOT, Stopped.THETA, Stopped.THETA]
    assert state.stopped_at.tolist() == [-1, 0, 0] and state.theta[:, 0].tolist() == [
        1.0,
        0.0,
        0.0,
    ]
    training = Training(
        FAMILY, (Method("gradient", optimizer=overflow_F), Method("gradient"))
    )
    state = train.step(
        train.start(training, np.zeros((2, 1)), np.zeros(2)),
        *(x[0] for x in batches(1)(0)),
    )
    assert state.stopped.tolist() == [Stopped.F, Stopped.NOT] and state.F[0] == 0.0


@pytest.mark.parametrize("apart", [False, True])
def test_when_all_have_stopped_it_says_what_to_try(tmp_path, apart):
    begin = train.start(
        Training(explosive, (Method("bar"),) * 2),
        np.full((1, 2, 1), 6.0),
        np.zeros((1, 2)),
    )
    path = tmp_path / "state.npz"
    with pytest.warns(
        RuntimeWarning,
        match="no run is left to train: after step 1 not finite: loss; try a smaller rate",
    ):
        state, record = fit(begin, batches(1), 100, every=2, apart=apart, path=path)
    assert state.count == 1 and record.step.tolist() == [0] and path.exists()


# --- checkpoints


def undone(k, state):
    pytest.fail("a step was made")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_training_that_is_cut_goes_on_to_the_same_bits(tmp_path, cut, apart):
    path = tmp_path / "training.npz"
    whole, record = fit(line(), batches(), 9, every=2, apart=apart)
    fit(line(), batches(), cut, every=2, apart=apart, path=path)
    rest, other = fit(line(), batches(), 9, every=2, apart=apart, path=path)
    same(rest, whole)
    # The shorter training recorded its own last step as well.
    places = [list(other.step).index(k) for k in record.step]
    for a, b in zip(recorded(record)[:4], recorded(other)[:4], strict=True):
        assert np.array_equal(a, b[places], equal_nan=True)
    # What is finished is not done again, and fewer steps than were made cannot be had.
    again, _ = fit(
        line(), batches(), 9, every=2, apart=apart, path=path, callback=undone
    )
    same(again, whole)
    with pytest.raises(
        files.FileError,
        match="has 9 steps already; steps must be at least as many, got 8",
    ):
        fit(line(), batches(), 8, every=2, apart=apart, path=path)


KILLED = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
from tests.test_fit import *
slowly = lambda steps: (time.sleep(1e-3) or k for k in steps)
fit(line(), batches(), 100000, every=50, path=pathlib.Path(sys.argv[1]), interval=20, track=slowly)
"""


def test_a_killed_training_loses_at_most_an_interval(tmp_path):
    """SIGKILL at a random moment of a training that writes all the time; what is there is whole and goes on to the same bits."""
    path, root = tmp_path / "training.npz", os.path.dirname(os.path.dirname(__file__))
    wait = 0.05 + 0.3 * float(
        np.random.Generator(np.random.PCG64(os.getpid())).random()
    )
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), root])
    try:
        for _ in range(1200):
            if path.exists():
                break
            time.sleep(0.05)
        time.sleep(wait)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with np.load(path) as stored:
        reached = json.loads(bytes(stored["meta"]))["count"]
    assert reached >= 20 and reached % 20 == 0
    steps = reached + 7
    resumed, record = fit(line(), batches(), steps, every=50, path=path)
    whole, expected = fit(line(), batches(), steps, every=50)
    same(resumed, whole)
    for a, b in zip(recorded(record), recorded(expected), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def decayed(constant):
    """An optimizer that differs from others of its name by the number in its closure."""
    return lambda state, gradient, *, rate: (state, -constant * rate * gradient)


def momentum(state, gradient, *, rate, kind=dict):
    """An optimizer that remembers a dict or a list."""
    before = (
        0.0 * gradient if state is None else state["m"] if kind is dict else state[0]
    )
    m = 0.9 * before + gradient
    return (
        {"m": m, "count": 1 if state is None else state["count"] + 1}
        if kind is dict
        else [m]
    ), -rate * m


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [momentum, functools.partial(momentum, kind=list)],
    ids=["dict", "list"],
)
def test_what_an_optimizer_remembers_is_kept(tmp_path, optimizer, apart):
    state = functools.partial(
        line,
        optimizer=optimizer,
        methods=(Method("bar"), Method("gradient", optimizer=optimizer)),
    )
    whole, _ = fit(state(), batches(), 6, apart=apart)
    path = tmp_path / "training.npz"
    fit(state(), batches(), 3, apart=apart, path=path)
    again, _ = fit(state(), batches(), 6, apart=apart, path=path)
    assert np.array_equal(again.theta, whole.theta) and np.array_equal(again.F, whole.F)


def test_arrays_in_any_order_of_memory_are_read_back(tmp_path):
    plain = distributions.UnitGaussian(np.zeros(2))
    training = Training(
        models.exponential_family(plain, plain), (Method("bar"),) * 3, optim.adam, 0.1
    )
    begin, draws = train.start(
        training, np.asfortranarray(np.zeros((3, 2))), np.zeros(3)
    ), Batches(plain, plain, 0, (), 8, 8)
    fit(begin, draws, 1, path=tmp_path / "training.npz")
    assert fit(begin, draws, 6, path=tmp_path / "training.npz")[0].count == 6
    files.save(
        tmp_path / "a.npz",
        {"x": np.asarray([[1.0, 2.0], [3.0, 4.0]]).T, "y": np.asarray(5)},
        {},
    )
    arrays, _ = files.load(
        tmp_path / "a.npz", {"x": ((2, 2), "float64"), "y": ((), "int64")}
    )
    assert arrays["x"].tolist() == [[1.0, 3.0], [2.0, 4.0]] and arrays["y"] == 5


class Killed(Exception):
    pass


def stopping(at):
    """A track that ends a training before step ``at``, as a signal would."""

    def track(steps):
        for k in steps:
            if k == at:
                raise Killed
            yield k

    return track


def test_a_checkpoint_before_the_first_row(tmp_path):
    """A training that goes on from step 3, its first recorded step to come, is written and read back; so is an empty record."""
    path, options = tmp_path / "training.npz", {"every": 10, "interval": 2}
    state, _ = fit(line(), batches(), 3)
    with pytest.raises(Killed):
        fit(state, batches(), 40, path=path, track=stopping(6), **options)
    resumed, record = fit(state, batches(), 40, path=path, **options)
    whole, expected = fit(state, batches(), 40, **options)
    same(resumed, whole)
    assert record.step.tolist() == expected.step.tolist() == [10, 20, 30, 39]
    _, empty = fit(state, batches(), 3)
    assert (
        empty.step.dtype == np.int64
        and empty.loss.shape == (0, 2, 6)
        and empty.seconds.shape == (0,)
    )


@pytest.mark.parametrize("every", [1, 10, 1000])
def test_a_training_that_has_stopped_is_over(tmp_path, every):
    """Wherever it is cut and however often it is called it ends at the step at which its last run stopped."""
    path = tmp_path / "training.npz"
    begin = functools.partial(
        train.start,
        Training(explosive, (Method("bar"),) * 2),
        np.full((1, 2, 1), 6.0),
        np.zeros((1, 2)),
    )
    for _ in range(3):
        with pytest.warns(
            RuntimeWarning,
            match="no run is left to train: after step 1 not finite: loss",
        ):
            state, record = fit(begin(), batches(1), 5000, every=every, path=path)
        assert state.count == 1 and record.step.tolist() == [0]


def test_the_time_of_a_step_is_without_its_checkpoint(tmp_path, monkeypatch):
    write = files.write
    monkeypatch.setattr(
        files, "write", lambda *arguments: (time.sleep(0.2), write(*arguments))
    )
    _, record = fit(line(), batches(), 4, path=tmp_path / "training.npz", interval=1)
    assert np.all(record.seconds < 0.1)


def test_a_path_is_checked_before_the_first_step(tmp_path):
    with pytest.raises(
        ValueError,
        match="path must be in a folder that exists; got .*no/training.npz: make .*/no first",
    ):
        fit(
            line(), batches(), 3, path=tmp_path / "no" / "training.npz", callback=undone
        )
    with pytest.raises(IsADirectoryError):
        fit(line(), batches(), 3, path=tmp_path, callback=undone)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real.npz")
    fit(line(), batches(), 3, path=str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink() and fit(
        line(), batches(), 3, path=tmp_path / "disk" / "real.npz"
    )[0].count == 3


def test_a_file_has_the_permissions_of_any_other(tmp_path):
    files.write(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "training.npz"
    fit(line(optimizer=decayed(1)), batches(), 4, path=path)
    with pytest.raises(
        files.FileError,
        match="another training: optimizer '.*lambda> 1', here '.*lambda> 100'; give another",
    ):
        fit(line(optimizer=decayed(100)), batches(), 8, path=path)
    path.unlink()
    fit(line(), batches(), 4, path=path)
    for other in (
        batches(seed=4),
        batches(n=31),
        batches(m=21),
        lambda k: batches()(k),
    ):
        with pytest.raises(
            files.FileError,
            match="another training: batches 'UnitGaussian against UnitGaussian, seed 3, runs",
        ):
            fit(line(), other, 8, path=path)
    with pytest.raises(files.FileError, match="another training: optimum 'None', here"):
        fit(line(), batches(), 8, path=path, optimum=(DATA.theta, DATA.log_z))
    others = {
        "rate": line(rate=0.06),
        "optimizer": line(optimizer=optim.sgd),
        "methods": line(methods=(*METHODS[:-1], Method("bisect", order="first"))),
        "nu": line(nu=2.0),
    }
    for what, state in others.items():
        with pytest.raises(
            files.FileError, match="another training|whole checkpoint of this training"
        ):
            fit(state, batches(), 8, path=path)
        assert what
    with pytest.raises(
        files.FileError,
        match=r"'shape': \(2, 6, 1\), }., 224 bytes; float64 of shape \(3, 6, 1\) is expected",
    ):
        fit(line(3), batches(3), 8, path=path)
    with pytest.raises(files.FileError, match="another training"):
        fit(line(), batches(), 8, every=2, path=path)


DAMAGES = (
    "empty",
    "text",
    "half",
    "bytes",
    "renamed",
    "pickle",
    "wide",
    "header",
    "meta",
    "compressed",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    good = path.read_bytes()
    with np.load(path) as stored:
        arrays = dict(stored)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("theta = 1\n" * 100)
    elif damage == "half":
        path.write_bytes(good[: len(good) // 2])
    elif (
        damage == "bytes"
    ):  # within the numbers of an array: the archive's own checksum finds it
        place = good.index(arrays["theta"].tobytes())
        path.write_bytes(good[:place] + bytes(8) + good[place + 8 :])
    elif damage == "renamed":
        arrays["thetas"] = arrays.pop("theta")
        np.savez(path, **arrays)
    elif damage == "pickle":
        arrays["theta"] = np.asarray([{"a": 1}], dtype=object)
        np.savez(path, **arrays)
    elif damage == "wide":
        arrays["record.loss"] = np.zeros((10_000, 2, 6))
        np.savez(path, **arrays)
    elif damage == "header":  # a header that promises 8 TB
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        promise = members["record.step.npy"].replace(
            b"'shape': (4,), }            ", b"'shape': (999999999999,), } "
        )
        members["record.step.npy"] = promise
        assert b"9999" in members["record.step.npy"]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    elif damage == "meta":
        arrays["meta"] = np.frombuffer(b"not JSON", dtype=np.uint8)
        np.savez(path, **arrays)
    elif (
        damage == "compressed"
    ):  # a kilobyte that unpacks to gigabytes is never unpacked
        np.savez_compressed(
            path, **(arrays | {"theta": np.zeros_like(arrays["theta"])})
        )
    with pytest.raises(files.FileError) as error:
        fit(line(), batches(), 8, path=path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(path):
    with pytest.raises(files.FileError) as error:
        fit(line(), batches(), 8, path=path)
    message = str(error.value)
    assert (
        str(path) in message and len(message.splitlines()) == 1 and len(message) < 4000
    )


WHOLE = "{'descr': 5, 'fortran_order': False, 'shape': (2,), }"
HEADERS = [
    "{'descr': (",
    "(" * 3000,
    "-" * 9000 + "1",
    "{'a\0':1}",
    "{[]:1}",
    WHOLE,
    "\n",
]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "header", HEADERS, ids=lambda header: header[:8].strip() or "empty"
)
def test_no_foreign_header_is_parsed(tmp_path, header, version):
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    held = members(path)
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    held["theta.npy"] = (
        b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + bytes(96)
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    refused(path)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_no_header_is_unpacked(tmp_path, method):
    """A few kilobytes that hold a header of 100 megabytes, by its own word and in truth: reading takes a few megabytes."""
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    held, size = members(path), 100_000_000
    held["theta.npy"] = b"\x93NUMPY\x02\0" + size.to_bytes(4, "little") + b" " * size
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(
                name,
                content,
                compress_type=method if name == "theta.npy" else zipfile.ZIP_STORED,
            )
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "place, value",
    [(8, 0x1), (8, 0x20), (8, 0x40), (10, 8), (10, 12), (10, 93), (10, 99), (6, 99)],
)
def test_odd_entries_of_the_archive(tmp_path, place, value):
    """Flags (encryption, patches), methods and versions that zipfile answers with errors of four other types."""
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    content = bytearray(path.read_bytes())
    directory, local = (
        content.rindex(b"theta.npy") - 46,
        content.index(b"theta.npy") - 30,
    )
    for start in (directory + place, local + place - 2):
        content[start : start + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["theta", "theta.npy", "other.npy\n"])
def test_each_member_is_there_once(tmp_path, name):
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    content = members(path)["theta.npy"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)
    refused(path)


DESCRIPTIONS = {
    "nested": "[" * 100_000,
    "digits": '{"a": ' + "9" * 6000 + "}",
    "list": [],
    "count": [{"count": value} for value in ("4", True, -3, 4.0, 2, 7, 10**30, None)],
    "numbers": [
        {"numbers": value}
        for value in (
            [],
            {},
            *({"memory.0": x} for x in ("x", None, -1, 1.0, True, 10**30)),
        )
    ],
    "about": [
        {"about": value} for value in (None, [], {"every": [[[]]]}, {"every": "1\n"})
    ],
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_odd_descriptions(tmp_path, name):
    path, odd = tmp_path / "training.npz", DESCRIPTIONS[name]
    fit(line(methods=METHODS[:3]), batches(), 4, path=path)
    with np.load(path) as stored:
        arrays = dict(stored)
    good = json.loads(bytes(arrays["meta"]))
    assert good["numbers"] == {"memory.0": 4} and good["count"] == 4
    for change in odd if isinstance(odd, list) and odd else [odd]:
        text = (
            change
            if isinstance(change, str)
            else json.dumps(good | change if isinstance(change, dict) else change)
        )
        np.savez(
            path, **(arrays | {"meta": np.frombuffer(text.encode(), dtype=np.uint8)})
        )
        with pytest.raises(files.FileError) as error:
            fit(line(methods=METHODS[:3]), batches(), 8, path=path)
        assert len(str(error.value).splitlines()) == 1


def test_random_damage_is_seen(tmp_path):
    """A thousand files of flipped bytes: a FileError of one line, or the training to the bit where only a date was hit."""
    path = tmp_path / "training.npz"
    state, _ = fit(line(methods=METHODS[:3]), batches(), 2, path=path)
    good, rng, read = path.read_bytes(), make_rng(0), 0
    for _ in range(1000):
        content = bytearray(good)
        for place in rng.integers(len(good), size=rng.integers(1, 5)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            again, _ = fit(line(methods=METHODS[:3]), batches(), 2, path=path)
        except files.FileError as error:
            assert len(str(error).splitlines()) == 1
        else:
            read += 1
            same(again, state)
    assert 0 < read < 500


# --- arguments


@pytest.mark.parametrize("apart", [False, True])
def test_samples_that_all_runs_share(apart):
    draws = Batches(DATA, NOISE, 3, (), 12, 9)
    state, _ = fit(line(), draws, 3, apart=apart)
    assert state.theta.shape == (2, 6, 1) and np.array_equal(
        state.theta[0], state.theta[1]
    )


@pytest.mark.parametrize("runs, drawn", [(2, (3,)), (2, (1,)), (1, (5,)), (2, (2, 2))])
def test_runs_of_batches_and_state_are_compared(runs, drawn):
    message = rf"batches must be \(\*runs, n, d\), runs the state's \({runs},\), or shared \(n, d\); got"
    with pytest.raises(ValueError, match=message):
        fit(line(runs), Batches(DATA, NOISE, 3, drawn, 12, 9), 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n": 0}, "n must be a whole number >= 1; got 0"),
        ({"m": -1}, "m must be a whole number >= 1; got -1"),
        ({"seed": -1}, "seed must be a whole number >= 0; got -1"),
        (
            {"runs": 5},
            "runs must be a tuple of whole numbers, () for samples that all runs share; got 5",
        ),
        ({"runs": (2, 0)}, "runs must be a whole number >= 1; got 0"),
    ],
)
def test_bad_batches_are_named(change, message):
    with pytest.raises(ValueError) as error:
        Batches(
            **(
                {"data": DATA, "noise": NOISE, "seed": 0, "runs": (2,), "n": 5, "m": 5}
                | change
            )
        )
    assert str(error.value) == message


def test_an_optimum_is_checked_and_may_be_of_the_library():
    _, expected = fit(line(), batches(), 2, optimum=(DATA.theta, DATA.log_z))
    given = tuple(
        strict.asarray(np.asarray(x), device=strict.Device("device1"))
        for x in (DATA.theta, DATA.log_z)
    )
    assert np.array_equal(
        fit(line(), batches(), 2, optimum=given)[1].distance, expected.distance
    )
    wide = distributions.UnitGaussian(np.zeros(2))
    state = train.start(
        Training(models.exponential_family(wide, wide), METHODS[:1]),
        np.zeros((1, 2)),
        np.zeros(1),
    )
    for theta, F in (
        (np.zeros(1), 0.0),
        (np.zeros(7), 0.0),
        (np.zeros((5, 1, 2)), 0.0),
        (0.0, 0.0),
        (np.zeros(2), np.zeros(3)),
    ):
        with pytest.raises(
            ValueError,
            match=r"optimum must be \(theta\*, F\*\), theta\* \(..., 2\), which broadcast against",
        ):
            fit(state, Batches(wide, wide, 0, (), 5, 5), 2, optimum=(theta, F))


def test_apart_on_another_device():
    state = line()
    moved = [
        strict.asarray(x, device=strict.Device("device1"))
        for x in (state.theta, state.F)
    ]
    apart, _ = fit(train.start(state.training, *moved), batches(), 3, apart=True)
    here, _ = fit(state, batches(), 3, apart=True)
    assert apart.F.device == strict.Device("device1")
    assert_close(to_numpy(apart.F), here.F, scale=20.0, ulps=1000)


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "training.npz"
    fit(line(), batches(), 4, path=path)
    good = path.read_bytes()

    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        fit(line(), batches(), 8, path=path)
    assert path.read_bytes() == good and os.listdir(tmp_path) == ["training.npz"]
