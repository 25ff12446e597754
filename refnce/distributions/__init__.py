"""Data and noise distributions of the paper's experiments.

Every distribution is a frozen record of its parameters (the pinwheel has none) with

- ``sample(rng, *shape)``: draws (*shape, d), NumPy arrays, by a NumPy Generator;
- ``log_z``: the log of the normalising constant of exp(E), in closed form;
- ``log_density(x)`` = E(x) - log_z (...) of x (..., d).

``UnitGaussian`` and ``DiagonalGaussian`` are the exponential families of Section 4.2.
They also have ``statistics(x)``, T(x) (..., k) without its last entry -1;
``log_base(x)`` (...), the log of the base measure h; and ``theta`` (..., k), the
natural parameters: E(x) = <T(x), theta> + log h(x) (Eq. 2). log_z is F* at theta.
``GaussianMixture`` also has ``score(x)``, the gradient of log_density in x.

Parameters are NumPy arrays and numbers. ``log_density`` moves them to the library,
dtype and device of x.
"""

from refnce.distributions.common import LOG_2PI
from refnce.distributions.gaussian import DiagonalGaussian, UnitGaussian
from refnce.distributions.mixture import GaussianMixture
from refnce.distributions.pinwheel import Pinwheel
from refnce.distributions.ring import RingMixture

__all__ = ["LOG_2PI", "DiagonalGaussian", "GaussianMixture", "Pinwheel"]
__all__ += ["RingMixture", "UnitGaussian"]
