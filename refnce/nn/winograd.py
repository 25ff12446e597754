"""3x3 correlation by Winograd's F(4x4, 3x3): 36 products for 16 outputs, where the sum as written takes 144.

An image is cut into tiles of 6x6 that overlap by 2. With d a tile and g a kernel (Lavin and Gray 2016, arXiv:1509.09308)

    y = A^T [(G g G^T) * (B^T d B)] A,    y 4x4, * by elements,

and since a sum over channels commutes with A, all tiles, channels in and channels out are 36 products of matrices. The three
transforms are products of matrices too: of a 6x6 tile as a vector of 36, B^T d B is (B^T x B^T) d with the Kronecker product,
36 x 36, applied to all tiles and channels of a block of images at once.

Images here are (..., H, W, n, C): a shift by a pixel is then a slice that is contiguous over the images and channels of a pixel.
The interpolation points 0, +-1, +-2 and infinity cost about two digits: errors are some 100 eps of the outputs' size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from refnce.backend import Array, array_namespace, asarray, device, on_host, transposed

BT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
G = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
AT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
TILES = 1 << 20  # bytes of a block of transformed tiles: with what is made from them they stay in a core's second-level cache


def convolve(x: Array, weight: Array) -> tuple[Array, list[Array]]:
    """Return (y, tiles): x (..., H, W, n, C) correlated with weight (..., O, C, 3, 3), zeros around it, to y (..., H, W, n, O).

    tiles: the transformed tiles of x, (..., 36, tiles, C) for each block of images, which ``weight_gradient`` takes.
    """
    xp, U = array_namespace(x, weight), _kernels(weight)
    high, wide = _counts(x)
    parts, kept = [], []
    for here in _blocks(x, U):
        V = _by_tile(xp, _matrix(BT, x), _tiles(xp, x[..., here, :], high, wide), x.shape[-1])
        parts.append(_untiled(xp, _matrix(AT, x) @ _flat(xp, V @ U), x, high, wide, U.shape[-1]))
        kept.append(V)
    return (parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)), kept


def weight_gradient(dy: Array, tiles: list[Array]) -> Array:
    """dy (..., H, W, n, O) pulled back to the weight (..., O, C, 3, 3) of ``convolve``, for the tiles that it returned."""
    xp = array_namespace(dy)
    high, wide = _counts(dy)
    products, start = [], 0
    for V in tiles:
        images = V.shape[-2] // (high * wide)
        own = dy[..., start : start + images, :]
        dM = _by_tile(xp, transposed(_matrix(AT, dy)), _cut(xp, own, high, wide), dy.shape[-1])
        products.append(transposed(V) @ dM)
        start += images
    total = sum(products[1:], products[0])
    dg = transposed(_matrix(G, dy)) @ _flat(xp, total)
    dg = xp.reshape(dg, (*dg.shape[:-2], 3, 3, *total.shape[-2:]))
    return xp.moveaxis(dg, (-4, -3, -2, -1), (-2, -1, -3, -4))


def turned(weight: Array) -> Array:
    """The kernel by which dy is pulled back to x: ``convolve(dy, turned(weight))``, the correlation's adjoint."""
    xp = array_namespace(weight)
    return xp.flip(xp.moveaxis(weight, -4, -3), axis=(-2, -1))


@lru_cache(maxsize=64)
def _kronecker(matrix: Any, xp: Any, dtype: Any, where: Any) -> Array:
    rows = [[a * b for a in first for b in second] for first in matrix for second in matrix]
    return asarray(rows, xp, dtype=dtype, device=where)


def _matrix(matrix: Any, like: Array) -> Array:
    return _kronecker(matrix, array_namespace(like), like.dtype, device(like))


def _kernels(weight: Array) -> Array:
    """The transformed kernels (..., 36, C, O)."""
    xp = array_namespace(weight)
    g = xp.moveaxis(weight, (-2, -1, -3, -4), (-4, -3, -2, -1))
    U = _matrix(G, weight) @ xp.reshape(g, (*g.shape[:-4], 9, g.shape[-2] * g.shape[-1]))
    return xp.reshape(U, (*U.shape[:-1], *g.shape[-2:]))


def _counts(x: Array) -> tuple[int, int]:
    """Tiles down and across."""
    return -(-x.shape[-4] // 4), -(-x.shape[-3] // 4)


def _blocks(x: Array, U: Array) -> list[slice]:
    """Images that go together: tiles for a second-level cache, and as many as U is wide, which is read once a block."""
    n, (high, wide) = x.shape[-2], _counts(x)
    size = max(TILES // (36 * x.shape[-1] * x.dtype.itemsize), U.shape[-1]) if on_host(x) else n * high * wide
    few = max(1, size // (high * wide))
    return [slice(start, start + few) for start in range(0, n, few)]


def _flat(xp: Any, x: Array) -> Array:
    return xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _by_tile(xp: Any, matrix: Array, tiles: Array, channels: int) -> Array:
    """``matrix`` times the tiles, each a column: (..., 36, tiles, channels)."""
    y = matrix @ tiles
    return xp.reshape(y, (*y.shape[:-1], -1, channels))


def _tiles(xp: Any, x: Array, high: int, wide: int) -> Array:
    """The 6x6 tiles of x, with zeros around it: (..., 36, tiles * C)."""
    x = _zeros_around(xp, _zeros_around(xp, x, -4, 1, 4 * high + 1 - x.shape[-4]), -3, 1, 4 * wide + 1 - x.shape[-3])
    places = [(i, j) for i in range(6) for j in range(6)]
    parts = xp.stack([x[..., i : i + 4 * high - 3 : 4, j : j + 4 * wide - 3 : 4, :, :] for i, j in places], axis=-5)
    return xp.reshape(parts, (*parts.shape[:-4], -1))


def _cut(xp: Any, y: Array, high: int, wide: int) -> Array:
    """The 4x4 tiles of y: (..., 16, tiles * O)."""
    y = _zeros_around(xp, _zeros_around(xp, y, -4, 0, 4 * high - y.shape[-4]), -3, 0, 4 * wide - y.shape[-3])
    parts = xp.reshape(y, (*y.shape[:-4], high, 4, wide, 4, *y.shape[-2:]))
    parts = xp.moveaxis(parts, (-5, -3), (-6, -5))
    return xp.reshape(parts, (*parts.shape[:-6], 16, -1))


def _untiled(xp: Any, y: Array, x: Array, high: int, wide: int, channels: int) -> Array:
    """The image (..., H, W, n, O) of 4x4 tiles (..., 16, tiles * O)."""
    parts = xp.reshape(y, (*y.shape[:-2], 4, 4, high, wide, -1, channels))
    parts = xp.moveaxis(parts, (-6, -5), (-5, -3))
    whole = xp.reshape(parts, (*parts.shape[:-6], 4 * high, 4 * wide, *parts.shape[-2:]))
    return whole[..., : x.shape[-4], : x.shape[-3], :, :]


def _zeros_around(xp: Any, x: Array, axis: int, before: int, after: int) -> Array:
    """x with ``before`` and ``after`` zeros along an axis."""
    def zeros(count: int) -> list[Array]:
        shape = list(x.shape)
        shape[axis] = count
        return [xp.zeros(tuple(shape), dtype=x.dtype, device=device(x))] if count else []

    return xp.concat([*zeros(before), x, *zeros(after)], axis=axis) if before or after else x
