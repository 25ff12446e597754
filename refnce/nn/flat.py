"""Parameters as one vector, which is how an optimizer takes them."""

from __future__ import annotations

import math

from refnce.backend import Array, array_namespace
from refnce.nn.layer import Params

Shapes = dict[str, tuple[int, ...]]


def count(shapes: Shapes) -> int:
    """How many numbers parameters of these shapes are."""
    return sum(math.prod(shape) for shape in shapes.values())


def unpack(shapes: Shapes, theta: Array) -> Params:
    """Return the parameters of ``shapes`` (..., *shape) that theta (..., k) holds one after another."""
    xp = array_namespace(theta)
    params, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        params[name] = xp.reshape(theta[..., start:stop], (*theta.shape[:-1], *shape))
        start = stop
    if start != theta.shape[-1]:
        raise ValueError(f"theta must be (..., {start}) for parameters of these shapes; got shape {tuple(theta.shape)}")
    return params


def pack(shapes: Shapes, params: Params) -> Array:
    """Return theta (..., k) with ``unpack(shapes, theta)`` = params, (..., *shape) each."""
    xp = array_namespace(*params.values())
    leading = {name: params[name].shape[: params[name].ndim - len(shape)] for name, shape in shapes.items()}
    return xp.concat([xp.reshape(params[name], (*leading[name], -1)) for name in shapes], axis=-1)
