"""Images (..., H, W, n, C) cut into strips of Winograd's tiles, and put together again: each join is the adjoint of its cut.

A tile gives 4x4 outputs and sees 6x6 inputs, one more on every side. A strip is some rows of tiles of some images.
"""

from __future__ import annotations

from typing import Any

from refnce.array.backend import (
    Array,
    added,
    array_namespace,
    device,
    is_numpy,
    with_part,
)
from refnce.nn.images import batches, zeros_around

Place = tuple[slice, int, int]


def places(x: Array, out: int) -> list[Place]:
    """Strips (images, first row of tiles, row after the last) of x, each image's from its top.

    On the host a strip has one row of tiles of a few images, so that it stays in cache; elsewhere there is one of all.
    """
    high, wide = (-(-size // 4) for size in x.shape[-4:-2])
    step = 1 if is_numpy(x) else high
    few = batches(x, 36 * x.shape[-1], (step, wide), out)
    return [(here, top, top + step) for here in few for top in range(0, high, step)]


def strip(x: Array, place: Place, border: int) -> Array:
    """What the tiles of a strip see of x: (..., 4 down + 2 border, 4 across + 2 border, n, C), with zeros around x."""
    here, top, bottom = place
    high, wide = x.shape[-4:-2]
    first, last = 4 * top - border, 4 * bottom + border
    inside = x[..., max(first, 0) : min(last, high), :, here, :]
    return zeros_around(
        inside, (max(-first, 0), max(last - high, 0)), (border, -wide % 4 + border)
    )


def joined(
    whole: Array | None, some: Array, size: tuple[int, ...], place: Place, border: int
) -> Array:
    """The adjoint of ``strip``: ``whole``, of ``size`` (H, W, n) and made where it is None, to which strip ``some`` adds."""
    xp, (here, top, _), (high, wide, _) = array_namespace(some), place, size
    first = 4 * top - border
    start = max(first, 0)
    some = some[..., start - first : high - first, border : border + wide, :, :]
    if some.shape[-4:-1] == size:
        return some
    if whole is None:
        whole = xp.empty(
            (*some.shape[:-4], *size, some.shape[-1]),
            dtype=some.dtype,
            device=device(some),
        )
    met = start + (
        2 * border if top else 0
    )  # the rows up to here are those of the strip above too
    whole = added(
        whole,
        (..., slice(start, met), slice(None), here, slice(None)),
        some[..., : met - start, :, :, :],
    )
    rest = some[..., met - start :, :, :, :]
    return with_part(
        whole,
        (..., slice(met, start + some.shape[-4]), slice(None), here, slice(None)),
        rest,
    )


def cut6(x: Array, axis: int) -> Array:
    """Windows of 6, every 4, along an axis of 4 k + 2: the place within them is a new axis -5 and k stays at ``axis``."""
    xp, count = array_namespace(x), x.shape[axis] // 4
    if count == 1:
        return xp.expand_dims(xp.moveaxis(x, axis, -4), axis=axis)
    return xp.stack([x[_every4(axis, j, 4 * count - 3 + j)] for j in range(6)], axis=-5)


def joined6(x: Array, axis: int) -> Array:
    """The adjoint of ``cut6``: windows add where they overlap."""
    xp, count = array_namespace(x), x.shape[axis]
    if count == 1:
        return xp.moveaxis(xp.squeeze(x, axis=axis), -4, axis)
    shape = [*x.shape[:-5], *x.shape[-4:]]
    shape[axis] = 4 * count + 2
    whole = xp.empty(tuple(shape), dtype=x.dtype, device=device(x))
    for j in range(6):
        part = x[..., j, :, :, :, :]
        if j < 4:
            whole = with_part(whole, _every4(axis, j, 4 * count), part)
        else:  # all but the last window's have met the next window's first two
            whole = with_part(whole, _every4(axis, 4 * count + j - 4, None), 0.0)
            whole = added(whole, _every4(axis, j, None), part)
    return whole


def cut4(x: Array, axis: int) -> Array:
    """Windows of 4 side by side along an axis of 4 k, as ``cut6`` gives its."""
    xp, axis = array_namespace(x), x.ndim + axis
    x = xp.reshape(x, (*x.shape[:axis], x.shape[axis] // 4, 4, *x.shape[axis + 1 :]))
    return xp.moveaxis(x, axis + 1, -5)


def joined4(x: Array, axis: int) -> Array:
    """The adjoint of ``cut4``, and its inverse."""
    xp = array_namespace(x)
    x = xp.moveaxis(x, -5, axis)
    axis += x.ndim
    return xp.reshape(
        x, (*x.shape[: axis - 1], 4 * x.shape[axis - 1], *x.shape[axis + 1 :])
    )


def _every4(axis: int, start: int, stop: int | None) -> tuple[Any, ...]:
    return (..., slice(start, stop, 4), *(slice(None),) * (-1 - axis))
