"""3x3 correlation with stride 2: gather the nine pixels under the kernel (im2col), then one product of matrices.

Of the outputs that Winograd's tiles would give three in four are not wanted; for the fourth this has as many products (9 each,
where a tile's 36 leave 4 of 16) and no transforms.
"""

from __future__ import annotations

from typing import Any

from refnce.array.backend import Array, added, array_namespace, matrix_transpose
from refnce.nn.images import (
    Backward,
    batches,
    kernel_first,
    kernel_last,
    rows_of,
    with_images,
    zeros_around,
)


def correlate(x: Array, weight: Array, bias: Array) -> tuple[Array, Backward]:
    """Return (y, back): every second row and column, from the first, of ``winograd.correlate``, with a ``back`` like its."""
    xp, (high, wide, n, channels) = array_namespace(x, weight), x.shape[-4:]
    size = -(-high // 2), -(-wide // 2)
    kernel = kernel_last(weight)
    matrix = xp.reshape(kernel, (*kernel.shape[:-4], -1, kernel.shape[-1]))
    places = batches(x, 9 * channels, size, matrix.shape[-1])
    y, kept = None, []
    for here in places:
        near = _columns(xp, x[..., here, :], *size)
        some = near @ matrix + bias[..., None, :]
        y = with_images(
            y, here, xp.reshape(some, (*some.shape[:-2], *size, -1, some.shape[-1])), n
        )
        kept.append(near)

    def back(dy: Array, dx: bool, dparams: bool) -> tuple[Any, Any, Any]:
        across = matrix_transpose(matrix)
        total: Any = None
        dbias: Any = None
        down = None
        for here, near in zip(places, kept, strict=True):
            rows = rows_of(dy[..., here, :])
            if dparams:
                mine, each = matrix_transpose(near) @ rows, xp.sum(rows, axis=-2)
                total, dbias = (
                    (mine, each)
                    if total is None
                    else (added(total, ..., mine), dbias + each)
                )
            if dx:
                some = rows @ across
                some = _columns_back(
                    xp, xp.reshape(some, (*some.shape[:-2], *size, -1, 3, 3, channels))
                )
                down = with_images(down, here, some[..., :high, :wide, :, :], n)
        if dparams:
            total = kernel_first(
                xp.reshape(total, (*total.shape[:-2], *kernel.shape[-4:]))
            )
        return down, total, dbias

    return y, back


def _columns(xp: Any, x: Array, high: int, wide: int) -> Array:
    """The nine pixels about every second one, (..., rows, 9 C)."""
    x = zeros_around(x, (1, 2 * high - x.shape[-4]), (1, 2 * wide - x.shape[-3]))
    places = [(i, j) for i in range(3) for j in range(3)]
    near = [
        x[..., i : i + 2 * high - 1 : 2, j : j + 2 * wide - 1 : 2, :, :]
        for i, j in places
    ]
    return rows_of(xp.concat(near, axis=-1))


def _columns_back(xp: Any, d: Array) -> Array:
    """The adjoint of ``_columns``, (..., H', W', n, 3, 3, C) -> (..., 2 H', 2 W', n, C): an even row has seen the kernel's middle
    row alone, an odd one the last row from above and the first from below; so have columns.
    """
    rows = [
        _woven(d[..., 0, j, :], d[..., 1, j, :], d[..., 2, j, :], -4) for j in range(3)
    ]
    return _woven(rows[0], rows[1], rows[2], -3)


def _woven(first: Array, middle: Array, last: Array, axis: int) -> Array:
    """Along an axis the even places from ``middle``, the odd from ``last`` and from the next of ``first``, where there is one."""
    xp, after = array_namespace(first), (slice(None),) * (-1 - axis)
    pairs = xp.stack([middle, last], axis=axis)
    pairs = added(
        pairs, (..., slice(0, -1), 1, *after), first[(..., slice(1, None), *after)]
    )
    return xp.reshape(
        pairs, (*first.shape[:axis], 2 * first.shape[axis], *first.shape[axis + 1 :])
    )
