"""Algorithm 1: a step is its formulas, a batch its runs; invalid arguments raise."""

from dataclasses import replace
from itertools import product

import array_api_strict as strict
import numpy as np
import pytest

from refnce import distributions, ence, logz, nce, optim, train
from refnce.array import backend, make_rng
from refnce.train import Method, State, Training, models
from tests.close import assert_close

NOISE = distributions.UnitGaussian(np.zeros(3))
MEAN, VARIANCE = np.array([0.5, 0.0, -0.5]), np.array([2.0, 0.5, 1.0])
DATA = distributions.DiagonalGaussian(MEAN, VARIANCE)
MODEL = models.exponential_family(distributions.DiagonalGaussian, NOISE)
METHODS = [Method("gradient", rate=0.5), Method("gradient", rate=5.0), Method("bar")]
METHODS += [Method("bar", rate=0.5), Method("bisect", F_first=True)]
METHODS += [Method("newton", F_first=True), Method("bar", repeats=3, F_first=True)]
METHODS += [Method("gradient", rate=0.1, optimizer=optim.adam)]
# of each run's F by itself
METHODS += [Method("gradient", rate=0.5, optimizer=optim.ngd)]
each_method = pytest.mark.parametrize(
    "method", METHODS, ids=lambda m: f"{m.update}-{m.rate}"
)


def best_F(r_data, r_noise, F):
    """The F of least exponential loss as an update."""
    return ence.log_z(r_data, r_noise)


def drawn(runs=2, n=40, m=60, seed=0):
    """x_data, x_noise, theta, F of some runs."""
    rng = make_rng(seed)
    x, y = DATA.sample(rng, runs, n), NOISE.sample(rng, runs, m)
    return x, y, 0.1 * rng.standard_normal((runs, 6)), rng.standard_normal(runs)


def log_ratios(theta, *samples):
    """<T, theta> + log h - log q by hand."""
    terms = [(theta[:3] + 0.5) * z**2 + theta[3:] * z for z in samples]
    return [np.sum(each, axis=-1) + 1.5 * np.log(2 * np.pi) for each in terms]


def statistics(*samples):
    return [np.concatenate([z**2, z], axis=-1) for z in samples]


def step_by_hand(training, x, y, theta, F, states=(None, None)):
    """theta, F and states after one step of one run, from the oracle surface alone."""
    method, r, F_next, state_F = training.method, log_ratios(theta, x, y), F, states[1]
    loss, options = training.loss, {}
    if loss is None:
        loss, options = nce, {"nu": training.nu}
    for _ in range(method.repeats):
        if callable(method.update):
            F_next = method.update(*r, F_next)
            break
        if method.update in ("bisect", "newton"):
            F_next = getattr(logz, method.update)(*r, **options).F
            break
        slope = loss.grad_F(*r, F_next, **options)
        if method.update == "bar":
            slope = F_next - logz.bar_update(*r, F_next, **options)
        state_F, change = method.optimizer(state_F, slope[None], rate=method.rate)
        F_next = F_next + change[0]
    g = loss.grad_r(*r, F_next if method.F_first else F, **options)
    gradient = sum(w @ T for w, T in zip(g, statistics(x, y), strict=True))
    state, change = training.optimizer(states[0], gradient, rate=training.rate)
    return theta + change, F_next, (state, state_F)


def assert_step_is_its_formulas(training):
    x, y, theta, F = drawn()
    after = train.step(train.start(training, theta, F), x, y)
    for run in range(2):
        expected = step_by_hand(training, x[run], y[run], theta[run], F[run])
        # Sums of some 60 terms; roots agree to their units, and theta's gradient
        # follows F with a slope below max T = 20. Adam's eps is 1e-8 of a gradient.
        ulps = {} if training.method.optimizer is optim.sgd else {"ulps": 2.0**26}
        assert_close(after.theta[run], expected[0], scale=20.0, **ulps)
        assert_close(after.F[run], expected[1], scale=20.0, **ulps)


@pytest.mark.parametrize("nu", [1.0, 1.5])
@pytest.mark.parametrize("F_first", [False, True])
@pytest.mark.parametrize("optimizer", [optim.sgd, optim.ngd])
@each_method
def test_algorithm_1_step_is_its_formulas(nu, F_first, optimizer, method):
    """Eq. 3, 11 or the root for F, Eq. 13 for theta, at the old or at the new F."""
    method = replace(method, F_first=F_first)
    assert_step_is_its_formulas(Training(MODEL, method, optimizer, 0.3, nu))


@pytest.mark.parametrize("F_first", [False, True])
@pytest.mark.parametrize("update", ["gradient", best_F])
def test_a_loss_of_one_s_own(update, F_first):
    """The exponential loss of Liu et al. 2021, with its best F in closed form."""
    method = Method(update, rate=0.5, F_first=F_first)
    assert_step_is_its_formulas(Training(MODEL, method, rate=0.3, loss=ence))


@pytest.mark.parametrize("update", ["gradient", "bar"])
def test_optimizers_of_theta_and_F_keep_their_states(update):
    """Adam on theta and on F over several steps is Adam by hand."""
    method = Method(update, rate=0.1, optimizer=optim.adam)
    training = Training(MODEL, method, optim.adam, 0.3)
    x, y, theta, F = (a[0] for a in drawn())
    state, by_hand = train.start(training, theta, F), (theta, F, (None, None))
    for seed in range(4):
        x, y = (a[0] for a in drawn(seed=seed)[:2])
        state = train.step(state, x, y)
        by_hand = step_by_hand(training, x, y, *by_hand)
        # Adam divides by the gradient's own size: 50 ulps of 1 in the sums above.
        assert_close(state.theta, by_hand[0], scale=1.0, ulps=2.0**12)
        assert_close(state.F, by_hand[1], scale=1.0, ulps=2.0**12)


@each_method
def test_step_is_pure(method):
    """It draws nothing and changes none of its arguments."""
    x, y, theta, F = drawn()
    state = train.start(Training(MODEL, method, optim.adam), theta, F)
    kept = [a.copy() for a in (x, y, theta, F)]
    first, again = train.step(state, x, y), train.step(state, x, y)
    assert np.array_equal(first.theta, again.theta) and np.array_equal(first.F, again.F)
    for a, b in zip((x, y, theta, F), kept, strict=True):
        assert np.array_equal(a, b)
    assert state.opt_state == (None, None) and first.opt_state[0][0] == 1


def test_solvers_stop_at_the_training_s_xtol(monkeypatch):
    """newton also starts from the state's F."""
    x, y, theta, F = drawn()
    training = Training(MODEL, Method("bisect", F_first=True), xtol=0.5)
    after = train.step(train.start(training, theta, F), x, y)
    r_data, r_noise, _ = MODEL(theta, x, y)
    assert np.array_equal(after.F, logz.bisect(r_data, r_noise, xtol=0.5).F)
    assert not np.array_equal(after.F, logz.bisect(r_data, r_noise).F)
    newton, given = logz.newton, {}

    def record(*samples, **options):
        given.update(options)
        return newton(*samples, **options)

    monkeypatch.setattr(logz, "newton", record)
    training = Training(MODEL, Method("newton"), nu=2.0, xtol=0.5)
    train.step(train.start(training, theta, F), x, y)
    assert given.pop("F0") is F and given == {"nu": 2.0, "xtol": 0.5}


def test_strict_namespace_on_another_device():
    x, y, theta, F = drawn()
    device = strict.Device("device1")
    moved = [strict.asarray(a, device=device) for a in (x, y, theta, F)]
    for method in METHODS:
        training = Training(MODEL, method, optim.adam)
        here = train.start(training, theta, F)
        there = train.start(training, *moved[2:])
        for _ in range(3):
            here, there = train.step(here, x, y), train.step(there, *moved[:2])
        assert there.F.device == device and there.theta.device == device
        for a, b in ((there.F, here.F), (there.theta, here.theta)):
            assert_close(backend.to_numpy(a), b, scale=20.0, ulps=1000)


# Arguments

NUMBER = "rate must be a finite number > 0; got"
KNOWN = "update must be gradient, bar, bisect, newton or a function; got"


BAR, FIRST = Method("bar"), {"method": Method("gradient")}


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (Method, {"update": "bars"}, ValueError, f"{KNOWN} 'bars'"),
        (Method, {"rate": 0.0}, ValueError, f"{NUMBER} 0.0"),
        (Method, {"rate": "x"}, ValueError, f"{NUMBER} 'x'"),
        (Method, {"rate": np.inf}, ValueError, f"{NUMBER} inf"),
        (Method, {"F_first": "first"}, TypeError, "F_first must be True or False"),
        (Method, {"repeats": True}, ValueError, "repeats must be a whole number >= 1"),
        (Method, {"repeats": 1.5}, ValueError, "repeats must be a whole number >= 1"),
        (Method, {"optimizer": None}, TypeError, "optimizer must be a function"),
        (Method, {"optimizer": "adam"}, TypeError, "such as refnce.optim.sgd; got 'ad"),
        (Training, {"nu": 0}, ValueError, "nu must be"),
        (Training, {"nu": -1.0}, ValueError, "nu must be"),
        (Training, {"rate": -1.0}, ValueError, f"{NUMBER} -1.0"),
        (Training, {"xtol": -1.0}, ValueError, "xtol must be a finite .* 0; got -1.0"),
        (Training, {"model": None}, TypeError, "model must be a function"),
        (Training, {"optimizer": "adam"}, TypeError, "optimizer must be a function"),
        (Training, {"method": (BAR,)}, TypeError, "method must be a train.Method; got"),
        (Training, {"loss": ence}, ValueError, "'gradient' or a function; got nu 1.0"),
        (Training, FIRST | {"loss": ence, "nu": 2.0}, ValueError, "nu must be 1"),
    ],
)
def test_invalid_method_or_training_raises(kind, options, error, message):
    valid = {Method: {"update": "bar"}, Training: {"model": MODEL, "method": BAR}}
    with pytest.raises(error, match=message):
        kind(**(valid[kind] | options))


def test_invalid_start_raises():
    training = Training(MODEL, Method("bar"))
    for theta, F in (((5, 6), (4,)), ((5, 6), ()), ((2, 5, 6), (5,)), ((), ())):
        with pytest.raises(ValueError, match="theta must be .* and F .*; got shapes"):
            train.start(training, np.zeros(theta), np.zeros(F))
    state = train.start(training, np.zeros((5, 6)), np.zeros(5))
    assert isinstance(state, State) and state.stopped_at.dtype == np.int64
    assert train.start(training, np.zeros((5, 6), "f4"), 2).F.dtype == np.float32
    with pytest.raises(ValueError, match="F must be finite"):
        train.start(training, np.zeros((5, 6)), np.nan)
    for name, bad in product(("theta", "F"), (np.nan, np.inf)):
        arrays = {"theta": np.zeros((5, 6)), "F": np.zeros(5)}
        arrays[name][1] = bad
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            train.start(training, **arrays)
    ints = {"theta": np.zeros((5, 6), int)}, {"F": np.zeros(5, int)}
    for change in (*ints, {"theta": np.zeros((5, 6), "f4")}):
        arrays = {"theta": np.zeros((5, 6)), "F": np.zeros(5)} | change
        with pytest.raises(TypeError, match="float64 or float32|one dtype"):
            train.start(training, **arrays)


not_plain_arrays = pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.ma.masked_array(x, x > 1), "x_data is a MaskedArray"),
        (lambda x: x + 0j, "x_data must hold float64 or float32 numbers"),
        (lambda x: x.astype(str), "x_data must hold float64 or float32 numbers"),
        (lambda x: x.tolist(), "x_data"),
        (lambda x: x.astype("f4"), "one dtype; got float.. and float.."),
    ],
    ids=["masked", "complex", "text", "list", "float32"],
)


@not_plain_arrays
def test_samples_that_are_not_plain_arrays_raise(change, message):
    x, y, theta, F = drawn()
    state = train.start(Training(MODEL, Method("bar")), theta, F)
    with pytest.raises(TypeError, match=message) as error:
        train.step(state, change(x), y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (1, 9, 3), (3, 9, 3), (3,), ()])
def test_samples_of_a_wrong_shape_raise(shape):
    x, y, theta, F = drawn()
    state = train.start(Training(MODEL, Method("bar")), theta, F)
    pairs = {"data": (np.ones(shape), y), "noise": (x, np.ones(shape))}
    for name, samples in pairs.items():
        with pytest.raises(ValueError, match=rf"x_{name} must be .* with n >= 1"):
            train.step(state, *samples)


def test_log_ratios_of_other_runs_raise():
    """A noise law of two runs gives one run the log-ratios of both."""
    noise = distributions.UnitGaussian(np.array([[[0.0]], [[1.0]]]))
    model = models.exponential_family(distributions.UnitGaussian, noise)
    state = train.start(Training(model, Method("bar")), np.zeros((1, 1)), np.zeros(1))
    message = r"log-ratios \(\*\(1,\), n\), of the runs of F"
    with pytest.raises(ValueError, match=message):
        train.step(state, np.ones((4, 1)), np.zeros((3, 1)))


def shifted(theta, x, y):
    """The model r = theta + x."""
    r = [theta[..., :1] + z[:, 0] for z in (x, y)]
    return *r, lambda *drs: sum(np.sum(dr, axis=-1, keepdims=True) for dr in drs)


@pytest.mark.parametrize("nu", [1.0, 0.25])
@pytest.mark.parametrize(
    "size_data, size_noise", [(2000.0, 2000.0), (2000.0, 1.0), (1.0, 2000.0)]
)
def test_eq11_bar_moves_where_every_sigmoid_underflows(size_data, size_noise, nu):
    """The logarithm of 0 in Eq. 11 is avoided; theta's gradient is 0 there."""
    x = np.array([[size_data], [size_data + 1.0]])
    y = np.array([[-size_noise], [-size_noise - 3.0]])
    after = {}
    for update in ("bar", "gradient"):
        training = Training(shifted, Method(update), nu=nu)
        state = train.start(training, np.zeros((1, 1)), np.array([5.0]))
        after[update] = train.step(state, x, y)
    expected = logz.bar_update(x[:, 0], y[:, 0], 5.0, nu=nu)
    assert np.isfinite(expected)
    assert_close(after["bar"].F[0], expected, scale=2000.0)
    slope = nce.grad_F(x[:, 0], y[:, 0], 5.0, nu=nu)
    assert_close(after["gradient"].F[0], 5.0 - slope, scale=5.0)
    if size_data == size_noise:
        assert after["gradient"].F[0] == 5.0 and after["bar"].theta[0, 0] == 0.0


FIXED = Method("gradient"), Method("bar"), Method("bar", 0.5)


@pytest.mark.parametrize("method", [*FIXED, Method("newton", 1.0, True)])
def test_training_on_one_batch_ends_where_all_gradients_are_0(method):
    data, noise = (distributions.UnitGaussian(np.array([mean])) for mean in (1.0, 0.0))
    x, y = data.sample(make_rng(2), 200), noise.sample(make_rng(3), 200)
    training = Training(models.exponential_family(data, noise), method)
    state = train.start(training, np.zeros(1), np.asarray(0.0))
    for _ in range(400):
        state = train.step(state, x, y)
    r = [state.theta * z[:, 0] + 0.5 * np.log(2 * np.pi) for z in (x, y)]
    assert_close(nce.grad_F(*r, state.F), 0.0, scale=1.0)
    g = nce.grad_r(*r, state.F)
    assert_close(g[0] @ x[:, 0] + g[1] @ y[:, 0], 0.0, scale=3.0)


def test_theta_of_another_number_of_statistics_raises():
    noise = distributions.UnitGaussian(np.zeros(1))
    model, x = models.exponential_family(noise, noise), np.ones((3, 1))
    with pytest.raises(ValueError, match=r"theta must be \(..., 1\); got shape \(2,\)"):
        model(np.zeros(2), x, x)
