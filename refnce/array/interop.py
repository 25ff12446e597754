"""Arrays of any library at the public surface; NumPy and CuPy arrays inside.

``interoperable`` decorates a public function. It views PyTorch, JAX and other DLPack
arrays as NumPy arrays (on a CPU) or CuPy arrays (on a CUDA device) without a copy, and
gives the results back in the caller's library, dtype and device.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy

from refnce.array.backend import STRICT, Array, load
from refnce.array.chunks import is_lazy
from refnce.array.validation import check_kind, check_same

Function = TypeVar("Function", bound=Callable[..., Any])

PLAIN = {numpy.ndarray, numpy.float64, float, int, type(None)}  # need no view
INSIDE = ("numpy", "cupy", STRICT)  # libraries whose results go back as they are
CUDA = (2, 13)  # DLPack's device types of CUDA memory


def interoperable(function: Function) -> Function:
    """Let ``function`` take arrays of any library, and silence floating-point warnings.

    NumPy arrays and Python numbers are passed on as they are. An array that cannot be
    viewed raises TypeError, which names the argument, what came and the remedy.
    """
    names = tuple(inspect.signature(function).parameters)
    quiet = numpy.errstate(all="ignore")(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if PLAIN.issuperset(map(type, (*args, *kwargs.values()))):
            return quiet(*args, **kwargs)
        return _on_views(quiet, names, args, kwargs)

    return wrapper  # type: ignore[return-value]


def _on_views(function: Any, names: Any, args: Any, kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` with views of the arrays; its parameters' names."""
    arrays: list[Any] = []
    lazy: list[str] = []

    def viewed(name, x):
        check_kind(name, x.__class__)
        if (library := _library(x.__class__)) is None:
            if is_lazy(x):
                lazy.append(name)
            return x
        try:
            view = _view(library, x)
        except Exception as error:
            reason = f"cannot be viewed as a NumPy or CuPy array: {error}"
            raise TypeError(f"{name} {reason}") from error
        arrays.append((name, library, getattr(x, "device", None), view))
        return view

    views = [*map(viewed, names, args), *args[len(names) :]]
    options = {name: viewed(name, x) for name, x in kwargs.items()}
    if not arrays:
        return function(*views, **options)
    first, library, device, view = arrays[0]
    for name, other, place, _ in arrays:
        check_same(first, name, "be arrays of one library", library, other)
        check_same(first, name, "be on one device", device, place, ValueError)
    if lazy and library not in INSIDE:
        check_same(first, lazy[0], "be arrays of one library", library, "dask")
    # CuPy makes new arrays on its current device.
    with view.device if hasattr(view.device, "__enter__") else nullcontext():
        result = function(*views, **options)
        if (fields := getattr(result, "__dataclass_fields__", None)) is None:
            return _back(library, result, device)
        parts = tuple([getattr(result, field) for field in fields])
        return type(result)(*_back(library, parts, device))


@functools.lru_cache(maxsize=256)
def _library(kind: type) -> str | None:
    """The library of arrays of this type; None where the function checks them."""
    for base in kind.__mro__ if hasattr(kind, "__dlpack_device__") else ():
        root = base.__module__.partition(".")[0]
        if root == "jax" or hasattr(sys.modules.get(root), "from_dlpack"):
            return root
    return None


def _view(library: str, x: Any) -> Array:
    """``x``, an array of ``library``, as a NumPy or CuPy array of the same memory."""
    if library in INSIDE:
        return numpy.asarray(x) if isinstance(x, numpy.ndarray) else x
    if library == "torch" and x.is_cpu:
        return x.numpy()  # faster than DLPack
    if library == "jax":
        if len(x.devices()) > 1:
            raise ValueError("it is spread over several devices; gather it on one")
        if x.dtype == numpy.float64 and not sys.modules["jax"].config.jax_enable_x64:
            remedy = 'first call jax.config.update("jax_enable_x64", True)'
            raise ValueError(f"it is float64 while JAX makes float32; {remedy}")
    kind, _ = x.__dlpack_device__()
    if kind in CUDA:
        return (sys.modules.get("cupy") or load("cupy")).from_dlpack(x)
    return numpy.asarray(x) if library == "jax" else numpy.from_dlpack(x)


def _back(library: str, result: Any, device: Any) -> Any:
    """``result``, arrays in nested tuples, in ``library`` and on its ``device``."""
    if library in INSIDE:
        return result
    xp: Any = sys.modules[library]
    if library != "jax":
        on_cpu = library == "torch" and device.type == "cpu"
        return _map(xp.from_numpy if on_cpu else xp.from_dlpack, result)
    if not isinstance(xp.tree.leaves(result)[0], numpy.generic):
        return _map(functools.partial(xp.dlpack.from_dlpack, device=device), result)
    # One compiled call for all numbers: a call for each would cost more than newton.
    with xp.default_device(device):
        return _compiled_identity()(result)


@functools.cache
def _compiled_identity() -> Any:
    """A compiled JAX function from NumPy numbers to JAX numbers, in nested tuples."""
    return sys.modules["jax"].jit(lambda numbers: numbers)


def _map(make: Callable[[Array], Any], result: Any) -> Any:
    """``result``, an array or nested tuples of arrays, with make(array) for each."""
    if type(result) is tuple:
        return tuple([_map(make, x) for x in result])
    if not getattr(result.flags, "writeable", True):
        result = numpy.array(result)  # it was a broadcast view or a NumPy scalar
    return make(result)
