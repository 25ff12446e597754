"""Files that are whole or not there: written aside and renamed, and read only after their sizes are known to be right."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from secrets import token_hex
from typing import Any

from refnce.array import backend
from refnce.array.backend import Array

Shape = tuple[int | None, ...]
Expected = dict[str, tuple[Shape, str]]  # shape and dtype of each array by name
META = "meta"


class FileError(ValueError):
    """A file that cannot be used; the message names it, says what it holds and what is wanted."""


def write(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one move: a temporary file beside it, renamed.

    Where an exception interrupts it the temporary file is removed; where the process is killed a ".*.tmp" stays behind.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(path: Path, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """Write host ``arrays`` and ``meta``, which must be JSON, as one NPZ file without pickle."""
    numpy = backend.load("numpy")
    buffer = io.BytesIO()
    description = numpy.frombuffer(
        json.dumps(meta, sort_keys=True).encode(), dtype=numpy.uint8
    )
    numpy.savez(
        buffer,
        **{META: description},
        **{name: numpy.asarray(x, order="C") for name, x in arrays.items()},
    )
    write(path, buffer.getvalue())


def load(path: Path, expected: Expected) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (arrays, meta) of a file that ``save`` wrote; ``expected`` gives shape and dtype of each array by name.

    None, which may stand first in a shape, is any length. A member must be the very bytes that ``save`` writes for its shape and
    dtype, so that no foreign header is parsed and nothing unpacked: a foreign, truncated or swollen file costs no more than
    its size. Raises FileError, and OSError if it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            return _load(file, {META: ((None,), "uint8"), **expected})
        except (
            Exception
        ) as error:  # zipfile and json raise some ten unrelated types on bytes of others
            reason = " ".join(str(error).split())[:400]
            raise FileError(
                f"{path} is not a whole checkpoint of this training: {reason}; remove it to start afresh"
            ) from error


def _load(file: Any, expected: Expected) -> tuple[dict[str, Any], dict[str, Any]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        found, wanted = sorted(info.filename for info in members), sorted(
            f"{name}.npy" for name in expected
        )
        if found != wanted:
            odd = sorted(set(found) ^ set(wanted))
            raise ValueError(
                f"{', '.join(map(repr, odd[:4]))} on one side only"
                if odd
                else "a member is there twice"
            )
        for info in members:
            if (
                info.compress_type != zipfile.ZIP_STORED
                or info.flag_bits
                or info.file_size != info.compress_size
            ):
                raise ValueError(
                    f"{info.filename} is compressed, encrypted or otherwise not stored as it is"
                )
        if sum(info.file_size for info in members) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members are longer than the file")
        arrays = {
            name: _array(archive.read(f"{name}.npy"), name, *kind)
            for name, kind in expected.items()
        }
    meta = json.loads(bytes(arrays.pop(META)))
    if not isinstance(meta, dict):
        raise ValueError("its description is no JSON object")
    return arrays, meta


def _array(content: bytes, name: str, shape: Shape, dtype: str) -> Any:
    numpy = backend.load("numpy")
    own = [0 if length is None else length for length in shape]
    if (
        None in shape
    ):  # the length follows from the size: NumPy pads its headers so that they do not depend on it
        own[0] = (len(content) - len(_header(own, dtype))) // max(
            1, math.prod(own[1:]) * numpy.dtype(dtype).itemsize
        )
    header = _header(own, dtype)
    start, size = len(header), math.prod(own) * numpy.dtype(dtype).itemsize
    if content[:start] != header or len(content) != start + size:
        raise ValueError(
            f"{name} is {content[10:start].strip()!r}, {len(content)} bytes; {dtype} of shape {shape} is expected"
        )
    return numpy.frombuffer(content, dtype=dtype, offset=start).reshape(own)


def _header(shape: list[int], dtype: str) -> bytes:
    """What NumPy writes before the numbers of a contiguous array."""
    numpy, header = backend.load("numpy"), io.BytesIO()
    kind = numpy.lib.format.dtype_to_descr(numpy.dtype(dtype))
    numpy.lib.format.write_array_header_1_0(
        header, {"descr": kind, "fortran_order": False, "shape": tuple(shape)}
    )
    return header.getvalue()
