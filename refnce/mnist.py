"""MNIST's four IDX files, whole or not at all: where they are, what is in them, and how they are fetched.

digits = read(where("data/mnist"))     # digits.train_images: uint8 (60000, 784); refnce.pixels makes data of them
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refnce.array.backend import Array, load
from refnce.files import FileError

__all__ = ["Digits", "Part", "download", "read", "where"]

VARIABLE = "REFNCE_MNIST"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
REMEDY = "python -m refnce mnist --download fetches the four files"
UNSIGNED_BYTES = 0x0800  # IDX magic: this, and the number of axes


@dataclass(frozen=True)
class Part:
    """One IDX file: its name without .gz, its shape, the SHA-256 of its content and of the .gz that the mirrors hold."""

    name: str
    shape: tuple[int, ...]
    content: str
    packed: str


PARTS = {
    "train_images": Part(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train_labels": Part(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test_images": Part(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test_labels": Part(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}


@dataclass(frozen=True)
class Digits:
    """Read-only uint8 host arrays: images (n, 784), a row of 28 pixels after the other, and labels (n,), 0 to 9."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def where(folder: Path | str | None = None) -> Path | None:
    """Return the folder of the files: ``folder``, else the variable REFNCE_MNIST, else the download, None if there is none.

    Only the download is looked at, for whether its four files are there; ``read`` checks what is in them.
    """
    given = folder or os.environ.get(VARIABLE)
    if given:
        return Path(given)
    return _cache() if all(_find(_cache(), part) for part in PARTS.values()) else None


def read(folder: Path | str, *, parts: Mapping[str, Part] = PARTS) -> Digits:
    """Return the digits of the four IDX files in ``folder``, each as it is or as .gz; ``parts`` serves the tests.

    Raises files.FileError, which names the file and the remedy, for one that is missing or is not, to the byte, the known one.
    No more is unpacked than its known size and one byte.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(
            f"{folder} is no folder; name the one of MNIST's four files, or {REMEDY}"
        )
    return Digits(**{field: _array(folder, part) for field, part in parts.items()})


def _array(folder: Path, part: Part) -> Array:
    path = _find(folder, part)
    if path is None:
        raise FileError(
            f"{folder / part.name} is missing, and so is {part.name}.gz; name another folder, or {REMEDY}"
        )
    axes = (UNSIGNED_BYTES + len(part.shape), *part.shape)
    header = b"".join(number.to_bytes(4, "big") for number in axes)
    size = len(header) + math.prod(part.shape)
    try:
        content = _content(path, size)
        _check(content, header, size, part)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(
            f"{path} is not MNIST's {part.name}: {error}; remove it, and {REMEDY}"
        ) from error
    rows, *axes_of_one = part.shape
    shape = (rows, math.prod(axes_of_one)) if axes_of_one else (rows,)
    return (
        load("numpy")
        .frombuffer(content, dtype="uint8", offset=len(header))
        .reshape(shape)
    )


def _check(content: bytes, header: bytes, size: int, part: Part) -> None:
    magic, begin = header[:4], content[: len(header)]
    if not magic.startswith(begin[:4]):
        raise ValueError(
            f"it starts with {begin[:4].hex()}, where IDX has the magic number {magic.hex()}"
        )
    if not header.startswith(begin):
        found = [
            int.from_bytes(begin[k : k + 4], "big") for k in range(4, len(begin), 4)
        ]
        raise ValueError(f"its axes are {found}; {list(part.shape)} is expected")
    if len(content) != size:
        short = len(content) < size
        raise ValueError(
            f"it ends after {len(content)} of {size} bytes"
            if short
            else f"it is longer than {size} bytes"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != part.content:
        raise ValueError(
            f"the SHA-256 of its content is {digest}; {part.content} is expected"
        )


def _find(folder: Path, part: Part) -> Path | None:
    candidates = (folder / f"{part.name}.gz", folder / part.name)
    return next((path for path in candidates if path.is_file()), None)


def _content(path: Path, size: int) -> bytes:
    """What the file holds, unpacked, but never more than a byte beyond ``size``, by which a longer one shows itself."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(size + 1)


def download(
    *, mirrors: Sequence[str] = MIRRORS, parts: Mapping[str, Part] = PARTS
) -> Path:
    """Fetch the four .gz files into the user's cache, where they are not there already, and return that folder.

    It is refnce/mnist in XDG_CACHE_HOME or ~/.cache. Raises files.FileError where no mirror gives a file of the known SHA-256,
    and where pooch, the extra ``mnist``, is not installed. ``mirrors`` and ``parts`` serve the tests.
    """
    try:
        import pooch
    except ImportError as error:
        raise FileError(
            f"MNIST is fetched by pooch, which is not installed ({error}); pip install 'refnce[mnist]'"
        ) from error
    for part in parts.values():
        _fetch(pooch, part, mirrors)
    return _cache()


def _fetch(pooch: Any, part: Part, mirrors: Sequence[str]) -> None:
    failed = []
    for mirror in mirrors:
        url = f"{mirror}{part.name}.gz"
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{part.packed}",
                fname=f"{part.name}.gz",
                path=_cache(),
            )
            return
        except (
            OSError,
            ValueError,
        ) as error:  # no network, no such file, no room; another checksum
            failed.append(f"{url}: {' '.join(str(error).split())[:200]}")
    tried = "; ".join(failed)
    raise FileError(
        f"{part.name}.gz could not be fetched into {_cache()} ({tried}); fetch the four by hand into one folder"
    )


def _cache() -> Path:
    """Ours to name, so that a download is found where pooch is not installed."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        / "refnce"
        / "mnist"
    )
