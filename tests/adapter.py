"""The implementation under test, called with NumPy arrays: refnce on an array library, or another module altogether."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest

from refnce import backend
from tests.ledger import NOT_PROVIDED
from tests.libraries import Library

# The oracle surface: what a foreign module may provide, by namespace.
SURFACE = {
    "nce": ("loss", "grad_F", "hess_F", "grad_r"),
    "ence": ("loss", "grad_F", "grad_r", "log_z"),
    "logz": ("bar_update", "bar", "bisect", "newton"),
    "expfam": ("loss", "gradient", "hessian", "profile_loss", "profile_gradient", "profile_hessian"),
}
SOLVERS = ("bar", "bisect", "newton")
FIELDS = ("F", "status", "evaluations", "bracket", "standard_error", "overlap")
# What the keywords of the surface mean when left out: a foreign function need not take one that is given this value.
DEFAULTS = {"nu": 1.0, "F0": None, "step": 1.0, "xtol": 0.0}


class UnusableError(RuntimeError):
    """The array library or the module asked for cannot be tested here; the message says why."""


def not_provided(what: str) -> NoReturn:
    pytest.skip(NOT_PROVIDED + what)


class Impl:
    """``impl.nce.loss(...)`` and so on for every name of SURFACE; ``impl.eps`` is the eps of the dtype it works in."""

    def __init__(self, name: str, modules: dict[str, Any], asarray: Any, *, foreign: bool) -> None:
        self.name = name
        self.eps = float(np.finfo(host(asarray(np.zeros(1))).dtype).eps)
        for space, names in SURFACE.items():
            setattr(self, space, Space(space, names, modules.get(space), asarray, foreign))


class Space:
    """One namespace: its functions take and return NumPy arrays; one that the module lacks skips the test that asks for it."""

    def __init__(self, space: str, names: tuple[str, ...], module: Any, asarray: Any, foreign: bool) -> None:
        self._space, self._names, self._module, self._asarray, self._foreign = space, names, module, asarray, foreign

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"{self._space}.{name} is not on the oracle surface")
        label = f"{self._space}.{name}"
        function = getattr(self._module, name, None)
        if not callable(function):
            not_provided(label)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._foreign:
                kwargs = _accepted(function, label, kwargs)
            args = tuple(_move(x, self._asarray) for x in args)
            result = function(*args, **{key: _move(x, self._asarray) for key, x in kwargs.items()})
            return Solution(label, result) if name in SOLVERS else host(result)

        return call


class Solution:
    """What a solver returned, as NumPy arrays; a bare array is F alone, and a field that is lacking skips the test."""

    def __init__(self, label: str, result: Any) -> None:
        self._label = label
        self._fields = {"F": host(result)} if not hasattr(result, "F") else {}
        for field in FIELDS:
            if hasattr(result, field):
                self._fields[field] = host(getattr(result, field))

    def __getattr__(self, name: str) -> Any:
        if name == "converged":
            return self.status == 0
        if name not in FIELDS:
            raise AttributeError(f"LogZ has no field {name}")
        if name not in self._fields:
            not_provided(f"{self._label}().{name}")
        return self._fields[name]


def host(x: Any) -> Any:
    """Arrays of any library, alone or in a tuple, as NumPy arrays."""
    return tuple(host(part) for part in x) if isinstance(x, (tuple, list)) else backend.to_host(x)


def on_backend(name: str) -> Impl:
    """refnce itself on the array library ``name``, in float64; array_api_strict on the device that is not its default."""
    try:
        library = Library(name)
    except backend.BackendError as error:
        raise UnusableError(str(error)) from error
    modules = {space: importlib.import_module(f"refnce.{space}") for space in SURFACE}
    return Impl(name, modules, lambda x: library(x, str(x.dtype)), foreign=False)


def on_module(path: str) -> Impl:
    """Another implementation: the module ``path`` with namespaces, submodules or bare names, and perhaps ``asarray``."""
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise UnusableError(f"--impl {path} cannot be imported: {error}") from error
    modules = {space: _namespace(module, space) for space in SURFACE}
    if not any(hasattr(modules[space], name) for space, names in SURFACE.items() for name in names):
        raise UnusableError(f"--impl {path} provides none of the names of the oracle surface (nce.loss, logz.newton, ...)")
    return Impl(path, modules, getattr(module, "asarray", lambda x: x), foreign=True)


def _namespace(module: ModuleType, space: str) -> Any:
    if hasattr(module, space):
        return getattr(module, space)
    full = f"{module.__name__}.{space}"
    if hasattr(module, "__path__") and importlib.util.find_spec(full) is not None:
        return importlib.import_module(full)
    bare = {name for name in SURFACE[space] if sum(name in names for names in SURFACE.values()) == 1}
    found = {name: getattr(module, name) for name in bare if hasattr(module, name)}
    return type(space, (), {name: staticmethod(function) for name, function in found.items()})


def _accepted(function: Any, label: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords that ``function`` takes; one that it lacks may be left out only at the value that leaving out means."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    for name, value in kwargs.items():
        if name not in parameters and not (name in DEFAULTS and value == DEFAULTS[name]):
            not_provided(f"{label}({name}=)")
    return {name: value for name, value in kwargs.items() if name in parameters}


def _move(x: Any, asarray: Any) -> Any:
    if isinstance(x, np.ndarray):
        return asarray(x)
    return x.item() if isinstance(x, np.generic) else x
