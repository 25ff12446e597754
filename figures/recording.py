"""Run a training and keep the points of its path that a figure plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from figures.settings import Settings
from refnce import nce, train
from refnce.array.backend import array_namespace, asarray, device, to_numpy


def fresh(
    settings: Settings, data: Any, noise: Any, streams: list[Any], *shape: int
) -> Iterator[tuple[Any, Any]]:
    """New batches (*shape, d) of data and noise for ever, drawn on the host in blocks of steps and moved.

    Data and noise have a stream each, and a block is filled step by step, so the draws do not depend on its size.
    """
    block = 16
    while True:
        x, y = (
            settings.array(law.sample(rng, block, *shape))
            for law, rng in zip((data, noise), streams, strict=True)
        )
        yield from ((x[k, ...], y[k, ...]) for k in range(block))


def kept(steps: int, count: int) -> list[int]:
    """About ``count`` of the steps 0 .. steps - 1, in neighbouring pairs: a dozen at first, then by ratio and evenly.

    Pairs, so that both branches of a two-cycle show; single steps of changing parity would draw a slow wave.
    """
    stride = max(1, 2 * steps // count)
    firsts = {
        *range(0, 12, 2),
        *(int(12 * 1.25**k) for k in range(40)),
        *range(0, steps, stride),
        steps - 2,
    }
    return sorted({step for k in firsts for step in (k, k + 1) if 0 <= step < steps})


def record(
    state: train.State,
    batches: Iterable[tuple[Any, Any]],
    keep: list[int],
    steps: Iterable[int],
) -> dict[str, Any]:
    """Train over ``steps`` and return host arrays at the steps in ``keep``.

    theta (K, runs, methods, k), F and loss (K, runs, methods): the point at which the step takes theta's gradient and the
    loss of its batch there, so that a method that solves F first shows theta with its own F. theta_next and F_next are the
    same one step on, from which the mean over two steps is taken.
    """
    training, F0 = state.training, state.F
    xp = array_namespace(F0)
    first = asarray(
        [method.order == "first" for method in training.methods], xp, device=device(F0)
    )
    path: dict[str, list[Any]] = {
        name: [] for name in ("theta", "F", "loss", "theta_next", "F_next")
    }
    wanted = set(keep)
    for k, (x_data, x_noise) in zip(steps, batches, strict=False):
        after = train.step(state, x_data, x_noise)
        if k in wanted:
            F = xp.where(first, after.F, state.F)
            r_data, r_noise, _ = training.model(state.theta, x_data, x_noise)
            loss = nce.loss(r_data, r_noise, F, nu=training.nu)
            for name, value in zip(
                path, (state.theta, F, loss, after.theta, after.F), strict=True
            ):
                path[name].append(to_numpy(value))
        state = after
    return {
        "step": np.asarray(keep),
        **{name: np.stack(values) for name, values in path.items()},
    }


def fixed(
    settings: Settings, data: Any, noise: Any, streams: list[Any], *shape: int
) -> Iterator[tuple[Any, Any]]:
    """One batch of data and noise, again and again."""
    x, y = (
        settings.array(law.sample(rng, *shape))
        for law, rng in zip((data, noise), streams, strict=True)
    )
    while True:
        yield x, y


def beside(*sources: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The batches of several sources as further runs along the first axis."""
    for pairs in zip(*sources, strict=True):
        xp = array_namespace(pairs[0][0])
        yield tuple(
            xp.concat(list(column), axis=0) for column in zip(*pairs, strict=True)
        )
