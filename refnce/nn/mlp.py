"""The multilayer perceptron of Section 4.3: affine layers with leaky rectifiers between them."""

from __future__ import annotations

from typing import Any

from refnce.backend import Array
from refnce.nn.chain import chain
from refnce.nn.layer import Params, Pullback
from refnce.nn.leaky_relu import leaky_relu
from refnce.nn.linear import linear


def mlp(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (y, pullback) of the perceptron whose affine layers are params "0.weight", "0.bias", "2.weight", ...

    x (..., n, in) -> y (..., n, out). The odd numbers are the rectifiers, as in a sequence of PyTorch modules, whose
    ``state_dict`` has these names.
    """
    layers = [linear if k % 2 == 0 else leaky_relu for k in range(len(params) - 1)]
    return chain(*layers)(params, x)


def mlp_shapes(*widths: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of the perceptron with ``widths`` from input to output, (2, 128, 64, 1) in Section 4.3."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"{2 * k}.weight": (after, before), f"{2 * k}.bias": (after,)}
    return shapes


def initial(shapes: dict[str, tuple[int, ...]], rng: Any, *runs: int) -> Params:
    """Draw parameters (runs..., *shape) as host arrays: uniform within +-1/sqrt(fan-in), biases too (PyTorch's default).

    The fan-in of a bias is that of the weight before it.
    """
    params, bound = {}, 1.0
    for name, shape in shapes.items():
        if name.endswith("weight"):
            bound = _fan_in(shape) ** -0.5
        params[name] = rng.uniform(-bound, bound, size=(*runs, *shape))
    return params


def _fan_in(shape: tuple[int, ...]) -> int:
    size = 1
    for width in shape[1:]:
        size *= width
    return size
