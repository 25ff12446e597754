"""First-order optimizers as pure functions: ``f(state, gradient, *, rate) -> (state, step)``, applied as theta + step.

The gradient is (..., k); leading axes are independent runs. The state before the first step is None; what a function
returns is what it wants back: arrays and numbers in tuples, lists and dicts, whole numbers being counts, which are not
negative. Algorithm 1 gives theta to one of these, and F to the plain rule of ``refnce.train``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnce.array.backend import Array, array_namespace, elementwise

__all__ = ["adam", "ngd", "sgd"]


def sgd(state: None, gradient: Array, *, rate: float) -> tuple[None, Array]:
    """Gradient descent: step = -rate gradient."""
    return state, -rate * gradient


def ngd(state: None, gradient: Array, *, rate: float) -> tuple[None, Array]:
    """Normalised gradient descent (Liu et al. 2021): step = -rate gradient/|gradient|, the norm over all k coordinates.

    Where the gradient is 0 the step is 0. In the chasm gradients are so small that their squares underflow: the
    largest coordinate is divided out first.
    """
    xp = array_namespace(gradient)
    largest = xp.max(xp.abs(gradient), axis=-1, keepdims=True)
    direction = gradient / xp.where(largest > 0, largest, xp.ones_like(largest))
    norm = xp.linalg.vector_norm(direction, axis=-1, keepdims=True)
    return state, -rate * direction / xp.where(norm > 0, norm, xp.ones_like(norm))


def adam(
    state: Any, gradient: Array, *, rate: float
) -> tuple[tuple[int, Array, Array], Array]:
    """Adam (Kingma & Ba 2015) with its bias correction, eps = 1e-8 outside the root: step = -rate m/(sqrt(v) + eps)."""
    xp = array_namespace(gradient)
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    t, m, v = (
        (0, xp.zeros_like(gradient), xp.zeros_like(gradient))
        if state is None
        else state
    )
    t = t + 1

    def update(gradient: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        m = beta1 * m + (1.0 - beta1) * gradient
        v = beta2 * v + (1.0 - beta2) * gradient**2
        m_hat, v_hat = m / (1.0 - beta1**t), v / (1.0 - beta2**t)
        return m, v, -rate * m_hat / (xp.sqrt(v_hat) + eps)

    m, v, change = elementwise(update, gradient, m, v)
    return (t, m, v), change


def mapped(f: Callable[..., Any], *states: Any) -> Any:
    """Apply ``f`` to the arrays and numbers, one after another, of states that have one form; None stays."""
    first = states[0]
    if isinstance(first, dict):
        return {
            key: mapped(f, *(state[key] for state in states)) for key in sorted(first)
        }
    if isinstance(first, (tuple, list)):
        make = getattr(first, "_make", type(first))
        return make(mapped(f, *branches) for branches in zip(*states, strict=True))
    return None if first is None else f(*states)
