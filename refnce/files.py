"""Files that are whole or not there: written aside and renamed, and read only after their sizes are known to be right."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from refnce import backend
from refnce.backend import Array

Expected = dict[str, tuple[tuple[int | None, ...], str]]  # shape and dtype of each array by name
META = "meta"


class FileError(ValueError):
    """A file that cannot be used; the message names it, says what it holds and what is wanted."""


def write(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one move: a temporary file beside it, renamed; removed again if anything interrupts."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save(path: Path, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """Write host ``arrays`` and ``meta``, which must be JSON, as one NPZ file without pickle."""
    numpy = backend.load("numpy")
    buffer = io.BytesIO()
    description = numpy.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=numpy.uint8)
    numpy.savez(buffer, **{META: description}, **arrays)
    write(path, buffer.getvalue())


def load(path: Path, expected: Expected) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (arrays, meta) of a file that ``save`` wrote; ``expected`` gives shape and dtype of each array by name.

    None in a shape is any length. Names, headers and sizes are checked before an array is read, and nothing is unpacked, so
    that a foreign, truncated or swollen file costs no more than its size. Raises FileError, and OSError if it cannot be opened.
    """
    expected = {META: ((None,), "uint8"), **expected}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            odd = sorted(set(members) ^ set(expected))
            if odd:
                raise FileError(f"{path} is no checkpoint of this training: {', '.join(odd[:4])} on one side only")
            arrays = {}
            for name, (shape, dtype) in expected.items():
                with archive.open(members[name]) as member:
                    arrays[name] = _read(member, members[name], shape, dtype, path)
    except (zipfile.BadZipFile, EOFError) as error:
        raise FileError(f"{path} is not a whole NPZ file ({error}); remove it to start afresh") from error
    try:
        meta = json.loads(bytes(arrays.pop(META)))
    except ValueError as error:
        raise FileError(f"{path}: its description is not JSON ({error})") from error
    if not isinstance(meta, dict):
        raise FileError(f"{path}: its description is no JSON object")
    return arrays, meta


def _read(member: Any, info: zipfile.ZipInfo, shape: tuple[int | None, ...], dtype: str, path: Path) -> Any:
    numpy, what = backend.load("numpy"), f"{path}: {info.filename.removesuffix('.npy')}"
    try:
        version = numpy.lib.format.read_magic(member)
        header = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}[version]
        found, fortran, kind = header(member)
    except (ValueError, KeyError) as error:
        raise FileError(f"{what} is not an array of numbers ({error})") from error
    fits = len(found) == len(shape) and all(a in (b, None) for a, b in zip(shape, found, strict=True))
    if not fits or str(kind) != dtype or fortran:
        raise FileError(f"{what} is {kind} of shape {found}; {dtype} of shape {shape} is expected")
    size = math.prod(found) * kind.itemsize
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != size + member.tell() or size > path.stat().st_size:
        raise FileError(f"{what} takes {info.file_size} bytes; {size} for its numbers are expected")
    return numpy.frombuffer(member.read(size), dtype=kind).reshape(found)
