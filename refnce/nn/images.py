"""Batches of images, (..., H, W, n, C) inside networks: a pixel of all images and channels is then contiguous in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnce.array.backend import Array, array_namespace, device, is_numpy, with_part

Backward = Callable[[Array, bool, bool], tuple[Any, Any, Any]]
TOGETHER = (
    1 << 20
)  # bytes gathered from a few images: with what is made from them they stay in a core's second-level cache


def images_last(x: Array) -> Array:
    """(..., n, C, H, W) -> (..., H, W, n, C)."""
    return array_namespace(x).moveaxis(x, (-2, -1), (-4, -3))


def images_first(x: Array) -> Array:
    """(..., H, W, n, C) -> (..., n, C, H, W)."""
    return array_namespace(x).moveaxis(x, (-4, -3), (-2, -1))


def kernel_last(weight: Array) -> Array:
    """(..., O, C, 3, 3) -> (..., 3, 3, C, O)."""
    return array_namespace(weight).moveaxis(weight, (-2, -1, -3, -4), (-4, -3, -2, -1))


def kernel_first(weight: Array) -> Array:
    """(..., 3, 3, C, O) -> (..., O, C, 3, 3)."""
    return array_namespace(weight).moveaxis(weight, (-4, -3, -2, -1), (-2, -1, -3, -4))


def rows_of(x: Array) -> Array:
    """(..., H, W, n, C) -> (..., H W n, C)."""
    return array_namespace(x).reshape(
        x, (*x.shape[:-4], x.shape[-4] * x.shape[-3] * x.shape[-2], x.shape[-1])
    )


def thinned(x: Array, stride: int) -> Array:
    """Every ``stride``-th row and column, from the first."""
    return x if stride == 1 else x[..., ::stride, ::stride, :, :]


def spread(y: Array, stride: int, high: int, wide: int) -> Array:
    """The adjoint of ``thinned``: y's pixels at their places in an image of high x wide, zeros between."""
    if stride == 1:
        return y
    xp = array_namespace(y)
    zeros = xp.zeros(
        (*y.shape[:-4], high, wide, *y.shape[-2:]), dtype=y.dtype, device=device(y)
    )
    return with_part(
        zeros,
        (
            ...,
            slice(None, None, stride),
            slice(None, None, stride),
            slice(None),
            slice(None),
        ),
        y,
    )


def zeros_around(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """x with ``rows`` of zeros above and below it, and ``columns`` of zeros at its left and right."""
    (above, below), (left, right), (high, wide) = rows, columns, x.shape[-4:-2]
    if not any((*rows, *columns)):
        return x
    shape = (*x.shape[:-4], above + high + below, left + wide + right, *x.shape[-2:])
    zeros = array_namespace(x).zeros(shape, dtype=x.dtype, device=device(x))
    return with_part(
        zeros,
        (
            ...,
            slice(above, above + high),
            slice(left, left + wide),
            slice(None),
            slice(None),
        ),
        x,
    )


def batches(x: Array, numbers: int, places: tuple[int, int], out: int) -> list[slice]:
    """Images of x that go together, where ``numbers`` are gathered at each of ``places`` of an image for ``out`` channels.

    They fill a second-level cache; and they are so many that the kernel, which is read once for all of them, is no larger.
    """
    n, each = x.shape[-2], places[0] * places[1]
    few = max(
        1,
        (
            max(TOGETHER // (numbers * x.dtype.itemsize), out) // each
            if is_numpy(x)
            else n
        ),
    )
    return [slice(start, start + few) for start in range(0, max(1, n), few)]


def with_images(whole: Array | None, here: slice, some: Array, n: int) -> Array:
    """``whole``, made for n images where it is None, with ``some`` of them at ``here``."""
    if some.shape[-2] == n:
        return some
    if whole is None:
        shape = (*some.shape[:-2], n, some.shape[-1])
        whole = array_namespace(some).empty(
            shape, dtype=some.dtype, device=device(some)
        )
    return with_part(whole, (..., here, slice(None)), some)
