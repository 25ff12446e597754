"""ResNet-18 for images of one channel, the features of Section 4.3, and its log-ratio with a quadratic head.

Pre-activation blocks with leaky rectifiers (He et al. 2016, arXiv:1603.05027) and no batch normalisation: NCE
compares two batches, which must not see each other. A stem, four stages of two blocks, of which all but the first halve the image
and change the width, a rectifier, the mean over pixels, an affine layer to the features.
"""

from __future__ import annotations

import math
from typing import Any

from refnce.array.backend import Array, array_namespace
from refnce.nn.chain import chain
from refnce.nn.conv3x3 import average_pool, convolution, pointwise
from refnce.nn.params import Shapes
from refnce.nn.images import images_first, images_last
from refnce.nn.layer import Layer, Params, Pullback
from refnce.nn.leaky_relu import leaky_relu
from refnce.nn.linear import linear
from refnce.nn.quadratic_head import head

FULL, NARROW = (64, 128, 256, 512), (16, 32, 64, 128)


def residual(branch: Layer, shortcut: Layer | None = None) -> Layer:
    """Return the layer branch(x) + x, or branch(x) + shortcut(x); their parameters are "branch.NAME" and "shortcut.NAME" here."""

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        own, side = _part(params, "branch."), _part(params, "shortcut.")
        y, back = branch(own, x)
        along, back_along = (x, None) if shortcut is None else shortcut(side, x)

        def pullback(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Any, Any]:
            down, mine = back(dy, dx=dx, dparams=dparams)
            other, beside = (
                (dy, {})
                if back_along is None
                else back_along(dy, dx=dx, dparams=dparams)
            )
            if not dparams:
                return down + other, None
            named = {f"branch.{k}": g for k, g in mine.items()} | {
                f"shortcut.{k}": g for k, g in beside.items()
            }
            return (down + other if dx else None), named

        return y + along, pullback

    return layer


def resnet18(widths: tuple[int, ...] = FULL) -> Layer:
    """Return ResNet-18 with ``widths`` of its four stages: images x (..., n, 1, H, W) -> features (..., n, features).

    Its parameters have the names and shapes of ``resnet18_shapes``.
    """
    blocks = [
        _block(before, after, stride) for before, after, stride in _stages(widths)
    ]
    inner = chain(convolution(), *blocks, leaky_relu, average_pool, linear)

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        y, back = inner(params, images_last(x))

        def pullback(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Any, Any]:
            down, gradients = back(dy, dx=dx, dparams=dparams)
            return (images_first(down) if dx else None), gradients

        return y, pullback

    return layer


def log_ratio(
    widths: tuple[int, ...] = FULL, sign: str = "negative", side: int = 28
) -> Layer:
    """Return the layer x (..., n, side^2) -> r (..., n, 1): ResNet-18 and ``quadratic_head``, c = -F left to training."""
    return chain(_as_images(side), resnet18(widths), head(sign))


def resnet18_shapes(widths: tuple[int, ...] = FULL, features: int = 128) -> Shapes:
    """The shapes of the parameters of ``resnet18``."""
    shapes = {"0.weight": (widths[0], 1, 3, 3), "0.bias": (widths[0],)}
    for k, (before, after, stride) in enumerate(_stages(widths), 1):
        for place, width in ((1, before), (3, after)):
            shapes |= {
                f"{k}.branch.{place}.weight": (after, width, 3, 3),
                f"{k}.branch.{place}.bias": (after,),
            }
        if stride > 1 or before != after:
            shapes |= {
                f"{k}.shortcut.weight": (after, before),
                f"{k}.shortcut.bias": (after,),
            }
    last = len(_stages(widths)) + 3
    return shapes | {
        f"{last}.weight": (features, widths[-1]),
        f"{last}.bias": (features,),
    }


def log_ratio_shapes(widths: tuple[int, ...] = FULL, features: int = 128) -> Shapes:
    """The shapes of the parameters of ``log_ratio``."""
    shapes: Shapes = {
        f"1.{name}": shape for name, shape in resnet18_shapes(widths, features).items()
    }
    return shapes | {"2.triangle": (features, features), "2.b": (features,)}


def log_ratio_initial(shapes: Shapes, rng: Any, *runs: int) -> Params:
    """Draw parameters (runs..., *shape) of ``log_ratio`` as host arrays.

    Weights are normal with the variance 2/fan-in of He et al. 2015 (arXiv:1502.01852), but the last convolution of each branch
    starts at zero (Zhang et al. 2019, arXiv:1901.09321), so that without normalisation a block starts as its shortcut; biases
    and b are zero, and L is I/sqrt(features).
    """
    params = {}
    for name, shape in shapes.items():
        draw = rng.normal(size=(*runs, *shape))
        scale = 0.0
        if name.endswith("weight") and ".branch.3." not in name:
            scale = math.sqrt(2.0 / math.prod(shape[1:]))
        params[name] = scale * draw
        if name.endswith("triangle"):
            params[name][..., range(shape[-1]), range(shape[-1])] = -0.5 * math.log(
                shape[-1]
            )
    return params


def _stages(widths: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(channels in, channels out, stride) of each block."""
    stages, before = [], widths[0]
    for k, width in enumerate(widths):
        stages += [(before, width, 1 if k == 0 else 2), (width, width, 1)]
        before = width
    return stages


def _block(before: int, after: int, stride: int) -> Layer:
    branch = chain(leaky_relu, convolution(stride), leaky_relu, convolution())
    return residual(
        branch, pointwise(stride) if stride > 1 or before != after else None
    )


def _part(params: Params, prefix: str) -> Params:
    return {
        name.removeprefix(prefix): p
        for name, p in params.items()
        if name.startswith(prefix)
    }


def _as_images(side: int) -> Layer:
    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        xp = array_namespace(x)
        if x.shape[-1] != side * side:
            raise ValueError(
                f"x must be (..., n, {side * side}), rows of images of {side} x {side}; got shape {tuple(x.shape)}"
            )

        def pullback(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Any, Any]:
            return (xp.reshape(dy, x.shape) if dx else None), ({} if dparams else None)

        return xp.reshape(x, (*x.shape[:-1], 1, side, side)), pullback

    return layer
