"""Gaussians of unit and of diagonal covariance: families and noises of Section 4."""

from dataclasses import dataclass
from typing import Any

from refnce.array import Array, all_true, array_namespace, invalid, shape_of
from refnce.distributions.common import LOG_2PI, check_parameters, check_x
from refnce.distributions.common import normal, sum_last


class _Independent:
    """N(mean, diag(variance)): its coordinates are independent."""

    mean: Array
    variance: Array

    @property
    def log_z(self) -> Array:
        """F* (...), the log of the normalising constant of h(x) exp(<T(x), theta>)."""
        log_variance = array_namespace(self.mean).log(self.variance)
        return 0.5 * sum_last(self.mean**2 / self.variance + log_variance + LOG_2PI)

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, d); ``shape`` holds the runs of the parameters."""
        z = normal(rng, *shape, self.mean.shape[-1])
        x = self.mean + self.variance**0.5 * z
        if x.shape != z.shape:
            must = f"begin with the runs of the mean {self.mean.shape}"
            raise invalid("shape", must, shape)
        return x

    def log_density(self, x: Array) -> Array:
        """Return the log-density (...) of x (..., d)."""
        mean, variance = check_x(x, self.mean.shape[-1], self.mean, self.variance)
        log_variance = array_namespace(x).log(variance)
        return -0.5 * sum_last((x - mean) ** 2 / variance + log_variance + LOG_2PI)


@dataclass(frozen=True)
class UnitGaussian(_Independent):
    """N(mean, I), the exponential family T(x) = x of Section 4.2.

    Parameters
    ----------
    mean : NumPy array (..., d)
        Leading axes broadcast against those of the samples: a mean (runs, 1, d) is one
        distribution for each run.

    Attributes
    ----------
    theta : array (..., d)
        The natural parameters: the mean itself.
    log_z : array (...)
        F* = |theta|^2/2 + d log(2 pi)/2.

    Raises
    ------
    TypeError
        If mean is not a NumPy array of floats.
    ValueError
        If mean is not finite.

    Notes
    -----
    The base measure is h(x) = exp(-|x|^2/2), which the paper prints as q. The noise
    N(0, I) has theta = 0.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.distributions import UnitGaussian
    >>> data = UnitGaussian(np.array([16.0]))
    >>> print(data.log_z.round(4))
    128.9189
    >>> data.sample(np.random.default_rng(0), 5, 512).shape
    (5, 512, 1)
    """

    mean: Array
    variance = 1.0

    def __post_init__(self) -> None:
        check_parameters(mean=self.mean)

    @property
    def theta(self) -> Array:
        """The natural parameters (..., d)."""
        return self.mean

    @staticmethod
    def statistics(x: Array) -> Array:
        """Return T(x) = x (..., d) of x (..., d)."""
        return x

    @staticmethod
    def log_base(x: Array) -> Array:
        """Return log h(x) = -|x|^2/2 (...) of x (..., d)."""
        return -0.5 * sum_last(x**2)

    def log_density(self, x: Array) -> Array:
        """Return the log-density (...) of x (..., d)."""
        (mean,) = check_x(x, self.mean.shape[-1], self.mean)
        return -0.5 * (sum_last((x - mean) ** 2) + x.shape[-1] * LOG_2PI)


@dataclass(frozen=True)
class DiagonalGaussian(_Independent):
    """N(mean, diag(variance)), the exponential family T(x) = [x^2, x] of Section 4.2.

    Parameters
    ----------
    mean, variance : NumPy arrays (..., d)
        Of one shape. Leading axes broadcast against those of the samples: parameters
        (runs, 1, d) are one distribution for each run.

    Attributes
    ----------
    theta : array (..., 2 d)
        The natural parameters [-1/(2 variance), mean/variance].
    log_z : array (...)
        F* = sum of mean^2/(2 variance) + log(2 pi variance)/2 over the coordinates.

    Raises
    ------
    TypeError
        If a parameter is not a NumPy array of floats.
    ValueError
        If the shapes differ, a parameter is not finite or a variance is not > 0.

    Notes
    -----
    The base measure is 1. Equal variances s are the isotropic Gaussian N(mean, s I).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.distributions import DiagonalGaussian
    >>> noise = DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
    >>> noise.theta
    array([-0.25, -0.25,  0.  ,  0.  ])
    >>> noise.log_density(np.array([[0.0, 0.0], [2.0, 0.0]])).round(4)
    array([-2.531, -3.531])
    """

    mean: Array
    variance: Array

    def __post_init__(self) -> None:
        check_parameters(mean=self.mean, variance=self.variance)
        if self.mean.shape != self.variance.shape:
            got = shape_of(self.mean, self.variance)
            raise invalid("mean and variance", "have one shape", got)
        if not all_true(self.variance > 0):
            raise invalid("variance", "be > 0", self.variance.min())

    @property
    def theta(self) -> Array:
        """The natural parameters (..., 2 d)."""
        xp = array_namespace(self.mean)
        return xp.concat([-0.5 / self.variance, self.mean / self.variance], axis=-1)

    @staticmethod
    def statistics(x: Array) -> Array:
        """Return T(x) = [x^2, x] (..., 2 d) of x (..., d)."""
        xp = array_namespace(x)
        # Joined along the axis before, so that each statistic is contiguous in memory.
        x_T = x.mT
        return xp.concat([x_T**2, x_T], axis=-2).mT

    @staticmethod
    def log_base(x: Array) -> Array:
        """Return log h(x) = 0 (...) of x (..., d)."""
        return array_namespace(x).zeros_like(x[..., 0])
