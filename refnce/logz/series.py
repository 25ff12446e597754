"""One step to the root of phi = log P - log N by series reversion, P rising and N falling in F.

With t the small sides of the samples in P, P' = sum w t (1 - t), P'' = sum w t (1 - t)(1 - 2t), P''' = sum w t (1 - t)(1 - 6 t (1 - t)),
and the same for N in -F. The derivatives of log P are the cumulants of numbers in [0, 1]; phi'' therefore lies in [-1/2, 1/2].
"""

from __future__ import annotations

from refnce.backend import Array

# Where phi' is at least this at the last point, |phi''| <= 1/2 puts the root within twice the last step.
SLOPE = 0.5


def cumulants(first: Array, second: Array, third: Array) -> tuple[Array, Array, Array]:
    """Return the first three derivatives of log P from P'/P, P''/P, P'''/P."""
    square = first * first
    return first, second - square, third - first * (3.0 * second - 2.0 * square)


def reversion(phi: Array, P: tuple[Array, Array, Array], N: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Return (step, phi'): the root of phi's cubic model, an error of the order of step^4 away from phi's own."""
    slope = P[0] + N[0]
    w = -phi / slope
    c2 = 0.5 * (P[1] - N[1]) / slope
    c3 = (P[2] + N[2]) / (6.0 * slope)
    return w - w * w * (c2 - w * (2.0 * c2 * c2 - c3)), slope
