"""The nearest-neighbour error between two samples of images."""

import math
from typing import Any

import numpy as np

__all__ = ["nearest_error"]


def nearest_error(x: Any, y: Any) -> float:
    """Return the leave-one-out error of the nearest neighbour in telling x from y.

    Parameters
    ----------
    x, y : array (n, d), (m, d)
        Values are cut to [0, 1].

    Returns
    -------
    float
        1/2 for samples of one law (n = m), 0 for samples that are told at once
        (Lopez-Paz and Oquab 2017, arXiv:1610.06545).

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.nearest import nearest_error
    >>> x = np.array([[0.0, 0.0], [0.1, 0.0]])
    >>> nearest_error(x, x + 0.5), nearest_error(x, x + np.array([0.0, 0.01]))
    (0.0, 1.0)
    """
    both = np.concatenate([x, y]).clip(0.0, 1.0)
    square = np.sum(both**2, axis=-1)
    distance = square[:, None] + square - 2.0 * both @ both.T
    np.fill_diagonal(distance, math.inf)
    own = np.arange(len(both)) < len(x)
    return float(np.mean(own[distance.argmin(axis=-1)] != own))
