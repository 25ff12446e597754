"""The leaky rectifier."""

from typing import Any

from refnce.array import Array, array_namespace, check_arrays
from refnce.nn.layer import Output, Params, output

SLOPE = 0.01


def leaky_relu(params: Params, x: Array) -> Output:
    """Leaky rectifier: x where x > 0, and 0.01 x elsewhere.

    Parameters
    ----------
    params : dict
        Empty: the layer has no parameters.
    x : array (...)
        Any shape.

    Returns
    -------
    y : array (...)
        Of the shape of x.
    pullback : callable
        ``pullback(dy) -> (dx, {})``.

    Notes
    -----
    At x = 0 the derivative is 0.01, as in PyTorch. Any number from 0.01 to 1 is a
    subgradient there.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> y, pullback = nn.leaky_relu({}, np.array([-1.0, 0.0, 2.0]))
    >>> y
    array([-0.01,  0.  ,  2.  ])
    >>> pullback(np.ones(3))[0]
    array([0.01, 0.01, 1.  ])
    """
    xp, dtype = check_arrays(x=x), x.dtype
    positive = x > 0  # one byte per number, where x would be four or eight
    return output(xp.maximum(x, SLOPE * x), lambda dy: dy * slope(positive, dtype))


def slope(positive: Array, dtype: Any) -> Array:
    """Return exactly 1 where ``positive`` and SLOPE elsewhere.

    It takes a third of the time of ``where``.
    """
    result = array_namespace(positive).astype(positive, dtype)
    result *= 1.0 - SLOPE
    result += SLOPE
    return result
