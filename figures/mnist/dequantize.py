"""Images of bytes as continuous data (Section 4.3), and their moments for the noise.

The paper says no more than "dequantized": x = (pixel + U[0, 1))/256, without a logit.
"""

import math
from typing import Any

import numpy as np

__all__ = ["dequantize", "moments"]

LEVELS = 256


def dequantize(images: Any, rng: Any) -> Any:
    """Return (images + U[0, 1))/256, whose noise gives the pixels a density.

    Parameters
    ----------
    images : uint8 array (..., d)
    rng : numpy.random.Generator

    Returns
    -------
    float64 array (..., d)
        In [0, 1).

    Raises
    ------
    TypeError
        If images do not hold uint8.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.dequantize import dequantize
    >>> images = np.array([[0, 128, 255]], dtype=np.uint8)
    >>> dequantize(images, np.random.default_rng(0)).round(4)
    array([[0.0025, 0.5011, 0.9963]])
    """
    _check_pixels(images)
    x = (images + rng.random(images.shape)) / LEVELS
    return np.minimum(x, math.nextafter(1.0, 0.0))  # 255 + u may round to 256


def moments(images: Any) -> tuple[Any, Any]:
    """Mean and covariance of a dequantized image drawn uniformly from ``images``.

    Parameters
    ----------
    images : uint8 array (n, d)

    Returns
    -------
    mean : float64 array (d,)
    covariance : float64 array (d, d)
        cov(images)/256^2 + I/(12 256^2), with denominator n.

    Raises
    ------
    TypeError
        If images do not hold uint8.

    Notes
    -----
    Sums are exact integers up to n = 370,000. The second term of the covariance, the
    variance of the dequantization noise, is the least eigenvalue possible. So the
    covariance is positive definite even where a pixel is the same in all images.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.dequantize import moments
    >>> mean, covariance = moments(np.array([[0, 3], [2, 3]], dtype=np.uint8))
    >>> mean * 256, (covariance * 256**2).round(4)
    (array([1.5, 3.5]), array([[1.0833, 0.    ],
           [0.    , 0.0833]]))
    """
    _check_pixels(images)
    n, d = images.shape
    total, products = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, 4096):  # blocks of 25 MB for MNIST
        block = images[start : start + 4096].astype(np.float64)
        total += block.sum(axis=0)
        products += block.T @ block
    scatter = n * products - total[:, None] * total
    mean = (2.0 * total + n) / (2 * LEVELS * n)  # (total/n + 1/2)/256
    return mean, scatter / (n * LEVELS) ** 2 + np.eye(d) / (12 * LEVELS**2)


def _check_pixels(images: Any) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must hold uint8 pixels, as read; got {images.dtype}")
