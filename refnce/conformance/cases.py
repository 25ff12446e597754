"""The test vectors: what a case holds, and how the files are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from refnce.array import backend

FOLDER = Path(__file__).parent / "data"
SCHEMA = 1
DTYPES = ("float64", "float32")
LARGEST_FILE = 1 << 26  # bytes
LEVELS = {"A": 4.0, "B": 64.0, "C": 2.0**20}  # units


class InputError(ValueError):
    """A file or an option that cannot be used. The message names it and the remedy."""


class Expected(NamedTuple):
    """One output in C order: 40 decimal digits (or inf, -inf, nan), and units."""

    shape: tuple[int, ...]
    dec: tuple[str, ...]
    unit: tuple[float, ...]


class Case(NamedTuple):
    """Inputs by name (arrays of the suite's dtype, or text) and what is expected.

    Either ``outputs`` holds the expected values by quantity, or ``refused`` names the
    quantities for which the inputs must be refused.
    """

    id: str
    flags: tuple[str, ...]
    inputs: dict[str, Any]
    outputs: dict[str, Expected]
    refused: tuple[str, ...]

    @property
    def quantities(self) -> tuple[str, ...]:
        return self.refused or tuple(self.outputs)


class Suite(NamedTuple):
    """The cases of one file that are not withdrawn; ``notes`` has a note per flag."""

    name: str
    dtype: str
    notes: dict[str, str]
    cases: tuple[Case, ...]


def shipped(dtypes: Iterable[str] = DTYPES) -> list[Path]:
    """Return the files of this distribution in ``dtypes``, those of float64 first."""
    chosen = [dtype for dtype in DTYPES if dtype in dtypes]
    return [x for dtype in chosen for x in sorted(FOLDER.glob(f"*.{dtype}.json"))]


def load(path: Path) -> Suite:
    """Return the suite at ``path``.

    Raises InputError with a message of one line for a damaged or foreign file, and
    OSError for one that cannot be read.
    """
    check_size(path)
    content = path.read_bytes()
    try:
        return _suite(json.loads(content), path)
    except InputError:
        raise
    except Exception as error:  # a damaged file may raise nearly anything
        what = f"{path} is not a whole file of test vectors"
        raise InputError(f"{what} ({in_one_line(error, 200)})") from error


def in_one_line(error: Exception, most: int) -> str:
    """Return the type and the message of ``error``, at most ``most`` characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def check_size(path: Path) -> None:
    """Raise InputError for a file that is too large to be read at once."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InputError(f"{path} has {size} bytes; at most {LARGEST_FILE} are read")


def _suite(content, path):
    dtype, schema = content["dtype"], content["schema"]
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema!r}; this refnce reads {SCHEMA}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}")
    kept = [case for case in content["cases"] if "withdrawn" not in case]
    cases = tuple(_case(case, dtype, path) for case in kept)
    notes = {str(flag): str(note) for flag, note in content["flags"].items()}
    unknown = {flag for case in cases for flag in case.flags} - set(notes)
    if unknown or len({case.id for case in cases}) != len(cases):
        raise ValueError(f"flags without a note ({sorted(unknown)}) or a repeated id")
    return Suite(str(content["suite"]), dtype, notes, cases)


def _case(case, dtype, path):
    inputs = {name: _input(x, dtype, path) for name, x in case["inputs"].items()}
    outputs = {name: _expected(x) for name, x in case.get("outputs", {}).items()}
    refused = tuple(map(str, case.get("refused", [])))
    if bool(outputs) == bool(refused):
        raise ValueError(f"{case['id']} must have either outputs or refused")
    flags = tuple(map(str, case["flags"]))
    return Case(str(case["id"]), flags, inputs, outputs, refused)


def _input(x, dtype, path):
    if isinstance(x, str):
        return x
    numpy, shape = backend.load("numpy"), tuple(x["shape"])
    if "npy" in x:
        file = path.parent / x["npy"]
        if not file.is_file():
            raise InputError(f"{file}, which belongs to {path.name}, is missing")
        check_size(file)
        if hashlib.sha256(file.read_bytes()).hexdigest() != x["sha256"]:
            raise InputError(f"{file} does not belong to {path.name}: SHA-256 differs")
        array = numpy.load(file, allow_pickle=False)
    else:
        numbers = [float.fromhex(word) for word in x["hex"]]
        array = numpy.asarray(numbers, dtype=dtype).reshape(shape)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{array.dtype} of shape {array.shape} for {shape}")
    return array


def _expected(x):
    shape, dec = tuple(x["shape"]), tuple(map(str, x["dec"]))
    unit = tuple(map(float.fromhex, x["unit"]))
    if not len(dec) == len(unit) == math.prod(shape):
        raise ValueError("shape, digits and units of an output differ in number")
    if not all(0 < u < math.inf for u in unit):
        raise ValueError("a unit must be finite and greater than 0")
    list(map(float, dec))  # they must be numbers
    return Expected(shape, dec, unit)
