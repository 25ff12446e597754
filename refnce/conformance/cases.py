"""The test vectors: what a case holds, and how the files are read."""

import hashlib
import io
import json
import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from refnce.array import backend

FOLDER = Path(__file__).parent / "data"
SCHEMA = 1
DTYPES = ("float64", "float32")
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


def suites(dtypes: Iterable[str] = DTYPES) -> list[Suite]:
    """Return the suites of those files, each of which is read once."""
    return list(map(_load_once, shipped(dtypes)))


def notes() -> dict[str, str]:
    """Return the note of each flag: all files have the same."""
    return _load_once(shipped()[0]).notes


def load(path: Path) -> Suite:
    """Return the suite at ``path``.

    Raises InputError with a message of one line for a damaged or foreign file, and
    OSError for one that cannot be read.
    """
    content = path.read_bytes()
    try:
        return _suite(json.loads(content), path.parent)
    except Exception as error:  # a damaged file may raise nearly anything
        why = f"cannot be used as test vectors: {error!r:.200}"
        raise InputError(f"{path} {why}") from error


_load_once = lru_cache(maxsize=None)(load)


def _suite(content, folder):
    schema, dtype, notes = content["schema"], content["dtype"], content["flags"]
    if schema != SCHEMA or dtype not in DTYPES:
        raise ValueError(f"schema {schema!r} of {dtype!r}; this refnce reads {SCHEMA}")
    kept = [case for case in content["cases"] if "withdrawn" not in case]
    cases = tuple(_case(case, dtype, folder) for case in kept)
    unknown = {flag for case in cases for flag in case.flags} - set(notes)
    if unknown or len({case.id for case in cases}) != len(cases):
        raise ValueError(f"flags without a note ({sorted(unknown)}) or a repeated id")
    return Suite(content["suite"], dtype, notes, cases)


def _case(case, dtype, folder):
    inputs = {name: _input(x, dtype, folder) for name, x in case["inputs"].items()}
    refused = tuple(case.get("refused", []))
    exact = {} if refused else case["outputs"]
    outputs = {name: _expected(x) for name, x in exact.items()}
    return Case(case["id"], tuple(case["flags"]), inputs, outputs, refused)


def _input(x, dtype, folder):
    if isinstance(x, str):
        return x
    numpy, shape = backend.load("numpy"), tuple(x["shape"])
    if "npy" in x:
        content = (folder / x["npy"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != x["sha256"]:
            raise ValueError(f"{x['npy']} does not belong to it: SHA-256 differs")
        array = numpy.load(io.BytesIO(content), allow_pickle=False)
    else:
        numbers = [float.fromhex(word) for word in x["hex"]]
        array = numpy.asarray(numbers, dtype=dtype).reshape(shape)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{array.dtype} of shape {array.shape} for {shape}")
    return array


def _expected(x):
    shape, dec = tuple(x["shape"]), tuple(x["dec"])
    unit = tuple(map(float.fromhex, x["unit"]))
    whole = len(list(map(float, dec))) == len(unit) == math.prod(shape)
    if not whole or not all(0 < u < math.inf for u in unit):
        raise ValueError("an output needs a number and a unit > 0 for each element")
    return Expected(shape, dec, unit)
