"""What a layer is.

``layer(params, x) -> (y, pullback)`` evaluates a layer at ``params``, a dict of named
arrays. ``pullback(dy) -> (dx, dparams)`` is its vector-Jacobian product there: dx has
the shape of x, dparams the keys and shapes of params. ``pullback(dy, dx=False)`` and
``pullback(dy, dparams=False)`` return None for the half that is not needed. A layer
has no state: its pullback may be called any number of times, in any order.

Leading axes of params and x are independent runs, and broadcast. The gradient of an
array that was broadcast is the sum over the runs that shared it.
"""

from collections.abc import Callable
from typing import Any

from refnce.array import Array, array_namespace

Params = dict[str, Array]
Gradients = tuple[Any, Any]  # (dx, dparams), None for a half that was not asked for
Pullback = Callable[..., Gradients]  # pullback(dy, *, dx=True, dparams=True)
Output = tuple[Array, Pullback]  # (y, pullback)
Layer = Callable[[Params, Array], Output]
Half = Callable[[Array], Any]


def output(y: Array, x_vjp: Half, params_vjp: Half = lambda dy: {}) -> Output:
    """Return (y, pullback) with dx = x_vjp(dy) and dparams = params_vjp(dy).

    Without ``params_vjp`` the layer has no parameters.
    """

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
        return (x_vjp(dy) if dx else None), (params_vjp(dy) if dparams else None)

    return y, pullback


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``gradient`` over the axes along which an array of ``shape`` is broadcast."""
    if gradient.shape == shape:
        return gradient
    sizes = (None,) * (gradient.ndim - len(shape)) + tuple(shape)
    axes = [k for k, size in enumerate(sizes) if size != gradient.shape[k]]
    xp = array_namespace(gradient)
    return xp.reshape(xp.sum(gradient, axis=tuple(axes)), shape)
