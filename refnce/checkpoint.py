"""Checkpoints of a training: its state and its record so far, in one file that only the same training takes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from refnce import files
from refnce.backend import array_namespace, asarray, device, to_host
from refnce.train import State, Training

ARRAYS = ("theta", "F", "stopped", "stopped_at", "memory")
Rows = dict[str, Any]  # columns of the record so far, host arrays


def write(path: Path, state: State, rows: Rows, about: dict[str, Any]) -> None:
    """Put the state and the rows at ``path`` in one move; ``about`` must be the same when they are read back."""
    leaves = dict(_leaves({name: getattr(state, name) for name in ARRAYS}))
    numbers = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, (int, float))}
    arrays = {name: to_host(leaf) for name, leaf in leaves.items() if name not in numbers}
    meta = {"about": about | describe(state.training), "count": state.count, "numbers": numbers}
    files.save(path, arrays | {f"record.{name}": column for name, column in rows.items()}, meta)


def read(path: Path, begin: State, columns: files.Expected, about: Any) -> tuple[State, Rows]:
    """Return (state, rows) from ``path``, for the training that began with ``begin``.

    columns: shape and dtype of the rows by name, as for ``files.load``. Raises files.FileError for any other file.
    """
    template = {name: getattr(begin, name) for name in ARRAYS} | {"memory": _memory(begin)}
    leaves = dict(_leaves(template))
    arrays = {name: leaf for name, leaf in leaves.items() if not isinstance(leaf, (int, float))}
    expected: Any = {name: (tuple(x.shape), str(to_host(x).dtype)) for name, x in arrays.items()}
    found, meta = files.load(path, expected | {f"record.{name}": shape for name, shape in columns.items()})
    numbers: Any = meta.get("numbers")
    count: Any = meta.get("count")
    described = about | describe(begin.training)
    if meta.get("about") != described:
        raise files.FileError(f"{path} is a checkpoint of another training: {meta.get('about')}; this one is {described}")
    rows = {name: found[f"record.{name}"] for name in columns}
    told = isinstance(count, int) and isinstance(numbers, dict) and set(numbers) == set(leaves) - set(arrays)
    if not told or len({column.shape[0] for column in rows.values()}) > 1:
        raise files.FileError(f"{path}: its description and its record do not fit together; remove it to start afresh")
    xp, where = array_namespace(begin.F), device(begin.F)

    def leaf(name: str, old: Any) -> Any:
        return numbers[name] if name in numbers else asarray(found[name].copy(), xp, device=where)

    state = replace(begin, count=count, **{name: _mapped(leaf, template[name], name) for name in ARRAYS})
    return state, rows


def describe(training: Training) -> dict[str, Any]:
    """What tells one training from another, short of its model, as JSON."""
    methods = [
        [method.update, method.rate, method.order, method.times, method.optimizer.__name__] for method in training.methods
    ]
    optimizer = training.optimizer.__name__
    return {
        "methods": methods, "optimizer": optimizer, "rate": training.rate, "nu": training.nu, "xtol": training.xtol,
        "loss": training.loss,
    }  # fmt: skip


def _memory(begin: State) -> tuple[Any, ...]:
    """The optimizers' memories as they are after a step: their shapes are wanted."""
    training = begin.training
    F_memories = (method.optimizer(None, begin.F[..., here], rate=1.0)[0] for here, method, _ in training.groups)
    return (training.optimizer(None, begin.theta, rate=1.0)[0], *F_memories)


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and numbers of nested dicts and tuples, by dotted names; None has none."""
    if isinstance(tree, (dict, tuple)):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(branch, f"{name}.{key}" if name else str(key))
    elif tree is not None:
        yield name, tree


def _mapped(f: Callable[[str, Any], Any], tree: Any, name: str) -> Any:
    if isinstance(tree, tuple):
        return tuple(_mapped(f, branch, f"{name}.{k}") for k, branch in enumerate(tree))
    return None if tree is None else f(name, tree)
