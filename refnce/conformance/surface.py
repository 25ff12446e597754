"""The oracle surface, and how an implementation of it is called with NumPy arrays."""

import importlib
import inspect
import pkgutil
from itertools import chain
from operator import attrgetter, call
from types import SimpleNamespace
from typing import Any

from refnce import ence, expfam, logz, nce, nn, optim
from refnce.array import backend, host as numpy
from refnce.conformance import trajectory
from refnce.conformance.cases import InputError

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
# Reports and skipped tests begin with this where a function is lacking.
NOT_PROVIDED = "not provided: "


class NotProvided(AttributeError):
    """The implementation lacks what the message names."""


class Impl:
    """An implementation: ``impl.nce.loss(...)`` and so on for all names of SURFACE.

    The functions take and return NumPy arrays. Those that are lacking raise NotProvided
    when they are called.

    module: a module, class or object that has namespaces or submodules such as nce, or
    bare functions whose names occur once on the surface, and perhaps ``asarray``, which
    makes its arrays of NumPy's. eps: the spacing at 1 of the dtype in which it works.
    floor: its library takes float32 numbers below it for 0, as CuPy does the subnormal
    ones.

    Raises InputError if the module provides nothing, or a name twice.
    """

    floor = 0.0

    def __init__(self, module: Any) -> None:
        self.name = getattr(module, "__name__", type(module).__name__)
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if found.name in SURFACE:
                importlib.import_module(f"{module.__name__}.{found.name}")
        labels = chain(*SUITES.values())
        functions = {label: _function(self.name, module, label) for label in labels}
        self.hints = {x: _hint(module, x) for x in functions if not functions[x]}
        if not any(functions.values()):
            names = "names of the oracle surface (nce.loss, logz.newton, ...)"
            raise InputError(f"{self.name} provides none of the {names}")
        asarray = getattr(module, "asarray", lambda x: x)
        self.eps = float(numpy.finfo(host(asarray(numpy.zeros(1))).dtype).eps)
        for label, function in functions.items():
            space, _, name = label.partition(".")
            calls = vars(self).setdefault(space, SimpleNamespace())
            setattr(calls, name, _on_numpy(label, function, asarray))


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
        if not hasattr(self._result, name):
            raise NotProvided(f"{self._label}().{name}")
        return host(getattr(self._result, name))


def signature(label: str) -> inspect.Signature:
    """Return the signature of refnce's own function."""
    return inspect.signature(attrgetter(label)(REFNCE))


def host(x: Any) -> Any:
    """Return arrays of any library, alone or in tuples and dicts, as NumPy arrays."""
    if isinstance(x, dict):
        return {key: host(part) for key, part in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(host(part) for part in x)
    return backend.to_numpy(x)


def _function(title, module, label):
    """The function ``label`` in its namespace or bare in the module, or None.

    A namespace that ``module`` imported from refnce is not the implementation's.
    """
    space, _, name = label.partition(".")
    inner = getattr(module, space, None)
    if inner is getattr(REFNCE, space) and title != "refnce":
        inner = None
    unique = sum(name in names for names in SURFACE.values()) == 1
    bare = getattr(module, name, None) if unique else None
    function = getattr(inner, name, bare)
    if bare is not None and bare is not function:
        twice = f"offers {name} twice, bare and as {label}"
        raise InputError(f"{title} {twice}; remove one")
    return function if callable(function) else None


def _hint(module, label):
    """Why a function was not found: it is misspelt, or bare but not unique."""
    space, _, name = label.partition(".")
    found = [*dir(module), *dir(getattr(module, space, None))]
    near = [x for x in found if x.lower() == name.lower()]
    return f"; there is {near[0]}, which must be {label}" if near else ""


def _on_numpy(label, function, asarray):
    """``function`` on NumPy arrays: of nn with its pullback, of optim in many steps.

    Their states and pullbacks are the implementation's own.
    """
    space, _, name = label.partition(".")
    run: Any = {"nn": _forth_and_back, "optim": _steps}.get(space, call)

    def move(x):
        if isinstance(x, dict):
            return {key: move(part) for key, part in x.items()}
        if isinstance(x, numpy.ndarray):
            return asarray(x)
        return x.item() if isinstance(x, numpy.generic) else x

    def moved(*args, **kwargs):
        if function is None:
            raise NotProvided(label)
        kwargs = move(_accepted(function, label, kwargs))
        result = run(function, *map(move, args), **kwargs)
        return Solution(label, result) if name in SOLVERS else host(result)

    return moved


def _forth_and_back(layer, dy, params, x, **kwargs):
    """Other calls in between change nothing, as a layer has no state."""
    y, pullback = layer(params, x, **kwargs)
    _, other = layer(params, -x, **kwargs)
    _, found, _ = pullback(dy), pullback(dy), other(dy)
    return y, *found


def _steps(optimizer, *gradients, rate):
    """Each step is made twice from one state, which an optimizer leaves as it is."""
    state, steps = None, []
    for gradient in gradients:
        optimizer(state, gradient, rate=rate)
        state, step = optimizer(state, gradient, rate=rate)
        steps.append(step)
    return steps


def _accepted(function, label, kwargs):
    """Those of ``kwargs`` that ``function`` takes.

    It need not take one that has refnce's default. Raises NotProvided for others.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    own = signature(label).parameters
    for key in [key for key in kwargs if key not in parameters]:
        if not numpy.array_equal(kwargs.pop(key), own[key].default):
            raise NotProvided(f"{label}({key}=)")
    return kwargs
