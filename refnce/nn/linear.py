"""The affine layer."""

from __future__ import annotations

from refnce.backend import Array, array_namespace
from refnce.nn.layer import Params, Pullback, match


def linear(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (x weight^T + bias, pullback): params weight (..., out, in) and bias (..., out), x (..., n, in) -> (..., n, out).

    Leading axes, the runs, broadcast; the gradients have the shapes of what they belong to.
    """
    xp = array_namespace(x)
    weight, bias = params["weight"], params["bias"]
    y = xp.matmul(x, xp.matrix_transpose(weight)) + bias[..., None, :]

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> tuple[Array | None, Params | None]:
        down = match(xp.matmul(dy, weight), x) if dx else None
        if not dparams:
            return down, None
        dweight = xp.matmul(xp.matrix_transpose(dy), x)
        return down, {"weight": match(dweight, weight), "bias": match(xp.sum(dy, axis=-2), bias)}

    return y, pullback
