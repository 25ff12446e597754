"""The Gaussian of full covariance: the noise for MNIST (Section 4.3)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from figures.mnist.dequantize import moments
from refnce.array import Array, all_true, array_namespace, device, invalid, machine_eps
from refnce.array import shape_of
from refnce.distributions.common import LOG_2PI, check_parameters, check_x, sum_last


@dataclass(frozen=True)
class Gaussian:
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
    >>> from figures.mnist.gaussian import Gaussian
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
        check_parameters(mean=self.mean, covariance=self.covariance)
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

    def log_density(self, x: Array) -> Array:
        """Return E(x) - log_z (...) of x (..., d)."""
        return -0.5 * sum_last(self.whiten(x) ** 2) - self.log_z

    def log_density_and_score(self, x: Array) -> tuple[Array, Array]:
        """Return the log-density (...) and its gradient (..., d) of x (..., d)."""
        z, (_, _, inverse) = self.whiten(x), self._constants(x)
        return -0.5 * sum_last(z**2) - self.log_z, -z @ inverse

    def whiten(self, x: Array) -> Array:
        """Return z = L^-1 (x - mean) (..., d) of x (..., d)."""
        mean, _, inverse = self._constants(x)
        return (x - mean) @ inverse.T

    def unwhiten(self, z: Array) -> Array:
        """Return x = mean + L z (..., d) of z (..., d)."""
        mean, L, _ = self._constants(z)
        return mean + z @ L.T

    def whiten_gradient(self, dx: Array) -> Array:
        """Return the gradient dx @ L (..., d) in z of a function of x."""
        return dx @ self._constants(dx)[1]

    def _constants(self, x: Array) -> list[Array]:
        """Mean, L and L^-1 as arrays of x's kind, converted once for each kind."""
        d, L = self.mean.shape[0], self.factor
        check_x(x, d)
        key = (type(x), str(x.dtype), str(device(x)))
        if key not in self._converted:
            inverse = array_namespace(L).linalg.inv(L)
            self._converted[key] = check_x(x, d, self.mean, L, inverse)
        return self._converted[key]


def fit_gaussian(images: Any, sigma: float) -> Gaussian:
    """The Gaussian with the moments of images of bytes, smoothed by N(0, sigma^2 I)."""
    mean, covariance = moments(images)
    eye = array_namespace(mean).eye(mean.shape[0], dtype=mean.dtype)
    return Gaussian(mean, covariance + sigma**2 * eye)


@dataclass(frozen=True)
class Whitened:
    """A noise and a log-ratio in the coordinates z of a Gaussian, x = mean + L z.

    Densities of z and of x differ by the constant log det L, which is left out.
    """

    gaussian: Gaussian
    noise: Any
    pixels: Any  # x -> (r, dr/dx)

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw z (*shape, d) of the noise."""
        return self.gaussian.whiten(self.noise.sample(rng, *shape))

    def log_density_and_score(self, z: Array) -> tuple[Array, Array]:
        """Those of the noise."""
        return self._in_z(self.noise.log_density_and_score, z)

    def ratio(self, z: Array) -> tuple[Array, Array]:
        """r and its gradient in z."""
        return self._in_z(self.pixels, z)

    def density(self, z: Array) -> tuple[Array, Array]:
        """log q + r and its gradient."""
        (log_q, score), (r, dr) = self.log_density_and_score(z), self.ratio(z)
        return log_q + r, score + dr

    def _in_z(self, function: Any, z: Array) -> tuple[Array, Array]:
        value, slope = function(self.gaussian.unwhiten(z))
        return value, self.gaussian.whiten_gradient(slope)
