"""Arrays of any library at the public surface; NumPy and CuPy arrays inside.

``interoperable`` decorates a public function. It views PyTorch, JAX and other DLPack
arrays as NumPy arrays (on a CPU) or CuPy arrays (on a CUDA device) without a copy, and
gives the results back in the caller's library, dtype and device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy

from refnce.array.backend import Array, device, load

Function = TypeVar("Function", bound=Callable[..., Any])

# Arguments of these types need no view.
PLAIN: set[type] = {numpy.ndarray, float, int, bool, type(None)}
HOST, CUDA = (1, 3), (2, 13)  # DLPack's numbers for memory of the host and of CUDA


class Library(NamedTuple):
    """What to do with the arrays of one type.

    ``view(x)`` returns (NumPy or CuPy array, device); ``back(arrays, device)`` returns
    arrays of the library.
    """

    name: str
    view: Callable[[Any], tuple[Array, Any]]
    back: Callable[[list[Array], Any], list[Any]]


def interoperable(function: Function) -> Function:
    """Let ``function`` take arrays of any library, and silence floating-point warnings.

    NumPy arrays and Python numbers are passed on as they are. An argument that cannot
    be viewed raises TypeError, which names it and the remedy.
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


def _on_views(
    function: Callable[..., Any],
    names: tuple[str, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    first: tuple[str, Library, Any] | None = None
    context: Any = contextlib.nullcontext()
    values = []
    for name, x in [*zip(names, args, strict=False), *kwargs.items()]:
        kind = type(x)
        library = _library(kind)
        if library is None:
            values.append(x)
            continue
        try:
            view, place = library.view(x)
        except Exception as error:
            reason = str(error).format(name=name)
            came = f"{kind.__module__}.{kind.__qualname__}"
            raise TypeError(f"{name} is a {came}: {reason}") from error
        values.append(view)
        if first is None:
            first = name, library, place
            context = view.device if hasattr(view.device, "__enter__") else context
        elif library.name != first[1].name:
            raise TypeError(
                f"{first[0]} and {name} must be arrays of one library; got "
                f"{first[1].name} and {library.name}: convert one"
            )
        elif place != first[2]:
            raise ValueError(
                f"{first[0]} and {name} must be on one device; got {first[2]} and "
                f"{place}: move one"
            )
    if first is None:
        return function(*args, **kwargs)
    positional = len(values) - len(kwargs)
    with context:
        result = function(
            *values[:positional],
            *args[positional:],
            **dict(zip(kwargs, values[positional:], strict=True)),
        )
        _, library, place = first
        return _rebuilt(result, iter(library.back(list(_arrays(result)), place)))


def _arrays(result: Any) -> Iterator[Array]:
    """The arrays in a result: an array, a tuple or a dataclass of such."""
    if dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            yield from _arrays(getattr(result, field.name))
    elif isinstance(result, tuple):
        for part in result:
            yield from _arrays(part)
    else:
        yield result


def _rebuilt(result: Any, arrays: Iterator[Any]) -> Any:
    """``result`` with ``arrays`` in place of its own."""
    if dataclasses.is_dataclass(result):
        fields = (getattr(result, x.name) for x in dataclasses.fields(result))
        return type(result)(*(_rebuilt(x, arrays) for x in fields))  # type: ignore
    if isinstance(result, tuple):
        return tuple(_rebuilt(x, arrays) for x in result)
    return next(arrays)


@functools.lru_cache(maxsize=256)
def _library(kind: type) -> Library | None:
    """The library of arrays of this type; None where the function itself checks them."""
    roots = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if issubclass(kind, (list, tuple, numpy.matrix, numpy.ma.MaskedArray)):
        kinds = {
            numpy.matrix: "pass numpy.asarray({name})",
            numpy.ma.MaskedArray: "pass what is not masked, {name}.compressed()",
        }
        remedies = [text for base, text in kinds.items() if issubclass(kind, base)]
        return _refused(*remedies or ["pass numpy.asarray({name})"])
    if any(base.__name__ == "Tracer" for base in kind.__mro__) and "jax" in roots:
        return _refused(
            "inside jax.jit it has no values; call outside jit, or through "
            "jax.pure_callback"
        )
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        return _refused("it has a unit; pass its values, which are pure numbers")
    if hasattr(kind, "to_numpy"):
        return _refused("pass {name}.to_numpy()")
    if "torch" in roots:
        return Library("torch", _view_torch, _back_torch)
    if "jax" in roots:
        return Library("jax", _view_jax, _back_jax)
    if issubclass(kind, numpy.ndarray):
        return Library("numpy", lambda x: (numpy.asarray(x), "cpu"), lambda x, _: x)
    if roots & {"cupy", "array_api_strict"}:
        name = min(roots - {"builtins"})
        return Library(name, lambda x: (x, device(x)), lambda x, _: x)
    if hasattr(kind, "__dlpack_device__") and not issubclass(kind, numpy.generic):
        root = sys.modules[kind.__module__.partition(".")[0]]
        return Library(root.__name__, _view_dlpack, _back_dlpack(root))
    PLAIN.add(kind)
    return None


def _refused(reason: str) -> Library:
    def view(x: Any) -> tuple[Array, Any]:
        raise TypeError(reason)

    return Library("", view, lambda x, _: x)


def _view_dlpack(x: Any) -> tuple[Array, Any]:
    kind, index = x.__dlpack_device__()
    if kind not in HOST + CUDA:
        raise TypeError("it is neither on a CPU nor on a CUDA device; move it")
    xp = numpy if kind in HOST else load("cupy")
    return xp.from_dlpack(x), (int(kind), index)


def _back_dlpack(xp: Any) -> Callable[[list[Array], Any], list[Any]]:
    return lambda arrays, _: [xp.from_dlpack(_own(x)) for x in arrays]


def _own(x: Array) -> Array:
    """``x`` as an array that may be written to: a broadcast result is copied."""
    if isinstance(x, (numpy.ndarray, numpy.generic)):
        x = numpy.asarray(x)
        return x if x.flags.writeable else x.copy()
    return x


def _view_torch(x: Any) -> tuple[Array, Any]:
    if x.requires_grad:
        raise TypeError(
            "it records gradients; pass {name}.detach() (refnce's gradients are "
            "analytic)"
        )
    return (x.numpy() if x.is_cpu else _view_dlpack(x)[0]), x.device


def _back_torch(arrays: list[Array], place: Any) -> list[Any]:
    torch = sys.modules["torch"]
    make = torch.from_numpy if place.type == "cpu" else torch.from_dlpack
    return [make(_own(x)) for x in arrays]


def _view_jax(x: Any) -> tuple[Array, Any]:
    place = x.device
    if not hasattr(place, "platform"):
        raise TypeError("it is spread over several devices; gather it on one")
    if x.dtype == numpy.float64 and not sys.modules["jax"].config.jax_enable_x64:
        raise TypeError(
            "it is float64 where results would be float32; first "
            'jax.config.update("jax_enable_x64", True)'
        )
    return (numpy.asarray(x) if place.platform == "cpu" else _view_dlpack(x)[0]), place


def _back_jax(arrays: list[Array], place: Any) -> list[Any]:
    jax = sys.modules["jax"]
    if place.platform == "cpu" and all(x.ndim == 0 for x in arrays):
        # One call for all numbers: each would cost as much as newton itself.
        dtypes = tuple(x.dtype for x in arrays)
        found = _unpack(dtypes)(numpy.array(arrays, dtype=dtypes[0]))
        return found if found[0].device == place else jax.device_put(found, place)
    return [jax.dlpack.from_dlpack(_own(x), device=place) for x in arrays]


@functools.lru_cache(maxsize=64)
def _unpack(dtypes: tuple[Any, ...]) -> Callable[[Array], list[Any]]:
    """A compiled JAX function from a vector to numbers of these dtypes."""
    return sys.modules["jax"].jit(
        lambda v: [v[i].astype(dtype) for i, dtype in enumerate(dtypes)]
    )
