"""Array libraries to test on, and arguments for every function of log-ratios."""

import dataclasses
import inspect
import sys
import types
from operator import methodcaller
from typing import Any

import numpy as np
import pytest

from refnce import ence, expfam, logz, nce
from refnce.array import backend
from refnce.conformance.surface import SURFACE

OTHERS = (backend.STRICT, "cupy")
# The functions of log-ratios.
CORE = {space: SURFACE[space] for space in ("nce", "ence", "logz", "expfam")}
CORE["expfam"] += ("covariance",)  # of the surface, without certified vectors
MODULES = {"nce": nce, "ence": ence, "logz": logz, "expfam": expfam}
FUNCTIONS = [f"{space}.{name}" for space, names in CORE.items() for name in names]


class Library:
    """An array library to compute with; array-api-strict on its second device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp = backend.load(name)
        self.device = None
        if name == backend.STRICT:
            self.xp.set_array_api_strict_flags(api_version="2024.12")
            self.device = self.xp.Device("device1")

    def __call__(self, x: Any, dtype: str = "float64") -> Any:
        return backend.asarray(np.asarray(x, dtype=dtype), self.xp, device=self.device)


def or_skip(name: str) -> Library:
    """The library, or a skip that says why it cannot be tested here."""
    try:
        return Library(name)
    except backend.BackendError as error:
        pytest.skip(str(error))


def function(name: str) -> Any:
    """``function("nce.loss")`` is ``nce.loss``."""
    space, _, function = name.partition(".")
    return getattr(MODULES[space], function)


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    return function(name)(*args, **kwargs)


def names_of(name: str) -> list[str]:
    """The names of the array arguments of a function."""
    parameters = inspect.signature(function(name)).parameters.values()
    return [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD]


def arguments(name: str, dtype: str = "float64") -> list[Any]:
    """Three runs of 40 data and 30 noise samples in NumPy; F or theta per run."""
    rng = np.random.Generator(np.random.PCG64(7))
    r_data = 2 * rng.normal(size=(3, 40)) + 1
    r_noise = 2 * rng.normal(size=30) - 1
    arrays = {"r_data": r_data, "r_noise": r_noise, "F": rng.normal(size=3)}
    sizes = {"T_data": (3, 40, 2), "T_noise": (30, 2), "theta": (3, 2)}
    arrays |= {label: rng.normal(size=size) for label, size in sizes.items()}
    arrays |= {"offset_data": r_data, "offset_noise": r_noise}
    return [arrays[label].astype(dtype) for label in names_of(name)]


def parts(result: Any) -> dict[Any, Any]:
    """The arrays of a result, by name or place."""
    if isinstance(result, logz.LogZ):
        fields = [field.name for field in dataclasses.fields(result)]
        found = {name: getattr(result, name) for name in (*fields, "converged")}
        lo, hi = found.pop("bracket")
        return {**found, "lo": lo, "hi": hi}
    return dict(enumerate(result)) if isinstance(result, tuple) else {"value": result}


class Minimal:
    """A library of the smallest kind: an array with DLPack, and ``from_dlpack``."""

    __module__ = "minimal"

    def __init__(self, x: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.x, self.device = np.asarray(x), device
        self.dtype = self.x.dtype

    def __dlpack__(self, **options: Any) -> Any:
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def import_or_skip(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


class Foreign:
    """A library outside: ``to(x)``, ``back(x)`` to NumPy, ``at(x)`` its address."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if name == "minimal":
            xp = types.ModuleType("minimal")
            xp.from_dlpack = lambda x: Minimal(np.from_dlpack(x))
            monkeypatch.setitem(sys.modules, name, xp)
            found = Minimal, Minimal, lambda x: x.x, lambda x: x.x.ctypes.data
        elif name == "torch":
            xp = import_or_skip(name)
            found = xp.Tensor, xp.from_numpy, xp.Tensor.numpy, xp.Tensor.data_ptr
        else:
            xp = import_or_skip(name)
            xp.config.update("jax_enable_x64", True)
            address = methodcaller("unsafe_buffer_pointer")
            found = xp.Array, xp.device_put, np.asarray, address
        self.kind, self.to, self.back, self.at = found
