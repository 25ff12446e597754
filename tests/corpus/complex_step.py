"""Derivatives by a step along the imaginary axis."""

import numpy as np

from tests.corpus import refuse

LEVEL = "C"  # the rounding of r - F is lost
SKIP = (
    "Plateau",  # sums of numbers near 1 are subtracted
    "CountsCancel",
    "Gap",
    "TinyLoss",  # the step times a sigmoid underflows
    "Subnormal",
    "Underflow",
    "Huge",  # log nu is lost beside an F of 1e300
    "Infinite",  # inf 1j is nan
)
STEP = 1e-20


def _step(function):
    def call(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        shift = np.asarray(F + 1j * STEP)[..., None] + np.log(nu)
        a, b = function(shift - r_data), function(r_noise - shift)
        return ((a.mean(-1) + nu * b.mean(-1)) / (1.0 + nu)).imag / STEP

    return call


class nce:
    """Equation 3."""

    @_step
    def grad_F(z):
        """The loss of one sample, with the exponential of a negative number."""
        up = z.real > 0
        return np.where(up, z, 0.0) + np.log1p(np.exp(np.where(up, -z, z)))
