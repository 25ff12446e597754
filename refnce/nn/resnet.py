"""ResNet-18 for images of one channel.

The features of Section 4.3. Pre-activation blocks (He et al. 2016, arXiv:1603.05027)
with leaky rectifiers and without batch normalisation: NCE compares two batches, and a
sample's output must not depend on the other samples. A stem, four stages of two blocks
(all stages but the first halve the image and change the width), a rectifier, the mean
over pixels, an affine layer to the features.
"""

from refnce.array import Array
from refnce.nn.chain import chain, join, split
from refnce.nn.conv import average_pool, convolution, hwcn_to_nchw, nchw_to_hwcn
from refnce.nn.layer import Gradients, Layer, Output, Params, output, unbroadcast
from refnce.nn.leaky_relu import leaky_relu
from refnce.nn.linear import linear
from refnce.nn.params import Shapes

IDENTITY, PARTS = chain(), ["branch", "shortcut"]
FULL = (64, 128, 256, 512)


def resnet18(widths: tuple[int, ...] = FULL) -> Layer:
    """ResNet-18 for images of one channel.

    Parameters
    ----------
    widths : tuple of int
        Channels of the stages.

    Returns
    -------
    layer : callable
        ``layer(params, x) -> (features, pullback)``: images x (..., n, 1, H, W) to
        features (..., n, features). The parameters have the names and shapes of
        ``resnet18_shapes``.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> shapes = nn.resnet18_shapes((2, 2, 4, 4), features=3)
    >>> params = nn.init_params(shapes, np.random.default_rng(0))
    >>> y, pullback = nn.resnet18((2, 2, 4, 4))(params, np.zeros((5, 1, 28, 28)))
    >>> y.shape
    (5, 3)
    """
    return resnet(widths)


def resnet18_shapes(widths: tuple[int, ...] = FULL, features: int = 128) -> Shapes:
    """Shapes of the parameters of ``resnet18``.

    Parameters
    ----------
    widths : tuple of int
        Channels of the stages.
    features : int
        Number of outputs.

    Returns
    -------
    shapes : dict
        Name to shape, in the order of the layers.

    Examples
    --------
    >>> from refnce import nn
    >>> nn.resnet18_shapes()["2.branch.1.weight"]
    (64, 64, 3, 3)
    """
    return resnet_shapes(widths, features)


def resnet(widths: tuple[int, ...], blocks: int = 2, stride: int = 1) -> Layer:
    """``resnet18`` with another number of blocks a stage and stride of the stem."""
    stages = [_block(halving) for *_, halving in _blocks(widths, blocks)]
    features = leaky_relu, average_pool, linear
    return chain(_from_nchw, convolution(stride), *stages, *features)


def resnet_shapes(widths: tuple[int, ...], features: int, blocks: int = 2) -> Shapes:
    """Shapes of the parameters of ``resnet``."""
    layers: Shapes = {"1": (widths[0], 1, 3, 3)}
    for k, (before, after, stride) in enumerate(_blocks(widths, blocks), 2):
        layers |= {f"{k}.branch.1": (after, before, 3, 3)}
        layers |= {f"{k}.branch.3": (after, after, 3, 3)}
        if stride > 1:
            layers |= {f"{k}.shortcut": (after, before, 1, 1)}
    layers |= {f"{blocks * len(widths) + 4}": (features, widths[-1])}
    shapes: Shapes = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def residual(branch: Layer, shortcut: Layer = IDENTITY) -> Layer:
    """Return the layer branch(x) + shortcut(x).

    Its parameters are "branch.NAME" and "shortcut.NAME".
    """

    def layer(params: Params, x: Array) -> Output:
        parts = split(params, PARTS)
        y, branch_pullback = branch(parts[0], x)
        skip, skip_pullback = shortcut(parts[1], x)
        y_shape, skip_shape = y.shape, skip.shape

        def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
            halves = {"dx": dx, "dparams": dparams}
            dbranch, of_branch = branch_pullback(unbroadcast(dy, y_shape), **halves)
            dskip, of_skip = skip_pullback(unbroadcast(dy, skip_shape), **halves)
            gradients = join([of_branch, of_skip], PARTS) if dparams else None
            return (dbranch + dskip if dx else None), gradients

        return y + skip, pullback

    return layer


def _blocks(widths: tuple[int, ...], count: int) -> list[tuple[int, int, int]]:
    """(channels in, channels out, stride) of each block, ``count`` a stage."""
    blocks = [(widths[0], widths[0], 1)] * count
    for before, after in zip(widths, widths[1:], strict=False):
        blocks += [(before, after, 2), *[(after, after, 1)] * (count - 1)]
    return blocks


def _block(stride: int) -> Layer:
    branch = chain(leaky_relu, convolution(stride), leaky_relu, convolution())
    return residual(branch, convolution(stride) if stride > 1 else IDENTITY)


def _from_nchw(params: Params, x: Array) -> Output:
    return output(nchw_to_hwcn(x), hwcn_to_nchw)
