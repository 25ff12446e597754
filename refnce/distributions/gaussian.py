"""The Gaussian of full covariance: the noise that Section 4.3 sets against MNIST."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from refnce.array.backend import (
    Array,
    array_namespace,
    asarray,
    device,
    all_true,
    machine_eps,
    is_numpy,
    matrix_transpose,
)
from refnce.array.validation import check_arrays
from refnce.distributions.laws import LOG_2PI

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """N(mean, covariance), a law as in ``laws``: mean (d,) and covariance (d, d), host arrays.

    With covariance = L L^T (Cholesky, in float64) and z = L^-1 (x - mean): E(x) = -|z|^2/2, log_z = log det L + d log(2 pi)/2.
    Raises TypeError for what is no host array of floats, and ValueError where the shapes do not fit or covariance is not finite,
    symmetric and positive definite. Asymmetry beyond the rounding of half the digits is refused; less is averaged away.

    ``whitened`` and ``coloured`` go between x and z, in which the law is N(0, I) and a sampler's steps are as wide in every
    direction. The constants are moved to an array library, dtype and device once, and then kept by the instance.
    """

    mean: Array
    covariance: Array
    factor: Array = field(init=False, repr=False, compare=False)  # L (d, d), lower
    _inverse: Array = field(init=False, repr=False, compare=False)
    _moved: dict[Any, list[Array]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        L = _cholesky(self.mean, self.covariance)
        object.__setattr__(self, "factor", L)
        object.__setattr__(self, "_inverse", array_namespace(L).linalg.inv(L))

    @property
    def log_z(self) -> float:
        xp = array_namespace(self.factor)
        return (
            float(xp.sum(xp.log(xp.linalg.diagonal(self.factor))))
            + 0.5 * self.mean.shape[0] * LOG_2PI
        )

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, d), each sample contiguous in memory."""
        return self.coloured(rng.standard_normal((*shape, self.mean.shape[0])))

    def energy(self, x: Array) -> Array:
        """E(x) (...) of x (..., d)."""
        return -0.5 * array_namespace(x).sum(self.whitened(x) ** 2, axis=-1)

    def log_density(self, x: Array) -> Array:
        """log q(x) (...) of x (..., d)."""
        return self.energy(x) - self.log_z

    def score(self, x: Array) -> Array:
        """d log q/dx (..., d) at x (..., d): -covariance^-1 (x - mean)."""
        z = self.whitened(x)
        _, _, inverse = self._beside(z)
        return -array_namespace(z).matmul(z, inverse)

    def whitened(self, x: Array) -> Array:
        """z = L^-1 (x - mean) (..., d) of x (..., d)."""
        mean, _, inverse = self._beside(x)
        return array_namespace(x).matmul(x - mean, matrix_transpose(inverse))

    def coloured(self, z: Array) -> Array:
        """x = mean + L z (..., d) of z (..., d)."""
        mean, L, _ = self._beside(z)
        return mean + array_namespace(z).matmul(z, matrix_transpose(L))

    def _beside(self, x: Array) -> list[Array]:
        """mean, L and L^-1 in the library, dtype and device of x, which must be (..., d)."""
        xp, d = check_arrays(x=x), self.mean.shape[0]
        if x.ndim == 0 or x.shape[-1] != d:
            raise ValueError(
                f"x must be (..., {d}), the Gaussian's dimension last; got shape {tuple(x.shape)}"
            )
        key = (xp.__name__, str(x.dtype), str(device(x)))
        if key not in self._moved:
            constants = (self.mean, self.factor, self._inverse)
            self._moved[key] = [
                asarray(constant, xp, dtype=x.dtype, device=device(x))
                for constant in constants
            ]
        return self._moved[key]


def _cholesky(mean: Array, covariance: Array) -> Array:
    """The lower factor of the covariance in float64, once both arguments are known to make sense."""
    for name, array in (("mean", mean), ("covariance", covariance)):
        if not is_numpy(array):
            raise TypeError(
                f"{name} must be a host array; got {type(array).__name__}: convert it with refnce.array.backend.to_numpy"
            )
    xp = check_arrays(mean=mean, covariance=covariance)
    if mean.ndim != 1 or covariance.shape != (mean.shape[0], mean.shape[0]):
        raise ValueError(
            f"mean must be (d,) and covariance (d, d); got shapes {mean.shape} and {covariance.shape}"
        )
    C = xp.astype(covariance, xp.float64)
    if not (all_true(xp.isfinite(mean)) and all_true(xp.isfinite(C))):
        raise ValueError(
            "mean and covariance must be finite; got NaN or an infinity: drop those samples or coordinates"
        )
    off, half = float(xp.max(xp.abs(C - C.T), initial=0.0)), math.sqrt(
        machine_eps(covariance.dtype, xp)
    )
    if off > half * float(xp.max(xp.abs(C), initial=0.0)):
        raise ValueError(
            f"covariance must be symmetric; it differs by {off:g} from its transpose C.T: pass (C + C.T)/2"
        )
    C = 0.5 * (C + C.T)
    try:
        L = xp.linalg.cholesky(C)
    except xp.linalg.LinAlgError:
        L = xp.zeros_like(C)
    # A pivot that is but the rounding of the sums it comes from is no variance that the data have (Higham, Theorem 10.3).
    variance = xp.linalg.diagonal(C)
    if not all_true(
        xp.linalg.diagonal(L) ** 2
        > (len(C) + 1) * machine_eps(xp.float64, xp) * variance
    ):
        eigenvalues = xp.linalg.eigvalsh(C)
        raise ValueError(
            f"covariance must be positive definite; its eigenvalues are from {eigenvalues[0]:g} to {eigenvalues[-1]:g}: "
            "add a jitter to its diagonal, such as a small part of its mean variance"
        )
    return L
