"""Gaussians of unit, diagonal and full covariance: families and noises of Section 4."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from refnce.array import Array, all_true, array_namespace, check_arrays, device, invalid
from refnce.array import is_numpy, machine_eps, shape_of
from refnce.distributions.common import LOG_2PI, Law, check_x, normal, sum_last


class _Independent:
    """N(mean, diag(variance)): its coordinates are independent."""

    mean: Array
    variance: Array

    @property
    def log_z(self) -> Array:
        """F* (...), the log of the normalising constant of exp(E)."""
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

    def energy(self, x: Array) -> Array:
        """Return E(x) = <T(x), theta> + log h(x) (...) of x (..., d)."""
        mean, variance = check_x(x, self.mean.shape[-1], self.mean, self.variance)
        return sum_last(x * (mean / variance) - 0.5 * x**2 / variance)

    def log_density(self, x: Array) -> Array:
        """Return E(x) - log_z (...) of x (..., d), computed from x - mean."""
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
        _check_parameters(mean=self.mean)

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
        """Return E(x) - log_z (...) of x (..., d), computed from x - mean."""
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
        _check_parameters(mean=self.mean, variance=self.variance)
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
        x_T = xp.matrix_transpose(x)
        return xp.matrix_transpose(xp.concat([x_T**2, x_T], axis=-2))

    @staticmethod
    def log_base(x: Array) -> Array:
        """Return log h(x) = 0 (...) of x (..., d)."""
        return array_namespace(x).zeros_like(x[..., 0])


@dataclass(frozen=True)
class Gaussian(Law):
    """N(mean, covariance) with full covariance: the noise for MNIST, Section 4.3.

    Parameters
    ----------
    mean : NumPy array (d,)
    covariance : NumPy array (d, d)
        Positive definite, and symmetric to half of the dtype's digits; smaller
        asymmetry is averaged out.

    Attributes
    ----------
    factor : array (d, d)
        L, lower triangular with L L^T = covariance (Cholesky, in float64).
    log_z : float
        log det L + d log(2 pi)/2.

    Raises
    ------
    TypeError
        If a parameter is not a NumPy array of floats.
    ValueError
        If shapes do not fit, a parameter is not finite, or covariance is not symmetric
        and positive definite.

    Notes
    -----
    E(x) = -|z|^2/2 with z = L^-1 (x - mean). ``whiten`` converts x to z and
    ``unwhiten`` z to x. In the coordinates z the distribution is N(0, I), so that one
    step size of a sampler suits every direction.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.distributions import Gaussian
    >>> noise = Gaussian(np.zeros(2), np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> noise.factor
    array([[2., 0.],
           [1., 2.]])
    >>> noise.whiten(np.array([2.0, 3.0]))
    array([1., 1.])
    >>> print(noise.log_density(np.array([2.0, 3.0])).round(4))
    -4.2242
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        _check_parameters(mean=self.mean, covariance=self.covariance)
        if self.mean.ndim != 1 or self.covariance.shape != 2 * self.mean.shape:
            got = shape_of(self.mean, self.covariance)
            raise invalid("mean", "be (d,) and covariance (d, d)", got)
        self.factor  # raises unless covariance is symmetric and positive definite

    @cached_property
    def factor(self) -> Array:
        """L (d, d), lower triangular with L L^T = covariance."""
        xp = array_namespace(self.covariance)
        C = xp.astype(self.covariance, xp.float64)
        half_digits = machine_eps(self.covariance.dtype, xp) ** 0.5
        asymmetry, size = xp.linalg.norm(C - C.T), xp.linalg.norm(C)
        if asymmetry > half_digits * size:
            got = f"|C - C.T| = {asymmetry:g} where |C| = {size:g}"
            raise invalid("covariance", "be symmetric", got, "pass (C + C.T)/2")
        C = 0.5 * (C + C.T)
        try:
            L = xp.linalg.cholesky(C)
        except xp.linalg.LinAlgError:
            L = xp.zeros_like(C)
        # A pivot no larger than the rounding of the sums that make it is not a variance
        # of the data (Higham 2002, Theorem 10.3).
        rounding = (len(C) + 1) * machine_eps(xp.float64, xp) * xp.linalg.diagonal(C)
        if not all_true(xp.linalg.diagonal(L) ** 2 > rounding):
            got = f"the smallest eigenvalue {xp.linalg.eigvalsh(C)[0]:g}"
            remedy = "add a small number to its diagonal"
            raise invalid("covariance", "be positive definite", got, remedy)
        return L

    @cached_property
    def _converted(self) -> dict[Any, list[Array]]:
        return {}

    @property
    def log_z(self) -> float:
        """The log of the normalising constant of exp(E)."""
        xp = array_namespace(self.factor)
        log_det = float(xp.sum(xp.log(xp.linalg.diagonal(self.factor))))
        return log_det + 0.5 * self.mean.shape[0] * LOG_2PI

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, d), each sample contiguous in memory."""
        return self.unwhiten(rng.standard_normal((*shape, self.mean.shape[0])))

    def energy(self, x: Array) -> Array:
        """Return E(x) = -|z|^2/2 (...) of x (..., d)."""
        return -0.5 * sum_last(self.whiten(x) ** 2)

    def whiten(self, x: Array) -> Array:
        """Return z = L^-1 (x - mean) (..., d) of x (..., d)."""
        mean, _, inverse = self._constants(x)
        return (x - mean) @ inverse.T

    def unwhiten(self, z: Array) -> Array:
        """Return x = mean + L z (..., d) of z (..., d)."""
        mean, L, _ = self._constants(z)
        return mean + z @ L.T

    def _constants(self, x: Array) -> list[Array]:
        """Mean, L and L^-1 as arrays of x's kind, converted once for each kind."""
        d, L = self.mean.shape[0], self.factor
        check_x(x, d)
        key = (type(x), str(x.dtype), str(device(x)))
        if key not in self._converted:
            inverse = array_namespace(L).linalg.inv(L)
            self._converted[key] = check_x(x, d, self.mean, L, inverse)
        return self._converted[key]


def _check_parameters(**parameters: Array) -> None:
    """Raise unless all are finite NumPy arrays of one floating dtype, not 0-d."""
    xp = check_arrays(**parameters)
    for name, x in parameters.items():
        if not (is_numpy(x) and x.ndim and all_true(xp.isfinite(x))):
            got = f"{type(x).__name__} of {shape_of(x)}"
            raise invalid(name, "be a NumPy array (..., d) of finite numbers", got)
