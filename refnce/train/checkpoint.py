"""Checkpoints of a training: its state and its record so far, in one file that only the same training takes back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from refnce import files
from refnce.array.backend import array_namespace, asarray, device, all_true, to_numpy
from refnce.optim import mapped
from refnce.train.algorithm1 import State, Stopped, Training

ARRAYS = ("theta", "F", "stopped", "stopped_at")
NUMBERS = (bool, int, float)
Rows = dict[str, Any]  # columns of the record so far, host arrays
About = dict[str, str]  # what tells one training from another


def write(path: Path, state: State, rows: Rows, about: About) -> None:
    """Put the state and the rows at ``path`` in one move; ``about`` must be the same when they are read back."""
    leaves = _leaves(state, state.memory)
    numbers = {name: leaf for name, leaf in leaves.items() if type(leaf) in NUMBERS}
    arrays = {
        name: to_numpy(leaf) for name, leaf in leaves.items() if name not in numbers
    }
    meta = {
        "about": about | describe(state.training),
        "count": state.count,
        "numbers": numbers,
    }
    files.save(
        path, arrays | {f"record.{name}": column for name, column in rows.items()}, meta
    )


def read(
    path: Path, begin: State, columns: files.Expected, about: About
) -> tuple[State, Rows]:
    """Return (state, rows) from ``path``, for the training that began with ``begin``.

    columns: shape and dtype of the rows by name, as for ``files.load``. Raises files.FileError for any other file.
    """
    memory = _memory(begin)
    leaves = _leaves(begin, memory)
    arrays = {
        name: to_numpy(leaf)
        for name, leaf in leaves.items()
        if type(leaf) not in NUMBERS
    }
    expected: Any = {name: (tuple(x.shape), str(x.dtype)) for name, x in arrays.items()}
    found, meta = files.load(
        path, expected | {f"record.{name}": shape for name, shape in columns.items()}
    )
    _compare(path, meta.get("about"), about | describe(begin.training))
    count: Any = meta.get("count")
    numbers: Any = meta.get("numbers")
    rows = {name: found[f"record.{name}"] for name in columns}
    sound = (
        _alike(count, 0)
        and isinstance(numbers, dict)
        and numbers.keys() == leaves.keys() - arrays.keys()
        and all(_alike(number, leaves[name]) for name, number in numbers.items())
        and all(
            all_true(array_namespace(found[name]).isfinite(found[name]))
            for name in ("theta", "F")
        )
        and {int(code) for code in found["stopped"].ravel()} <= set(Stopped)
        and len({column.shape[0] for column in rows.values()}) <= 1
    )
    if not sound:
        raise files.FileError(
            f"{path}: its description and its arrays do not fit together; remove it to start afresh"
        )
    xp, where = array_namespace(begin.F), device(begin.F)
    moved = numbers | {
        name: asarray(found[name].copy(), xp, device=where) for name in arrays
    }
    rest = iter([moved[name] for name in leaves if name not in ARRAYS])
    memory = mapped(lambda _: next(rest), memory)
    return (
        replace(
            begin, count=count, memory=memory, **{name: moved[name] for name in ARRAYS}
        ),
        rows,
    )


def describe(training: Training) -> About:
    """What tells one training from another, short of its model."""
    methods = [
        (
            method.update,
            method.rate,
            method.order,
            method.times,
            _name(method.optimizer),
        )
        for method in training.methods
    ]
    settings = {
        "methods": methods,
        "rate": training.rate,
        "nu": training.nu,
        "xtol": training.xtol,
        "loss": training.loss,
    }
    return {"optimizer": _name(training.optimizer)} | {
        name: str(setting) for name, setting in settings.items()
    }


def _name(optimizer: Any) -> str:
    """Its name and the plain numbers bound in it, which alone tell decayed(1) from decayed(100)."""
    if isinstance(optimizer, partial):
        bound, optimizer = [
            *optimizer.args,
            *optimizer.keywords.values(),
        ], optimizer.func
    else:
        bound = [
            cell.cell_contents for cell in getattr(optimizer, "__closure__", None) or ()
        ]
    name = getattr(optimizer, "__qualname__", type(optimizer).__qualname__)
    return " ".join([name, *(str(x) for x in bound if isinstance(x, NUMBERS))])


def _compare(path: Path, theirs: Any, ours: About) -> None:
    told = (
        {name: text for name, text in theirs.items() if isinstance(text, str)}
        if isinstance(theirs, dict)
        else {}
    )
    other = [name for name, text in ours.items() if told.get(name) != text]
    if other or len(told) != len(ours):
        differences = "; ".join(
            f"{name} {told.get(name, '')[:400]!r}, here {ours[name][:400]!r}"
            for name in other
        )
        raise files.FileError(
            f"{path} is a checkpoint of another training: {differences}; give another path or remove it"
        )


def _alike(number: Any, like: Any) -> bool:
    """Whether a number is of the type wanted and, where it counts something, a count."""
    return type(number) is type(like) and (
        type(number) is not int or 0 <= number < 2**63
    )


def _memory(begin: State) -> tuple[Any, ...]:
    """The optimizers' memories as they are after a step: their shapes are wanted."""
    training = begin.training
    F_memories = (
        method.optimizer(None, begin.F[..., here][..., None], rate=1.0)[0]
        for here, method, _ in training.groups
    )
    return (training.optimizer(None, begin.theta, rate=1.0)[0], *F_memories)


def _leaves(state: State, memory: tuple[Any, ...]) -> dict[str, Any]:
    """The arrays and numbers of a state with these memories, by name, the memories' counted through."""
    remembered: list[Any] = []
    mapped(remembered.append, memory)
    return {name: getattr(state, name) for name in ARRAYS} | {
        f"memory.{k}": leaf for k, leaf in enumerate(remembered)
    }
