"""Training from start to end: batches for every step, a record of what happened, checkpoints to go on from.

    state = train.start(training, theta, F)
    state, record = fit(state, Batches(data, noise, seed=0, runs=(5,), n=512, m=512), steps=1000)

Nothing depends on chance that is not named: the batch of step k is a function of the seed and k alone, so a training that was
interrupted goes on to the same bits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

from refnce import ence, files, nce, train
from refnce.train import checkpoint
from refnce.train.apart import Parts, gather, join, samples, split
from refnce.array.backend import (
    Array,
    array_namespace,
    asarray,
    device,
    make_rng,
    all_true,
    load,
    to_numpy,
    is_async_device,
)
from refnce.train.algorithm1 import State, Stopped

__all__ = ["Batches", "Record", "fit"]

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Batches:
    """``batches(k)`` -> (x_data (*runs, n, d), x_noise (*runs, m, d)), host arrays: those of step k, fresh noise at each.

    data is one of ``distributions``, or an array (N, d) that each epoch goes through once, in an order of its own; noise is a law.
    """

    data: Any
    noise: Any
    seed: int
    runs: tuple[int, ...]
    n: int
    m: int

    def __post_init__(self) -> None:
        if not isinstance(self.runs, tuple):
            raise ValueError(
                f"runs must be a tuple of whole numbers, () for samples that all runs share; got {self.runs!r}"
            )
        _check_count("seed", self.seed, 0)
        for name, number in (
            ("n", self.n),
            ("m", self.m),
            *(("runs", width) for width in self.runs),
        ):
            _check_count(name, number, 1)
        need = math.prod((*self.runs, self.n))
        if not hasattr(self.data, "sample") and self.data.shape[0] < need:
            raise ValueError(
                f"data must hold the {need} samples that one step of all runs takes; got shape {self.data.shape}"
            )

    def __call__(self, k: int) -> Pair:
        noise = self.noise.sample(make_rng(self.seed, k, 1), *self.runs, self.m)
        if hasattr(self.data, "sample"):
            return (
                self.data.sample(make_rng(self.seed, k, 0), *self.runs, self.n),
                noise,
            )
        total, size = self.data.shape[0], math.prod((*self.runs, self.n))
        epoch, place = divmod(k, total // size)
        rows = _order(self.seed, epoch, total)[place * size : (place + 1) * size]
        return self.data[rows.reshape(*self.runs, self.n)], noise

    @property
    def about(self) -> str:
        """What a checkpoint remembers of it."""
        names = " against ".join(type(law).__name__ for law in (self.data, self.noise))
        return f"{names}, seed {self.seed}, runs {self.runs}, n {self.n}, m {self.m}"


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> Any:
    return make_rng(seed, epoch, 2).permutation(total)


@dataclass(frozen=True)
class Record:
    """What happened, as host arrays over the recorded steps and the runs.

    step (K,). loss, F (K, ..., methods): the loss of step's batch at the point where the step took theta's gradient, a method
    that solves F first with its own F. distance (K, ..., methods): |[theta, F] - [theta*, F*]|, nan where that is not known.
    seconds (K,): the mean time of a step since the row before. stopped, stopped_at (..., methods): see ``train.State``.
    """

    step: Any
    loss: Any
    F: Any
    distance: Any
    seconds: Any
    stopped: Any
    stopped_at: Any

    @property
    def log_loss(self) -> Any:
        """The logarithm of the loss."""
        return array_namespace(self.loss).log(self.loss)


COLUMNS = ("step", "loss", "F", "distance", "seconds")


def fit(
    state: State,
    batches: Callable[[int], Pair],
    steps: int,
    *,
    every: int = 1,
    optimum: Pair | None = None,
    apart: bool = False,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
    callback: Callable[[int, State], None] | None = None,
    path: Path | str | None = None,
    interval: int = 1000,
) -> tuple[State, Record]:
    """Return the state after ``steps`` steps in all, counted from the first start, and the record of every ``every``-th.

    batches: see ``Batches``, of the state's runs, or of none where all runs share the samples; its host arrays are moved to the
    state's library, dtype and device. optimum: (theta*, F*), which broadcast against theta and F.
    apart: step each run and method by itself, which keeps a network's numbers in a CPU's cache.
    track: what the steps are counted by, such as tqdm, a progress bar. callback(k, state): called at recorded steps.
    path: a checkpoint, written every ``interval`` steps and at the end; where it exists the training goes on from it, and takes
    from ``state`` only what does not change. A training that is killed loses at most one interval.

    When no run is left that could go on, fit stops with a RuntimeWarning that says what to try. Raises ValueError for steps,
    every or interval that are no whole number >= 1, a path in no folder, an optimum or batches of other shapes, and
    files.FileError for a checkpoint that is not of this training or has more steps.
    """
    for name, number in (("steps", steps), ("every", every), ("interval", interval)):
        _check_count(name, number, 1)
    optimum = None if optimum is None else _known(optimum, state)
    about = {
        "every": str(every),
        "apart": str(apart),
        "optimum": str(optimum and [x.tolist() for x in optimum]),
    }
    about["batches"] = batches.about if isinstance(batches, Batches) else "unknown"
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    if path is not None:
        path = Path(path).resolve()  # through a link, which a rename would replace
        if not path.parent.is_dir():
            raise ValueError(
                f"path must be in a folder that exists; got {path}: make {path.parent} first"
            )
        if path.exists():
            state, columns = _resumed(path, state, about, steps)
    begin, parts = state, split(state, apart)
    over = _over(parts, True)
    clock, timed = perf_counter(), state.count
    for k in track(range(state.count, state.count if over else steps)):
        pair = _moved(batches(k), begin)
        before = parts
        parts = {
            place: train.step(part, *samples(place, pair))
            for place, part in before.items()
        }
        last, due = k == steps - 1, k % every == 0
        over = _over(parts, due or last)
        if due or last or over:
            seconds = (perf_counter() - clock) / (k + 1 - timed)
            row = _row(begin, before, parts, pair, optimum)
            for name, value in zip(COLUMNS, (k, *row, seconds), strict=True):
                columns[name].append(value)
            if callback is not None:
                callback(k, join(begin, parts))
            clock, timed = perf_counter(), k + 1
        if path is not None and ((k + 1) % interval == 0 or last or over):
            begun = perf_counter()
            checkpoint.write(path, join(begin, parts), _arrays(columns, begin), about)
            clock += perf_counter() - begun  # no part of a step
        if over:
            break
    state = join(begin, parts)
    if over:
        _warn(state)
    return state, Record(
        **_arrays(columns, state),
        stopped=to_numpy(state.stopped),
        stopped_at=to_numpy(state.stopped_at),
    )


def _check_count(name: str, number: Any, least: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"{name} must be a whole number >= {least}; got {number!r}")


def _known(optimum: Pair, state: State) -> Pair:
    """The optimum as host arrays."""
    xp, (theta, F), wide, runs = (
        load("numpy"),
        (to_numpy(x) for x in optimum),
        tuple(state.theta.shape),
        tuple(state.F.shape),
    )
    try:
        fits = (
            xp.broadcast_shapes(theta.shape, wide) == wide
            and xp.broadcast_shapes(F.shape, runs) == runs
        )
    except ValueError:
        fits = False
    if not fits or theta.shape[-1:] != wide[-1:]:
        raise ValueError(
            f"optimum must be (theta*, F*), theta* (..., {wide[-1]}), which broadcast against theta {wide} and F {runs};"
            f" got shapes {theta.shape} and {F.shape}"
        )
    return theta, F


def _over(parts: Parts, look: bool) -> bool:
    """Whether every run has stopped; without ``look`` only where asking costs nothing."""
    return all(
        (look or not is_async_device(part.stopped)) and all_true(part.stopped != 0)
        for part in parts.values()
    )


def _row(
    begin: State, before: Parts, after: Parts, pair: Pair, optimum: Pair | None
) -> tuple[Any, Any, Any]:
    """loss, F and distance of a step, at the point where it took theta's gradient."""
    seen = {
        place: _seen(before[place], after[place], *samples(place, pair))
        for place in before
    }
    loss = to_numpy(gather(begin, before, lambda place: seen[place][0]))
    F = to_numpy(gather(begin, before, lambda place: seen[place][1]))
    theta = to_numpy(gather(begin, before, lambda place: before[place].theta))
    xp = array_namespace(F)
    distance = xp.full_like(F, float("nan"))
    if optimum is not None:
        distance = xp.hypot(
            xp.linalg.vector_norm(theta - optimum[0], axis=-1), F - optimum[1]
        )
    return (
        xp.astype(loss, xp.float64),
        xp.astype(F, xp.float64),
        xp.astype(distance, xp.float64),
    )


def _seen(before: State, after: State, x_data: Array, x_noise: Array) -> Pair:
    """The loss of the batch at theta before the step, and the F with which it was taken."""
    training, xp = before.training, array_namespace(before.F)
    first = asarray(
        [method.order == "first" for method in training.methods],
        xp,
        device=device(before.F),
    )
    F = xp.where(first & (after.stopped == 0), after.F, before.F)
    r_data, r_noise, _ = training.model(before.theta, x_data, x_noise)
    known = ~(xp.any(xp.isnan(r_data), axis=-1) | xp.any(xp.isnan(r_noise), axis=-1))
    r_data, r_noise = (
        xp.where(known[..., None], r, xp.zeros_like(r)) for r in (r_data, r_noise)
    )
    loss = (
        ence.loss(r_data, r_noise, F)
        if training.loss == "ence"
        else nce.loss(r_data, r_noise, F, nu=training.nu)
    )
    return xp.where(known, loss, xp.full_like(loss, float("nan"))), F


def _moved(pair: Pair, like: State) -> Pair:
    xp, where = array_namespace(like.F), device(like.F)
    x_data, x_noise = (
        asarray(x, xp, dtype=like.theta.dtype, device=where) for x in pair
    )
    runs = tuple(like.F.shape[:-1])
    for x in (x_data, x_noise):
        if x.ndim < 2 or tuple(x.shape[:-2]) not in ((), runs):
            raise ValueError(
                f"batches must be (*runs, n, d), runs the state's {runs}, or shared (n, d); got {tuple(x.shape)}"
            )
    return x_data, x_noise


def _shapes(state: State) -> files.Expected:
    """Shape and dtype of the record's columns."""
    alone, runs = ((None,), "float64"), ((None, *state.F.shape), "float64")
    return dict(
        zip(COLUMNS, (((None,), "int64"), runs, runs, runs, alone), strict=True)
    )


def _arrays(columns: dict[str, list[Any]], state: State) -> dict[str, Any]:
    xp, kinds = load("numpy"), _shapes(state)
    return {
        name: xp.asarray(x, dtype=kinds[name][1]).reshape((len(x), *kinds[name][0][1:]))
        for name, x in columns.items()
    }


def _resumed(
    path: Path, state: State, about: checkpoint.About, steps: int
) -> tuple[State, dict[str, list[Any]]]:
    state, arrays = checkpoint.read(path, state, _shapes(state), about)
    step, every, count = arrays["step"].tolist(), int(about["every"]), state.count
    if count > steps:
        raise files.FileError(
            f"{path} has {count} steps already; steps must be at least as many, got {steps}"
        )
    rises = all(a < b for a, b in zip([-1, *step], [*step, count], strict=True))
    # Of the multiples of every, those from the first on: a training can have begun at any step.
    if step and not (
        rises
        and sum(k % every == 0 for k in step)
        == len(range(-(-step[0] // every) * every, count, every))
    ):
        raise files.FileError(
            f"{path}: its record is not that of {count} steps; remove it to start afresh"
        )
    return state, {name: list(arrays[name]) for name in COLUMNS}


def _warn(state: State) -> None:
    why = sorted(
        {Stopped(int(x)).name.lower() for x in to_numpy(state.stopped).ravel()}
    )
    warnings.warn(
        f"no run is left to train: after step {state.count} not finite: {', '.join(why)}; try a smaller rate, float64, or a "
        "start of F at the first batch's root",
        RuntimeWarning,
        stacklevel=3,
    )
