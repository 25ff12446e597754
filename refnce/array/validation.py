"""What every public function asks of its arguments, in one place; the algorithms behind it assume it."""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import array_api_compat

from refnce.array.backend import (
    Array,
    Namespace,
    array_namespace,
    device,
    all_true,
    all_numpy_float64,
)

LARGEST = sys.float_info.max


def check_nu(nu: Any) -> float:
    """Return ``nu`` as a float; it must be a Python number > 0, and one with which products stay in the range of float32."""
    if isinstance(nu, bool) or not isinstance(nu, (int, float)):
        raise TypeError(
            f"nu must be a Python number, one for all runs; got {type(nu).__name__}"
        )
    if not 1e-30 <= nu <= 1e30:
        raise ValueError(
            f"nu must be a number > 0, from 1e-30 to 1e30 (the weight of noise against data); got {nu!r}"
        )
    return float(nu)


def check_count(name: str, value: Any, least: int) -> None:
    """Check that ``value`` is a whole number >= ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}; got {value!r}")


def check_positive(name: str, value: Any, *, zero: bool = False) -> None:
    """Check that ``value`` is a finite number > 0; with ``zero`` it may be 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 < value <= LARGEST or (zero and value == 0))
    ):
        sign = ">=" if zero else ">"
        raise ValueError(f"{name} must be a finite number {sign} 0; got {value!r}")


def check_arrays(**arrays: Array) -> Namespace:
    """Return the namespace of ``arrays``: one library, one device, one real floating dtype, no gradients to record."""
    if all_numpy_float64(*arrays.values()):
        return array_namespace(*arrays.values())
    try:
        xp = array_namespace(*arrays.values())
    except TypeError as error:
        kinds = ", ".join(
            f"{name}: {type(x).__module__}.{type(x).__name__}"
            for name, x in arrays.items()
        )
        raise TypeError(f"pass arrays of one library ({error}); got {kinds}") from None
    (first, one), *rest = arrays.items()
    for name, x in arrays.items():
        if not hasattr(x, "dtype"):
            raise TypeError(
                f"{name} must be an array; got {type(x).__name__}: convert it with asarray"
            )
        if not _is_real(xp, x.dtype):
            raise TypeError(
                f"{name} must hold float64 or float32 numbers; got {x.dtype}: convert it first"
            )
        if hasattr(x, "mask"):
            raise TypeError(
                f"{name} is a masked array; pass what is not masked, {name}.compressed()"
            )
        if getattr(x, "requires_grad", False):
            raise TypeError(
                f"{name} records gradients; pass {name}.detach() (refnce's gradients are analytic)"
            )
    for name, x in rest:
        if x.dtype != one.dtype:
            raise TypeError(
                f"{first} and {name} must have one dtype; got {one.dtype} and {x.dtype}: convert one"
            )
        if x is not one and device(x) != device(one):
            raise ValueError(
                f"{first} and {name} must be on one device; got {device(one)} and {device(x)}: move one"
            )
    return xp


@lru_cache(maxsize=64)
def _is_real(xp: Namespace, dtype: Any) -> bool:
    return bool(dtype == xp.float64 or dtype == xp.float32)


def check_samples(**arrays: Array) -> None:
    """Each of ``arrays`` is (..., n) with n >= 1."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(
                f"{name} must have at least one sample along its last axis; got shape {tuple(x.shape)}"
            )


def check_no_nan(**arrays: Array) -> None:
    """None of ``arrays`` holds a NaN (on an accelerator this synchronises the host)."""
    for name, x in arrays.items():
        bad = array_namespace(x).isnan(x)
        if not all_true(~bad):
            count = int(array_namespace(x).count_nonzero(bad))
            raise ValueError(
                f"{name} holds {count} NaN in shape {tuple(x.shape)}; drop or repair those samples"
            )


def runs_shape(**arrays: Array) -> tuple[int, ...]:
    """The broadcast of the leading shapes (all but the last axis) of ``arrays``."""
    if all(x.ndim == 1 for x in arrays.values()):
        return ()
    shape: list[int] = []
    for name, x in arrays.items():
        leading = tuple(x.shape[:-1])
        try:
            shape = [
                _broadcast(a, b)
                for a, b in zip_longest(shape[::-1], leading[::-1], fillvalue=1)
            ][::-1]
        except ValueError:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
            raise ValueError(
                f"leading shapes do not broadcast: {shapes}; all axes but the last are runs"
            ) from None
    return tuple(shape)


def _broadcast(a: int, b: int) -> int:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    raise ValueError


def check_F(
    F: Any, like: Array, xp: Namespace, name: str = "F", beside: str = "r_data"
) -> Array:
    """Return ``F``, a finite Python number or an array over the runs, as an array of the kind of ``like``, called ``beside``."""
    if isinstance(F, bool) or not (
        isinstance(F, (int, float)) or array_api_compat.is_array_api_obj(F)
    ):
        raise TypeError(
            f"{name} must be a number or an array over the runs; got {type(F).__name__}"
        )
    if not isinstance(F, (int, float)):
        check_arrays(**{name: F, beside: like})
    elif not abs(F) <= LARGEST:
        F = math.inf  # an integer may be larger than any float
    array = xp.asarray(F, dtype=like.dtype, device=device(like))
    if not all_true(xp.isfinite(array)):
        raise ValueError(
            f"{name} must be finite; got NaN or an infinity (a LogZ whose status is NO_ROOT has no finite F)"
        )
    return array


def rows(x: Array) -> Array:
    """``x`` with its samples contiguous in memory, which is what makes NumPy sum them pairwise."""
    if x.ndim < 2:
        return x
    xp = array_namespace(x)
    return xp.reshape(xp.reshape(x, (-1,)), x.shape)
