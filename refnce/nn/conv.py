"""Convolution as products of matrices, and the mean over pixels.

Inside a network images are (..., H, W, C, n). The numbers of k neighbouring pixels of
a row, all channels of all n images, are then contiguous: what one row of a k x k kernel
sees is a matrix (k C, n) without a copy.
"""

from functools import partial
from typing import Any

from refnce.array import Array, array_namespace, check_arrays, device, invalid, is_numpy
from refnce.array import runs_shape, shape_of, shown
from refnce.nn.layer import Gradients, Layer, Output, Params, output, unbroadcast

# (part, pixels, views): what ``part`` of the kernel's k k C entries adds to ``pixels``
# of the output is its product with ``views``, one after another along C.
Share = tuple[slice, tuple[slice, slice], list[Array]]
FEW = 4  # channels; with fewer, the products of single rows of a kernel are slow


def conv3x3(params: Params, x: Array, *, stride: int = 1) -> Output:
    """3x3 convolution (a cross-correlation) of images padded with one zero.

    Parameters
    ----------
    params : dict
        "weight" (..., out, in, 3, 3) and "bias" (..., out).
    x : array (..., n, in, H, W)
        Images. Leading axes are runs; runs of weight, bias and x broadcast.
    stride : {1, 2}
        Every ``stride``-th output pixel is computed, from the first.

    Returns
    -------
    y : array (..., n, out, H', W')
        H' = ceil(H / stride), W' = ceil(W / stride), as in PyTorch's ``conv2d`` with
        ``padding=1``.
    pullback : callable
        ``pullback(dy) -> (dx, dparams)``.

    Raises
    ------
    ValueError
        If a shape or the stride does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> params = {"weight": np.ones((1, 1, 3, 3)), "bias": np.zeros(1)}
    >>> y, pullback = nn.conv3x3(params, np.ones((1, 1, 3, 3)))
    >>> y[0, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    weight, bias = params["weight"], params["bias"]
    check_arrays(weight=weight, bias=bias, x=x)
    fits = weight.ndim >= 4 and weight.shape[-2:] == (3, 3) and x.ndim >= 4
    if not fits or tuple(weight.shape[-4:-2]) != (*bias.shape[-1:], x.shape[-3]):
        must = "be (..., out, in, 3, 3), bias (..., out) and x (..., n, in, H, W)"
        raise invalid("weight", must, shape_of(weight, bias, x))
    y, inner = convolution(stride)(params, nchw_to_hwcn(x))

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
        dx_hwcn, gradients = inner(nchw_to_hwcn(dy), dx=dx, dparams=dparams)
        return (hwcn_to_nchw(dx_hwcn) if dx else None), gradients

    return hwcn_to_nchw(y), pullback


def convolution(stride: int = 1) -> Layer:
    """The convolution with ``stride`` as a layer on images (..., H, W, C, n).

    The kernel is k x k, k = 3 or 1, as its weight (..., out, in, k, k) says, and each
    image is padded with k // 2 zeros. On a CPU each matrix product is the share of one
    row of the kernel in one column of the output: it needs no copy, and no zeros. On
    other devices a call costs more than a copy, and one product makes all pixels.
    """
    if stride not in (1, 2):
        raise invalid("stride", "be 1 or 2", shown(stride))

    def layer(params: Params, x: Array) -> Output:
        weight, bias = params["weight"], params["bias"]
        xp, (H, W, channels, n) = array_namespace(x, weight, bias), x.shape[-4:]
        height, width = -(-H // stride), -(-W // stride)
        out, k = weight.shape[-4], weight.shape[-1]
        zeros = partial(xp.zeros, dtype=x.dtype, device=device(x))
        # (..., out, in, k, k) -> (..., 1, 1, out, k k in)
        matrix = xp.moveaxis(weight, -3, -1)
        matrix = xp.reshape(matrix, (*weight.shape[:-4], 1, 1, out, k * k * channels))
        one = (..., 0, 0, 0, slice(None))
        runs = runs_shape(x=x[one], weight=weight[one], bias=bias)
        by_rows = is_numpy(x) and channels >= FEW
        shares, pad = (_by_rows, 0) if by_rows else (_at_once, k // 2)
        inside = [slice(pad, pad + size) for size in (H, W)]
        padded = x
        if pad:
            padded = zeros((*x.shape[:-4], H + 2 * pad, W + 2 * pad, channels, n))
            padded[..., *inside, :, :] = x
        seen = shares(padded, k, stride)
        y = xp.empty((*runs, height, width, out, n), dtype=x.dtype, device=device(x))
        y[...] = bias[..., None, None, :, None]
        for part, pixels, views in seen:
            made = y[..., *pixels, :, :]
            made += matrix[..., part] @ _joined(views, xp)

        def x_vjp(dy: Array) -> Array:
            if by_rows and stride == 1:
                # Overlapping windows are then read, not written.
                turned = xp.flip(xp.moveaxis(weight, -4, -3), axis=(-2, -1))
                dx, _ = layer({"weight": turned, "bias": zeros((channels,))}, dy)
                return unbroadcast(dx, x.shape)
            dpadded = zeros((*runs, *padded.shape[-4:]))
            for part, pixels, views in shares(dpadded, k, stride):
                dseen = matrix[..., part].mT @ dy[..., *pixels, :, :]
                size = dseen.shape[-2] // len(views)
                for m, view in enumerate(views):
                    view += dseen[..., size * m : size * (m + 1), :]
            return unbroadcast(dpadded[..., *inside, :, :], x.shape)

        def params_vjp(dy: Array) -> Params:
            dmatrix = zeros((*runs, k * k * channels, out))
            for part, pixels, views in seen:
                products = _joined(views, xp) @ dy[..., *pixels, :, :].mT
                dmatrix[..., part, :] += xp.sum(products, axis=(-4, -3))
            dweight = xp.reshape(dmatrix, (*runs, k, k, channels, out))
            dweight = xp.moveaxis(dweight, (-1, -2), (-4, -3))
            dbias = unbroadcast(xp.sum(dy, axis=(-4, -3, -1)), bias.shape)
            return {"weight": unbroadcast(dweight, weight.shape), "bias": dbias}

        return output(y, x_vjp, params_vjp)

    return layer


def _by_rows(x: Array, k: int, stride: int) -> list[Share]:
    """What each row of the kernel adds to each column of pixels, in one view of x."""
    (H, W, channels, n), xp = x.shape[-4:], array_namespace(x)
    rows = [_inside(i - k // 2, H, stride) for i in range(k)]
    shares = []
    for column in range(-(-W // stride)):
        start = stride * column - k // 2
        left, right = max(start, 0), min(start + k, W)
        size = channels * (right - left)
        for i, (made, seen) in enumerate(rows):
            view = x[..., seen, left:right, :, :]
            view = xp.reshape(view, (*view.shape[:-3], 1, size, n))
            first = channels * (k * i + left - start)
            pixels = made, slice(column, column + 1)
            shares.append((slice(first, first + size), pixels, [view]))
    return shares


def _inside(offset: int, size: int, stride: int) -> tuple[slice, slice]:
    """The outputs r whose input stride r + offset exists, and these inputs."""
    made = slice(max(0, -offset), -((max(0, offset) - size) // stride))
    start, stop = (stride * r + offset for r in (made.start, made.stop))
    return made, slice(start, stop, stride)


def _at_once(padded: Array, k: int, stride: int) -> list[Share]:
    """The whole kernel and all pixels, in k k views of ``padded``."""
    H, W = (size - k + 1 for size in padded.shape[-4:-2])
    down = [slice(i, i + H, stride) for i in range(k)]
    across = [slice(j, j + W, stride) for j in range(k)]
    views = [padded[..., i, j, :, :] for i in down for j in across]
    return [(slice(None), (slice(None), slice(None)), views)]


def _joined(views: list[Array], xp: Any) -> Array:
    return views[0] if len(views) == 1 else xp.concat(views, axis=-2)


def nchw_to_hwcn(x: Array) -> Array:
    """(..., n, C, H, W) -> (..., H, W, C, n), contiguous."""
    xp = array_namespace(x)
    x = xp.moveaxis(x, (-2, -1, -3, -4), (-4, -3, -2, -1))
    return xp.reshape(xp.reshape(x, (-1,)), x.shape)


def hwcn_to_nchw(x: Array) -> Array:
    """(..., H, W, C, n) -> (..., n, C, H, W)."""
    return array_namespace(x).moveaxis(x, (-4, -3, -2, -1), (-2, -1, -3, -4))


def average_pool(params: Params, x: Array) -> Output:
    """The mean over all pixels of images (..., H, W, C, n), a matrix (..., n, C)."""
    xp = array_namespace(x)

    def x_vjp(dy: Array) -> Array:
        share = dy.mT / (x.shape[-4] * x.shape[-3])
        return xp.broadcast_to(share[..., None, None, :, :], x.shape)

    return output(xp.mean(x, axis=(-4, -3)).mT, x_vjp)
