"""MNIST: reading, finding and downloading its files, and ``python -m figures.mnist``.

Most tests use small files made here; those of the real files need REFNCE_MNIST.
"""

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

from figures.mnist import __main__ as command, dequantize, files as mnist
from refnce.array import make_rng
from tests.real_mnist import FOLDER, REAL

EPS = float(np.finfo(float).eps)
IMAGES = "train-images-idx3-ubyte"


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    header = (0x0800 + array.ndim, *array.shape)
    return b"".join(n.to_bytes(4, "big") for n in header) + array.tobytes()


@pytest.fixture
def small(tmp_path):
    """A folder of four small files, two of them packed; their arrays and records."""
    rng, folder = make_rng(0), tmp_path / "small"
    folder.mkdir()
    arrays, files = {}, {}
    for key, file in mnist.FILES.items():
        shape = (6 if key.startswith("train") else 4, *file.shape[1:])
        arrays[key] = rng.integers(10, size=shape, dtype=np.uint8)
        content = idx(arrays[key])
        packed = gzip.compress(content, mtime=0)
        digests = (hashlib.sha256(x).hexdigest() for x in (content, packed))
        files[key] = mnist.File(file.name, shape, *digests)
        is_packed = key in ("train_images", "test_labels")
        path = folder / f"{file.name}{'.gz' * is_packed}"
        path.write_bytes(packed if is_packed else content)
    return SimpleNamespace(folder=folder, arrays=arrays, files=files)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache, empty, and no other folder of MNIST known."""
    monkeypatch.delenv("REFNCE_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "refnce" / "mnist"


# --- reading


def test_read_returns_the_arrays_of_the_files(small):
    digits = mnist.read(str(small.folder), files=small.files)
    for key, array in small.arrays.items():
        found = getattr(digits, key)
        assert found.dtype == np.uint8 and not found.flags.writeable
        assert found.shape == ((len(array), 784) if array.ndim == 3 else array.shape)
        assert np.array_equal(found, array.reshape(found.shape))


CONTENT = [  # changes of a file's content
    (lambda x: b"", "it holds 0 bytes where 4720 are expected"),
    (lambda x: b"<!DOCTYPE html>", "it holds 15 bytes where 4720"),
    (lambda x: x[:-1], "it holds 4719 bytes where 4720 are expected"),
    (lambda x: x + b"\0", "it holds more bytes where 4720 are expected"),
    (lambda x: x[:3] + b"\1" + x[4:], "its SHA-256 is not [0-9a-f]{64}"),
    (lambda x: x[:-1] + bytes([x[-1] ^ 1]), "its SHA-256 is not [0-9a-f]{64}"),
]
PACKED = [  # changes of the .gz
    (lambda x: b"IDX" + x, "Not a gzipped file"),
    (lambda x: x[:-100], "ended before the end-of-stream marker"),
    (lambda x: x[:-1], "ended before the end-of-stream marker"),
    (lambda x: x[:-8] + bytes(4) + x[-4:], "CRC check failed"),
    (lambda x: x[:10] + b"\xff" * 99, "while decompressing data"),
]


@pytest.mark.parametrize(
    ("suffix", "change", "complaint"),
    [
        *(("", change, complaint) for change, complaint in CONTENT),
        *((".gz", lambda x, f=f: gzip.compress(f(x)), why) for f, why in CONTENT),
        *((".gz", lambda x, f=f: f(gzip.compress(x)), why) for f, why in PACKED),
    ],
)
def test_damaged_file_is_refused(small, suffix, change, complaint):
    (small.folder / f"{IMAGES}.gz").unlink()
    path = small.folder / f"{IMAGES}{suffix}"
    path.write_bytes(change(idx(small.arrays["train_images"])))
    with pytest.raises(mnist.FileError, match=complaint) as caught:
        mnist.read(small.folder, files=small.files)
    message = str(caught.value)
    assert message.startswith(f"{path} is not MNIST's {IMAGES}: ")
    assert message.endswith(f"; remove it, and {mnist.REMEDY}") and "\n" not in message


def test_gzip_bomb_is_refused_before_it_fills_the_memory(small):
    bomb = gzip.compress(idx(small.arrays["train_images"]) + bytes(50_000_000))
    (small.folder / f"{IMAGES}.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(mnist.FileError, match="it holds more bytes where 4720"):
            mnist.read(small.folder, files=small.files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # the buffers of the gzip module


@pytest.mark.parametrize("key", mnist.FILES)
def test_missing_file_is_named(small, key):
    name = small.files[key].name
    for path in small.folder.glob(f"{name}*"):
        path.unlink()
    with pytest.raises(mnist.FileError) as caught:
        mnist.read(small.folder, files=small.files)
    missing = f"{small.folder / name} and {name}.gz are missing"
    assert str(caught.value) == f"{missing}; name another folder, or {mnist.REMEDY}"


# --- finding


def test_find_looks_at_argument_variable_and_cache(small, cache, monkeypatch):
    assert mnist.find() is None and mnist.find("") is None
    cache.parent.mkdir(parents=True)
    small.folder.rename(cache)
    assert mnist.find() == cache
    monkeypatch.setenv("REFNCE_MNIST", "variable")
    assert mnist.find() == mnist.Path("variable")
    assert mnist.find("given") == mnist.find(mnist.Path("given")) == mnist.Path("given")
    monkeypatch.setenv("REFNCE_MNIST", "")
    assert mnist.find() == cache
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    assert mnist.find() is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert mnist._cache() == mnist.Path("/home/user/.cache/refnce/mnist")


# --- downloading


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a server of the folder's files."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror(small, monkeypatch):
    """A folder that holds the four files as a mirror does."""
    reason = "pooch is not installed: pip install 'refnce[mnist]'"
    pytest.importorskip("pooch", reason=reason)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for key, file in small.files.items():
        packed = gzip.compress(idx(small.arrays[key]), mtime=0)
        (small.folder / f"{file.name}.gz").write_bytes(packed)
    return small


def test_download_tries_the_next_mirror_and_keeps_its_files(mirror, cache):
    with served(mirror.folder) as address:
        mirrors = [f"{address}nothing/", address]
        folder = mnist.download(mirrors=mirrors, files=mirror.files)
    assert folder == cache == mnist.find()
    names = sorted(f"{file.name}.gz" for file in mirror.files.values())
    assert sorted(path.name for path in cache.iterdir()) == names
    digits = mnist.read(folder, files=mirror.files)
    assert np.array_equal(digits.test_labels, mirror.arrays["test_labels"])
    assert mnist.download(mirrors=["http://127.0.0.1:9/"], files=mirror.files) == folder


def test_download_refuses_another_checksum_and_names_every_failure(mirror, cache):
    damaged = mirror.folder / f"{IMAGES}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    with served(mirror.folder) as address:
        with pytest.raises(mnist.FileError) as caught:
            mnist.download(mirrors=[f"{address}a/", address], files=mirror.files)
    message, name = str(caught.value), damaged.name
    assert message.startswith(f"{name} could not be fetched into {cache} (")
    assert message.endswith("fetch the four by hand into one folder")
    assert f"{address}a/{name}: 404" in message and "\n" not in message
    assert f"{address}{name}: SHA256 hash" in message
    assert not (cache / name).exists() and mnist.find() is None


# --- the command line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --mnist DIR, set REFNCE_MNIST, or --download"),
        (["--mnist", "{}/gone"], "gone is not a folder; name that of MNIST"),
        (["--mnist", "{}"], "train-images-idx3-ubyte.gz are missing"),
        (["--download"], "pooch is missing: pip install 'refnce[mnist]'"),
        (["--download", "--mnist", "{}"], "not allowed with argument --download"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(
    capsys, monkeypatch, cache, tmp_path, arguments, complaint
):
    monkeypatch.setitem(sys.modules, "pooch", None)
    try:
        status = command.main([argument.format(tmp_path) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and complaint in err and err.count("\n") == 1


# --- the real files


@REAL
def test_command_counts_the_real_digits(capsys):
    counts = "60000 training and 10000 test images, checksums right"
    for arguments in ([], ["--mnist", FOLDER]):
        assert command.main(arguments) == 0
        assert capsys.readouterr() == (f"{FOLDER}: {counts}\n", "")


@REAL
def test_real_digits_and_their_moments():
    digits = mnist.read(FOLDER)
    assert digits.train_images.shape == (60000, 784)
    assert digits.test_images.shape == (10000, 784)
    train = "5923 6742 5958 6131 5842 5421 5918 6265 5851 5949"
    test = "980 1135 1032 1010 982 892 958 1028 974 1009"
    assert " ".join(map(str, np.bincount(digits.train_labels))) == train
    assert " ".join(map(str, np.bincount(digits.test_labels))) == test
    mean, covariance = dequantize.moments(digits.train_images)
    assert abs(mean.mean() * 256 - 0.5 - digits.train_images.mean()) <= 256 * 784 * EPS
    eigenvalues = np.linalg.eigvalsh(covariance)
    # Pixels of the border never change. LAPACK errs by some eps of the largest.
    assert abs(eigenvalues[0] - 1 / (12 * 256**2)) <= 64 * EPS * eigenvalues[-1]
    assert np.array_equal(covariance, covariance.T)
