"""First-order optimizers: pure functions ``f(state, gradient, *, rate)``.

Each returns ``(state, step)``; the step is added: theta <- theta + step. The gradient
is (..., k), leading axes being independent runs. The state before the first step is
None. Afterwards it is None, an array, a step counter, or a tuple, list or dict of them.
"""

from typing import Any

from refnce.array import Array, check_arrays

__all__ = ["adam", "ngd", "sgd"]


def sgd(state: None, gradient: Array, *, rate: float) -> tuple[None, Array]:
    """Gradient descent, step = -rate gradient.

    Parameters
    ----------
    state : None
        sgd keeps no state.
    gradient : array (..., k)
    rate : float

    Returns
    -------
    state : None
    step : array (..., k)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import optim
    >>> optim.sgd(None, np.asarray([2.0, -4.0]), rate=0.5)[1]
    array([-1.,  2.])
    """
    check_arrays(gradient=gradient)
    return state, -rate * gradient


def ngd(state: None, gradient: Array, *, rate: float) -> tuple[None, Array]:
    """Normalised gradient descent, step = -rate gradient/|gradient| (Liu et al. 2021).

    Parameters
    ----------
    state : None
        ngd keeps no state.
    gradient : array (..., k)
    rate : float
        The Euclidean length of the step.

    Returns
    -------
    state : None
    step : array (..., k)
        0 where the gradient is 0.

    Notes
    -----
    The norm is over all k coordinates of a run. The largest coordinate is divided out
    first, because the squares of small gradients underflow.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import optim
    >>> optim.ngd(None, np.asarray([3e-200, 4e-200]), rate=1.0)[1]
    array([-0.6, -0.8])
    """
    xp = check_arrays(gradient=gradient)
    largest = xp.max(xp.abs(gradient), axis=-1, keepdims=True)
    direction = gradient / xp.where(largest > 0, largest, xp.ones_like(largest))
    norm = xp.linalg.vector_norm(direction, axis=-1, keepdims=True)
    return state, -rate * direction / xp.where(norm > 0, norm, xp.ones_like(norm))


def adam(
    state: Any, gradient: Array, *, rate: float
) -> tuple[tuple[int, Array, Array], Array]:
    """Adam with bias correction, step = -rate m/(sqrt(v) + eps) (Kingma & Ba 2015).

    Parameters
    ----------
    state : tuple (count, m, v) or None
        What the previous step returned; None before the first.
    gradient : array (..., k)
    rate : float

    Returns
    -------
    state : tuple (count, m, v)
        The number of steps and the running means of the gradient and of its square.
    step : array (..., k)

    Notes
    -----
    beta1 = 0.9, beta2 = 0.999; eps = 1e-8 stands outside the root.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import optim
    >>> state, step = optim.adam(None, np.asarray([5.0, -0.1]), rate=0.01)
    >>> step.round(6), state[0]
    (array([-0.01,  0.01]), 1)
    """
    xp = check_arrays(gradient=gradient)
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    count, m, v = (0, 0.0, 0.0) if state is None else state
    count = count + 1
    m = beta1 * m + (1.0 - beta1) * gradient
    v = beta2 * v + (1.0 - beta2) * gradient**2
    m_hat, v_hat = m / (1.0 - beta1**count), v / (1.0 - beta2**count)
    return (count, m, v), -rate * m_hat / (xp.sqrt(v_hat) + eps)
