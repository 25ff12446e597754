"""The 3x3 convolution (a correlation, as in all networks), and what else a residual network does to images."""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, array_namespace
from refnce.nn import strided, winograd
from refnce.nn.images import images_first, images_last, rows_of, spread, thinned
from refnce.nn.layer import Layer, Params, Pullback, match
from refnce.nn.linear import linear


def conv3x3(params: Params, x: Array, *, stride: int = 1) -> tuple[Array, Pullback]:
    """Return (y, pullback) of images x (..., n, in, H, W) -> y (..., n, out, H', W').

    params: weight (..., out, in, 3, 3) and bias (..., out). One zero is put around x and H' = ceil(H / stride), as in PyTorch's
    ``conv2d`` with padding=1. Leading axes, the runs, broadcast; the gradients have the shapes of what they belong to.
    Raises ValueError where shapes or stride do not fit.
    """
    weight, bias = params["weight"], params["bias"]
    if (
        weight.ndim < 4
        or weight.shape[-2:] != (3, 3)
        or x.ndim < 4
        or x.shape[-3] != weight.shape[-3]
    ):
        raise ValueError(
            f"weight must be (..., out, in, 3, 3) and x (..., n, in, H, W); got {tuple(weight.shape)} and {tuple(x.shape)}"
        )
    if bias.ndim < 1 or bias.shape[-1] != weight.shape[-4]:
        raise ValueError(
            f"bias must be (..., out) for weight {tuple(weight.shape)}; got {tuple(bias.shape)}"
        )
    y, inner = convolution(stride)(params, images_last(x))

    def pullback(
        dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]:
        down, gradients = inner(images_last(dy), dx=dx, dparams=dparams)
        return (images_first(down) if dx else None), gradients

    return images_first(y), pullback


def convolution(stride: int = 1) -> Layer:
    """Return ``conv3x3`` with ``stride`` on images (..., H, W, n, C), the order in which networks here keep them."""
    if stride not in (1, 2):
        raise ValueError(f"stride must be 1 or 2; got {stride!r}")

    correlate = winograd.correlate if stride == 1 else strided.correlate

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        weight, bias, shape = (
            params["weight"],
            params["bias"],
            x.shape,
        )  # x itself need not be kept for the way back
        y, back = correlate(x, weight, bias)

        def pullback(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Any, Any]:
            down, dweight, dbias = back(dy, dx, dparams)
            gradients = (
                {
                    "weight": match(dweight, weight.shape),
                    "bias": match(dbias, bias.shape),
                }
                if dparams
                else None
            )
            return (match(down, shape) if dx else None), gradients

        return y, pullback

    return layer


def pointwise(stride: int = 1) -> Layer:
    """Return the 1x1 convolution with ``stride``: params weight (..., out, in) and bias (..., out), x (..., H, W, n, in)."""

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        xp, thin = array_namespace(x), thinned(x, stride)
        y, inner = linear(params, rows_of(thin))

        def pullback(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Any, Any]:
            down, gradients = inner(rows_of(dy), dx=dx, dparams=dparams)
            return (
                spread(xp.reshape(down, thin.shape), stride, x.shape[-4], x.shape[-3])
                if dx
                else None
            ), gradients

        return xp.reshape(y, (*y.shape[:-2], *thin.shape[-4:-1], y.shape[-1])), pullback

    return layer


def average_pool(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (the mean over all pixels (..., n, C), pullback) of images x (..., H, W, n, C); it has no parameters."""
    xp = array_namespace(x)

    def pullback(
        dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]:
        share = dy[..., None, None, :, :] / (x.shape[-4] * x.shape[-3])
        return (xp.broadcast_to(share, x.shape) if dx else None), (
            {} if dparams else None
        )

    return xp.mean(x, axis=(-4, -3)), pullback
