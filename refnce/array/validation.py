"""What the public functions ask of their arguments.

``samples`` checks everything at once for functions of log-ratios. The other functions
check one thing each. Every message names the argument, what came and the remedy.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import Any

import array_api_compat
import numpy

from refnce.array.backend import Array, Namespace, all_true, array_namespace, device

LARGEST = sys.float_info.max
NUMBERS = (float, int, numpy.float64)
FLOAT64 = numpy.dtype("float64")
# Up to this size a dot product is the fastest NaN check. Beyond it BLAS uses threads.
SHORT = 8192


def samples(
    r_data: Array, r_noise: Array, F: Any, nu: Any = 1.0, *, start: bool = False
) -> tuple[Namespace, Array, Array, Any, float]:
    """Check log-ratios, F and nu, and return (xp, r_data, r_noise, F, nu).

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Of one library, device and dtype (float64 or float32), with n, m >= 1, no NaN,
        and leading shapes that broadcast.
    F : finite number or array (...)
        With ``start`` it is a solver's F0: None is returned as None, and its shape must
        broadcast to the runs of the samples.
    nu : number
        From 1e-30 to 1e30.

    Returns
    -------
    xp : namespace
    r_data, r_noise : array
        With contiguous samples.
    F : array over the runs (a NumPy scalar for one run), or None
    nu : float

    Raises
    ------
    TypeError, ValueError
        The message names the argument, what came and the remedy.
    """
    nu = check_nu(nu)
    if _is_short(r_data) and _is_short(r_noise):
        if start and F is None:
            return numpy, r_data, r_noise, None, nu
        if type(F) is numpy.ndarray and F.ndim == 0 and F.dtype == FLOAT64:
            F = F[()]
        if type(F) in NUMBERS and -LARGEST <= F <= LARGEST:
            return numpy, r_data, r_noise, numpy.float64(F), nu
    xp = check_arrays(r_data=r_data, r_noise=r_noise)
    check_samples(r_data=r_data, r_noise=r_noise)
    check_no_nan(r_data=r_data, r_noise=r_noise)
    runs = runs_shape(r_data=r_data, r_noise=r_noise)
    if not (start and F is None):
        name = "F0" if start else "F"
        F = check_F(F, r_data, xp, name=name)
        shape = runs_shape(r_data=r_data, r_noise=r_noise, **{name: F[..., None]})
        if start and shape != runs:
            raise ValueError(
                f"F0 must be a number or broadcast to the runs {runs}; got shape "
                f"{tuple(F.shape)}"
            )
        F = F if F.shape == shape else xp.broadcast_to(F, shape)
    return xp, rows(r_data), rows(r_noise), F, nu


def _is_short(r: Any) -> bool:
    """Whether ``r`` is one run of at most SHORT float64 numbers of NumPy, none NaN."""
    return (
        type(r) is numpy.ndarray
        and r.dtype == FLOAT64
        and r.ndim == 1
        and 0 < r.size <= SHORT
        and not math.isnan(r.dot(r))  # squares never cancel: NaN comes from NaN alone
    )


def check_nu(nu: Any) -> float:
    """Return the weight ``nu`` as a float, such that its products fit float32."""
    if isinstance(nu, bool) or not isinstance(nu, (int, float)):
        raise TypeError(
            f"nu must be a Python number, one for all runs; got {type(nu).__name__}"
        )
    if not 1e-30 <= nu <= 1e30:
        raise ValueError(
            "nu must be a number > 0, from 1e-30 to 1e30 (the weight of noise against "
            f"data); got {_shown(nu)}"
        )
    return float(nu)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python refuses to write out a huge integer
        return "a huge integer"


def check_count(name: str, value: Any, least: int) -> None:
    """Check that ``value`` is a whole number >= ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"{name} must be a whole number >= {least}; got {_shown(value)}"
        )


def check_positive(name: str, value: Any, *, zero: bool = False) -> None:
    """Check that ``value`` is a finite number > 0; with ``zero`` it may be 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 < value <= LARGEST or (zero and value == 0))
    ):
        sign = ">=" if zero else ">"
        raise ValueError(
            f"{name} must be a finite number {sign} 0; got {_shown(value)}"
        )


@lru_cache(maxsize=256)
def refusal(kind: type) -> str | None:
    """Why arrays of this type are refused, with the remedy; None where they are not."""
    name = kind.__name__
    if issubclass(kind, numpy.ma.MaskedArray):
        return "is a masked array; pass what is not masked, {name}.compressed()"
    if issubclass(kind, (list, tuple, numpy.matrix)):
        return f"is a {name}; pass numpy.asarray({{name}})"
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        return f"is a {name}; pass its values without the unit"
    if hasattr(kind, "to_numpy"):
        return f"is a {name}; pass {{name}}.to_numpy()"
    if any(base.__name__ == "Tracer" for base in kind.__mro__):
        return "is a JAX tracer; call outside jax.jit, or through jax.pure_callback"
    return None


def check_arrays(**arrays: Array) -> Namespace:
    """Return the namespace of ``arrays``, of one device and real floating dtype."""
    for x in arrays.values():
        if type(x) is not numpy.ndarray or x.dtype != FLOAT64:
            return _check_arrays(arrays)
    return numpy


def _check_arrays(arrays: dict[str, Array]) -> Namespace:
    for name, x in arrays.items():
        kind: Any = type(x)
        if (reason := refusal(kind)) is not None:
            raise TypeError(f"{name} {reason.format(name=name)}")
        if not hasattr(x, "dtype"):
            raise TypeError(
                f"{name} must be an array; got {type(x).__name__}: convert it with "
                "asarray"
            )
    try:
        xp = array_namespace(*arrays.values())
    except TypeError:
        kinds = [type(x).__module__.partition(".")[0] for x in arrays.values()]
        raise TypeError(
            f"{' and '.join(arrays)} must be all of NumPy or all of CuPy; got "
            f"{' and '.join(kinds)}: convert them"
        ) from None
    first, one = next(iter(arrays.items()))
    for name, x in arrays.items():
        if x.dtype not in (xp.float64, xp.float32):
            raise TypeError(
                f"{name} must hold float64 or float32 numbers; got {x.dtype}: convert "
                "it first"
            )
        if x.dtype != one.dtype:
            raise TypeError(
                f"{first} and {name} must have one dtype; got {one.dtype} and "
                f"{x.dtype}: convert one"
            )
        if device(x) != device(one):
            raise ValueError(
                f"{first} and {name} must be on one device; got {device(one)} and "
                f"{device(x)}: move one"
            )
    return xp


def check_samples(**arrays: Array) -> None:
    """Check that each of ``arrays`` is (..., n) with n >= 1."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(
                f"{name} must have at least one sample along its last axis; got shape "
                f"{tuple(x.shape)}"
            )


def check_no_nan(**arrays: Array) -> None:
    """Check that none of ``arrays`` holds a NaN; the host waits for a GPU once."""
    bad: Any = False
    for x in arrays.values():
        if 0 not in x.shape:
            least = array_namespace(x).min(x)  # a NaN wins
            bad = (least != least) | bad
    if not bool(bad):
        return
    for name, x in arrays.items():
        xp = array_namespace(x)
        if count := int(xp.count_nonzero(xp.isnan(x))):
            raise ValueError(
                f"{name} holds {count} NaN in shape {tuple(x.shape)}; drop or repair "
                "those samples"
            )


def runs_shape(**arrays: Array) -> tuple[int, ...]:
    """Return the broadcast of the shapes of ``arrays`` without their last axes."""
    leading = {tuple(x.shape[:-1]) for x in arrays.values()}
    try:
        return numpy.broadcast_shapes(*leading)
    except ValueError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
        raise ValueError(
            f"leading shapes do not broadcast: {shapes}; all axes but the last are runs"
        ) from None


def check_F(
    F: Any, like: Array, xp: Namespace, name: str = "F", beside: str = "r_data"
) -> Array:
    """Return ``F``, a finite number or array over the runs, as an array like ``like``.

    ``beside`` is the name of ``like`` for messages.
    """
    if isinstance(F, (int, float)) and not isinstance(F, bool):
        finite = abs(F) <= float(xp.finfo(like.dtype).max)  # False for NaN
        F = xp.asarray(F if finite else 0.0, dtype=like.dtype, device=device(like))
    elif array_api_compat.is_array_api_obj(F):
        check_arrays(**{name: F, beside: like})
        finite = all_true(xp.isfinite(F))
    else:
        raise TypeError(
            f"{name} must be a number or an array over the runs; got {type(F).__name__}"
        )
    if not finite:
        raise ValueError(
            f"{name} must be finite; got NaN or an infinity (a LogZ whose status is "
            "NO_ROOT has no finite F)"
        )
    return F


def rows(x: Array) -> Array:
    """Return ``x`` with contiguous samples, which NumPy sums pairwise."""
    if x.ndim < 2:
        return x
    xp = array_namespace(x)
    return xp.reshape(xp.reshape(x, (-1,)), x.shape)
