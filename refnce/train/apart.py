"""A batch of trainings as one program, or as a program for each run and method: on a CPU a network then stays in cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from refnce.array.backend import Array, array_namespace
from refnce.optim import mapped
from refnce.train.algorithm1 import State

Place = tuple[
    tuple[int, ...], int | None
]  # which run, and which method (None: all of all)
Parts = dict[Place, State]


def split(state: State, apart: bool) -> Parts:
    """Return the whole state, or the state of each run and method: theta (1, k), F (1,)."""
    if not apart:
        return {((), None): state}
    trainings = [
        replace(state.training, methods=(method,)) for method in state.training.methods
    ]
    groups = [
        (g, k - here.start)
        for g, (here, _, _) in enumerate(state.training.groups)
        for k in range(here.start, here.stop)
    ]
    parts: Parts = {}
    for run in product(*(range(width) for width in state.F.shape[:-1])):
        for k, (training, (group, position)) in enumerate(
            zip(trainings, groups, strict=True)
        ):
            own, own_F = _at(run, k), _at(run, position)
            parts[run, k] = replace(
                state,
                theta=own(state.theta),
                F=own(state.F),
                memory=(
                    mapped(own, state.memory[0]),
                    mapped(own_F, state.memory[1 + group]),
                ),
                training=training,
                stopped=own(state.stopped),
                stopped_at=own(state.stopped_at),
            )
    return parts


def samples(place: Place, pair: tuple[Array, Array]) -> tuple[Array, Array]:
    """The samples of a part: those of its run, or those (n, d) that all runs share."""
    x_data, x_noise = (x if x.ndim == 2 else x[(*place[0], ...)] for x in pair)
    return x_data, x_noise


def gather(state: State, parts: Parts, field: Callable[[Place], Array]) -> Array:
    """The array over runs and methods whose values at the parts are ``field`` of their places."""
    arrays = [field(place) for place in parts]
    return arrays[0] if len(arrays) == 1 else _together(arrays, tuple(state.F.shape))


def join(state: State, parts: Parts) -> State:
    """Return the batch whose ``split`` is ``parts``; ``state`` gives the training and the shape."""
    if ((), None) in parts:
        return parts[(), None]

    def memory(index: int, members: Sequence[int]) -> Any:
        shape = (*state.F.shape[:-1], len(members))
        chosen = [part.memory[index] for (_, k), part in parts.items() if k in members]
        return mapped(
            lambda *x: (
                x[0] if isinstance(x[0], (int, float)) else _together(list(x), shape)
            ),
            *chosen,
        )

    groups = [range(here.start, here.stop) for here, _, _ in state.training.groups]
    return replace(
        state,
        theta=gather(state, parts, lambda place: parts[place].theta),
        F=gather(state, parts, lambda place: parts[place].F),
        memory=(
            memory(0, range(len(state.training.methods))),
            *(memory(1, group) for group in groups),
        ),
        count=next(iter(parts.values())).count,
        stopped=gather(state, parts, lambda place: parts[place].stopped),
        stopped_at=gather(state, parts, lambda place: parts[place].stopped_at),
    )


def _at(run: tuple[int, ...], k: int) -> Callable[[Array], Array]:
    return lambda x: (
        x if isinstance(x, (int, float)) else x[(*run, slice(k, k + 1), ...)]
    )


def _together(arrays: list[Array], shape: tuple[int, ...]) -> Array:
    xp = array_namespace(arrays[0])
    return xp.reshape(xp.concat(arrays, axis=0), (*shape, *arrays[0].shape[1:]))
