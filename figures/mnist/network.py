"""Log-ratios of MNIST: a residual network and a quadratic head on rows of pixels."""

import math
from functools import partial
from typing import Any

from refnce.array import Array, array_namespace, invalid, shape_of
from refnce.nn import chain, quadratic_head, resnet18, resnet18_shapes
from refnce.nn.layer import Layer, Output, Params, output
from refnce.nn.params import Shapes
from refnce.nn.resnet import FULL, resnet, resnet_shapes

NARROW = (16, 32, 64, 128)
SMALL = (24, 48, 96)


def log_ratio(
    widths: tuple[int, ...] = FULL, sign: str = "negative", side: int = 28
) -> Layer:
    """Return the layer x (..., n, side^2) -> r (..., n, 1): ``resnet18`` and a head."""
    head = partial(quadratic_head, sign=sign)
    return chain(partial(_rows_to_images, side), resnet18(widths), head)


def log_ratio_shapes(widths: tuple[int, ...] = FULL, features: int = 128) -> Shapes:
    """Shapes of the parameters of ``log_ratio``."""
    return _with_head(resnet18_shapes(widths, features), features)


def small_log_ratio(widths: tuple[int, ...] = SMALL, side: int = 28) -> Layer:
    """Return ``log_ratio`` with a stem of stride 2 and one block a stage."""
    body = resnet(widths, blocks=1, stride=2)
    return chain(partial(_rows_to_images, side), body, quadratic_head)


def small_log_ratio_shapes(
    widths: tuple[int, ...] = SMALL, features: int = 64
) -> Shapes:
    """Shapes of the parameters of ``small_log_ratio``."""
    return _with_head(resnet_shapes(widths, features, blocks=1), features)


def _with_head(shapes: Shapes, features: int) -> Shapes:
    head = {"2.triangle": (features, features), "2.b": (features,)}
    return {f"1.{name}": shape for name, shape in shapes.items()} | head


def log_ratio_init_params(shapes: Shapes, rng: Any, *runs: int) -> Params:
    """Draw first parameters (*runs, *shape) of ``log_ratio`` as NumPy arrays.

    Weights are normal with the variance 2/fan-in of He et al. 2015 (arXiv:1502.01852).
    The last convolution of each branch is zero (Zhang et al. 2019, arXiv:1901.09321):
    without normalisation a block then starts as its shortcut. Biases and b are zero,
    and L is I/sqrt(features).
    """
    params = {}
    for name, shape in shapes.items():
        draw, scale = rng.normal(size=(*runs, *shape)), 0.0
        if name.endswith("weight") and ".branch.3." not in name:
            scale = math.sqrt(2.0 / math.prod(shape[1:]))
        params[name] = scale * draw
        if name.endswith("triangle"):
            diagonal = range(shape[-1])
            params[name][..., diagonal, diagonal] = -0.5 * math.log(shape[-1])
    return params


def _rows_to_images(side: int, params: Params, x: Array) -> Output:
    xp = array_namespace(x)
    if x.shape[-1] != side * side:
        must = f"be (..., n, {side * side}), rows of images of {side} x {side}"
        raise invalid("x", must, shape_of(x))
    images = xp.reshape(x, (*x.shape[:-1], 1, side, side))
    return output(images, lambda dy: xp.reshape(dy, x.shape))
