"""Data and noise laws of the paper's experiments, each owning its analytic log Z.

A law is a frozen record of its parameters with

- ``sample(rng, *shape)``: draws (*shape, d) by the NumPy Generator that the caller passes, as a host array;
- ``energy(x)``: the unnormalised log-density E (...) of x (..., d);
- ``log_z``: the log of its normaliser (F* where the law belongs to an exponential family);
- ``log_density(x)`` = E(x) - log_z.

The two exponential families of Section 4.2 also have ``statistics(x)``, T(x) (..., k) without its entry -1,
``log_base(x)`` (...), the log of the base measure, and ``theta`` (..., k), the natural parameters: then Equation 2 reads
E(x) = <T(x), theta> + log_base(x). Parameters are host arrays that broadcast against the samples: variances (runs, 1, d)
make one law per run, whose ``theta`` is (runs, 1, k) and ``log_z`` (runs, 1).

The last axis but one of a draw, the samples, is the contiguous one in memory: a statistic of all samples is then one
vector, which is what the sums over samples that follow want.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from refnce.array.backend import Array, array_namespace, asarray, device, all_true
from refnce.array.validation import check_arrays
from refnce.array.special import logmeanexp

__all__ = ["DiagonalGaussian", "Pinwheel", "RingMixture", "UnitGaussian"]

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class UnitGaussian:
    """N(mean, I): the family T(x) = x with base measure exp(-|x|^2/2), theta = mean (..., d), Section 4.2.

    The paper prints that base measure as q. With it F* = |theta|^2/2 + d log(2 pi)/2, and the noise N(0, I) is theta = 0.
    """

    mean: Array

    @property
    def theta(self) -> Array:
        return self.mean

    @property
    def log_z(self) -> Array:
        return 0.5 * _total(self.mean**2 + LOG_2PI)

    def sample(self, rng: Any, *shape: int) -> Array:
        return self.mean + _normals(rng, *shape, self.mean.shape[-1])

    @staticmethod
    def statistics(x: Array) -> Array:
        return x

    @staticmethod
    def log_base(x: Array) -> Array:
        return -0.5 * _total(x**2)

    def energy(self, x: Array) -> Array:
        (mean,) = _beside(x, self.mean)
        return _total(x * mean) + self.log_base(x)

    def log_density(self, x: Array) -> Array:
        (mean,) = _beside(x, self.mean)
        squares = _total((x - mean) ** 2)  # E - log_z, its squares completed
        return -0.5 * (squares + x.shape[-1] * LOG_2PI)


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag(variance)): the family T(x) = [x^2, x] with base measure 1, Section 4.2.

    mean and variance (..., d) have one shape. theta = [-1/(2 variance), mean/variance] and
    F* = sum of mean^2/(2 variance) + log(2 pi variance)/2 over the coordinates. N(0, s I) is the isotropic Gaussian.
    """

    mean: Array
    variance: Array

    def __post_init__(self) -> None:
        if self.mean.shape != self.variance.shape:
            raise ValueError(
                f"mean and variance must have one shape; got {self.mean.shape} and {self.variance.shape}"
            )
        if not all_true(self.variance > 0):
            raise ValueError(f"variance must be > 0; got {self.variance.min()}")

    @property
    def theta(self) -> Array:
        xp = array_namespace(self.mean, self.variance)
        return xp.concat([-0.5 / self.variance, self.mean / self.variance], axis=-1)

    @property
    def log_z(self) -> Array:
        xp = array_namespace(self.mean, self.variance)
        return 0.5 * _total(
            self.mean**2 / self.variance + xp.log(self.variance) + LOG_2PI
        )

    def sample(self, rng: Any, *shape: int) -> Array:
        return self.mean + self.variance**0.5 * _normals(
            rng, *shape, self.mean.shape[-1]
        )

    @staticmethod
    def statistics(x: Array) -> Array:
        xp = array_namespace(x)
        features = xp.matrix_transpose(
            x
        )  # joined along the axis of features, so that each stays one vector
        return xp.matrix_transpose(xp.concat([features**2, features], axis=-2))

    @staticmethod
    def log_base(x: Array) -> Array:
        return array_namespace(x).zeros_like(x[..., 0])

    def energy(self, x: Array) -> Array:
        mean, variance = _beside(x, self.mean, self.variance)
        return _total(x * (mean / variance) - 0.5 * x**2 / variance)

    def log_density(self, x: Array) -> Array:
        mean, variance = _beside(x, self.mean, self.variance)
        log_variance = array_namespace(x).log(variance)
        return -0.5 * _total(
            (x - mean) ** 2 / variance + log_variance + LOG_2PI
        )  # E - log_z, its squares completed


@dataclass(frozen=True)
class RingMixture:
    """Equal mixture of Gaussians N(mu_k, sd^2 I), mu_k evenly on a circle of the first two coordinates (Figure 1, 8-Gaussians).

    E(x) = log sum_k exp(-|x - mu_k|^2/(2 sd^2)), so log_z = log(components) + d log(2 pi sd^2)/2. ``phase`` turns the circle.
    """

    dimension: int = 20
    components: int = 10
    radius: float = 4.0
    phase: float = 0.0
    sd: float = 1.0

    def __post_init__(self) -> None:
        if self.dimension < 2 or self.components < 1 or not self.sd > 0:
            raise ValueError(
                f"dimension must be >= 2 (the circle's), components >= 1 and sd > 0; got {self}"
            )

    @property
    def log_z(self) -> float:
        return math.log(self.components) + self.dimension * (
            0.5 * LOG_2PI + math.log(self.sd)
        )

    def sample(self, rng: Any, *shape: int) -> Array:
        angle = self.phase + (2.0 * math.pi / self.components) * rng.integers(
            self.components, size=shape
        )
        x = self.sd * _normals(rng, *shape, self.dimension)
        xp = array_namespace(x)
        x[..., 0] += self.radius * xp.cos(angle)
        x[..., 1] += self.radius * xp.sin(angle)
        return x

    def energy(self, x: Array) -> Array:
        xp = array_namespace(x)
        angles = [
            self.phase + 2.0 * math.pi * k / self.components
            for k in range(self.components)
        ]
        # |x - mu|^2 = |x|^2 - 2 <x, mu> + radius^2, and mu lives in two coordinates.
        scale = 1.0 / self.sd**2
        along = [
            (scale * self.radius) * (math.cos(a) * x[..., 0] + math.sin(a) * x[..., 1])
            for a in angles
        ]
        shared = (0.5 * scale) * (_total(x**2) + self.radius**2)
        return logmeanexp(xp.stack(along, axis=-1)) + math.log(self.components) - shared

    def log_density(self, x: Array) -> Array:
        return self.energy(x) - self.log_z


@dataclass(frozen=True)
class Pinwheel:
    """Five petals in the plane, bent like a pinwheel's (Section 4.3).

    x = scale R (u, t) with u ~ N(1, radial^2), t ~ N(0, tangential^2) and R the rotation by 2 pi k/petals + rate exp(rho), k
    a petal by chance, rho = |(u, t)|. The rotation keeps rho, and so areas: the density of x is that of (u, t), turned back. The
    usual construction turns by rate exp(u), whose inverse is implicit and can be many-valued; where |t| is small u = rho.

    E(x) = log sum_k exp(-(u_k - 1)^2/(2 radial^2) - t_k^2/(2 tangential^2)), log_z = log(petals 2 pi radial tangential scale^2).
    """

    petals: int = 5
    radial: float = 0.3
    tangential: float = 0.1
    rate: float = 0.25
    scale: float = 2.0

    @property
    def log_z(self) -> float:
        return LOG_2PI + math.log(
            self.petals * self.radial * self.tangential * self.scale**2
        )

    def sample(self, rng: Any, *shape: int) -> Array:
        petal = (2.0 * math.pi / self.petals) * rng.integers(self.petals, size=shape)
        x = _normals(rng, *shape, 2)
        xp = array_namespace(x)
        u, t = 1.0 + self.radial * x[..., 0], self.tangential * x[..., 1]
        angle = petal + self.rate * xp.exp(xp.hypot(u, t))
        x[..., 0] = self.scale * (xp.cos(angle) * u - xp.sin(angle) * t)
        x[..., 1] = self.scale * (xp.sin(angle) * u + xp.cos(angle) * t)
        return x

    def energy(self, x: Array) -> Array:
        xp = array_namespace(x)
        a, b = x[..., 0] / self.scale, x[..., 1] / self.scale
        turned = self.rate * xp.exp(xp.hypot(a, b))
        exponents = []
        for k in range(self.petals):
            cos, sin = xp.cos(turned + 2.0 * math.pi * k / self.petals), xp.sin(
                turned + 2.0 * math.pi * k / self.petals
            )
            u, t = cos * a + sin * b, cos * b - sin * a
            exponents.append(
                -0.5 * (((u - 1.0) / self.radial) ** 2 + (t / self.tangential) ** 2)
            )
        return logmeanexp(xp.stack(exponents, axis=-1)) + math.log(self.petals)

    def log_density(self, x: Array) -> Array:
        return self.energy(x) - self.log_z


def _total(x: Array) -> Array:
    """The sum over coordinates; of one coordinate that is itself, where NumPy's sum would take ten times a copy."""
    return x[..., 0] if x.shape[-1] == 1 else array_namespace(x).sum(x, axis=-1)


def _beside(x: Array, *parameters: Array) -> list[Array]:
    """Host parameters in the library, dtype and device of the samples x, which must be of a floating dtype."""
    xp = check_arrays(x=x)
    return [
        asarray(parameter, xp, dtype=x.dtype, device=device(x))
        for parameter in parameters
    ]


def _normals(rng: Any, *shape: int) -> Array:
    """Standard normal draws (..., n, d) whose memory holds each coordinate's n samples together."""
    if len(shape) == 1:
        return rng.standard_normal(shape)
    *runs, n, d = shape
    return rng.standard_normal((*runs, d, n)).swapaxes(-1, -2)
