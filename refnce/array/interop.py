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
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy

from refnce.array.backend import STRICT, Array, load
from refnce.array.validation import refusal

Function = TypeVar("Function", bound=Callable[..., Any])

# Arguments of these types need no view. ``_library`` adds types that are no arrays.
PLAIN: set[type] = {numpy.ndarray, float, int, type(None)}
HOST, CUDA = (1, 3), (2, 13)  # DLPack's numbers for memory of the host and of CUDA


class Library(NamedTuple):
    """How arrays of one type become NumPy or CuPy arrays, and results come back."""

    name: str
    view: Callable[[Any], Array] = lambda x: x
    back: Callable[[list[Array], Any], Iterable[Any]] | None = None


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
    owner: Any = None
    name = device = context = None

    def viewed(argument: str, x: Any) -> Any:
        nonlocal owner, name, device, context
        kind = type(x)
        if (reason := refusal(kind)) is not None:
            raise TypeError(f"{argument} {reason.format(name=argument)}")
        if (library := _library(kind)) is None:
            return x
        try:
            view, on = library.view(x), getattr(x, "device", None)
        except Exception as error:
            reason = str(error).format(name=argument)
            raise TypeError(f"{argument} {reason}") from error
        if owner is None:
            name, owner, device, context = argument, library, on, view.device
        elif owner.name != library.name:
            raise TypeError(
                f"{name} and {argument} must be arrays of one library; got "
                f"{owner.name} and {library.name}: convert one"
            )
        elif device != on:
            raise ValueError(
                f"{name} and {argument} must be on one device; got {device} and {on}: "
                "move one"
            )
        return view

    views = [*map(viewed, names, args), *args[len(names) :]]
    options = {key: viewed(key, x) for key, x in kwargs.items()}
    if hasattr(context, "__enter__"):
        with context:  # CuPy makes arrays on its current device
            result = function(*views, **options)
    else:
        result = function(*views, **options)
    if owner is None or owner.back is None:
        return result
    arrays: list[Array] = []
    _map(arrays.append, result)
    back = iter(owner.back(arrays, device))
    return _map(lambda _: next(back), result)


def _map(f: Callable[[Array], Any], result: Any) -> Any:
    """``result``, an array or a tuple or dataclass of such, with f(array) for each."""
    if isinstance(result, tuple):
        return tuple([_map(f, x) for x in result])
    if (fields := getattr(result, "__dataclass_fields__", None)) is None:
        return f(result)
    return type(result)(*[_map(f, getattr(result, x)) for x in fields])


@functools.lru_cache(maxsize=256)
def _library(kind: type) -> Library | None:
    """The library of arrays of this type; None where the function itself checks them."""
    roots = [base.__module__.partition(".")[0] for base in kind.__mro__]
    if issubclass(kind, numpy.ndarray):
        return Library("numpy", numpy.asarray)
    if "cupy" in roots or STRICT in roots:
        return Library("cupy" if "cupy" in roots else STRICT)
    if "torch" in roots:
        return Library("torch", _view_torch, _back_torch)
    if "jax" in roots:
        return Library("jax", _view_jax, _back_jax)
    if hasattr(kind, "__dlpack_device__") and not issubclass(kind, numpy.generic):
        library = sys.modules[roots[0]]
        return Library(
            roots[0],
            _view_dlpack,
            lambda arrays, _: map(library.from_dlpack, map(_own, arrays)),
        )
    PLAIN.add(kind)
    return None


def _view_dlpack(x: Any) -> Array:
    kind, _ = x.__dlpack_device__()
    if kind not in HOST + CUDA:
        raise TypeError("is neither on a CPU nor on a CUDA device; move it")
    return (numpy if kind in HOST else load("cupy")).from_dlpack(x)


def _own(x: Array) -> Array:
    """``x`` as an array that may be written to: a broadcast result is copied."""
    if type(x) is numpy.ndarray and x.flags.writeable:
        return x
    return numpy.array(x) if isinstance(x, (numpy.ndarray, numpy.generic)) else x


def _view_torch(x: Any) -> Array:
    if x.requires_grad:
        raise TypeError(
            "records gradients; pass {name}.detach() (refnce's gradients are analytic)"
        )
    return x.numpy() if x.is_cpu else _view_dlpack(x)


def _back_torch(arrays: list[Array], device: Any) -> Iterable[Any]:
    torch = sys.modules["torch"]
    make = torch.from_numpy if device.type == "cpu" else torch.from_dlpack
    return map(make, map(_own, arrays))


def _view_jax(x: Any) -> Array:
    if len(x.devices()) > 1:
        raise TypeError("is spread over several devices; gather it on one")
    if x.dtype == numpy.float64 and not sys.modules["jax"].config.jax_enable_x64:
        raise TypeError(
            "is float64 while JAX makes float32; first call "
            'jax.config.update("jax_enable_x64", True)'
        )
    return numpy.asarray(x) if x.device.platform == "cpu" else _view_dlpack(x)


def _back_jax(arrays: list[Array], device: Any) -> Iterable[Any]:
    jax = sys.modules["jax"]
    if any(x.ndim for x in arrays) or device.platform != "cpu":
        return [jax.dlpack.from_dlpack(_own(x), device=device) for x in arrays]
    # One compiled call for all numbers: one for each would cost more than newton.
    kinds = tuple([x.dtype.kind for x in arrays])
    found = _unpack(kinds)(numpy.array(arrays, dtype=arrays[0].dtype))
    return found if found[0].device == device else jax.device_put(found, device)


@functools.lru_cache(maxsize=64)
def _unpack(kinds: tuple[str, ...]) -> Callable[[Array], list[Any]]:
    """A compiled JAX function from a vector to its numbers, "f" floats, "i" integers."""
    return sys.modules["jax"].jit(
        lambda v: [v[i] if k == "f" else v[i].astype(int) for i, k in enumerate(kinds)]
    )
