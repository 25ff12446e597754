"""Images of bytes as continuous data (Section 4.3): dequantised, perhaps through a logit, and the moments for the noise.

    x = dequantised(digits.train_images[:64], rng)         # (pixel + U[0, 1))/256, in [0, 1)
    noise = Gaussian(*moments(digits.train_images))        # refnce.distributions.gaussian: mean and covariance of such x

The paper says no more than "dequantized". The figures use x as it is; ``logit=True`` is the choice of Rhodes et al. 2020.
"""

from __future__ import annotations

import math
from typing import Any

from refnce.array.backend import Array, array_namespace
from refnce.array.validation import check_arrays

__all__ = ["dequantised", "log_jacobian", "logit_of", "moments"]

ALPHA = 1e-6  # Rhodes et al. 2020: keeps the logit finite at 0 and 1
LEVELS = 256


def dequantised(images: Array, rng: Any, *, logit: bool = False) -> Array:
    """Return x = (images + U[0, 1))/256 of uint8 ``images`` (..., d), float64 in [0, 1), or with ``logit`` its ``logit_of``.

    The noise, by the NumPy Generator ``rng``, gives the pixels a density. Raises TypeError where images are not uint8.
    """
    xp = _of_pixels(images)
    x = (images + rng.random(images.shape)) / LEVELS
    x = xp.minimum(
        x, math.nextafter(1.0, 0.0)
    )  # 255 + u rounds to 256 for the largest u
    return logit_of(x) if logit else x


def logit_of(x: Array) -> Array:
    """Return y = log(s/(1 - s)), s = alpha + (1 - 2 alpha) x, alpha = 1e-6, of x (..., d) in [0, 1] (Rhodes et al. 2020)."""
    s, rest = _shrunk(x)
    xp = array_namespace(x)
    return xp.log(s) - xp.log(rest)


def log_jacobian(x: Array) -> Array:
    """Return log |det dy/dx| (...) of ``logit_of`` at x (..., d): log p_x(x) = log p_y(y) + it."""
    s, rest = _shrunk(x)
    xp = array_namespace(x)
    # dy/dx = (1 - 2 alpha)/(s (1 - s)), coordinate by coordinate
    return x.shape[-1] * math.log1p(-2.0 * ALPHA) - xp.sum(
        xp.log(s) + xp.log(rest), axis=-1
    )


def _shrunk(x: Array) -> tuple[Array, Array]:
    """s and 1 - s, which has its digits also where s rounds to 1."""
    check_arrays(x=x)
    return ALPHA + (1.0 - 2.0 * ALPHA) * x, ALPHA + (1.0 - 2.0 * ALPHA) * (1.0 - x)


def moments(images: Array) -> tuple[Array, Array]:
    """Return the mean (d,) and covariance (d, d) of ``dequantised(images, rng)``, a row of uint8 ``images`` (n, d) by chance.

    cov(images)/256^2 + I/(12 256^2), cov with denominator n: float64, rounded from integers that are exact up to n = 370,000. The
    second term, the variance of the dequantisation itself, bounds every eigenvalue from below, so that the covariance of
    images with pixels that never change is regular without any jitter. Raises TypeError where images are not uint8.
    """
    xp = _of_pixels(images)
    n, d = images.shape
    total, products = xp.zeros(d), xp.zeros((d, d))
    for start in range(
        0, n, 4096
    ):  # 25 MB of float64 at a time, whose sums are whole numbers under 2^53: exact in any order
        block = xp.astype(images[start : start + 4096], xp.float64)
        total += xp.sum(block, axis=0)
        products += block.T @ block
    scatter = n * products - total[:, None] * total
    mean = (2.0 * total + n) / (2 * LEVELS * n)  # total/n + 1/2, the mean of U[0, 1)
    return mean, scatter / (n * LEVELS) ** 2 + xp.eye(d) / (12 * LEVELS**2)


def _of_pixels(images: Array) -> Any:
    xp = array_namespace(images)
    if images.dtype != xp.uint8:
        raise TypeError(
            f"images must hold uint8 pixels, as read; got {images.dtype}: numbers in [0, 1] are dequantised already"
        )
    return xp
