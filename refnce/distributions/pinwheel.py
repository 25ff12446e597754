"""The pinwheel of Section 4.3, in a form whose density is explicit."""

import math
from functools import reduce
from typing import Any

from refnce.array import Array, array_namespace
from refnce.distributions.common import LOG_2PI, check_x, normal

# exp(80) is finite also in float32. At this radius the rotation is already lost to
# rounding in float64, so larger radii may share its angle.
LARGEST_RADIUS = 80.0


class Pinwheel:
    """Gaussian petals in the plane, rotated by an angle that grows with the radius.

    Attributes
    ----------
    petals : int
        Number of petals, 5.
    radial, tangential : float
        Standard deviations of a petal along and across the radius, 0.3 and 0.1.
    rate : float
        Strength of the rotation, 0.25 radians.
    scale : float
        Factor by which all is enlarged in the end, 2.

    Notes
    -----
    x = scale R (u, t) with u ~ N(1, radial^2), t ~ N(0, tangential^2), and R the
    rotation by 2 pi k/petals + rate exp(rho), where k is a random petal and
    rho = |(u, t)|. R keeps rho and therefore areas, so the density of x is that of
    (u, t), rotated back:
    E(x) = log sum_k exp(-(u_k - 1)^2/(2 radial^2) - t_k^2/(2 tangential^2)) and
    log_z = log(petals 2 pi radial tangential scale^2).

    The usual construction rotates by rate exp(u). Its inverse is implicit and may have
    several values; where abs(t) is small, u is nearly rho.

    For rho above 35 or so the rotation is lost to rounding in float64. E(x) is
    then one of those that the angles give at this radius: between
    -(rho/tangential)^2/2 and -((rho - 1)/radial)^2/2.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.distributions import Pinwheel
    >>> pinwheel = Pinwheel()
    >>> x = pinwheel.sample(np.random.default_rng(0), 3)
    >>> pinwheel.log_density(x).round(2)
    array([-1.6 , -2.18, -1.92])
    >>> round(pinwheel.log_z, 4)
    1.3271
    """

    petals = 5
    radial = 0.3
    tangential = 0.1
    rate = 0.25
    scale = 2.0

    @property
    def log_z(self) -> float:
        """The log of the normalising constant of exp(E)."""
        area = self.petals * self.radial * self.tangential * self.scale**2
        return LOG_2PI + math.log(area)

    def sample(self, rng: Any, *shape: int) -> Array:
        """Draw (*shape, 2)."""
        petal = (2.0 * math.pi / self.petals) * rng.integers(self.petals, size=shape)
        x = normal(rng, *shape, 2)
        u, t = 1.0 + self.radial * x[..., 0], self.tangential * x[..., 1]
        a, b = _rotate(u, t, petal + self._angle(u, t))
        x[..., 0], x[..., 1] = self.scale * a, self.scale * b
        return x

    def log_density(self, x: Array) -> Array:
        """Return E(x) - log_z (...) of x (..., 2)."""
        check_x(x, 2)
        a, b = x[..., 0] / self.scale, x[..., 1] / self.scale
        angle, exponents = self._angle(a, b), []
        for k in range(self.petals):
            u, t = _rotate(a, b, -(angle + 2.0 * math.pi * k / self.petals))
            square = ((u - 1.0) / self.radial) ** 2 + (t / self.tangential) ** 2
            exponents.append(-0.5 * square)
        return reduce(array_namespace(x).logaddexp, exponents) - self.log_z

    def _angle(self, u: Array, t: Array) -> Array:
        xp = array_namespace(u)
        return self.rate * xp.exp(xp.minimum(xp.hypot(u, t), LARGEST_RADIUS))


def _rotate(u: Array, t: Array, angle: Array) -> tuple[Array, Array]:
    xp = array_namespace(u)
    cos, sin = xp.cos(angle), xp.sin(angle)
    return cos * u - sin * t, sin * u + cos * t
