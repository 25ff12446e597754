"""The 3x3 convolution as defined, in NumPy: each pixel's neighbourhood, one product.

The independent oracle of ``refnce.nn.conv3x3``.
"""

import numpy as np

Array = np.ndarray


def columns(x: Array) -> Array:
    """x (n, C, H, W) -> (n, H, W, C, 3, 3): each pixel's neighbourhood, 0 outside."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view
    return view(padded, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)


def forward(weight: Array, bias: Array, x: Array, stride: int) -> Array:
    """y (n, O, H', W')."""
    near = columns(x)[:, ::stride, ::stride]
    y = near.reshape(*near.shape[:3], -1) @ weight.reshape(weight.shape[0], -1).T + bias
    return y.transpose(0, 3, 1, 2)


def pullback(weight: Array, x: Array, stride: int, dy: Array) -> tuple[Array, ...]:
    """(dx, dweight, dbias)."""
    near, rows = columns(x)[:, ::stride, ::stride], dy.transpose(0, 2, 3, 1)
    dweight = np.einsum("nhwo,nhwcij->ocij", rows, near, optimize=True)
    back = np.einsum("nhwo,ocij->nhwcij", rows, weight, optimize=True)
    n, C, H, W = x.shape
    dx = np.zeros((n, C, H + 2, W + 2), x.dtype)
    high, wide = rows.shape[1:3]
    for i, j in np.ndindex(3, 3):
        down = slice(i, i + stride * high, stride)
        along = slice(j, j + stride * wide, stride)
        dx[:, :, down, along] += back[..., i, j].transpose(0, 3, 1, 2)
    return dx[:, :, 1:-1, 1:-1], dweight, rows.sum(axis=(0, 1, 2))
