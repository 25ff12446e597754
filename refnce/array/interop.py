"""Arrays of any library at the public surface; NumPy and CuPy arrays inside.

``interoperable`` decorates a public function. It views PyTorch, JAX and other DLPack
arrays as NumPy arrays (on a CPU) or CuPy arrays (on a CUDA device) without a copy, and
gives the results back in the caller's library, dtype and device.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy

from refnce.array.backend import STRICT, Array, load
from refnce.array.validation import check_kind, check_same

Function = TypeVar("Function", bound=Callable[..., Any])

# Arguments of these types need no view. ``_library`` adds types that are no arrays.
PLAIN: set[type] = {numpy.ndarray, float, int, type(None)}
NO_CONTEXT = contextlib.nullcontext()
CUDA = (2, 13)  # DLPack's device types of CUDA memory


class Refused(Exception):
    """An array cannot be used as it is; the message goes on after its name."""


class Library(NamedTuple):
    """How arrays of one type become NumPy or CuPy arrays, and results come back.

    ``view(x)`` returns a NumPy or CuPy array and the device of ``x``;
    ``back(result, device)`` converts the arrays in a result.
    """

    name: str
    view: Callable[[Any], tuple[Array, Any]]
    back: Callable[[Any, Any], Any] | None = None


def interoperable(function: Function) -> Function:
    """Let ``function`` take arrays of any library, and silence floating-point warnings.

    NumPy arrays and Python numbers are passed on as they are. An array that cannot be
    viewed raises TypeError, which names the argument, what came and the remedy.
    """
    names = tuple(inspect.signature(function).parameters)
    quiet = numpy.errstate(all="ignore")(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if type(x) not in PLAIN:
                return _on_views(quiet, names, args, kwargs)
        for x in kwargs.values():
            if type(x) not in PLAIN:
                return _on_views(quiet, names, args, kwargs)
        return quiet(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _on_views(function: Any, names: Any, args: Any, kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` with views of the arrays; its parameters' names."""
    owner: Any = None
    context: Any = None
    first = device = None

    def viewed(name, x):
        nonlocal owner, first, device, context
        kind: Any = type(x)
        check_kind(name, kind)
        if (library := _library(kind)) is None:
            return x
        try:
            view, place = library.view(x)
        except Refused as error:
            raise TypeError(f"{name} {str(error).format(name=name)}") from None
        except Exception as error:
            reason = f"cannot be viewed as a NumPy or CuPy array: {error}"
            raise TypeError(f"{name} {reason}") from error
        if owner is None:
            owner, first, device, context = library, name, place, view.device
        both = (first, name)
        check_same(both, "be arrays of one library", owner.name, library.name)
        check_same(both, "be on one device", device, place, ValueError)
        return view

    views = [*map(viewed, names, args), *args[len(names) :]]
    options = {name: viewed(name, x) for name, x in kwargs.items()}
    # CuPy makes new arrays on its current device.
    with context if hasattr(context, "__enter__") else NO_CONTEXT:
        result = function(*views, **options)
        if owner is None or owner.back is None:
            return result
        if (fields := getattr(result, "__dataclass_fields__", None)) is None:
            return owner.back(result, device)
        arrays = tuple([getattr(result, field) for field in fields])
        return type(result)(*owner.back(arrays, device))


def _map(f: Callable[[Array], Any], result: Any) -> Any:
    """``result``, an array or nested tuples of arrays, with f(array) for each."""
    return tuple([_map(f, x) for x in result]) if type(result) is tuple else f(result)


@functools.lru_cache(maxsize=256)
def _library(kind: type) -> Library | None:
    """The library of arrays of this type; None where the function checks them."""
    roots = [base.__module__.partition(".")[0] for base in kind.__mro__]
    if issubclass(kind, numpy.ndarray):
        return Library("numpy", lambda x: (numpy.asarray(x), "cpu"))
    for name in ("cupy", STRICT):
        if name in roots:
            return Library(name, lambda x: (x, x.device))
    if "torch" in roots:
        return Library("torch", _view_torch, _back_torch)
    if "jax" in roots:
        return Library("jax", _view_jax, _back_jax)
    xp: Any = sys.modules.get(roots[0])
    if hasattr(kind, "__dlpack_device__") and hasattr(xp, "from_dlpack"):
        return Library(
            roots[0],
            lambda x: (_from_dlpack(x), x.__dlpack_device__()),
            lambda result, _: _map(lambda x: xp.from_dlpack(_writable(x)), result),
        )
    PLAIN.add(kind)
    return None


def _from_dlpack(x: Any) -> Array:
    kind, _ = x.__dlpack_device__()
    xp = (sys.modules.get("cupy") or load("cupy")) if kind in CUDA else numpy
    return xp.from_dlpack(x)


def _writable(x: Array) -> Array:
    """``x``, or a copy where it is a broadcast view or a NumPy scalar."""
    if type(x) is numpy.ndarray and x.flags.writeable:
        return x
    return numpy.array(x) if isinstance(x, (numpy.ndarray, numpy.generic)) else x


def _view_torch(x: Any) -> tuple[Array, Any]:
    if x.requires_grad:
        raise Refused(
            "records gradients; pass {name}.detach() (refnce's gradients are analytic)"
        )
    return (x.numpy() if x.is_cpu else _from_dlpack(x)), x.device


def _back_torch(result: Any, device: Any) -> Any:
    torch = sys.modules["torch"]
    make = torch.from_numpy if device.type == "cpu" else torch.from_dlpack
    return _map(lambda x: make(_writable(x)), result)


def _view_jax(x: Any) -> tuple[Array, Any]:
    device, *others = x.devices()
    if others:
        raise Refused("is spread over several devices; gather it on one")
    if x.dtype == numpy.float64 and not sys.modules["jax"].config.jax_enable_x64:
        raise Refused(
            "is float64 while JAX makes float32; first call "
            'jax.config.update("jax_enable_x64", True)'
        )
    return (numpy.asarray(x) if device.platform == "cpu" else _from_dlpack(x)), device


def _back_jax(result: Any, device: Any) -> Any:
    jax, first = sys.modules["jax"], result
    while type(first) is tuple:
        first = first[0]
    if first.ndim or device.platform != "cpu":
        put = jax.dlpack.from_dlpack
        return _map(lambda x: put(_writable(x), device=device), result)
    # One compiled call for all numbers: a call for each would cost more than newton.
    found = _identity()(result)
    on_default = jax.tree.leaves(found)[0].device == device
    return found if on_default else jax.device_put(found, device)


@functools.cache
def _identity() -> Any:
    """A compiled JAX function from NumPy numbers to JAX numbers, in nested tuples."""
    return sys.modules["jax"].jit(lambda numbers: numbers)
