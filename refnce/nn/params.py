"""Parameters: their first values, and as one vector, as an optimizer takes them."""

import math
from typing import Any

from refnce.array import Array, array_namespace, invalid, shape_of
from refnce.nn.layer import Params

Shapes = dict[str, tuple[int, ...]]


def init_params(shapes: Shapes, rng: Any, *runs: int) -> Params:
    """Draw first parameters of linear and convolutional layers, PyTorch's default.

    Parameters
    ----------
    shapes : dict
        Name to shape, each bias after the weight of its layer.
    rng : numpy.random.Generator
    *runs : int
        Leading axes: independent draws.

    Returns
    -------
    params : dict
        Name to NumPy array (*runs, *shape): uniform within +-1/sqrt(fan-in). The fan-in
        of a bias is that of the weight before it.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> params = nn.init_params(nn.mlp_shapes(2, 1), np.random.default_rng(0), 5)
    >>> params["0.weight"].shape, params["0.bias"].shape
    ((5, 1, 2), (5, 1))
    """
    params, bound = {}, 1.0
    for name, shape in shapes.items():
        if name.endswith("weight"):
            bound = math.prod(shape[1:]) ** -0.5
        params[name] = rng.uniform(-bound, bound, size=(*runs, *shape))
    return params


class Flat:
    """Parameters of given shapes, (..., *shape) each, as one vector (..., count)."""

    def __init__(self, shapes: Shapes) -> None:
        if not shapes:
            raise invalid("shapes", "name at least one parameter", "none")
        self.shapes = dict(shapes)
        self.count = sum(math.prod(shape) for shape in shapes.values())

    def unravel(self, theta: Array) -> Params:
        """Return the parameters that theta (..., count) holds."""
        if theta.shape[-1:] != (self.count,):
            must = f"be (..., {self.count}) for parameters of these shapes"
            raise invalid("theta", must, shape_of(theta))
        xp, params, start = array_namespace(theta), {}, 0
        for name, shape in self.shapes.items():
            part = theta[..., start : start + math.prod(shape)]
            params[name] = xp.reshape(part, (*theta.shape[:-1], *shape))
            start += math.prod(shape)
        return params

    def ravel(self, params: Params) -> Array:
        """Return the theta (..., count) that holds ``params``."""
        if params.keys() != self.shapes.keys():
            must = f"be named {', '.join(self.shapes)}"
            raise invalid("params", must, ", ".join(params) or "none")
        xp, parts = array_namespace(*params.values()), []
        for name, shape in self.shapes.items():
            value = params[name]
            runs = value.shape[: value.ndim - len(shape)]
            if value.shape != (*runs, *shape):
                must = f"be (..., {', '.join(map(str, shape))})"
                raise invalid(name, must, shape_of(value))
            parts.append(xp.reshape(value, (*runs, math.prod(shape))))
        return xp.concat(parts, axis=-1)
