"""Find, download and read MNIST's four IDX files; sizes and checksums are verified."""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.io import FileError

VARIABLE = "REFNCE_MNIST"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
REMEDY = "python -m figures.mnist --download fetches the four files"


@dataclass(frozen=True)
class File:
    """An IDX file: its name without .gz, its shape and two checksums.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Axes of its array of bytes; the first counts images or labels.
    sha256, sha256_gz : str
        SHA-256 of the file, and of its .gz at the mirrors.

    Examples
    --------
    >>> from figures.mnist.files import FILES
    >>> FILES["test_images"].shape
    (10000, 28, 28)
    """

    name: str
    shape: tuple[int, ...]
    sha256: str
    sha256_gz: str


Files = Mapping[str, File]
FILES = {
    "train_images": File(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train_labels": File(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test_images": File(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test_labels": File(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}


@dataclass(frozen=True)
class Digits:
    """MNIST as read-only uint8 arrays.

    Parameters
    ----------
    train_images : array (60000, 784)
        Each image as its 28 rows of 28 pixels, one after the other.
    train_labels : array (60000,)
        Digits from 0 to 9.
    test_images : array (10000, 784)
    test_labels : array (10000,)

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.files import Digits
    >>> images, labels = np.zeros((2, 784), np.uint8), np.zeros(2, np.uint8)
    >>> Digits(images, labels, images, labels).train_images.shape
    (2, 784)
    """

    train_images: Any
    train_labels: Any
    test_images: Any
    test_labels: Any


def find(folder: Path | str | None = None) -> Path | None:
    """Return the folder of the files, or None if none is known.

    Parameters
    ----------
    folder : path, optional

    Returns
    -------
    Path or None
        ``folder`` if given, else the value of the environment variable REFNCE_MNIST,
        else the folder of ``download`` if it holds four files of the right names.
        ``read`` checks what is in them.

    Examples
    --------
    >>> from figures.mnist.files import find
    >>> find("data/mnist").name
    'mnist'
    """
    given = folder or os.environ.get(VARIABLE)
    if given:
        return Path(given)
    return _cache() if all(_path(_cache(), file) for file in FILES.values()) else None


def read(folder: Path | str, *, files: Files = FILES) -> Digits:
    """Return the digits of the four IDX files in a folder.

    Parameters
    ----------
    folder : path
        Holds each file as it is or as .gz.
    files : mapping, optional
        Other files than MNIST's, for tests.

    Returns
    -------
    Digits

    Raises
    ------
    FileError
        If a file is missing or differs from MNIST's in size or SHA-256. At most one
        byte more than the right size is decompressed.

    Examples
    --------
    >>> from figures.mnist.files import read
    >>> read("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    figures.io.FileError: nowhere is not a folder; ...
    """
    if not Path(folder).is_dir():
        raise FileError(f"{folder} is not a folder; name that of MNIST, or {REMEDY}")
    return Digits(**{key: _read(Path(folder), file) for key, file in files.items()})


def _read(folder: Path, file: File) -> Any:
    path = _path(folder, file)
    if path is None:
        missing = f"{folder / file.name} and {file.name}.gz are missing"
        raise FileError(f"{missing}; name another folder, or {REMEDY}")
    header = 4 + 4 * len(file.shape)  # IDX: a magic number and the axes, 4 bytes each
    size = header + math.prod(file.shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(size + 1)
        if len(content) != size:
            found = "more" if len(content) > size else len(content)
            raise ValueError(f"it holds {found} bytes where {size} are expected")
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise ValueError(f"its SHA-256 is not {file.sha256}")
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = f"{path} is not MNIST's {file.name}: {error}"
        raise FileError(f"{reason}; remove it, and {REMEDY}") from error
    shape = (file.shape[0], -1) if len(file.shape) > 1 else file.shape
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _path(folder: Path, file: File) -> Path | None:
    candidates = (folder / f"{file.name}.gz", folder / file.name)
    return next((path for path in candidates if path.is_file()), None)


def download(*, mirrors: Sequence[str] = MIRRORS, files: Files = FILES) -> Path:
    """Fetch the four .gz files that the user's cache lacks, and return their folder.

    Parameters
    ----------
    mirrors : sequence of str, optional
        Addresses to try in turn, each ending in a slash.
    files : mapping, optional
        Other files than MNIST's, for tests.

    Returns
    -------
    Path
        refnce/mnist in XDG_CACHE_HOME or ~/.cache.

    Raises
    ------
    FileError
        If no mirror gives a file of the right SHA-256, or if pooch (extra ``mnist``)
        is not installed.

    Examples
    --------
    >>> from figures.mnist.files import download
    >>> download(files={}).name
    'mnist'
    """
    try:
        import pooch
    except ImportError as error:
        raise FileError("pooch is missing: pip install 'refnce[mnist]'") from error
    for file in files.values():
        name, failures = f"{file.name}.gz", []
        for url in (f"{mirror}{name}" for mirror in mirrors):
            try:
                pooch.retrieve(url, f"sha256:{file.sha256_gz}", name, _cache())
                break
            except (OSError, ValueError) as error:  # network, disk; another checksum
                failures.append(f"{url}: {' '.join(str(error).split())[:200]}")
        else:
            raise FileError(
                f"{name} could not be fetched into {_cache()} ({'; '.join(failures)}); "
                "fetch the four by hand into one folder"
            )
    return _cache()


def _cache() -> Path:
    """The download folder, named here because pooch may not be installed."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "refnce" / "mnist"
