"""What a layer is, and how gradients of broadcast arrays are summed.

``layer(params, x) -> (y, pullback)`` evaluates a layer; ``pullback(dy) -> (dx, dparams)`` is its vector-Jacobian product
there: dx has the shape of x, dparams the keys and shapes of params. ``pullback(dy, dx=False)`` and ``pullback(dy,
dparams=False)`` leave out, as None, the half that training or sampling does not need. params is a dict of named arrays.
Nothing is hidden: a layer has no state, and its pullback can be called any number of times.
"""

from __future__ import annotations

from typing import Any, Protocol

from refnce.array.backend import Array, array_namespace

Params = dict[str, Array]


class Pullback(Protocol):
    """``pullback(dy, *, dx=True, dparams=True) -> (dx, dparams)``."""

    def __call__(
        self, dy: Array, *, dx: bool = True, dparams: bool = True
    ) -> tuple[Any, Any]: ...


class Layer(Protocol):
    """``layer(params, x) -> (y, pullback)``."""

    def __call__(self, params: Params, x: Array) -> tuple[Array, Pullback]: ...


def match(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``gradient`` over the axes along which an array of ``shape`` was broadcast."""
    if gradient.shape == shape:
        return gradient
    xp = array_namespace(gradient)
    extra = gradient.ndim - len(shape)
    if extra:
        gradient = xp.sum(gradient, axis=tuple(range(extra)))
    stretched = tuple(
        k for k, (a, b) in enumerate(zip(gradient.shape, shape, strict=True)) if a != b
    )
    return xp.sum(gradient, axis=stretched, keepdims=True) if stretched else gradient
