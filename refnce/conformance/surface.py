"""The oracle surface, and how an implementation of it is called with NumPy arrays."""

import importlib
import inspect
import pkgutil
from itertools import chain
from types import SimpleNamespace
from typing import Any

from refnce import ence, expfam, logz, nce, nn, optim
from refnce.array import backend
from refnce.conformance import trajectory

# What an implementation may provide: the functions that answer each suite of test
# vectors. ``train.trajectory`` is described in refnce/conformance/trajectory.py.
_LABELS = {
    "nce": "nce.loss nce.grad_F nce.hess_F nce.grad_r logz.bar_update",
    "logz": "logz.newton logz.bisect logz.bar",
    "ence": "ence.loss ence.grad_F ence.grad_r ence.log_z",
    "expfam": "expfam.loss expfam.gradient expfam.hessian"
    " expfam.profile_loss expfam.profile_gradient expfam.profile_hessian",
    "mlp": "nn.mlp",
    "conv": "nn.conv3x3",
    "head": "nn.quadratic_head",
    "optim": "optim.sgd optim.ngd optim.adam",
    "trajectory": "train.trajectory",
}
SUITES = {suite: tuple(labels.split()) for suite, labels in _LABELS.items()}
SURFACE: dict[str, tuple[str, ...]] = {}  # the names in each namespace
for _label in chain(*SUITES.values()):
    _space, _name = _label.split(".")
    SURFACE[_space] = (*SURFACE.get(_space, ()), _name)
# refnce itself.
REFNCE = SimpleNamespace(
    nce=nce, ence=ence, logz=logz, expfam=expfam, nn=nn, optim=optim, train=trajectory
)
SOLVERS = ("newton", "bisect", "bar")
FIELDS = ("F", "status", "evaluations", "bracket", "standard_error", "overlap")
# The defaults of keywords: a function need not take a keyword that has this value.
DEFAULTS = dict(nu=1.0, F0=None, step=1.0, xtol=0.0, stride=1, sign="negative")
# Reports and skipped tests begin with this where a function is lacking.
NOT_PROVIDED = "not provided: "


class NotProvided(Exception):
    """The implementation lacks what the message names."""


class UnusableError(RuntimeError):
    """The module asked for cannot be tested; the message says why."""


class Impl:
    """An implementation: ``impl.nce.loss(...)`` and so on for all names of SURFACE.

    modules: has what it provides, by namespace. asarray: makes its arrays of NumPy's.
    eps: the spacing at 1 of the dtype in which it works. floor: its library takes
    float32 numbers below it for 0, as CuPy does the subnormal ones.
    """

    floor = 0.0

    def __init__(self, name, modules, asarray) -> None:
        numpy = backend.load("numpy")
        self.name = name
        self.eps = float(numpy.finfo(host(asarray(numpy.zeros(1))).dtype).eps)
        for space in SURFACE:
            setattr(self, space, Space(space, getattr(modules, space), asarray))


class Space:
    """The functions of one namespace, which take and return NumPy arrays.

    Asking for one that the implementation lacks raises NotProvided.
    """

    def __init__(self, space, module, asarray) -> None:
        self._space, self._module, self._asarray = space, module, asarray

    def __getattr__(self, name: str) -> Any:
        label = f"{self._space}.{name}"
        if name not in SURFACE[self._space]:
            raise AttributeError(f"{label} is not on the oracle surface")
        function = getattr(self._module, name, None)
        if not callable(function):
            raise NotProvided(label)

        def call(*args: Any, **kwargs: Any) -> Any:
            kwargs = self._move(_accepted(function, label, kwargs))
            result = function(*map(self._move, args), **kwargs)
            if name in SOLVERS:
                return Solution(label, result)
            if self._space == "nn":
                y, pullback = result
                return host(y), lambda dy: host(pullback(self._move(dy)))
            if self._space == "optim":  # the state is the implementation's own
                return result[0], host(result[1])
            return host(result)

        return call

    def _move(self, x):
        numpy = backend.load("numpy")
        if isinstance(x, dict):
            return {key: self._move(part) for key, part in x.items()}
        if isinstance(x, numpy.ndarray):
            return self._asarray(x)
        return x.item() if isinstance(x, numpy.generic) else x


class Solution:
    """The fields of a solver's result as NumPy arrays; a bare array is F alone.

    Asking for a field that the result lacks raises NotProvided.
    """

    def __init__(self, label, result) -> None:
        self._label = label
        self._result = result if hasattr(result, "F") else SimpleNamespace(F=result)

    def __getattr__(self, name: str) -> Any:
        if name == "converged":
            return self.status == 0
        if name not in FIELDS:
            raise AttributeError(f"LogZ has no field {name}")
        if not hasattr(self._result, name):
            raise NotProvided(f"{self._label}().{name}")
        return host(getattr(self._result, name))


def host(x: Any) -> Any:
    """Return arrays of any library, alone or in tuples and dicts, as NumPy arrays."""
    if isinstance(x, dict):
        return {key: host(part) for key, part in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(host(part) for part in x)
    return backend.to_numpy(x)


def on_module(path: str) -> Impl:
    """Return the implementation in the module that is imported as ``path``."""
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise UnusableError(f"--impl {path} cannot be imported: {error}") from error
    return on_object(path, module)


def on_object(name: str, module: Any) -> Impl:
    """Return the implementation in a module, class or object.

    It has namespaces or submodules such as nce, or bare functions whose names occur
    once on the surface, and perhaps ``asarray``.
    """
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name in SURFACE:
            importlib.import_module(f"{module.__name__}.{found.name}")
    spaces = {space: _namespace(name, module, space) for space in SURFACE}
    if not any(map(vars, spaces.values())):
        names = "names of the oracle surface (nce.loss, logz.newton, ...)"
        raise UnusableError(f"--impl {name} provides none of the {names}")
    asarray = getattr(module, "asarray", lambda x: x)
    return Impl(name, SimpleNamespace(**spaces), asarray)


def _namespace(label, module, space):
    """The functions of ``space`` in its namespace or bare in the module.

    A namespace that ``module`` imported from refnce is not the implementation's.
    """
    inner = getattr(module, space, None)
    if inner is getattr(REFNCE, space) and label != "refnce":
        inner = None
    functions = SimpleNamespace()
    for name in SURFACE[space]:
        unique = sum(name in names for names in SURFACE.values()) == 1
        bare = getattr(module, name, None) if unique else None
        function = getattr(inner, name, bare)
        if bare is not None and bare is not function:
            twice = f"offers {name} twice, bare and as {space}.{name}"
            raise UnusableError(f"--impl {label} {twice}; remove one")
        if function is not None:
            setattr(functions, name, function)
    return functions


def _accepted(function, label, kwargs):
    """Those of ``kwargs`` that ``function`` takes.

    Raises NotProvided where it lacks one whose value is not the default.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    for name in [name for name in kwargs if name not in parameters]:
        if not backend.load("numpy").array_equal(kwargs[name], DEFAULTS.get(name)):
            raise NotProvided(f"{label}({name}=)")
        kwargs.pop(name)
    return kwargs
