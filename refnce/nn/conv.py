"""Convolution by im2col, and the mean over pixels.

Inside a network images are (..., H, W, C, n). The numbers of one pixel, all channels
of all n images, are then contiguous, and im2col copies blocks of that size.
"""

from functools import partial

from refnce.array import Array, array_namespace, check_arrays, device, invalid, is_numpy
from refnce.array import runs_shape, shape_of, shown
from refnce.nn.layer import Gradients, Layer, Output, Params, output, unbroadcast

CACHE = 1 << 18  # numbers in a block of columns on a CPU


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
    image is padded with k // 2 zeros. A column holds what one output pixel sees of one
    image. Each matrix product makes the pixels of one or more rows of the output.
    """
    if stride not in (1, 2):
        raise invalid("stride", "be 1 or 2", shown(stride))

    def layer(params: Params, x: Array) -> Output:
        weight, bias = params["weight"], params["bias"]
        xp, (H, W, channels, n) = array_namespace(x, weight, bias), x.shape[-4:]
        height, width = -(-H // stride), -(-W // stride)
        out, k = weight.shape[-4], weight.shape[-1]
        zeros = partial(xp.zeros, dtype=x.dtype, device=device(x))
        seen = partial(_seen, k=k, stride=stride, width=width)
        # (..., out, in, k, k) -> (..., 1, 1, out, k k in)
        matrix = xp.moveaxis(weight, -3, -1)
        matrix = xp.reshape(matrix, (*weight.shape[:-4], 1, 1, out, k * k * channels))
        one = (..., 0, 0, 0, slice(None))
        runs = runs_shape(x=x[one], weight=weight[one], bias=bias)
        padded = zeros((*x.shape[:-4], H + k - 1, W + k - 1, channels, n))
        inside = [slice(k // 2, k // 2 + size) for size in (H, W)]
        padded[..., *inside, :, :] = x
        y = zeros((*runs, height, width, out, n))
        # On a CPU the columns of a block of rows fit in its cache.
        few = CACHE // max(1, width * k * k * channels * n) if is_numpy(x) else height
        tops = range(0, height, max(1, few))
        blocks = [slice(top, min(top + tops.step, height)) for top in tops]
        for rows in blocks:
            product = matrix @ xp.concat(seen(padded, rows), axis=-2)
            y[..., rows, :, :, :] = product + bias[..., None, None, :, None]

        def x_vjp(dy: Array) -> Array:
            dpadded = zeros((*runs, *padded.shape[-4:]))
            for rows in blocks:
                dcolumns = matrix.mT @ dy[..., rows, :, :, :]
                for m, view in enumerate(seen(dpadded, rows)):
                    view += dcolumns[..., channels * m : channels * (m + 1), :]
            return unbroadcast(dpadded[..., *inside, :, :], x.shape)

        def params_vjp(dy: Array) -> Params:
            dmatrix = zeros((*runs, k * k * channels, out))
            for rows in blocks:
                columns = xp.concat(seen(padded, rows), axis=-2)
                products = columns @ dy[..., rows, :, :, :].mT
                dmatrix += xp.sum(products, axis=(-4, -3))
            dweight = xp.reshape(dmatrix, (*runs, k, k, channels, out))
            dweight = xp.moveaxis(dweight, (-1, -2), (-4, -3))
            dbias = unbroadcast(xp.sum(dy, axis=(-4, -3, -1)), bias.shape)
            return {"weight": unbroadcast(dweight, weight.shape), "bias": dbias}

        return output(y, x_vjp, params_vjp)

    return layer


def _seen(padded: Array, rows: slice, k: int, stride: int, width: int) -> list[Array]:
    """k k views (..., rows, width, C, n): what each entry of the kernel multiplies.

    One after another along C, they are the columns (..., rows, width, k k C, n).
    """
    top, bottom = stride * rows.start, stride * (rows.stop - 1) + 1
    right = stride * (width - 1) + 1
    down = [slice(top + i, bottom + i, stride) for i in range(k)]
    across = [slice(j, right + j, stride) for j in range(k)]
    return [padded[..., i, j, :, :] for i in down for j in across]


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
