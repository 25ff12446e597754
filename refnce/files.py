"""Numbers from files, .npy or text: one column, or a table."""

import gzip
import math
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from refnce.array import Array, host

__all__ = ["read_column", "read_table"]

LONGEST = 100_000  # characters that are read as one line
TEXT = "may have # comments, be compressed (.gz), and come from standard input (-)."
COLUMN = f"""A file is .npy (one axis of float64 or float32) or text with one number a
line, or with one more in each column (see --column). Text {TEXT}"""
TABLE = f"""A file is .npy (two axes of float64 or float32) or text with a row in each
line. Text {TEXT}"""


def read_column(path: Path, column: int = 0) -> Array:
    """Return ``column`` of ``path``, from 1, as a NumPy array of float64 (n,).

    0 means that the file has one column. Raises ValueError if the file holds anything
    else, no number, or NaN.
    """
    numbers = _read(path, column, COLUMN)
    bad = int((numbers != numbers).sum())
    if bad or not numbers.size:
        found = f"{path} holds {numbers.size} numbers, {bad} of them NaN"
        raise ValueError(f"{found}; at least one is needed, and no NaN")
    return numbers


def read_table(path: Path) -> Array:
    """Return the table in ``path`` as a NumPy array of float64 (rows, columns).

    Raises ValueError if the file holds anything else, or no number.
    """
    numbers = _read(path, None, TABLE)
    if not numbers.size:
        raise ValueError(f"{path} holds 0 numbers; at least one row is needed")
    return numbers


def _read(path, column, formats):
    try:
        if path.suffix == ".npy":
            return _read_npy(path, axes=2 if column is None else 1)
        with _opened(path) as lines:
            rows = _rows(lines, column)
            first = next(rows, [])
            numbers = host.fromiter(chain(first, chain.from_iterable(rows)), float)
    except Exception as error:  # a damaged file may raise nearly anything
        raise ValueError(f"{path} cannot be read: {error!s:.200}. {formats}") from error
    return numbers.reshape(-1, len(first) or 1) if column is None else numbers


def _read_npy(path, axes):
    if not path.is_file():
        raise ValueError("it is not a regular file")
    # A mapped file whose header promises more than it holds allocates nothing, and
    # neither pickles nor archives are read.
    stored = host.lib.format.open_memmap(path, mode="r")
    if stored.dtype not in (host.float64, host.float32) or stored.ndim != axes:
        raise ValueError(f"it holds {stored.dtype} of shape {stored.shape}")
    return host.array(stored, dtype=host.float64)


def _opened(path: Path) -> Any:
    if str(path) == "-":
        return nullcontext(sys.stdin)
    return (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8")


def _rows(lines: TextIO, column: int | None) -> Iterator[list[float]]:
    """The numbers of each line that is not empty and no comment; None: all columns."""
    pieces, width = iter(partial(lines.readline, LONGEST), ""), 0
    for count, line in enumerate(pieces, start=1):
        words = line.partition("#")[0].split()
        width = width or len(words)
        if column is None:
            fits, remedy = True, f"the first row has {width}"
        else:
            fits = 1 <= column <= width if column else width == 1
            remedy = "--column chooses one, where all lines have as many"
        if words and (len(words) != width or not fits):
            raise ValueError(f"line {count} has {len(words)} columns; {remedy}")
        if words:
            chosen = words if column is None else [words[max(column - 1, 0)]]
            yield [_number(word, count) for word in chosen]


def _number(word: str, count: int) -> float:
    try:
        number = float(word.replace("_", "?"))  # Python reads 1_000 as 1000
        if math.isinf(number) and "inf" not in word.lower():
            raise ValueError("it is too large")
    except ValueError:
        raise ValueError(f"line {count}: {word[:40]!r} is no number") from None
    return number
