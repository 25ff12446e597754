"""The test vectors: what a case holds, and how the files are read."""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from refnce.array import host as numpy

FOLDER = Path(__file__).parent / "data"
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

    ``outputs`` holds the expected values by quantity; there are none where the inputs
    must be refused.
    """

    id: str
    flags: tuple[str, ...]
    inputs: dict[str, Any]
    outputs: dict[str, Expected]
    quantities: tuple[str, ...]
    refused: bool


class Suite(NamedTuple):
    """The cases of one file that are not withdrawn; ``notes`` has a note per flag."""

    name: str
    dtype: str
    notes: dict[str, str]
    cases: tuple[Case, ...]


def shipped() -> list[Path]:
    """Return the files of this distribution, those of float64 first."""
    return [x for dtype in DTYPES for x in sorted(FOLDER.glob(f"*.{dtype}.json"))]


def suites(dtypes: Iterable[str] = DTYPES) -> list[Suite]:
    """Return the suites in ``dtypes``."""
    return [suite for suite in map(load, shipped()) if suite.dtype in dtypes]


def notes() -> dict[str, str]:
    """Return the note of each flag: all files have the same."""
    return load(shipped()[0]).notes


@lru_cache(maxsize=None)
def load(path: Path) -> Suite:
    """Return the suite at ``path``, which is read once.

    A file is trusted: tests/test_vectors.py checks those that ship.
    """
    content = json.loads(path.read_bytes())
    kept = [x for x in content["cases"] if "withdrawn" not in x]
    found = tuple(_case(case, content["dtype"], path.parent) for case in kept)
    return Suite(content["suite"], content["dtype"], content["flags"], found)


def _case(case, dtype, folder):
    inputs = {name: _input(x, dtype, folder) for name, x in case["inputs"].items()}
    outputs = {name: _expected(x) for name, x in case.get("outputs", {}).items()}
    quantities, flags = tuple(case.get("refused", outputs)), tuple(case["flags"])
    return Case(case["id"], flags, inputs, outputs, quantities, not outputs)


def _input(x, dtype, folder):
    if isinstance(x, str):
        return x
    if "npy" in x:
        return numpy.load(folder / x["npy"])
    numbers = list(map(float.fromhex, x["hex"]))
    return numpy.asarray(numbers, dtype=dtype).reshape(x["shape"])


def _expected(x):
    unit = tuple(map(float.fromhex, x["unit"]))
    return Expected(tuple(x["shape"]), tuple(x["dec"]), unit)
