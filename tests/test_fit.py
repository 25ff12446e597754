"""The training loop: its batches, its steps, its record, and what stops it."""

import array_api_strict as strict
import numpy as np
import pytest

from refnce import distributions, ence, nce, nn, optim, train
from refnce.array import make_rng, to_numpy
from refnce.nn.params import Flat
from refnce.train import Method, Training, models
from refnce.train.fit import Batches, fit
from tests.close import assert_close
from tests.test_train import not_plain_arrays
from tests.test_train_stops import explosive

DATA = distributions.UnitGaussian(np.asarray([1.0]))
NOISE = distributions.UnitGaussian(np.asarray([0.0]))
FAMILY = models.exponential_family(DATA, NOISE)
ADAM = Method("bar", rate=0.1, optimizer=optim.adam)
METHODS = [Method("gradient", rate=0.5), ADAM]
METHODS += [Method("bar", repeats=3, F_first=True), Method("newton", F_first=True)]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.update)


def line(method=METHODS[0], runs=2, optimizer=optim.adam, rate=0.05, **options):
    training = Training(FAMILY, method, optimizer, rate, **options)
    return train.start(training, np.zeros((runs, 1)), np.zeros(runs))


def batches(runs=2, n=30, m=20, seed=3):
    return Batches(DATA, NOISE, seed, (runs,), n, m)


# Batches


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


def test_an_epoch_goes_through_an_array_once():
    """Three batches of 20 rows; an epoch leaves out 5 of the 65."""
    data = np.arange(65.0)[:, None]
    draw = Batches(data, NOISE, 0, (2,), 10, 5)
    rows = [draw(k)[0].ravel() for k in range(6)]
    epochs = np.concatenate(rows[:3]), np.concatenate(rows[3:])
    for epoch in epochs:
        assert len(set(epoch)) == 60 and set(epoch) <= set(data.ravel())
    assert not np.array_equal(*epochs)
    assert draw(0)[0].shape == (2, 10, 1) and draw(0)[1].shape == (2, 5, 1)


NAN = np.ones((9, 3))
NAN[4, 2] = np.nan
# As those of pandas, whose method sample draws rows
FRAME = type("DataFrame", (), {"sample": None, "to_numpy": None})()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be a whole number >= 1; got 0"),
        ({"m": -1}, ValueError, "m must be a whole number >= 1; got -1"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0; got -1"),
        ({"runs": 5}, TypeError, "runs must be a tuple of whole numbers; got 5"),
        ({"runs": (2, 0)}, ValueError, "runs must be a whole number >= 1; got 0"),
        ({"data": np.ones((9, 1))}, ValueError, r"takes 10 rows; got \(9, 1\)"),
        ({"data": np.ones(99)}, ValueError, r"data must be \(N, d\)"),
        ({"data": NAN}, ValueError, "data is not finite in row 4, column 2: drop"),
        ({"data": NAN > 0}, TypeError, "data must hold float64 or float32 numbers"),
        ({"data": np.ma.masked_array(NAN, NAN > 0)}, TypeError, "data is a Masked"),
        ({"data": NAN.tolist()}, TypeError, "data"),
        ({"data": FRAME}, TypeError, r"data is a DataFrame; pass data.to_numpy\(\)"),
        ({"noise": FRAME}, TypeError, "noise must have a method sample"),
        ({"noise": np.ones((9, 1))}, TypeError, "noise must have a method sample"),
    ],
)
def test_invalid_batches_raise(change, error, message):
    arguments = {"data": DATA, "noise": NOISE, "seed": 0, "runs": (2,), "n": 5, "m": 5}
    with pytest.raises(error, match=message) as raised:
        Batches(**(arguments | change))
    assert "\n" not in str(raised.value)


# The loop


@each_method
def test_fit_is_its_steps_and_records_where_theta_s_gradient_is_taken(method):
    state, record = fit(line(method), batches(), 7, record_every=3)
    expected, rows = line(method), []
    for k in range(7):
        x, y = batches()(k)
        after = train.step(expected, x, y)
        F = after.F if method.F_first else expected.F
        r_data, r_noise, _ = FAMILY(expected.theta, x, y)
        rows.append((nce.loss(r_data, r_noise, F), F))
        expected = after
    assert state.count == 7 and record.step.tolist() == [0, 3, 6]
    assert np.array_equal(state.theta, expected.theta)
    assert np.array_equal(state.F, expected.F)
    assert np.array_equal(record.loss, [row[0] for row in rows[::3]])
    assert np.array_equal(record.F, [row[1] for row in rows[::3]])
    assert state.stopped_at.tolist() == [-1, -1]


@each_method
def test_a_training_in_pieces_is_the_training_in_one(method):
    whole, record = fit(line(method), batches(), 9, record_every=2)
    state, steps, losses = line(method), [], []
    for stop in (1, 4, 9, 9):
        state, piece = fit(state, batches(), stop, record_every={0, 2, 4, 6, 8})
        steps += piece.step.tolist()
        losses += piece.loss.tolist()
    assert state.count == 9 and np.array_equal(state.theta, whole.theta)
    assert np.array_equal(state.F, whole.F)
    assert steps == record.step.tolist() and losses == record.loss.tolist()


def test_a_record_of_no_steps():
    state, record = fit(line(), batches(), 3, record_every=())
    assert state.count == 3 and record.step.dtype == np.int64
    assert record.loss.shape == (0, 2) and record.F.shape == (0, 2)


def test_the_loss_of_one_s_own_is_recorded():
    begin = line(Method("gradient"), loss=ence)
    _, record = fit(begin, batches(), 1)
    r_data, r_noise, _ = FAMILY(begin.theta, *batches()(0))
    assert_close(record.loss[0], ence.loss(r_data, r_noise, begin.F), scale=1.0)


def test_callback_is_called_after_every_step():
    seen = []

    def callback(before, after, x_data, x_noise):
        assert np.array_equal(x_data, batches()(before.count)[0])
        seen.append((before.count, after.count, x_noise.shape))

    fit(line(), batches(), 3, record_every=2, callback=callback)
    shape = (2, 20, 1)
    assert seen == [(0, 1, shape), (1, 2, shape), (2, 3, shape)]


@pytest.mark.parametrize("name", ["steps", "record_every"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_invalid_counts_raise(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1"):
        fit(line(), batches(), **({"steps": 2} | {name: value}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_s_dtype_is_kept(dtype):
    begin = line()
    arrays = begin.theta.astype(dtype), begin.F.astype(dtype)
    state, record = fit(train.start(begin.training, *arrays), batches(), 3)
    assert state.theta.dtype == state.F.dtype == dtype
    assert record.loss.dtype == record.F.dtype == np.float64


def test_batches_are_moved_to_the_state_s_library_and_device():
    here, device = line(), strict.Device("device1")
    arrays = [strict.asarray(a, device=device) for a in (here.theta, here.F)]
    there = train.start(here.training, *arrays)
    (here, one), (there, other) = (fit(s, batches(), 3) for s in (here, there))
    assert there.F.device == device
    assert_close(to_numpy(there.theta), here.theta, scale=20.0, ulps=1000)
    assert_close(other.loss, one.loss, scale=1.0, ulps=1000)


def test_runs_may_share_their_samples():
    state, _ = fit(line(), Batches(DATA, NOISE, 3, (), 12, 9), 3)
    assert state.theta.shape == (2, 1) and state.theta[0] == state.theta[1]
    shapes, wide = nn.mlp_shapes(2, 8, 4, 1), distributions.UnitGaussian(np.zeros(2))
    theta = Flat(shapes).ravel(nn.init_params(shapes, make_rng(1), 2))
    training = Training(models.network(nn.mlp, shapes, wide), Method("bar"))
    draws = Batches(wide, wide, 3, (), 12, 9)
    both, _ = fit(train.start(training, theta, np.zeros(2)), draws, 3)
    one, _ = fit(train.start(training, theta[1], np.asarray(0.0)), draws, 3)
    assert_close(both.theta[1], one.theta, scale=1.0)


@pytest.mark.parametrize("runs, drawn", [(2, (3,)), (2, (1,)), (1, (5,)), (2, (2, 2))])
def test_batches_of_other_runs_raise(runs, drawn):
    message = rf"x_data must be \(n, d\) or \(\*\({runs},\), n, d\), of the runs of F"
    with pytest.raises(ValueError, match=message):
        fit(line(runs=runs), Batches(DATA, NOISE, 3, drawn, 12, 9), 3)


@not_plain_arrays
def test_batches_that_are_not_plain_arrays_raise(change, message):
    with pytest.raises(TypeError, match=message) as error:
        fit(line(), lambda k: (change(batches()(k)[0]), batches()(k)[1]), 3)
    assert "\n" not in str(error.value)


def test_a_sample_that_is_nan_is_named():
    def spoilt(k):
        x, y = batches()(k)
        if k == 2:
            x[1, 7, 0] = np.nan
        return x, y

    message = r"x_data of step 2 is not finite in row 7, column 0, run \[1\]: drop"
    with pytest.raises(ValueError, match=message):
        fit(line(), spoilt, 5)


# Runs that stop


def shared(k):
    return tuple(x[0] for x in batches(1)(k))


@pytest.mark.parametrize("method", [Method("bar"), Method("newton", F_first=True)])
def test_a_run_that_stops_is_marked_and_the_others_train_on(method):
    theta, training = np.asarray([[0.1], [4.0], [6.0]]), Training(explosive, method)
    with np.errstate(all="raise"):  # as a caller may have set it
        state, record = fit(train.start(training, theta, np.zeros(3)), shared, 6)
    assert state.stopped_at.tolist() == [-1, 0, 0]
    assert state.theta[1:, 0].tolist() == [4.0, 6.0] and state.count == 6
    assert np.all(np.isfinite(record.loss[:, 0])) and np.all(record.loss[:, 1:] > 1e300)


@pytest.mark.parametrize("record_every", [1, 10, 1000])
def test_when_every_run_has_stopped_training_ends(record_every):
    """At the step of the last run, however often fit is called; nothing is warned."""
    training = Training(explosive, Method("bar"))
    state = train.start(training, np.full((2, 1), 6.0), np.zeros(2))
    for k in range(3):
        state, record = fit(state, shared, 5000, record_every=record_every)
        assert state.count == 1 and record.step.tolist() == [0] * (k == 0)
        assert state.stopped_at.tolist() == [0, 0]


def test_a_training_that_diverges_is_stopped_whatever_the_caller_s_settings():
    begin = line(Method("gradient"), optimizer=optim.sgd, rate=1e308, loss=ence)
    with np.errstate(all="raise"):
        state, _ = fit(begin, batches(), 50)
    assert np.all(state.stopped_at >= 0) and np.all(np.isfinite(state.theta))
