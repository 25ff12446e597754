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

from refnce.backend import Array, array_namespace, asarray, device, transposed
from refnce.nn.images import Backward, batches, kernel_first, kernel_last, meeting, with_images, zeros_around

BT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
G = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
AT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def correlate(x: Array, weight: Array, bias: Array) -> tuple[Array, Backward]:
    """Return (y, back): x (..., H, W, n, C) correlated with weight (..., O, C, 3, 3), zeros around it, plus bias (..., O).

    y is (..., H, W, n, O), and ``back(dy, dx, dweight)`` returns what dy pulls back to x and to weight, None for what is not
    asked for: the transposes of the three transforms, in reverse. A few images go through all of it at a time.
    """
    xp, U = array_namespace(x, weight), _kernels(weight)
    tiles = _tiles(x)
    places = batches(x, 36 * x.shape[-1], tiles, U.shape[-1])
    y, kept = None, []
    for here in places:
        V = _transform(xp, _matrix(BT, x), _cut6(xp, x[..., here, :], tiles), x.shape[-1])
        some = _joined4(xp, _matrix(AT, x) @ _flat(xp, V @ U), x, tiles, U.shape[-1])
        y = with_images(y, here, some + bias[..., None, None, None, :], x)
        kept.append(V)

    def back(dy: Array, dx: bool, dweight: bool) -> tuple[Any, Any]:
        A, B = transposed(_matrix(AT, dy)), transposed(_matrix(BT, dy))
        # For many batches U is worth being made again in this order: a product with its view takes half as long again.
        across = transposed(U) if len(places) == 1 else _kernels(xp.moveaxis(weight, -4, -3))
        total = down = None
        for here, V in zip(places, kept, strict=True):
            dM = _transform(xp, A, _cut4(xp, dy[..., here, :], tiles), dy.shape[-1])
            if dweight:
                total = transposed(V) @ dM if total is None else total + transposed(V) @ dM
            if dx:
                down = with_images(down, here, _joined6(xp, B @ _flat(xp, dM @ across), x, tiles, x.shape[-1]), x)
        return down, (_kernels_back(total) if dweight else None)

    return y, back


@lru_cache(maxsize=64)
def _kronecker(matrix: Any, xp: Any, dtype: Any, where: Any) -> Array:
    rows = [[a * b for a in first for b in second] for first in matrix for second in matrix]
    return asarray(rows, xp, dtype=dtype, device=where)


def _matrix(matrix: Any, like: Array) -> Array:
    return _kronecker(matrix, array_namespace(like), like.dtype, device(like))


def _kernels(weight: Array) -> Array:
    """The transformed kernels (..., 36, C, O)."""
    xp = array_namespace(weight)
    g = kernel_last(weight)
    U = _matrix(G, weight) @ xp.reshape(g, (*g.shape[:-4], 9, g.shape[-2] * g.shape[-1]))
    return xp.reshape(U, (*U.shape[:-1], *g.shape[-2:]))


def _kernels_back(dU: Array) -> Array:
    """The transformed kernels' gradient pulled back to the weight (..., O, C, 3, 3)."""
    xp = array_namespace(dU)
    dg = transposed(_matrix(G, dU)) @ _flat(xp, dU)
    return kernel_first(xp.reshape(dg, (*dg.shape[:-2], 3, 3, *dU.shape[-2:])))


def _tiles(x: Array) -> tuple[int, int]:
    """Tiles down and across."""
    return -(-x.shape[-4] // 4), -(-x.shape[-3] // 4)


def _flat(xp: Any, x: Array) -> Array:
    return xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _transform(xp: Any, matrix: Array, tiles: Array, channels: int) -> Array:
    """``matrix`` times the tiles, each a column: (..., 36, tiles, channels)."""
    y = matrix @ tiles
    return xp.reshape(y, (*y.shape[:-1], -1, channels))


def _cut6(xp: Any, x: Array, tiles: tuple[int, int]) -> Array:
    """The overlapping 6x6 tiles of x, with zeros around it: (..., 36, tiles * C)."""
    high, wide = (4 * count for count in tiles)
    x = zeros_around(x, (1, high + 1 - x.shape[-4]), (1, wide + 1 - x.shape[-3]))
    places = [(i, j) for i in range(6) for j in range(6)]
    parts = xp.stack([x[..., i : i + high - 3 : 4, j : j + wide - 3 : 4, :, :] for i, j in places], axis=-5)
    return xp.reshape(parts, (*parts.shape[:-4], -1))


def _joined6(xp: Any, d: Array, x: Array, tiles: tuple[int, int], channels: int) -> Array:
    """The adjoint of ``_cut6``: an image (..., H, W, n, C), to whose pixels all tiles (..., 36, tiles * C) that hold them add."""
    d = xp.reshape(d, (*d.shape[:-2], 6, 6, *tiles, -1, channels))
    rows = xp.stack(_overlap([d[..., i, :, :, :, :, :] for i in range(6)], -4), axis=-4)
    pixels = xp.stack(_overlap([rows[..., j, :, :, :, :, :] for j in range(6)], -3), axis=-3)
    return _whole(xp, pixels, x)


def _overlap(p: list[Array], axis: int) -> list[Array]:
    """Four of the six slices of all tiles, to which those that lie in the neighbours have been added."""
    return [meeting(p[1], p[5], axis, -1), p[2], p[3], meeting(p[4], p[0], axis, +1)]


def _cut4(xp: Any, y: Array, tiles: tuple[int, int]) -> Array:
    """The 4x4 tiles of y: (..., 16, tiles * O)."""
    high, wide = tiles
    y = zeros_around(y, (0, 4 * high - y.shape[-4]), (0, 4 * wide - y.shape[-3]))
    parts = xp.reshape(y, (*y.shape[:-4], high, 4, wide, 4, *y.shape[-2:]))
    parts = xp.moveaxis(parts, (-5, -3), (-6, -5))
    return xp.reshape(parts, (*parts.shape[:-6], 16, -1))


def _joined4(xp: Any, y: Array, x: Array, tiles: tuple[int, int], channels: int) -> Array:
    """The adjoint of ``_cut4``: the image (..., H, W, n, O) of tiles (..., 16, tiles * O)."""
    parts = xp.reshape(y, (*y.shape[:-2], 4, 4, *tiles, -1, channels))
    return _whole(xp, xp.moveaxis(parts, (-6, -5), (-5, -3)), x)


def _whole(xp: Any, parts: Array, x: Array) -> Array:
    """(..., tiles down, 4, tiles across, 4, n, C) as images of the height and width of x."""
    high, wide = 4 * parts.shape[-6], 4 * parts.shape[-4]
    whole = xp.reshape(parts, (*parts.shape[:-6], high, wide, *parts.shape[-2:]))
    return whole[..., : x.shape[-4], : x.shape[-3], :, :]
