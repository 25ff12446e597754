"""What the distributions share: checks, sums and draws."""

import math
from typing import Any

from refnce.array import Array, all_true, array_namespace, asarray, check_arrays, device
from refnce.array import invalid, is_numpy, shape_of

LOG_2PI = math.log(2.0 * math.pi)


def check_parameters(**parameters: Array) -> None:
    """Raise unless all are finite NumPy arrays of one floating dtype, not 0-d."""
    xp = check_arrays(**parameters)
    for name, x in parameters.items():
        if not (is_numpy(x) and x.ndim and all_true(xp.isfinite(x))):
            got = f"{type(x).__name__} of {shape_of(x)}"
            raise invalid(name, "be a NumPy array (..., d) of finite numbers", got)


def check_x(x: Array, d: int, *parameters: Array) -> list[Array]:
    """Raise unless x is (..., d); return ``parameters`` as arrays of x's kind."""
    xp = check_arrays(x=x)
    if x.ndim == 0 or x.shape[-1] != d:
        raise invalid("x", f"be (..., {d}), its coordinates last", shape_of(x))
    return [asarray(p, xp, dtype=x.dtype, device=device(x)) for p in parameters]


def sum_last(x: Array) -> Array:
    """Sum over the last axis; of length 1 it is indexed, 10 times faster in NumPy."""
    return x[..., 0] if x.shape[-1] == 1 else array_namespace(x).sum(x, axis=-1)


def normal(rng: Any, *shape: int) -> Array:
    """Draw N(0, I) (..., n, d), each coordinate's n samples contiguous in memory."""
    z = rng.standard_normal((*shape[:-2], *reversed(shape[-2:])))
    return z.swapaxes(-1, -2) if z.ndim > 1 else z
