"""Train several methods on the same batches and keep the points that a figure plots."""

from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import Any

import numpy as np

from figures.settings import Settings
from refnce import train
from refnce.array import array_namespace, to_numpy
from refnce.train.fit import evaluate, fit

BLOCK = 16  # steps whose batches are drawn and moved together
Batches = Iterator[tuple[Any, Any]]


def fresh(
    settings: Settings, data: Any, noise: Any, streams: list[Any], *shape: int
) -> Batches:
    """New batches (*shape, d) of data and noise without end, drawn on the host.

    Data and noise have a stream each, and a block is filled step by step, so that the
    draws do not depend on the size of a block.
    """
    while True:
        x, y = (
            settings.array(law.sample(rng, BLOCK, *shape))
            for law, rng in zip((data, noise), streams, strict=True)
        )
        yield from ((x[k, ...], y[k, ...]) for k in range(BLOCK))


def fixed(
    settings: Settings, data: Any, noise: Any, streams: list[Any], *shape: int
) -> Batches:
    """One batch of data and noise, again and again."""
    return repeat(next(fresh(settings, data, noise, streams, *shape)))


def concatenate_runs(*sources: Batches) -> Batches:
    """The batches of several sources as further runs along the first axis."""
    for pairs in zip(*sources, strict=True):
        xp = array_namespace(pairs[0][0])
        x, y = (xp.concat(list(column), axis=0) for column in zip(*pairs, strict=True))
        yield x, y


def kept(steps: int, count: int) -> list[int]:
    """About ``count`` of the steps 0 .. steps - 1, in neighbouring pairs.

    A dozen at first, then by ratio and evenly. Pairs show both branches of a two-cycle;
    single steps of changing parity would draw a slow wave.
    """
    stride = max(1, 2 * steps // count)
    firsts = {
        *range(0, 12, 2),
        *(int(12 * 1.25**k) for k in range(40)),
        *range(0, steps, stride),
        steps - 2,
    }
    return sorted({step for k in firsts for step in (k, k + 1) if 0 <= step < steps})


def point(before: train.State, after: train.State, x: Any, y: Any) -> dict[str, Any]:
    """Where a step took theta's gradient, and the point after the step.

    A method that solves for F first has its own F there, and the loss is that of the
    batch at theta and this F. theta_next and F_next give the mean of two steps.
    """
    loss, F = evaluate(before, after, x, y)
    later = {"theta_next": after.theta, "F_next": after.F}
    return {"theta": before.theta, "F": F, "loss": loss, **later}


def record(
    settings: Settings,
    label: str,
    states: dict[str, train.State],
    batches: Batches,
    keep: list[int],
    point: Callable[..., dict[str, Any]] = point,
) -> dict[str, dict[str, Any]]:
    """Train each method from its state on the same batches, with a progress bar.

    Returns, for each method, what ``point`` gives at the steps in ``keep`` as host
    arrays (K, ...); nan after the last run has stopped.
    """
    states, stop, wanted = dict(states), keep[-1] + 1, set(keep)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in states}
    for start in settings.track(range(0, stop, BLOCK), label):
        end = min(start + BLOCK, stop)
        block = dict(zip(range(start, end), islice(batches, end - start), strict=True))
        for name, own in rows.items():

            def keep_point(before: train.State, *rest: Any, own: Any = own) -> None:
                if before.count in wanted:
                    values = point(before, *rest).items()
                    own.append({field: to_numpy(value) for field, value in values})

            states[name], _ = fit(
                states[name],
                block.__getitem__,
                end,
                record_every=(),
                callback=keep_point,
            )
    return {name: _stacked(own, len(keep)) for name, own in rows.items()}


def _stacked(rows: list[dict[str, Any]], length: int) -> dict[str, Any]:
    paths = {}
    for field, first in rows[0].items():
        paths[field] = np.full((length, *first.shape), np.nan)
        paths[field][: len(rows)] = [row[field] for row in rows]
    return paths
