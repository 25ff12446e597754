"""The affine layer."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, array_namespace, device, matrix_transpose
from refnce.nn.layer import Params, Pullback, match


def linear(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (x weight^T + bias, pullback): params weight (..., out, in) and bias (..., out), x (..., n, in) -> (..., n, out).

    Leading axes, the runs, broadcast; the gradients have the shapes of what they belong to.
    """
    weight, bias = params["weight"], params["bias"]

    def pullback(
        dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]:
        down = match(through(dy, weight), x.shape) if dx else None
        return down, (
            dict(zip(("weight", "bias"), gradients(dy, x, weight, bias), strict=True))
            if dparams
            else None
        )

    return affine(x, weight, bias), pullback


def affine(x: Array, weight: Array, bias: Array) -> Array:
    """x weight^T + bias."""
    return x @ matrix_transpose(weight) + bias[..., None, :]


def through(dy: Array, weight: Array) -> Array:
    """dy pulled back through ``affine`` to its input: with one output the outer product, three times as fast as a matrix one."""
    return dy * weight if weight.shape[-2] == 1 else dy @ weight


def gradients(dy: Array, x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    """dy pulled back through ``affine`` to its weight and bias; the sum over samples as a product, which a CPU does fastest."""
    across = matrix_transpose(dy)
    ones = array_namespace(dy).ones(
        (dy.shape[-2], 1), dtype=dy.dtype, device=device(dy)
    )
    return match(across @ x, weight.shape), match((across @ ones)[..., 0], bias.shape)
