"""The test vectors: reading their files, which may be cut, foreign or hostile, and what a case holds."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refnce.array import backend
from refnce.files import FileError

FOLDER = Path(__file__).parent / "data"
SCHEMA = 1
LARGEST_FILE = 1 << 26  # bytes
LEVELS = {"A": 4.0, "B": 64.0, "C": 2.0**20}  # units


@dataclass(frozen=True)
class Expected:
    """One output: its elements in C order, as 40 decimal digits each (or inf, -inf, nan), and the unit of each."""

    shape: tuple[int, ...]
    dec: tuple[str, ...]
    unit: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """Inputs by name (arrays of the suite's dtype, or text), and outputs by quantity or the quantities that must be refused."""

    id: str
    flags: tuple[str, ...]
    comment: str
    inputs: dict[str, Any]
    outputs: dict[str, Expected]
    refused: tuple[str, ...]

    @property
    def quantities(self) -> tuple[str, ...]:
        return self.refused or tuple(self.outputs)


@dataclass(frozen=True)
class Suite:
    """The cases of one file that are not withdrawn, with the note that belongs to each flag."""

    name: str
    dtype: str
    version: str
    notes: dict[str, str]
    cases: tuple[Case, ...]


def shipped() -> list[Path]:
    """The files of this distribution, float64 first."""
    return sorted(
        FOLDER.glob("*.*.json"),
        key=lambda path: (path.stem.split(".")[1] != "float64", path.stem),
    )


def load(path: Path) -> Suite:
    """Return the suite at ``path``. Raises FileError, one line, for a file that is not wholly one, and OSError."""
    if path.stat().st_size > LARGEST_FILE:
        raise FileError(
            f"{path} has {path.stat().st_size} bytes; a file of test vectors has at most {LARGEST_FILE}"
        )
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise FileError(
                f"{path} has schema {content['schema']!r}; this version of refnce reads {SCHEMA}"
            )
        dtype = content["dtype"]
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype {dtype!r}")
        cases = [
            _case(case, dtype, path)
            for case in content["cases"]
            if "withdrawn" not in case
        ]
        notes = {str(flag): str(note) for flag, note in content["flags"].items()}
        strange = {flag for case in cases for flag in case.flags} - set(notes)
        if strange or len({case.id for case in cases}) != len(cases):
            raise ValueError(
                f"flags without a note ({sorted(strange)}) or an id that occurs twice"
            )
        return Suite(
            str(content["suite"]), dtype, str(content["version"]), notes, tuple(cases)
        )
    except FileError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise FileError(
            f"{path} is not a whole file of test vectors ({what[:200]})"
        ) from error


def _case(case: dict[str, Any], dtype: str, path: Path) -> Case:
    inputs = {
        name: x if isinstance(x, str) else _array(x, dtype, path)
        for name, x in case["inputs"].items()
    }
    outputs = {name: _expected(x) for name, x in case.get("outputs", {}).items()}
    refused = tuple(map(str, case.get("refused", [])))
    if bool(outputs) == bool(refused):
        raise ValueError(f"{case['id']} must have either outputs or refused")
    return Case(
        str(case["id"]),
        tuple(map(str, case["flags"])),
        str(case["comment"]),
        inputs,
        outputs,
        refused,
    )


def _array(x: dict[str, Any], dtype: str, path: Path) -> Any:
    numpy = backend.load("numpy")
    shape = _shape(x)
    if "npy" not in x:
        numbers = [float.fromhex(word) for word in x["hex"]]
        return numpy.asarray(numbers, dtype=dtype).reshape(shape)
    if Path(x["npy"]).name != x["npy"]:
        raise ValueError(f"{x['npy']!r} is not the name of a file beside this one")
    beside = path.parent / x["npy"]
    if not beside.is_file() or beside.stat().st_size > LARGEST_FILE:
        raise FileError(
            f"{beside}, which belongs to {path.name}, is missing or too large"
        )
    if hashlib.sha256(beside.read_bytes()).hexdigest() != x["sha256"]:
        raise FileError(
            f"{beside} is not the file that {path.name} was made with (its SHA-256 differs)"
        )
    array = numpy.load(beside, allow_pickle=False)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{x['npy']} holds {array.dtype} of shape {array.shape}")
    return array


def _expected(x: dict[str, Any]) -> Expected:
    shape, dec, unit = (
        _shape(x),
        tuple(map(str, x["dec"])),
        tuple(float.fromhex(word) for word in x["unit"]),
    )
    if not len(dec) == len(unit) == math.prod(shape) or not all(
        u > 0 and math.isfinite(u) for u in unit
    ):
        raise ValueError("an output whose shape, digits and units do not fit together")
    for word in dec:
        float(word)
    return Expected(shape, dec, unit)


def _shape(x: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(x["shape"])
    if any(type(k) is not int or k < 0 for k in shape):
        raise ValueError(f"shape {shape!r}")
    return shape
