"""What the public functions ask of their arguments.

``samples`` checks everything at once for functions of log-ratios. The other functions
check one thing each. Every message names the argument, what came and the remedy.
"""

import math
import sys
from functools import lru_cache

import array_api_compat
import numpy

from refnce.array.backend import all_true, array_namespace, device, to_numpy
from refnce.array.ratios import Ratios

LARGEST = sys.float_info.max
NUMBERS = (float, int, numpy.float64)
FLOAT64 = numpy.dtype("float64")
# Up to this size a dot product is the fastest NaN check. Beyond it BLAS uses threads.
SHORT = 8192


def invalid(name, must, got, remedy="", kind=ValueError):
    """Return the error of an argument: what it must do, what came and the remedy."""
    return kind(f"{name} must {must}; got {got}" + (f": {remedy}" if remedy else ""))


def shape_of(*arrays):
    """Return the shapes of ``arrays`` in words."""
    shapes = " and ".join(str(tuple(x.shape)) for x in arrays)
    return f"shape{'s' if len(arrays) > 1 else ''} {shapes}"


def shown(value):
    """Return ``repr(value)``, which Python refuses to write for a huge integer."""
    is_huge = isinstance(value, int) and abs(value) > LARGEST
    return "a huge integer" if is_huge else repr(value)


def is_number(value, kind=(int, float)):
    """Whether ``value`` is a Python number; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def samples(r_data, r_noise, F, nu=1.0, *, start=False):
    """Check log-ratios, F and nu, and return (ratios, F).

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
    ratios : Ratios
        With contiguous samples.
    F : NumPy array over the runs (a scalar for one run), or None

    Raises
    ------
    TypeError, ValueError
        The message names the argument, what came and the remedy.
    """
    nu = check_nu(nu)
    if _is_short(r_data) and _is_short(r_noise):
        if start and F is None:
            return Ratios(numpy, (r_data, r_noise), nu), None
        if type(F) is numpy.ndarray and F.ndim == 0 and F.dtype == FLOAT64:
            F = F[()]
        if type(F) in NUMBERS and -LARGEST <= F <= LARGEST:
            return Ratios(numpy, (r_data, r_noise), nu), numpy.float64(F)
    arrays = {"r_data": r_data, "r_noise": r_noise}
    xp = check_arrays(**arrays)
    check_samples(**arrays)
    runs = runs_shape(**arrays)
    if not (start and F is None):
        name = "F0" if start else "F"
        F = over_runs(name, "r_data", xp, **arrays, **{name: F})
        if start and F.shape != runs:
            must = f"be a number or broadcast to the runs {runs}"
            raise invalid("F0", must, f"one that makes them {F.shape}")
        F = to_numpy(F).astype(float)[()]
    return Ratios(xp, (rows(r_data), rows(r_noise)), nu), F


def _is_short(r):
    """Whether ``r`` is one run of at most SHORT float64 numbers of NumPy, none NaN."""
    if type(r) is not numpy.ndarray or r.dtype != FLOAT64 or r.ndim != 1:
        return False
    # Squares never cancel: NaN comes from NaN alone.
    return 0 < r.size <= SHORT and not math.isnan(r.dot(r))


def check_nu(nu):
    """Return the weight ``nu`` as a float, such that its products fit float32."""
    if not is_number(nu):
        must, got = "be a Python number, one for all runs", type(nu).__name__
        raise invalid("nu", must, got, kind=TypeError)
    if not 1e-30 <= nu <= 1e30:
        must = "be a number > 0, from 1e-30 to 1e30 (the weight of noise against data)"
        raise invalid("nu", must, shown(nu))
    return float(nu)


def check_count(name, value, least):
    """Check that ``value`` is a whole number >= ``least``."""
    if not is_number(value, int) or value < least:
        raise invalid(name, f"be a whole number >= {least}", shown(value))


def check_positive(name, value, *, zero=False):
    """Return ``value`` as a float, finite and > 0; with ``zero`` it may be 0.

    NumPy's float64, a Python float by type, would turn float32 results into float64.
    """
    if not (is_number(value) and (0 < value <= LARGEST or (zero and value == 0))):
        must = f"be a finite number {'>=' if zero else '>'} 0"
        raise invalid(name, must, shown(value))
    return float(value)


def check_kind(name, kind):
    """Check that arrays of the type ``kind`` can be taken; else say the remedy."""
    if (reason := _refusal(kind)) is not None:
        raise TypeError(f"{name} {reason.format(name=name)}")


@lru_cache(maxsize=256)
def _refusal(kind):
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


def check_arrays(**arrays):
    """Return the namespace of ``arrays``, of one device and real floating dtype."""
    if all(type(x) is numpy.ndarray and x.dtype == FLOAT64 for x in arrays.values()):
        return numpy
    xp, (first, one) = None, next(iter(arrays.items()))
    for name, x in arrays.items():
        check_kind(name, x.__class__)
        try:
            space = array_namespace(x)
        except TypeError:
            must, got = "be a NumPy or CuPy array", type(x).__name__
            raise invalid(name, must, got, "convert it", TypeError) from None
        both = (first, name)
        xp = xp or space
        check_same(both, "be arrays of one library", xp.__name__, space.__name__)
        if x.dtype not in (xp.float64, xp.float32):
            must = "hold float64 or float32 numbers"
            raise invalid(name, must, x.dtype, "convert it first", TypeError)
        check_same(both, "have one dtype", one.dtype, x.dtype)
        check_same(both, "be on one device", device(one), device(x), ValueError)
    return xp


def check_same(names, must, a, b, kind=TypeError):
    """Check that ``a`` and ``b``, which belong to arguments of these names, agree."""
    if a != b:
        got = f"{a} and {b}"
        raise invalid(" and ".join(names), must, got, "move or convert one", kind)


def check_samples(**arrays):
    """Check that each is (..., n), n >= 1, without NaN; a GPU is awaited once."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            must = "have at least one sample along its last axis"
            raise invalid(name, must, shape_of(x))
    bad = False
    for x in arrays.values():
        if 0 not in x.shape:
            least = array_namespace(x).min(x)  # a NaN wins
            bad = (least != least) | bad
    if bad:
        for name, x in arrays.items():
            bad = array_namespace(x).isnan(x)
            check_none(name, bad, "NaN", "drop or repair those samples")


def check_none(name, bad, what, remedy):
    """Check that the boolean array ``bad`` is true nowhere."""
    if count := int(array_namespace(bad).count_nonzero(bad)):
        raise ValueError(f"{name} holds {count} {what} in {shape_of(bad)}; {remedy}")


def runs_shape(**arrays):
    """Return the broadcast of the shapes of ``arrays`` without their last axes."""
    leading = {tuple(x.shape[:-1]) for x in arrays.values()}
    try:
        return numpy.broadcast_shapes(*leading)
    except ValueError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
        raise ValueError(
            f"leading shapes do not broadcast: {shapes}; all axes but the last are runs"
        ) from None


def over_runs(name, beside, xp, **arrays):
    """Return F, the argument called ``name``, as an array over the runs of ``arrays``.

    It is a finite number or array, of the dtype and device of the array ``beside``.
    """
    F, like = arrays[name], arrays[beside]
    if is_number(F):
        finite = abs(F) <= float(xp.finfo(like.dtype).max)  # False for NaN
        F = xp.asarray(F if finite else 0.0, dtype=like.dtype, device=device(like))
    elif array_api_compat.is_array_api_obj(F):
        check_arrays(**{name: F, beside: like})
        finite = all_true(xp.isfinite(F))
    else:
        must, got = "be a number or an array over the runs", type(F).__name__
        raise invalid(name, must, got, kind=TypeError)
    if not finite:
        got = "NaN or an infinity (a LogZ whose status is NO_ROOT has no finite F)"
        raise invalid(name, "be finite", got)
    runs = runs_shape(**arrays | {name: F[..., None]})
    return F if F.shape == runs else xp.broadcast_to(F, runs)


def rows(x):
    """Return ``x`` with contiguous samples, which NumPy sums in blocks."""
    if x.ndim < 2:
        return x
    xp = array_namespace(x)
    return xp.reshape(xp.reshape(x, (-1,)), x.shape)
