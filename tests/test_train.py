"""Algorithm 1: a step is its formulas done by hand, a batch of methods is its methods, and orders differ as they say."""

from itertools import product

import array_api_strict as strict
import numpy as np
import pytest

from refnce import distributions, logz, nce, optim, train
from refnce.array import backend
from refnce.train import models
from refnce.train.algorithm1 import Method, State, Training
from tests.close import assert_close

METHODS = (
    Method("gradient", rate=0.5),
    Method("gradient", rate=5.0),
    Method("bar"),
    Method("bar", rate=0.5),
    Method("bisect", order="first"),
    Method("newton", order="first"),
)
NOISE = distributions.UnitGaussian(np.zeros(3))
DATA = distributions.DiagonalGaussian(
    np.array([0.5, 0.0, -0.5]), np.array([2.0, 0.5, 1.0])
)
MODEL = models.exponential_family(distributions.DiagonalGaussian, NOISE)


def drawn(runs=2, n=40, m=60, methods=len(METHODS), seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = DATA.sample(rng, runs, n), NOISE.sample(rng, runs, m)
    theta = 0.1 * rng.standard_normal((runs, methods, 6))
    return x, y, theta, rng.standard_normal((runs, methods))


def by_hand(method, optimizer, rate, nu, x, y, theta, F):
    """One step of one method of one run, from the oracle surface alone; returns theta, F."""
    r = [
        np.sum(theta[:3] * z**2 + theta[3:] * z, axis=-1)
        + 0.5 * np.sum(z**2, axis=-1)
        + 1.5 * np.log(2 * np.pi)
        for z in (x, y)
    ]
    if method.update == "gradient":
        F_next = F - method.rate * nce.grad_F(*r, F, nu=nu)
    elif method.update == "bar":
        F_next = F + method.rate * (logz.bar_update(*r, F, nu=nu) - F)
    else:
        F_next = getattr(logz, method.update)(*r, nu=nu).F
    g = nce.grad_r(*r, F_next if method.order == "first" else F, nu=nu)
    gradient = sum(
        w @ np.concatenate([z**2, z], axis=-1) for w, z in zip(g, (x, y), strict=True)
    )
    return theta + optimizer(None, gradient, rate=rate)[1], F_next


@pytest.mark.parametrize("nu", [1.0, 1.5])
@pytest.mark.parametrize("order", train.ORDERS)
@pytest.mark.parametrize("optimizer", [optim.sgd, optim.ngd])
def test_step_is_the_formulas(nu, order, optimizer):
    methods = tuple(Method(method.update, method.rate, order) for method in METHODS)
    x, y, theta, F = drawn()
    after = train.step(
        train.start(Training(MODEL, methods, optimizer, 0.3, nu), theta, F), x, y
    )
    for run in range(2):
        for k, method in enumerate(methods):
            expected = by_hand(
                method, optimizer, 0.3, nu, x[run], y[run], theta[run, k], F[run, k]
            )
            # sums of some 60 terms; roots agree to their units, and theta's gradient follows F with slope below max T = 20
            assert_close(after.theta[run, k], expected[0], scale=20.0)
            assert_close(after.F[run, k], expected[1], scale=20.0)


def test_batched_equals_looped():
    """Runs and methods of one array program are the runs and methods trained alone, over several steps with memory."""
    x, y, theta, F = drawn()
    rng = np.random.Generator(np.random.PCG64(5))
    batches = [(DATA.sample(rng, 2, 40), NOISE.sample(rng, 2, 60)) for _ in range(6)]
    together = train.start(Training(MODEL, METHODS, optim.adam, 0.05), theta, F)
    for pair in batches:
        together = train.step(together, *pair)
    for run in range(2):
        for k, method in enumerate(METHODS):
            alone = train.start(
                Training(MODEL, (method,), optim.adam, 0.05),
                theta[run, k : k + 1],
                F[run, k : k + 1],
            )
            for x, y in batches:
                alone = train.step(alone, x[run], y[run])
            # rounding differs with the shape of the product; Adam's division may carry it over a few steps
            assert_close(alone.theta[0], together.theta[run, k], scale=20.0, ulps=1000)
            assert_close(alone.F[0], together.F[run, k], scale=20.0, ulps=1000)


def test_bisect_and_newton_train_alike():
    x, y, theta, F = drawn(methods=2)
    theta[:, 1], F[:, 1] = theta[:, 0], F[:, 0]
    state = train.start(
        Training(
            MODEL, (Method("bisect", order="first"), Method("newton", order="first"))
        ),
        theta,
        F,
    )
    for _ in range(20):
        state = train.step(state, x, y)
    assert_close(state.F[:, 0], state.F[:, 1], scale=20.0, ulps=1000)
    assert_close(state.theta[:, 0], state.theta[:, 1], scale=20.0, ulps=1000)


def test_step_changes_nothing_and_draws_nothing():
    x, y, theta, F = drawn()
    state = train.start(Training(MODEL, METHODS, optim.adam), theta, F)
    kept = [a.copy() for a in (x, y, theta, F)]
    first, again = train.step(state, x, y), train.step(state, x, y)
    assert np.array_equal(first.theta, again.theta) and np.array_equal(first.F, again.F)
    for a, b in zip((x, y, theta, F), kept, strict=True):
        assert np.array_equal(a, b)
    assert set(state.memory) == {None} and first.memory[0][0] == 1


def test_orders_differ_where_F_moves():
    x, y, theta, F = drawn(methods=2)
    theta[:, 1], F[:, 1] = theta[:, 0], F[:, 0]
    after = train.step(
        train.start(
            Training(MODEL, (Method("bar"), Method("bar", order="first"))), theta, F
        ),
        x,
        y,
    )
    assert_close(after.F[:, 0], after.F[:, 1], scale=10.0)
    assert np.all(np.abs(after.theta[:, 0] - after.theta[:, 1]) > 1e-3)


def shifted(theta, x, y):
    """The model r = theta + x."""
    r = [theta[..., :1] + z[..., None, :, 0] for z in (x, y)]
    return *r, lambda *drs: sum(np.sum(dr, axis=-1, keepdims=True) for dr in drs)


@pytest.mark.parametrize("nu", [1.0, 0.25])
@pytest.mark.parametrize(
    "size_data, size_noise", [(2000.0, 2000.0), (2000.0, 1.0), (1.0, 2000.0)]
)
def test_total_underflow(size_data, size_noise, nu):
    """BAR still moves where every sigmoid of a class underflows (Eq. 11 has no logarithm of 0); theta's gradient is 0 there."""
    x, y = (
        np.array([size_data, size_data + 1.0])[:, None],
        np.array([-size_noise, -size_noise - 3.0])[:, None],
    )
    training = Training(shifted, (Method("bar"), Method("gradient")), nu=nu)
    state = train.start(training, np.zeros((2, 1)), np.array([5.0, 5.0]))
    after = train.step(state, x, y)
    expected = logz.bar_update(x[:, 0], y[:, 0], 5.0, nu=nu)
    assert np.isfinite(expected)
    assert_close(after.F[0], expected, scale=2000.0)
    assert_close(after.F[1], 5.0 - nce.grad_F(x[:, 0], y[:, 0], 5.0, nu=nu), scale=5.0)
    if size_data == size_noise:
        assert after.F[1] == 5.0
        assert np.array_equal(after.theta, state.theta)


def test_optimizers_keep_their_memories():
    """Adam on theta and on F over several steps is Adam by hand, each with a memory of its own."""
    methods = (
        Method("gradient", rate=0.1, optimizer=optim.adam),
        Method("bar", rate=0.2, optimizer=optim.adam),
    )
    rng = np.random.Generator(np.random.PCG64(7))
    theta, F = np.zeros((2, 1)), np.zeros(2)
    state = train.start(Training(shifted, methods, optim.adam, 0.3), theta, F)
    memory, memories = None, [None, None]
    for _ in range(4):
        x, y = 1.0 + rng.standard_normal((30, 1)), rng.standard_normal((20, 1))
        state = train.step(state, x, y)
        r = [theta + z[:, 0] for z in (x, y)]
        slopes = [
            nce.grad_F(r[0][0], r[1][0], F[0]),
            F[1] - logz.bar_update(r[0][1], r[1][1], F[1]),
        ]
        gradient = sum(np.sum(g, axis=-1, keepdims=True) for g in nce.grad_r(*r, F))
        memory, step = optim.adam(memory, gradient, rate=0.3)
        theta, moved = theta + step, []
        for k, rate in enumerate((0.1, 0.2)):
            memories[k], change = optim.adam(
                memories[k], np.asarray(slopes[k]), rate=rate
            )
            moved.append(F[k] + change)
        F = np.asarray(moved)
        # Adam divides by the gradient's own size, which the sums above carry to some 50 ulps of 1
        assert_close(state.theta, theta, scale=1.0, ulps=2.0**12)
        assert_close(state.F, F, scale=1.0, ulps=2.0**12)


@pytest.mark.parametrize("update", ["bisect", "newton"])
def test_solvers_stop_at_the_training_s_xtol(update):
    """With xtol = 0.5 bisection stops short of the root, and one pass is enough for Newton where it starts nearby."""
    x, y, theta, _ = drawn(methods=1)
    F = np.zeros((2, 1))
    after = train.step(
        train.start(
            Training(MODEL, (Method(update, order="first"),), xtol=0.5), theta, F
        ),
        x,
        y,
    )
    r_data, r_noise, _ = MODEL(theta, x, y)
    options = {"F0": F} if update == "newton" else {}
    expected, exact = (
        getattr(logz, update)(r_data, r_noise, xtol=xtol, **options).F
        for xtol in (0.5, 0.0)
    )
    assert np.array_equal(after.F, expected) and not np.array_equal(expected, exact)


def test_finds_the_optimum():
    """Every method ends at [theta*, F*] of its data: the samples of one batch, to which Newton on all coordinates also leads."""
    data = distributions.UnitGaussian(np.array([1.0]))
    noise = distributions.UnitGaussian(np.array([0.0]))
    rng = np.random.Generator(np.random.PCG64(2))
    x, y = data.sample(rng, 200), noise.sample(rng, 200)
    methods = (
        Method("gradient"),
        Method("bar"),
        Method("bar", 0.5),
        Method("newton", order="first"),
    )
    state = train.start(
        Training(models.exponential_family(data, noise), methods),
        np.zeros((4, 1)),
        np.zeros(4),
    )
    for _ in range(400):
        state = train.step(state, x, y)
    r = [state.theta * z[:, 0] + 0.5 * np.log(2 * np.pi) for z in (x, y)]
    assert_close(nce.grad_F(*r, state.F), np.zeros(4), scale=1.0)
    g = nce.grad_r(*r, state.F)
    assert_close(g[0] @ x[:, 0] + g[1] @ y[:, 0], np.zeros(4), scale=3.0)


def test_strict_namespace_on_another_device():
    x, y, theta, F = drawn()
    device = strict.Device("device1")
    moved = [strict.asarray(a, device=device) for a in (x, y, theta, F)]
    here, there = (
        train.start(Training(MODEL, METHODS, optim.adam), *pair)
        for pair in ((theta, F), moved[2:])
    )
    for _ in range(3):
        here, there = train.step(here, x, y), train.step(there, *moved[:2])
    assert there.F.device == device and there.theta.device == device
    assert_close(backend.to_numpy(there.F), here.F, scale=20.0, ulps=1000)
    assert_close(backend.to_numpy(there.theta), here.theta, scale=20.0, ulps=1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("grad",), "update must be one of"),
        (("bar", 0.0), "rate must be"),
        (("bar", "x"), "rate must be a finite number > 0; got 'x'"),
        (("bar", np.inf), "rate must be"),
        (("bar", 1.0, "later"), "order must be one of"),
        (("bar", 1.0, "first", True), "times must be"),
        (("bar", 1.0, "first", 1.5), "times must be"),
    ],
)
def test_bad_method(arguments, message):
    with pytest.raises(ValueError, match=message):
        Method(*arguments)


def test_bad_start():
    training = Training(MODEL, METHODS)
    for theta, F in (((5, 6), (5,)), ((6, 6), (5,)), ((2, 6, 6), (6,))):
        with pytest.raises(ValueError, match="one row for each method"):
            train.start(training, np.zeros(theta), np.zeros(F))
    state = train.start(training, np.zeros((6, 6)), np.zeros(6))
    assert (
        isinstance(state, State)
        and state.stopped.dtype == state.stopped_at.dtype == np.int64
    )
    for name, bad in product(("theta", "F"), (np.nan, np.inf)):
        arrays = {"theta": np.zeros((6, 6)), "F": np.zeros(6)}
        arrays[name][1] = bad
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            train.start(training, **arrays)
    for theta, F, message in (
        (
            np.zeros((6, 6), int),
            np.zeros(6),
            "theta must hold float64 or float32 numbers; got int64",
        ),
        (
            np.zeros((6, 6)),
            np.zeros(6, int),
            "F must hold float64 or float32 numbers; got int64",
        ),
        (np.zeros((6, 6), "f4"), np.zeros(6), "theta and F must have one dtype"),
    ):
        with pytest.raises(TypeError, match=message):
            train.start(training, theta, F)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nu": 0}, ValueError, "nu must be"),
        ({"nu": -1.0}, ValueError, "nu must be"),
        ({"rate": -1.0}, ValueError, "rate must be a finite number > 0; got -1.0"),
        ({"rate": "x"}, ValueError, "rate must be a finite number > 0; got 'x'"),
        ({"xtol": -1.0}, ValueError, "xtol must be a finite number >= 0; got -1.0"),
        (
            {"methods": ()},
            ValueError,
            "methods must hold at least one Method; got none",
        ),
    ],
)
def test_bad_training(options, error, message):
    with pytest.raises(error, match=message):
        Training(**({"model": MODEL, "methods": METHODS} | options))


def constant(data, noise):
    """The model r = theta x^2, and these two constants where theta > 3."""

    def model(theta, x, y):
        r = [
            np.where(theta > 3, c, theta * np.swapaxes(z**2, -1, -2))
            for z, c in ((x, data), (y, noise))
        ]
        return *r, lambda dr_data, dr_noise: np.matmul(dr_data, x**2) + np.matmul(
            dr_noise, y**2
        )

    return model


INF = np.inf
LIMITS = [
    (-INF, -INF),
    (INF, INF),
    (INF, -INF),
    (-INF, INF),
    (np.nan, 0.0),
    (0.0, np.nan),
    (-3e3, 3e3),
    (3e3, -3e3),
]
UPDATES = [
    (loss, update) for loss, updates in train.UPDATES.items() for update in updates
]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("loss", "update"), UPDATES)
def test_no_run_stops_another(loss, update, limit):
    """Whatever is not finite in one run: nothing is raised, and what is beside it goes on as beside a run that is well."""
    for order, times, optimizer in product(
        train.ORDERS, (1, 2), (optim.sgd, optim.adam, optim.ngd)
    ):
        methods, ends = (
            Method(update, order=order, times=times, optimizer=optimizer),
        ) * 2, []
        training = Training(constant(*limit), methods, optim.adam, 1e-3, loss=loss)
        for second in (0.1, 4.0):
            state = train.start(training, np.asarray([[0.1], [second]]), np.zeros(2))
            for k in range(3):
                rng = np.random.Generator(np.random.PCG64(k))
                state = train.step(
                    state,
                    1.0 + rng.standard_normal((12, 1)),
                    rng.standard_normal((9, 1)),
                )
            assert (
                state.stopped[0] == 0
                and np.all(np.isfinite(state.theta))
                and np.all(np.isfinite(state.F))
            )
            ends.append((state.theta[0, 0], state.F[0]))
        if update in (
            "bisect",
            "newton",
        ):  # how many passes a batch takes moves the root by its last units
            assert_close(np.asarray(ends[0]), np.asarray(ends[1]), scale=1.0)
        else:
            assert ends[0] == ends[1]


def test_a_sweep_of_rates_survives_its_largest():
    far, noise = distributions.UnitGaussian(
        np.asarray([16.0])
    ), distributions.UnitGaussian(np.asarray([0.0]))
    methods = tuple(
        Method("gradient", rate=rate, order="first") for rate in (1e-3, 1.0, 100.0)
    )
    training = Training(
        models.exponential_family(far, noise), methods, rate=0.1, loss="ence"
    )
    state, rng = train.start(
        training, np.zeros((3, 1)), np.zeros(3)
    ), np.random.Generator(np.random.PCG64(0))
    for _ in range(50):
        state = train.step(state, far.sample(rng, 50), noise.sample(rng, 50))
    assert state.stopped.tolist() == [0, 0, train.Stopped.LOSS]


def test_an_exponential_loss_that_overflows_is_named():
    """e^{1500} is infinite although its log-ratios, F and theta are not."""
    methods = (Method("gradient"), Method("closed", order="first"))
    state = train.start(
        Training(constant(-3e3, 3e3), methods, loss="ence"),
        np.full((2, 1), 4.0),
        np.zeros(2),
    )
    assert (
        train.step(state, np.ones((4, 1)), np.ones((5, 1))).stopped.tolist()
        == [train.Stopped.LOSS] * 2
    )


def test_optimizers_of_F_see_each_method_by_itself():
    """A normalised step of F is its rate, whatever the other methods do."""
    x, y, theta, _ = drawn(methods=3)
    methods = tuple(
        Method("gradient", rate=rate, optimizer=optim.ngd) for rate in (0.5, 0.6, 0.7)
    )
    after = train.step(
        train.start(Training(MODEL, methods), theta, np.zeros((2, 3))), x, y
    )
    assert_close(np.abs(after.F), np.asarray([[0.5, 0.6, 0.7]] * 2), scale=1.0)
