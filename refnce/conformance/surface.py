"""An implementation under test, called with NumPy arrays: refnce on an array library, or another module altogether."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from refnce.array import backend

# The oracle surface: what another module may provide, by namespace. ``train.trajectory`` is the kit's own (see ``trajectory``).
SURFACE = {
    "nce": ("loss", "grad_F", "hess_F", "grad_r"),
    "ence": ("loss", "grad_F", "grad_r", "log_z"),
    "logz": ("bar_update", "bar", "bisect", "newton"),
    "expfam": (
        "loss",
        "gradient",
        "hessian",
        "profile_loss",
        "profile_gradient",
        "profile_hessian",
    ),
    "nn": ("mlp", "conv3x3", "quadratic_head"),
    "optim": ("sgd", "ngd", "adam"),
    "train": ("trajectory",),
}
SOLVERS = ("bar", "bisect", "newton")
# What a verdict or a skipped test begins with where the implementation lacks something: it is counted, and no failure.
NOT_PROVIDED = "not provided: "
FIELDS = ("F", "status", "evaluations", "bracket", "standard_error", "overlap")
# What the keywords of the surface mean when left out: a foreign function need not take one that is given this value.
DEFAULTS = {
    "nu": 1.0,
    "F0": None,
    "step": 1.0,
    "xtol": 0.0,
    "stride": 1,
    "sign": "negative",
}


class NotProvided(Exception):
    """The implementation lacks what was asked for; the message names it."""


class UnusableError(RuntimeError):
    """The module asked for cannot be tested; the message says why."""


class Impl:
    """``impl.nce.loss(...)`` and so on for every name of SURFACE; ``impl.eps`` is the eps of the dtype it works in."""

    def __init__(
        self,
        name: str,
        modules: dict[str, Any],
        asarray: Callable[[Any], Any],
        *,
        foreign: bool,
    ) -> None:
        numpy = backend.load("numpy")
        self.name = name
        self.eps = float(numpy.finfo(host(asarray(numpy.zeros(1))).dtype).eps)
        for space, names in SURFACE.items():
            setattr(
                self, space, Space(space, names, modules.get(space), asarray, foreign)
            )

    def __getattr__(
        self, name: str
    ) -> Any:  # the namespaces, for the reader and the type checker
        raise AttributeError(f"the oracle surface has no namespace {name}")


class Space:
    """One namespace: its functions take and return NumPy arrays; asking for one that the module lacks raises NotProvided."""

    def __init__(
        self,
        space: str,
        names: tuple[str, ...],
        module: Any,
        asarray: Any,
        foreign: bool,
    ) -> None:
        self._space, self._names, self._module, self._asarray, self._foreign = (
            space,
            names,
            module,
            asarray,
            foreign,
        )

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"{self._space}.{name} is not on the oracle surface")
        label = f"{self._space}.{name}"
        function = getattr(self._module, name, None)
        if not callable(function):
            raise NotProvided(label)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._foreign:
                kwargs = _accepted(function, label, kwargs)
            moved = [_moved(x, self._asarray) for x in args]
            result = function(
                *moved, **{key: _moved(x, self._asarray) for key, x in kwargs.items()}
            )
            if name in SOLVERS:
                return Solution(label, result)
            if self._space == "nn":
                y, pullback = result
                return host(y), lambda dy: host(pullback(_moved(dy, self._asarray)))
            if self._space == "optim":  # the state stays what it is
                return result[0], host(result[1])
            return host(result)

        return call


class Solution:
    """What a solver returned, as NumPy arrays; a bare array is F alone. A field that is lacking raises NotProvided."""

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
            raise NotProvided(f"{self._label}().{name}")
        return self._fields[name]


def host(x: Any) -> Any:
    """Arrays of any library, alone, in a tuple or in a dict, as NumPy arrays."""
    if isinstance(x, dict):
        return {key: host(part) for key, part in x.items()}
    return (
        tuple(host(part) for part in x)
        if isinstance(x, (tuple, list))
        else backend.to_numpy(x)
    )


def on_refnce(name: str, asarray: Callable[[Any], Any]) -> Impl:
    """refnce itself on the arrays that ``asarray`` makes of NumPy's."""
    modules = {space: importlib.import_module(f"refnce.{space}") for space in SURFACE}
    modules["train"] = importlib.import_module("refnce.conformance.trajectory")
    return Impl(name, modules, asarray, foreign=False)


def on_module(path: str) -> Impl:
    """Another implementation: the module ``path`` with namespaces, submodules or bare names, and perhaps ``asarray``."""
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise UnusableError(f"--impl {path} cannot be imported: {error}") from error
    return on_object(path, module)


def on_object(name: str, module: Any) -> Impl:
    """The same for a module, class or object that is already at hand."""
    modules = {space: _namespace(module, space) for space in SURFACE}
    if not any(
        hasattr(modules[space], function)
        for space, names in SURFACE.items()
        for function in names
    ):
        raise UnusableError(
            f"--impl {name} provides none of the names of the oracle surface (nce.loss, logz.newton, ...)"
        )
    return Impl(name, modules, getattr(module, "asarray", lambda x: x), foreign=True)


def _namespace(module: Any, space: str) -> Any:
    if hasattr(module, space):
        return getattr(module, space)
    if isinstance(module, ModuleType) and hasattr(module, "__path__"):
        full = f"{module.__name__}.{space}"
        if importlib.util.find_spec(full) is not None:
            return importlib.import_module(full)
    bare = {
        name
        for name in SURFACE[space]
        if sum(name in names for names in SURFACE.values()) == 1
    }
    found = {name: getattr(module, name) for name in bare if hasattr(module, name)}
    return type(
        space, (), {name: staticmethod(function) for name, function in found.items()}
    )


def _accepted(function: Any, label: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords that ``function`` takes; one that it lacks may be left out only at the value that leaving out means."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    for name, value in kwargs.items():
        default = (
            name in DEFAULTS
            and not getattr(value, "ndim", 0)
            and value == DEFAULTS[name]
        )
        if name not in parameters and not default:
            raise NotProvided(f"{label}({name}=)")
    return {name: value for name, value in kwargs.items() if name in parameters}


def _moved(x: Any, asarray: Any) -> Any:
    if isinstance(x, dict):
        return {key: _moved(part, asarray) for key, part in x.items()}
    if isinstance(x, backend.load("numpy").ndarray):
        return asarray(x)
    return x.item() if hasattr(x, "item") else x
