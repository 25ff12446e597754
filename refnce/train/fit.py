"""A training from start to end: batches for every step, and a record of what happened.

    state = train.start(training, theta, F)
    batches = Batches(data, noise, seed=0, runs=(5,), n=512, m=512)
    state, record = fit(state, batches, steps=1000)

The batch of step k is a function of the seed and of k. So different methods see the
same samples, and a training that was interrupted resumes to the same bits.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from refnce import nce, train
from refnce.array import Array, all_true, array_namespace, asarray, check_arrays
from refnce.array import check_count, device, host, ignore_fp_errors, invalid, make_rng
from refnce.array import to_numpy
from refnce.train.algorithm1 import Pair, State, log_ratios

__all__ = ["Batches", "Record", "evaluate", "fit"]


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
        counts = [("runs", width) for width in self.runs]
        for name, value in (*counts, ("n", self.n), ("m", self.m)):
            check_count(name, value, 1)
        check_count("seed", self.seed, 0)
        if not _is_law(self.noise):
            kind = type(self.noise)
            raise TypeError(f"noise must have a method sample(rng, *shape); got {kind}")
        if not _is_law(self.data):
            check_arrays(data=self.data)
            _check_finite("data", self.data)
            need = math.prod((*self.runs, self.n))
            if self.data.ndim != 2 or self.data.shape[0] < need:
                must = f"be (N, d), of which a step of all runs takes {need} rows"
                raise invalid("data", must, self.data.shape)

    def __call__(self, k: int) -> Pair:
        rng_data, rng_noise = (make_rng(self.seed, k, i) for i in range(2))
        x_noise = self.noise.sample(rng_noise, *self.runs, self.m)
        shape = (*self.runs, self.n)
        if _is_law(self.data):
            return self.data.sample(rng_data, *shape), x_noise
        total, size = self.data.shape[0], math.prod(shape)
        epoch, place = divmod(k, total // size)
        rows = _order(self.seed, epoch, total)[place * size : (place + 1) * size]
        return self.data[rows.reshape(shape)], x_noise


def _is_law(x: Any) -> bool:
    """Whether ``x`` has a law's method sample: that of pandas draws rows."""
    return hasattr(x, "sample") and not hasattr(x, "to_numpy")


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> Any:
    return make_rng(seed, epoch, 2).permutation(total)


@dataclass(frozen=True)
class Record:
    """What happened, as host arrays over the recorded steps and the runs.

    Attributes
    ----------
    step : integer array (K,)
    loss, F : array (K, ...)
        The loss of the step's batch where the step took theta's gradient, and the F
        there (the new F if ``F_first``).
    """

    step: Any
    loss: Any
    F: Any


@ignore_fp_errors()
def fit(
    state: State,
    batches: Callable[[int], Pair],
    steps: int,
    *,
    record_every: int | Collection[int] = 1,
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
    callback : callable
        callback(before, after, x_data, x_noise), called after every step. A progress
        bar of tqdm may be its ``update``: ``lambda *_: bar.update()``.

    Returns
    -------
    state : State
    record : Record
        Training ends early if every run has stopped, see ``state.stopped_at``: try a
        smaller rate, float64, or F0 at the root of the first batch.

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
    kind = array_namespace(state.F), state.F.dtype, device(state.F)
    rows: list[tuple[int, Any, Any]] = []
    over = all_true(state.stopped_at >= 0)
    while state.count < steps and not over:
        before, k = state, state.count
        x_data, x_noise = batches(k)
        check_arrays(x_data=x_data, x_noise=x_noise)
        x_data, x_noise = asarray(x_data, *kind), asarray(x_noise, *kind)
        state = train.step(before, x_data, x_noise)
        if not all_true(state.stopped_at < k):
            _check_finite(f"x_data of step {k}", x_data)
            _check_finite(f"x_noise of step {k}", x_noise)
            over = all_true(state.stopped_at >= 0)
        if k in record_every or over:
            rows.append((k, *evaluate(before, state, x_data, x_noise)))
        if callback is not None:
            callback(before, state, x_data, x_noise)
    step, *columns = (host.asarray([row[k] for row in rows]) for k in range(3))
    loss, F = (x.reshape(-1, *state.F.shape).astype("float64") for x in columns)
    return state, Record(step.astype("int64"), loss, F)


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
    r, _, finite = log_ratios(before, x_data, x_noise)
    F = after.F if training.method.F_first else before.F
    loss = training.loss.loss if training.loss else partial(nce.loss, nu=training.nu)
    return to_numpy(xp.where(finite, loss(*r, F), xp.inf)), to_numpy(F)


def _check_finite(name: str, x: Array) -> None:
    """``x`` (..., n, d) holds finite numbers."""
    bad = ~host.isfinite(to_numpy(x))
    if bad.any():
        *run, row, column = host.argwhere(bad)[0].tolist()
        place = f"row {row}, column {column}" + (f", run {run}" if run else "")
        raise ValueError(f"{name} is not finite in {place}: drop or repair that row")
