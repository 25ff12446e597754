"""Parameters as one vector, which is how an optimizer takes them."""

from __future__ import annotations

import math

from refnce.array.backend import Array, array_namespace
from refnce.nn.layer import Params

Shapes = dict[str, tuple[int, ...]]


class Flat:
    """The correspondence between parameters of ``shapes``, (..., *shape) each, and theta (..., k), one after another."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        self.places, start = [], 0
        for name, shape in shapes.items():
            self.places.append((name, slice(start, start + math.prod(shape)), shape))
            start += math.prod(shape)
        self.count = start

    def unpack(self, theta: Array) -> Params:
        """Return the parameters that theta holds."""
        if theta.shape[-1] != self.count:
            raise ValueError(
                f"theta must be (..., {self.count}) for parameters of these shapes; got shape {tuple(theta.shape)}"
            )
        xp, runs = array_namespace(theta), theta.shape[:-1]
        return {
            name: xp.reshape(theta[..., place], (*runs, *shape))
            for name, place, shape in self.places
        }

    def pack(self, params: Params) -> Array:
        """Return the theta that holds ``params``."""
        xp = array_namespace(next(iter(params.values())))
        parts = []
        for name, place, shape in self.places:
            cut = params[name].ndim - len(shape)
            runs = params[name].shape[:cut]
            if params[name].shape[cut:] != shape:
                raise ValueError(
                    f"{name} must be (..., {', '.join(map(str, shape))}); got shape {tuple(params[name].shape)}"
                )
            parts.append(xp.reshape(params[name], (*runs, place.stop - place.start)))
        return xp.concat(parts, axis=-1)
