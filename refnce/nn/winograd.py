"""3x3 correlation by Winograd's F(4x4, 3x3): 36 products for 16 outputs, where the sum as written takes 144.

An image is cut into tiles of 6x6 that overlap by 2. With d a tile and g a kernel (Lavin and Gray 2016, arXiv:1509.09308)

    y = A^T [(G g G^T) * (B^T d B)] A,    y 4x4, * by elements,

and since a sum over channels commutes with A, all tiles, channels in and channels out are 36 products of matrices. So are the
transforms: B^T times all columns of all tiles at once, then times all rows.

Images here are (..., H, W, n, C): a shift by a pixel is then a slice that is contiguous over the images and channels of a pixel.
The interpolation points 0, +-1, +-2 and infinity cost about two digits: errors are some 100 eps of the outputs' size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from refnce.array.backend import (
    Array,
    added,
    array_namespace,
    asarray,
    device,
    matrix_transpose,
)
from refnce.nn.images import Backward, kernel_first, kernel_last, rows_of
from refnce.nn.tiles import cut4, cut6, joined, joined4, joined6, places, strip

BT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
AT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def correlate(x: Array, weight: Array, bias: Array) -> tuple[Array, Backward]:
    """Return (y, back): x (..., H, W, n, C) correlated with weight (..., O, C, 3, 3), zeros around it, plus bias (..., O).

    y is (..., H, W, n, O), and ``back(dy, dx, dparams)`` returns what dy pulls back to x, to weight and to bias, None for what is
    not asked for: the transposes of the three transforms, in reverse.
    """
    xp, extent = array_namespace(x, weight), x.shape[-4:-1]
    weight, _ = xp.broadcast_arrays(weight, bias[..., None, None, None])
    U, A, B = _kernels(weight), _matrix(AT, x), _matrix(BT, x)
    strips = places(x, U.shape[-1])
    y, kept = None, []
    for place in strips:
        V = _inward(B, cut6, strip(x, place, 1))
        size, V = V.shape[-4:-1], rows_of(V)
        # A^T takes a number at the point 1 to all 16 outputs: so the bias goes in there, and its gradient comes out.
        M = added(V @ U, (..., 1, 1, slice(None), slice(None)), bias[..., None, :])
        y = joined(
            y,
            _outward(A, joined4, xp.reshape(M, (*M.shape[:-2], *size, M.shape[-1]))),
            extent,
            place,
            0,
        )
        kept.append(V)

    def back(dy: Array, dx: bool, dparams: bool) -> tuple[Any, Any, Any]:
        # For many strips U is worth being made again in this order: a product with its view takes half as long again.
        across = (
            matrix_transpose(U)
            if len(strips) == 1
            else _kernels(xp.moveaxis(weight, -4, -3))
        )
        total = dbias = down = None
        for place, V in zip(strips, kept, strict=True):
            dM = _inward(matrix_transpose(A), cut4, strip(dy, place, 0))
            size, dM = dM.shape[-4:-1], rows_of(dM)
            if dparams:
                mine, each = matrix_transpose(V) @ dM, xp.sum(
                    dM[..., 1, 1, :, :], axis=-2
                )
                total, dbias = (
                    (mine, each)
                    if total is None
                    else (added(total, ..., mine), dbias + each)
                )
            if dx:
                dV = dM @ across
                some = _outward(
                    matrix_transpose(B),
                    joined6,
                    xp.reshape(dV, (*dV.shape[:-2], *size, dV.shape[-1])),
                )
                down = joined(down, some, extent, place, 1)
        return down, (_kernels_back(total) if dparams else None), dbias

    return y, back


def _inward(matrix: Array, cut: Callable[[Array, int], Array], x: Array) -> Array:
    """The tiles of a strip x (..., H, W, n, C), ``matrix`` times each of its two axes: (..., 6, 6, down, across, n, C)."""
    return _along(matrix, cut(_along(matrix, cut(x, -4), -5), -3), -5)


def _outward(matrix: Array, join: Callable[[Array, int], Array], x: Array) -> Array:
    """The adjoint of ``_inward`` with the transposed matrix and the cut's adjoint."""
    return join(_along(matrix, join(_along(matrix, x, -5), -3), -5), -4)


def _along(matrix: Array, x: Array, axis: int) -> Array:
    """``matrix`` times x as columns along an axis."""
    xp = array_namespace(x)
    rest = x.shape[axis + 1 :]
    y = matrix @ xp.reshape(x, (*x.shape[:axis], x.shape[axis], math.prod(rest)))
    return xp.reshape(y, (*y.shape[:-1], *rest))


def _kernels(weight: Array) -> Array:
    """The transformed kernels G g G^T (..., 6, 6, C, O)."""
    matrix = _matrix(G, weight)
    return _along(matrix, _along(matrix, kernel_last(weight), -4), -3)


def _kernels_back(dU: Array) -> Array:
    """The transformed kernels' gradient pulled back to the weight (..., O, C, 3, 3)."""
    matrix = matrix_transpose(_matrix(G, dU))
    return kernel_first(_along(matrix, _along(matrix, dU, -4), -3))


def _matrix(matrix: tuple[tuple[float, ...], ...], like: Array) -> Array:
    return _moved(matrix, array_namespace(like), like.dtype, device(like))


@lru_cache(maxsize=64)
def _moved(matrix: Any, xp: Any, dtype: Any, where: Any) -> Array:
    return asarray(matrix, xp, dtype=dtype, device=where)
