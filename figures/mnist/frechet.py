"""The Frechet distance between two samples of features."""

from typing import Any

import numpy as np

__all__ = ["frechet"]


def frechet(x: Any, y: Any) -> float:
    """Return the squared 2-Wasserstein distance of Gaussians with the moments of x, y.

    Parameters
    ----------
    x, y : array (n, d), (m, d)

    Returns
    -------
    float
        |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2) (Dowson and Landau
        1982; Heusel et al. 2017, arXiv:1706.08500). Of two samples of one law it is
        some d^2/n too large: compare samples of equal size.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.frechet import frechet
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> round(frechet(x, x + 1.0), 6)
    3.0
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    C_x, C_y = np.cov(x.T), np.cov(y.T)
    # The trace of the root is the sum of the singular values of C_x^1/2 C_y^1/2.
    cross = np.linalg.norm(_root(C_x) @ _root(C_y), "nuc")
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(C_x + C_y) - 2.0 * cross)


def _root(C: Any) -> Any:
    values, vectors = np.linalg.eigh(C)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
