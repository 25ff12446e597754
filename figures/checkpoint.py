"""Checkpoints of a training: a safetensors file that only the same training takes back.

Its metadata hold the identity of the training, its numbers and a digest of everything.
"""

import functools
import hashlib
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.numpy

from figures.io import FileError, to_json, write_atomic
from refnce.array import array_namespace, asarray, device, to_numpy
from refnce.train import State

FIELDS = ("theta", "F", "opt_state", "count", "stopped_at")
REMEDY = "remove it to start afresh"


def identity(**parts: Any) -> dict[str, str]:
    """Every value that ``parts`` are made of, by name.

    An array counts by its digest, a function by its name and what it has bound, another
    object by its type and attributes.
    """
    found: dict[str, str] = {}
    for name, part in parts.items():
        _describe(name, part, found)
    return found


def _describe(name: str, x: Any, found: dict[str, str]) -> None:
    label: str = type(x).__qualname__
    inner: dict[Any, Any] = {}
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        array = np.ascontiguousarray(to_numpy(x))
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        label = f"{array.dtype} {array.shape} {digest}"
    elif isinstance(x, (tuple, list, dict)):
        inner = x if isinstance(x, dict) else dict(enumerate(x))
    elif isinstance(x, functools.partial):
        inner = {"func": x.func, "args": x.args, "keywords": x.keywords}
    elif isinstance(x, (type, ModuleType)):
        label = x.__name__
    elif hasattr(x, "__code__"):
        label = f"{x.__module__}.{x.__qualname__}"
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        inner = dict(zip(x.__code__.co_freevars, cells, strict=True))
        inner |= {"self": getattr(x, "__self__", None), "defaults": x.__defaults__}
    elif is_dataclass(x):  # its attributes may also hold cached properties
        inner = {field.name: getattr(x, field.name) for field in fields(x)}
    elif hasattr(x, "__dict__"):
        inner = vars(x)
    else:
        label = repr(x)
    found[name] = label
    for key, value in inner.items():
        if value is not None and value is not x:  # a closure may hold its own function
            _describe(f"{name}.{key}", value, found)


def save(path: Path, state: State, rows: dict[str, Any], own: dict[str, str]) -> None:
    """Write a state, host arrays by name, and ``own``, the identity of the training."""
    arrays: dict[str, Any] = {}

    def stored(x: Any) -> dict[str, str]:
        arrays[str(len(arrays))] = np.asarray(to_numpy(x), order="C")  # 0-d stays
        return {"array": str(len(arrays) - 1)}

    values = {name: getattr(state, name) for name in FIELDS}
    content = {"state": values, "rows": rows, "identity": own}
    text = json.dumps(content, default=stored)
    metadata = {"content": text, "digest": _digest(text, arrays)}
    write_atomic(path, safetensors.numpy.save(arrays, metadata))


def load(path: Path, begin: State, own: dict[str, str]) -> tuple[State, dict[str, Any]]:
    """Return the state and the arrays of a training that began with ``begin``.

    Raises FileError for a damaged file and for the file of another training.
    """
    try:
        # safetensors checks the header and all sizes before it reads an array.
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise FileError(f"{path} is not a checkpoint ({error}); {REMEDY}") from error
    text = metadata.get("content", "")
    if metadata.get("digest") != _digest(text, arrays):
        raise FileError(f"{path} is damaged; {REMEDY}")
    xp, where = array_namespace(begin.F), device(begin.F)

    def restored(x: dict[str, Any]) -> Any:
        return arrays[x["array"]] if x.keys() == {"array"} else x

    content = json.loads(text, object_hook=restored)
    other = content["identity"]
    names = sorted(k for k in other | own if other.get(k) != own.get(k))
    if names:
        shown = [f"{k}: {other.get(k)}, here {own.get(k)}" for k in names[:3]]
        shown += [f"{len(names) - 3} more"] if len(names) > 3 else []
        raise FileError(f"{path} is of another training: {'; '.join(shown)}; {REMEDY}")

    def moved(x: Any) -> Any:
        if isinstance(x, list):
            return tuple(moved(value) for value in x)
        if isinstance(x, dict):
            return {key: moved(value) for key, value in x.items()}
        return asarray(x, xp, device=where) if isinstance(x, np.ndarray) else x

    values = {name: moved(content["state"][name]) for name in FIELDS}
    return replace(begin, **values), content["rows"]


def numbers(path: Path, own: dict[str, str], resume: bool, compute: Any) -> Any:
    """Return what ``compute()`` gives, numbers by name, as JSON keeps them.

    They are written to ``path``. If ``resume`` they are read from there instead, if
    they are of ``own``, the identity of their computation.
    """
    if resume and path.exists():
        try:
            found = json.loads(path.read_text())
            if found["identity"] == own:
                return found["numbers"]
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path} is damaged ({error}); {REMEDY}") from None
    record = to_json({"identity": own, "numbers": compute()})
    write_atomic(path, record)
    return json.loads(record)["numbers"]


def _digest(text: str, arrays: dict[str, Any]) -> str:
    return hashlib.sha256(text.encode() + safetensors.numpy.save(arrays)).hexdigest()
