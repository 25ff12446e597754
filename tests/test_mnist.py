"""MNIST: files that are right to the byte or refused in one line, where they are, the download.

The files are small ones made here; what needs the real ones reads REFNCE_MNIST.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import sys
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from refnce import files, mnist, pixels
from refnce.array.backend import make_rng
from tests.real_mnist import FOLDER, REAL

COUNTS = {
    "train_images": (6, 28, 28),
    "train_labels": (6,),
    "test_images": (4, 28, 28),
    "test_labels": (4,),
}
EPS = float(np.finfo(float).eps)


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    axes = (0x0800 + array.ndim, *array.shape)
    return b"".join(number.to_bytes(4, "big") for number in axes) + array.tobytes()


@pytest.fixture
def small(tmp_path):
    """A folder of four small files, two of them packed, what they hold, and the parts to read them by."""
    rng, folder = make_rng(0), tmp_path / "small"
    folder.mkdir()
    arrays = {
        name: rng.integers(256 if len(shape) > 1 else 10, size=shape, dtype=np.uint8)
        for name, shape in COUNTS.items()
    }
    parts = {}
    for name, array in arrays.items():
        content, packed = idx(array), gzip.compress(idx(array), mtime=0)
        digests = (hashlib.sha256(x).hexdigest() for x in (content, packed))
        parts[name] = mnist.Part(mnist.PARTS[name].name, array.shape, *digests)
        zipped = name in ("train_images", "test_labels")
        (folder / f"{parts[name].name}{'.gz' * zipped}").write_bytes(
            packed if zipped else content
        )
    return SimpleNamespace(folder=folder, arrays=arrays, parts=parts)


# --- reading


@pytest.mark.parametrize("kind", [str, lambda folder: folder], ids=["str", "Path"])
def test_reads_what_is_there(small, kind):
    digits = mnist.read(kind(small.folder), parts=small.parts)
    for name, array in small.arrays.items():
        found = getattr(digits, name)
        assert found.dtype == np.uint8 and not found.flags.writeable
        assert found.shape == ((len(array), 784) if array.ndim == 3 else array.shape)
        assert np.array_equal(found, array.reshape(found.shape))


def replaced(place, byte):
    return lambda content: content[:place] + bytes([byte]) + content[place + 1 :]


DAMAGES = {
    "empty": (lambda content: b"", "it ends after 0 of 4720 bytes"),
    "magic of labels": (
        replaced(3, 1),
        "it starts with 00000801, where IDX has the magic number 00000803",
    ),
    "no IDX": (
        lambda content: b"<!DOCTYPE html>" + content,
        "it starts with 3c21444f, where IDX",
    ),
    "half a header": (lambda content: content[:10], "it ends after 10 of 4720 bytes"),
    "more images": (
        replaced(7, 7),
        r"its axes are \[7, 28, 28\]; \[6, 28, 28\] is expected",
    ),
    "other images": (
        replaced(15, 27),
        r"its axes are \[6, 28, 27\]; \[6, 28, 28\] is expected",
    ),
    "cut": (lambda content: content[:-1], "it ends after 4719 of 4720 bytes"),
    "longer": (lambda content: content + b"\0", "it is longer than 4720 bytes"),
    "one bit": (
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        "the SHA-256 of its content is [0-9a-f]{64}; ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_damaged_file_is_one_error(small, damage, packed):
    change, complaint = DAMAGES[damage]
    path = small.folder / "train-images-idx3-ubyte.gz"
    content = change(idx(small.arrays["train_images"]))
    path.unlink()
    path = path if packed else path.with_suffix("")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(files.FileError, match=complaint) as caught:
        mnist.read(small.folder, parts=small.parts)
    message = str(caught.value)
    assert (
        message.startswith(f"{path} is not MNIST's train-images-idx3-ubyte: ")
        and "\n" not in message
    )
    assert message.endswith(
        "; remove it, and python -m refnce mnist --download fetches the four files"
    )


UNPACKABLE = {
    "no gzip": (lambda packed: b"IDX" + packed, "Not a gzipped file"),
    "cut": (lambda packed: packed[:-100], "ended before the end-of-stream marker"),
    "cut in its checksum": (
        lambda packed: packed[:-1],
        "ended before the end-of-stream marker",
    ),
    "wrong checksum": (
        lambda packed: packed[:-8] + bytes(4) + packed[-4:],
        "CRC check failed",
    ),
    "no deflate": (
        lambda packed: packed[:10] + b"\xff" * 99 + packed[109:],
        "while decompressing data",
    ),
}


@pytest.mark.parametrize("damage", UNPACKABLE)
def test_a_file_that_does_not_unpack_is_one_error(small, damage):
    change, complaint = UNPACKABLE[damage]
    path = small.folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(files.FileError, match=complaint) as caught:
        mnist.read(small.folder, parts=small.parts)
    assert str(caught.value).startswith(
        f"{path} is not MNIST's"
    ) and mnist.REMEDY in str(caught.value)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(small):
    bomb = idx(small.arrays["train_images"]) + bytes(50_000_000)
    (small.folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bomb))
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(files.FileError, match="it is longer than 4720 bytes"):
            mnist.read(small.folder, parts=small.parts)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # the buffers of the gzip module


@pytest.mark.parametrize("name", COUNTS)
def test_a_missing_file_is_named(small, name):
    for path in small.folder.glob(f"{small.parts[name].name}*"):
        path.unlink()
    with pytest.raises(files.FileError) as caught:
        mnist.read(small.folder, parts=small.parts)
    stem = small.parts[name].name
    assert (
        str(caught.value)
        == f"{small.folder / stem} is missing, and so is {stem}.gz; name another folder, or {mnist.REMEDY}"
    )


def test_small_files_are_not_the_known_ones(small):
    with pytest.raises(
        files.FileError,
        match=r"its axes are \[6, 28, 28\]; \[60000, 28, 28\] is expected",
    ):
        mnist.read(small.folder)


# --- where they are


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache, empty, and no other place known."""
    monkeypatch.delenv("REFNCE_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "refnce" / "mnist"


def test_where_looks_in_turn(small, cache, monkeypatch, tmp_path):
    assert mnist.where() is None and mnist.where("") is None
    cache.parent.mkdir(parents=True)
    small.folder.rename(cache)
    assert mnist.where() == cache
    monkeypatch.setenv("REFNCE_MNIST", str(tmp_path / "variable"))
    assert mnist.where() == tmp_path / "variable"
    assert (
        mnist.where("given") == mnist.where(mnist.Path("given")) == mnist.Path("given")
    )
    monkeypatch.setenv("REFNCE_MNIST", "")
    assert mnist.where() == cache
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    assert mnist.where() is None


def test_the_cache_is_in_the_home_folder(small, cache, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache" / "refnce").mkdir(parents=True)
    small.folder.rename(tmp_path / ".cache" / "refnce" / "mnist")
    assert mnist.where() == tmp_path / ".cache" / "refnce" / "mnist"


# --- the download


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served(folder):
    """The address under which the folder's files are to be had."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror(small, monkeypatch):
    """A folder that holds the four files as a mirror does."""
    pytest.importorskip(
        "pooch", reason="pooch is not installed: pip install 'refnce[mnist]'"
    )
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name, part in small.parts.items():
        (small.folder / f"{part.name}.gz").write_bytes(
            gzip.compress(idx(small.arrays[name]), mtime=0)
        )
    return small


def test_download_goes_on_to_the_next_mirror_and_keeps_what_is_there(
    mirror, cache, tmp_path
):
    with served(mirror.folder) as address:
        folder = mnist.download(
            mirrors=[f"{address}nothing/", address], parts=mirror.parts
        )
    assert folder == cache == mnist.where()
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        f"{part.name}.gz" for part in mirror.parts.values()
    )
    assert np.array_equal(
        mnist.read(folder, parts=mirror.parts).test_labels, mirror.arrays["test_labels"]
    )
    assert mnist.download(mirrors=[], parts={}) == folder
    assert (
        mnist.download(mirrors=["http://127.0.0.1:9/"], parts=mirror.parts) == folder
    )  # nothing listens there


def test_a_download_with_another_checksum_is_refused(mirror, cache):
    damaged = mirror.folder / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    with served(mirror.folder) as address, pytest.raises(
        files.FileError, match="SHA256 hash"
    ) as caught:
        mnist.download(mirrors=[address], parts=mirror.parts)
    message = str(caught.value)
    assert (
        f"{damaged.name} could not be fetched into {cache} ({address}{damaged.name}: "
        in message
        and "\n" not in message
    )
    assert message.endswith("fetch the four by hand into one folder")
    assert not (cache / damaged.name).exists() and mnist.where() is None


def test_a_download_without_a_mirror_says_what_failed_where(mirror, cache):
    with served(mirror.folder) as address, pytest.raises(files.FileError) as caught:
        mnist.download(mirrors=[f"{address}a/", f"{address}b/"], parts=mirror.parts)
    for place in ("a", "b"):
        assert f"{address}{place}/train-images-idx3-ubyte.gz: 404" in str(caught.value)


def test_a_download_without_pooch_names_the_extra(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(files.FileError, match=r"pip install 'refnce\[mnist\]'"):
        mnist.download()


# --- the real files


@pytest.fixture(scope="module")
def digits():
    return mnist.read(FOLDER)


@REAL
def test_the_real_digits(digits):
    assert digits.train_images.shape == (60000, 784) and digits.test_images.shape == (
        10000,
        784,
    )
    assert np.bincount(digits.train_labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(digits.test_labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


@REAL
def test_the_real_moments_are_regular(digits):
    mean, covariance = pixels.moments(digits.train_images)
    assert abs(mean.mean() * 256 - 0.5 - digits.train_images.mean()) <= 256 * 784 * EPS
    eigenvalues = np.linalg.eigvalsh(covariance)
    # Pixels of the border never change; LAPACK's eigenvalues are off by some eps of the largest.
    assert abs(eigenvalues[0] - 1 / (12 * 256**2)) <= 64 * EPS * eigenvalues[-1]
    assert np.array_equal(covariance, covariance.T)
