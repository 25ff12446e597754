"""The multilayer perceptron of Section 4.3: affine layers with leaky rectifiers between them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from refnce.array.backend import Array
from refnce.nn.layer import Params, Pullback, match
from refnce.nn.leaky_relu import slope
from refnce.nn.linear import affine, gradients, through


def mlp(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (y, pullback) of the perceptron whose affine layers are params "0.weight", "0.bias", "2.weight", ...

    x (..., n, in) -> y (..., n, out). The odd numbers are the rectifiers, as in a sequence of PyTorch modules, whose
    ``state_dict`` has these names: ``chain(linear, leaky_relu, linear, ...)``, written out because it is run so often.
    """
    names = _names(tuple(params))
    inputs, slopes = [x], []
    for weight, bias in names[:-1]:
        z = affine(inputs[-1], params[weight], params[bias])
        slopes.append(slope(z > 0, z.dtype))
        inputs.append(z * slopes[-1])
    y = affine(inputs[-1], params[names[-1][0]], params[names[-1][1]])

    def pullback(
        dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]:
        found = dict.fromkeys(params)
        for k in range(len(names) - 1, -1, -1):
            weight, bias = names[k]
            if dparams:
                found[weight], found[bias] = gradients(
                    dy, inputs[k], params[weight], params[bias]
                )
            if k > 0:
                dy = through(dy, params[weight]) * slopes[k - 1]
        down = match(through(dy, params[names[0][0]]), x.shape) if dx else None
        return down, (found if dparams else None)

    return y, pullback


@lru_cache(maxsize=16)
def _names(params: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [(f"{2 * k}.weight", f"{2 * k}.bias") for k in range(len(params) // 2)]
    wanted = [name for pair in names for name in pair]
    if not wanted or sorted(wanted) != sorted(params):
        raise ValueError(
            f"params must be named 0.weight, 0.bias, 2.weight, 2.bias and so on; got {', '.join(params)}"
        )
    return names


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
