"""What the public functions ask of their arguments.

``samples`` checks everything at once for functions of log-ratios, ``family`` for those
of an exponential family. The other functions check one thing each. Every message names
the argument, what came and the remedy.
"""

import math
import sys
from functools import lru_cache, partial

import numpy

from refnce.array.backend import array_namespace, asarray, device, to_numpy
from refnce.array.chunks import is_lazy, shipped
from refnce.array.ratios import Ratios

LARGEST = sys.float_info.max
FLOAT64 = numpy.dtype("float64")
# Up to this size a dot product is the fastest NaN check. Beyond it BLAS uses threads.
SHORT = 8192
# What names a type, or an attribute, of arrays that cannot be taken, and the remedy.
REMEDIES = {
    "MaskedArray": "pass what is not masked, {}.compressed()",
    "unit": "pass its values without the unit",
    "units": "pass its values without the unit",
    "to_numpy": "pass {}.to_numpy()",
    "Tracer": "it has no values; call outside jax.jit, or through jax.pure_callback",
} | dict.fromkeys(("list", "tuple", "matrix"), "pass numpy.asarray({})")


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


def samples(r_data, r_noise, F, nu=1.0, *, start=False, may_be_lazy=True):
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
    may_be_lazy : bool
        Whether log-ratios may be Dask arrays.

    Returns
    -------
    ratios : Ratios
        With contiguous samples. The chunks of a Dask array are checked when read.
    F : NumPy array over the runs (a scalar for one run), or None

    Raises
    ------
    TypeError, ValueError
        The message names the argument, what came and the remedy.
    """
    nu = check_nu(nu)
    to_choose = start and F is None
    if _is_short(r_data) and _is_short(r_noise):
        if type(F) is numpy.ndarray and F.ndim == 0 and F.dtype == FLOAT64:
            F = F[()]
        if to_choose or (is_number(F) and -LARGEST <= F <= LARGEST):
            F = None if to_choose else numpy.float64(F)
            return Ratios(numpy, (r_data, r_noise), nu), F
    arrays = {"r_data": r_data, "r_noise": r_noise}
    if lazy := may_be_lazy and (is_lazy(r_data) or is_lazy(r_noise)):
        xp, pair = _lazy(arrays)
        arrays = {name: _like(x) for name, x in arrays.items()}
    else:
        xp = check_arrays(**arrays)
        check_samples(**arrays)
        # NumPy sums in blocks what is contiguous.
        pair = [xp.reshape(xp.reshape(r, (-1,)), r.shape) for r in arrays.values()]
    runs = runs_shape(**arrays)
    if not to_choose:
        name = "F0" if start else "F"
        F = over_runs(name, "r_data", **arrays, **{name: F}).astype(float)[()]
        if start and F.shape != runs:
            raise invalid("F0", f"broadcast to the runs {runs}", f"runs {F.shape}")
    return Ratios(xp, pair, nu, arrays["r_data"].dtype, lazy), F


def _is_short(r):
    """Whether ``r`` is one run of at most SHORT float64 numbers of NumPy, none NaN."""
    if type(r) is not numpy.ndarray or r.dtype != FLOAT64 or r.ndim != 1:
        return False
    # Squares never cancel: NaN comes from NaN alone.
    return 0 < r.size <= SHORT and not math.isnan(r.dot(r))


def _lazy(arrays):
    """Check log-ratios of which some are Dask arrays; return xp of the chunks and both.

    The chunks are checked when they are read, and are then float64.
    """
    xp = check_arrays(**{name: getattr(x, "_meta", x) for name, x in arrays.items()})
    pair = []
    for name, x in arrays.items():
        if not is_lazy(x):
            check_samples(**{name: x})
            pair.append(xp.astype(x, xp.float64))
            continue
        if any(map(math.isnan, x.shape)):
            remedy = f"call {name}.compute_chunk_sizes()"
            raise invalid(name, "have chunks of known sizes", "unknown sizes", remedy)
        check_samples(**{name: _like(x)})
        if max(x.numblocks[:-1], default=1) > 1:
            must, got = "have its runs in one chunk", f"chunks {x.numblocks}"
            raise invalid(name, must, got, f"call {name}.rechunk({{0: -1}})")
        if x.shape[-1] == 1:  # Dask would broadcast its axis, empty chunks and all
            x = x.rechunk({x.ndim - 1: 1})
        meta, f = xp.astype(x._meta, xp.float64), shipped(partial(_checked, name))
        pair.append(x.map_blocks(f, dtype=xp.float64, meta=meta))
    return xp, pair


def _like(x):
    """Zeros of the shape and dtype of ``x`` that take no memory."""
    return numpy.broadcast_to(numpy.zeros((), x.dtype), x.shape)


def _checked(name, chunk, block_id=(0,)):
    """The chunk of the Dask array ``name`` in float64."""
    xp = check_arrays(**{name: chunk})
    if 0 not in chunk.shape and xp.isnan(xp.min(chunk)):  # a NaN wins its minimum
        label = f"{name}, chunk {block_id[-1]},"
        check_none(label, chunk != chunk, "NaN", "drop or repair those samples")
    return xp.astype(chunk, xp.float64, copy=False)


def family(T_data, T_noise, theta, F, offset_data, offset_noise, nu):
    """Check the arguments of an exponential family, and return F over all runs."""
    check_nu(nu)
    offsets = {"offset_data": offset_data, "offset_noise": offset_noise}
    xp = check_arrays(T_data=T_data, T_noise=T_noise, theta=theta, **offsets)
    if theta.ndim == 0 or theta.shape[-1] == 0:
        raise invalid("theta", "be (..., k) with k >= 1 parameters", shape_of(theta))
    sides = ("data", T_data, offset_data), ("noise", T_noise, offset_noise)
    for name, T, offset in sides:
        if T.ndim < 2 or T.shape[-1] != theta.shape[-1]:
            must = f"be (..., samples, k) with k = {theta.shape[-1]} as theta has"
            remedy = "pass one statistic as T[..., None]; leave out the paper's last -1"
            raise invalid(f"T_{name}", must, shape_of(T), remedy)
        if offset.shape[-1:] != T.shape[-2:-1]:
            must = f"be log h - log q of the {T.shape[-2]} samples of T_{name}"
            raise invalid(f"offset_{name}", must, shape_of(offset))
    check_finite(T_data=T_data, T_noise=T_noise, theta=theta)
    check_samples(**offsets)
    one = {"T_data[..., 0]": T_data[..., 0], "T_noise[..., 0]": T_noise[..., 0]}
    F = over_runs("F", "theta", **one, theta=theta, F=F, **offsets)
    return asarray(F, xp, device=device(theta))


def check_nu(nu):
    """Return the weight ``nu`` as a float."""
    if not (is_number(nu) and 1e-30 <= nu <= 1e30):
        must = "be a number > 0, from 1e-30 to 1e30 (the weight of noise against data)"
        raise invalid("nu", must, shown(nu), "pass one number for all runs")
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


@lru_cache(maxsize=256)
def check_kind(name, kind):
    """Check that arrays of the type ``kind`` can be taken; else say the remedy."""
    names = {base.__name__ for base in kind.__mro__}
    for trait, remedy in REMEDIES.items():
        if trait in names or hasattr(kind, trait):
            raise TypeError(f"{name} is a {kind.__name__}; {remedy.format(name)}")


def check_arrays(**arrays):
    """Return the namespace of ``arrays``, of one device and real floating dtype."""
    if all(type(x) is numpy.ndarray and x.dtype == FLOAT64 for x in arrays.values()):
        return numpy
    first, one = next(iter(arrays.items()))
    for name, x in arrays.items():
        check_kind(name, x.__class__)
        if is_lazy(x):
            recipe = "compute it, or see docs/dask.md"
            raise invalid(name, "be in memory here", "a Dask array", recipe, TypeError)
        try:
            xp, space = array_namespace(one), array_namespace(x)
        except TypeError:
            must, got = "be a NumPy or CuPy array", type(x).__name__
            raise invalid(name, must, got, "convert it", TypeError) from None
        check_same(first, name, "be arrays of one library", xp.__name__, space.__name__)
        if x.dtype not in (xp.float64, xp.float32):
            must = "hold float64 or float32 numbers"
            raise invalid(name, must, x.dtype, "convert it first", TypeError)
        check_same(first, name, "have one dtype", one.dtype, x.dtype)
        check_same(first, name, "be on one device", device(one), device(x), ValueError)
    return xp


def check_same(first, name, must, a, b, kind=TypeError):
    """Check that ``a`` and ``b``, of the arguments called first and name, agree."""
    if a != b:
        got = f"{a} and {b}"
        raise invalid(f"{first} and {name}", must, got, "move or convert one", kind)


def check_samples(**arrays):
    """Check that each is (..., n), n >= 1, without NaN; a GPU is awaited once."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            must = "have at least one sample along its last axis"
            raise invalid(name, must, shape_of(x))
    filled = (x for x in arrays.values() if 0 not in x.shape)
    total = sum(abs(array_namespace(x).min(x)) for x in filled)
    if total != total:  # a NaN wins its minimum
        for name, x in arrays.items():
            check_none(name, x != x, "NaN", "drop or repair those samples")


def check_finite(**arrays):
    """Check that no array holds NaN or an infinity."""
    remedy = "it must be finite (a sample outside the support of the model or of "
    remedy += "the noise is an offset of -inf or +inf)"
    for name, x in arrays.items():
        bad = ~array_namespace(x).isfinite(x)
        check_none(name, bad, "NaN or infinite numbers", remedy)


def check_none(name, bad, what, remedy):
    """Check that the boolean array ``bad`` is true nowhere."""
    if count := int(array_namespace(bad).count_nonzero(bad)):
        raise ValueError(f"{name} holds {count} {what} in {shape_of(bad)}; {remedy}")


def runs_shape(**arrays):
    """Return the broadcast of the shapes of ``arrays`` without their last axes."""
    try:
        return numpy.broadcast_shapes(*{x.shape[:-1] for x in arrays.values()})
    except ValueError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in arrays.items())
        raise ValueError(
            f"leading shapes do not broadcast: {shapes}; all axes but the last are runs"
        ) from None


def over_runs(name, beside, **arrays):
    """Return F, the argument called ``name``, over the runs of ``arrays``, on the host.

    It is a finite number or array, of the dtype and device of the array ``beside``.
    """
    F, like = arrays[name], arrays[beside]
    if is_number(F):
        F = F if abs(F) <= LARGEST else math.inf  # no array holds a huge integer
        F = array_namespace(like).asarray(F, dtype=like.dtype)
    else:
        check_arrays(**{name: F, beside: like})
    F = to_numpy(F)
    if not numpy.isfinite(F).all():
        got = "NaN or an infinity (a LogZ whose status is NO_ROOT has no finite F)"
        raise invalid(name, "be finite", got)
    runs = runs_shape(**arrays | {name: F[..., None]})
    return F if F.shape == runs else numpy.broadcast_to(F, runs)
