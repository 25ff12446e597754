"""The array libraries NumPy and CuPy, behind one namespace.

Samples are arrays of either library. Numbers per run are NumPy's (``host``). CuPy is
imported here alone. array-api-strict, the third library, stands for CuPy in tests
without a GPU. Nothing is global: there is no current backend.
"""

import functools
import importlib
from typing import Any

import array_api_compat
import numpy

Array = Any

host = numpy  # the namespace of numbers per run, and of all arrays on a CPU
NAMES = ("numpy", "cupy")
STRICT = "array_api_strict"
# 512 KiB of float64: a block and a few temporaries stay in the second-level cache.
BLOCK = 65536


class BackendError(RuntimeError):
    """The array library asked for cannot be used here."""


def load(name: str) -> Any:
    """Return the namespace called ``name``: "numpy", "cupy" or, for tests, STRICT.

    Raises ValueError for an unknown name. Raises BackendError, with the remedy, where
    the library is not installed, or where CuPy lacks a device or parts of its toolkit.
    """
    if name not in (*NAMES, STRICT):
        raise ValueError(f"backend must be one of {', '.join(NAMES)}; got {name!r}")
    package = "'refnce[cuda12]' or 'refnce[cuda13]'" if name == "cupy" else name
    try:
        xp = importlib.import_module(name)
    except ImportError as error:
        raise BackendError(f"{name} is not installed; pip install {package}") from error
    if name != "cupy":
        return xp
    if not xp.cuda.is_available():
        raise BackendError("cupy finds no CUDA device; check the driver (nvidia-smi)")
    try:
        # CuPy compiles its first kernel here and needs the toolkit's headers for it.
        (xp.zeros(1) + 1.0).sum()
    except Exception as error:  # of several unrelated types
        reason = f"cupy's CUDA toolkit is incomplete ({error})"
        raise BackendError(f"{reason}; pip install {package}") from error
    return importlib.import_module("array_api_compat.cupy")


def array_namespace(*arrays: Array) -> Any:
    """Return the one namespace of ``arrays`` (Python numbers and None are ignored).

    Raises TypeError where an argument is no array, where two libraries are mixed, or
    where the library is neither NumPy nor CuPy nor array-api-strict.
    """
    for x in arrays:
        if not isinstance(x, (numpy.ndarray, numpy.generic)):
            xp = array_api_compat.array_namespace(*arrays)
            if xp.__name__.removeprefix("array_api_compat.") not in (*NAMES, STRICT):
                raise TypeError(f"NumPy or CuPy arrays are needed, not {xp.__name__}")
            return xp
    return numpy  # ten times faster than to ask


@functools.lru_cache(maxsize=16)
def machine_eps(dtype: Any, xp: Any) -> float:
    """Return the spacing of ``dtype`` at 1 (2**-52 for float64)."""
    return float(xp.finfo(dtype).eps)


def is_numpy(x: Array) -> bool:
    """Whether ``x`` is a NumPy array or scalar, or a Python float."""
    return isinstance(x, (numpy.ndarray, numpy.generic, float))


def device(x: Array) -> Any:
    """Return the device of array ``x``."""
    return "cpu" if is_numpy(x) else x.device


def asarray(x: Any, xp: Any, dtype: Any = None, device: Any = None) -> Array:
    """Return numbers or a host array ``x`` as an array of ``xp``."""
    return xp.asarray(x, dtype=dtype, device=device)


def to_numpy(x: Array) -> Any:
    """Return array ``x``, of any library and device, as a NumPy array."""
    if array_api_compat.is_cupy_array(x):
        return x.get()
    if hasattr(x, "detach"):  # PyTorch
        return x.detach().cpu().numpy()
    if type(x).__module__.partition(".")[0] == STRICT:
        info = array_namespace(x).__array_namespace_info__()
        x = x.to_device(info.default_device())
    return numpy.asarray(x)


def make_rng(seed: int, *key: int) -> Any:
    """Return NumPy's Generator(PCG64) of ``seed``; each ``key`` has its own stream."""
    sequence = numpy.random.SeedSequence(seed, spawn_key=key)
    return numpy.random.Generator(numpy.random.PCG64(sequence))


def where(condition: Array, a: Any, b: Any) -> Array:
    """Return a where ``condition`` is true, else b; one of them may be a number.

    The numbers of a single run remain NumPy's scalars: xp.where would make arrays.
    """
    if isinstance(condition, (bool, numpy.bool_)):
        value, dtype = (a if condition else b), getattr(a, "dtype", None)
        return (dtype or b.dtype).type(value)
    return array_namespace(condition).where(condition, a, b)


def all_true(x: Array) -> bool:
    """Whether all of the boolean array ``x`` is true. The host waits for a GPU once."""
    if getattr(x, "ndim", 0) == 0:
        return bool(x)
    return bool(array_namespace(x).all(x))


def ignore_fp_errors() -> Any:
    """Return a decorator that silences NumPy's floating-point warnings."""
    return numpy.errstate(all="ignore")
