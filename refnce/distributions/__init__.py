"""Data and noise distributions: each draws samples and owns its log-density and analytic log Z."""

from refnce.distributions.gaussian import Gaussian
from refnce.distributions.laws import (
    LOG_2PI,
    DiagonalGaussian,
    Pinwheel,
    RingMixture,
    UnitGaussian,
)

__all__ = [
    "LOG_2PI",
    "DiagonalGaussian",
    "Gaussian",
    "Pinwheel",
    "RingMixture",
    "UnitGaussian",
]
