"""A mixture of Gaussians on a ring: Figure 1 and the 8-Gaussians of Section 4.3."""

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

from refnce.array import Array, array_namespace, check_count, check_positive
from refnce.distributions.common import LOG_2PI, check_x, normal, sum_last


@dataclass(frozen=True)
class RingMixture:
    """Equal mixture of Gaussians N(mu_k, sd^2 I) whose means lie evenly on a circle.

    Parameters
    ----------
    dimension : int
        d >= 2. The circle lies in the first two coordinates.
    components : int
        Number of Gaussians.
    radius : float
        Radius of the circle.
    sd : float
        Standard deviation of each Gaussian in every direction.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    E(x) = log sum_k exp(-|x - mu_k|^2/(2 sd^2)), so
    log_z = log(components) + d log(2 pi sd^2)/2.

    Examples
    --------
    The default is the data distribution of Figure 1.

    >>> import numpy as np
    >>> from refnce.distributions import RingMixture
    >>> ring = RingMixture()
    >>> ring.sample(np.random.default_rng(0), 512).shape
    (512, 20)
    >>> round(ring.log_z, 4)
    20.6814
    """

    dimension: int = 20
    components: int = 10
    radius: float = 4.0
    sd: float = 1.0

    def __post_init__(self) -> None:
        check_count("dimension", self.dimension, 2)
        check_count("components", self.components, 1)
        check_positive("radius", self.radius, zero=True)
        check_positive("sd", self.sd)

    @property
    def log_z(self) -> float:
        """The log of the normalising constant of exp(E)."""
        log_sd = 0.5 * LOG_2PI + math.log(self.sd)
        return math.log(self.components) + self.dimension * log_sd

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, d)."""
        component = rng.integers(self.components, size=shape)
        angle = (2.0 * math.pi / self.components) * component
        x = self.sd * normal(rng, *shape, self.dimension)
        xp = array_namespace(x)
        x[..., 0] += self.radius * xp.cos(angle)
        x[..., 1] += self.radius * xp.sin(angle)
        return x

    def log_density(self, x: Array) -> Array:
        """Return E(x) - log_z (...) of x (..., d)."""
        check_x(x, self.dimension)
        xp, scale = array_namespace(x), 1.0 / self.sd**2
        # |x - mu|^2 = |x|^2 - 2 <x, mu> + radius^2; mu has two nonzero coordinates.
        angles = [2.0 * math.pi * k / self.components for k in range(self.components)]
        inner = [math.cos(a) * x[..., 0] + math.sin(a) * x[..., 1] for a in angles]
        log_sum = reduce(xp.logaddexp, [(scale * self.radius) * each for each in inner])
        common = (0.5 * scale) * (sum_last(x**2) + self.radius**2)
        return log_sum - common - self.log_z
