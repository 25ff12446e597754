"""A training from start to end: batches for every step, and a record of what happened.

    state = train.start(training, theta, F)
    batches = Batches(data, noise, seed=0, runs=(5,), n=512, m=512)
    state, record = fit(state, batches, steps=1000)

The batch of step k is a function of the seed and of k. So different methods see the
same samples, and a training that was interrupted resumes to the same bits.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter
from typing import Any

from refnce import nce, train
from refnce.array import backend
from refnce.array import Array, all_true, array_namespace, check_arrays, check_count
from refnce.array import invalid, shape_of, to_numpy
from refnce.train.algorithm1 import State, Stopped

__all__ = ["Batches", "Record", "evaluate", "fit"]

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Batches:
    """The samples of every step: ``batches(k) -> (x_data, x_noise)``, host arrays.

    Parameters
    ----------
    data : object or array (N, d)
        A law with ``sample(rng, *shape)``, such as those of ``refnce.distributions``;
        or the samples themselves, which each epoch goes through once in a new order.
    noise : object
        A law.
    seed : int
    runs : tuple of int
        Independent runs; () for samples that all runs share.
    n, m : int
        Samples of data and of noise per run and step.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions
    >>> from refnce.train.fit import Batches
    >>> law = distributions.UnitGaussian(np.zeros(3))
    >>> x_data, x_noise = Batches(law, law, seed=0, runs=(5,), n=8, m=4)(17)
    >>> x_data.shape, x_noise.shape
    ((5, 8, 3), (5, 4, 3))
    """

    data: Any
    noise: Any
    seed: int
    runs: tuple[int, ...]
    n: int
    m: int

    def __post_init__(self) -> None:
        if not isinstance(self.runs, tuple):
            raise TypeError(f"runs must be a tuple of whole numbers; got {self.runs!r}")
        check_count("seed", self.seed, 0)
        check_count("n", self.n, 1)
        check_count("m", self.m, 1)
        for width in self.runs:
            check_count("runs", width, 1)
        if not hasattr(self.noise, "sample"):
            raise TypeError(f"noise must have a method sample; got {type(self.noise)}")
        if not hasattr(self.data, "sample"):
            check_arrays(data=self.data)
            _check_finite("data", self.data)
            need = math.prod((*self.runs, self.n))
            if self.data.ndim != 2 or self.data.shape[0] < need:
                must = f"be (N, d), of which a step of all runs takes {need} rows"
                raise invalid("data", must, self.data.shape)

    def __call__(self, k: int) -> Pair:
        rng_data, rng_noise = (backend.make_rng(self.seed, k, i) for i in range(2))
        x_noise = self.noise.sample(rng_noise, *self.runs, self.m)
        shape = (*self.runs, self.n)
        if hasattr(self.data, "sample"):
            return self.data.sample(rng_data, *shape), x_noise
        total, size = self.data.shape[0], math.prod(shape)
        epoch, place = divmod(k, total // size)
        rows = _order(self.seed, epoch, total)[place * size : (place + 1) * size]
        return self.data[rows.reshape(shape)], x_noise


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> Any:
    return backend.make_rng(seed, epoch, 2).permutation(total)


@dataclass(frozen=True)
class Record:
    """What happened, as host arrays over the recorded steps and the runs.

    Attributes
    ----------
    step : integer array (K,)
    loss, F : array (K, ...)
        The loss of the step's batch where the step took theta's gradient, and the F
        there (the new F if ``F_first``).
    seconds : array (K,)
        Mean time of a step since the row before.
    stopped, stopped_at : integer array (...)
        See ``train.State``.
    message : str
        Empty; or, if every run has stopped, why, and what to try.
    """

    step: Any
    loss: Any
    F: Any
    seconds: Any
    stopped: Any
    stopped_at: Any
    message: str


@backend.ignore_fp_errors()
def fit(
    state: State,
    batches: Callable[[int], Pair],
    steps: int,
    *,
    record_every: int | Collection[int] = 1,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    callback: Callable[[State, State, Array, Array], None] | None = None,
) -> tuple[State, Record]:
    """Train until ``steps`` steps have been made in all.

    Parameters
    ----------
    state : State
        From ``train.start``, or of an earlier call, which this one continues.
    batches : callable
        k -> (x_data (..., n, d), x_noise (..., m, d)), see ``Batches``: host arrays of
        the runs of F, or (n, d) for all runs. They are moved to the state's library,
        dtype and device.
    steps : int
        Steps counted from the first start.
    record_every : int or collection of int
        Record every so many steps and the last one; or record the steps given.
    progress : callable
        Wraps the range of steps; ``tqdm.tqdm`` shows a bar.
    callback : callable
        callback(before, after, x_data, x_noise), called after every step.

    Returns
    -------
    state : State
    record : Record
        Training ends early if every run has stopped; ``record.message`` says why.

    Raises
    ------
    TypeError, ValueError
        If steps or record_every is not a whole number >= 1, if a batch is not a pair of
        real arrays of the state's runs, or if a run stops on samples that are not
        finite, which are named by row and column.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, train
    >>> from refnce.train import models
    >>> from refnce.train.fit import Batches, fit
    >>> data = distributions.UnitGaussian(np.ones(1))
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(data, noise)
    >>> training = train.Training(model, train.Method("newton", F_first=True))
    >>> state = train.start(training, np.zeros((5, 1)), 0.0)
    >>> batches = Batches(data, noise, seed=0, runs=(5,), n=512, m=512)
    >>> state, record = fit(state, batches, steps=100, record_every=10)
    >>> state.theta.mean().round(1), record.loss.shape
    (np.float64(1.0), (11, 5))
    """
    check_count("steps", steps, 1)
    if not isinstance(record_every, Collection):
        check_count("record_every", record_every, 1)
        record_every = {*range(0, steps, record_every), steps - 1}
    rows: list[tuple[int, Any, Any, float]] = []
    clock, timed = perf_counter(), state.count
    over = all_true(state.stopped != 0)
    for k in progress(range(state.count, state.count if over else steps)):
        before, (x_data, x_noise) = state, _moved(batches(k), state)
        state = train.step(before, x_data, x_noise)
        if not all_true(state.stopped == before.stopped):
            _check_finite(f"x_data of step {k}", x_data)
            _check_finite(f"x_noise of step {k}", x_noise)
            over = all_true(state.stopped != 0)
        if k in record_every or over:
            loss, F = evaluate(before, state, x_data, x_noise)
            seconds = (perf_counter() - clock) / (k + 1 - timed)
            rows.append((k, loss, F, seconds))
            clock, timed = perf_counter(), k + 1
        if callback is not None:
            callback(before, state, x_data, x_noise)
        if over:
            break
    return state, _record(rows, state, over)


def _record(rows: list[Any], state: State, over: bool) -> Record:
    np, runs = backend.load("numpy"), tuple(state.F.shape)
    step, loss, F, seconds = (np.asarray([row[k] for row in rows]) for k in range(4))
    stopped, stopped_at = to_numpy(state.stopped), to_numpy(state.stopped_at)
    causes = ", ".join(sorted({Stopped(int(code)).name for code in stopped.ravel()}))
    message = (
        f"every run has stopped, the last at step {stopped_at.max()}; not finite: "
        f"{causes}; try a smaller rate, float64, or F0 at the root of the first batch"
    )
    loss, F = (x.reshape(-1, *runs).astype("float64") for x in (loss, F))
    step = step.astype("int64")
    return Record(step, loss, F, seconds, stopped, stopped_at, message if over else "")


def evaluate(before: State, after: State, x_data: Array, x_noise: Array) -> Pair:
    """The loss of a batch and the F where the step took theta's gradient, on the host.

    Parameters
    ----------
    before, after : State
        The states before and after the step.
    x_data, x_noise : array
        The batch of the step.

    Returns
    -------
    loss, F : host array (...)
        The loss is inf if a log-ratio is nan.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, train
    >>> from refnce.train import models
    >>> from refnce.train.fit import evaluate
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(noise, noise)
    >>> training = train.Training(model, train.Method("bar"))
    >>> state = train.start(training, np.zeros((1, 1)), 0.5 * np.log(2 * np.pi))
    >>> x = np.ones((4, 1))
    >>> evaluate(state, train.step(state, x, x), x, x)[0].round(6)
    array([0.693147])
    """
    training, xp = before.training, array_namespace(before.F)
    r_data, r_noise, _ = training.model(before.theta, x_data, x_noise)
    r_data = xp.where(xp.isnan(r_data), -xp.inf, r_data)
    r_noise = xp.where(xp.isnan(r_noise), xp.inf, r_noise)
    F = after.F if training.method.F_first else before.F
    nce_loss = partial(nce.loss, nu=training.nu)
    loss = nce_loss if training.loss is None else training.loss.loss
    return to_numpy(loss(r_data, r_noise, F)), to_numpy(F)


def _moved(pair: Any, like: State) -> Pair:
    """A batch as arrays of the state's library, dtype and device."""
    check_arrays(x_data=pair[0], x_noise=pair[1])
    runs = tuple(like.F.shape)
    if any(tuple(x.shape[:-2]) not in ((), runs) for x in pair):
        must = f"be (*runs, n, d), runs the state's {runs}, or (n, d)"
        raise invalid("batches", must, shape_of(*pair))
    kind = array_namespace(like.F), like.F.dtype, backend.device(like.F)
    return backend.asarray(pair[0], *kind), backend.asarray(pair[1], *kind)


def _check_finite(name: str, x: Array) -> None:
    """``x`` (..., n, d) holds finite numbers."""
    if not all_true(array_namespace(x).isfinite(x)):
        np = backend.load("numpy")
        *run, row, column = np.argwhere(~np.isfinite(to_numpy(x)))[0].tolist()
        place = f"row {row}, column {column}" + (f", run {run}" if run else "")
        raise ValueError(f"{name} is not finite in {place}: drop or repair that row")
