"""One step to the root of phi = log P - log N by series reversion, P rising and N falling in F.

With t the small sides of the samples in P, its derivatives by F are P1 = sum w u, P2 = sum w u (1 - 2t) and
P3 = sum w u (1 - 6u), u = t (1 - t); those of N by -F are the same sums over its own samples. The derivatives of log P are
built from the cumulants of numbers in [0, 1]; phi2, the second derivative of phi, therefore lies in [-1/2, 1/2].
"""

from __future__ import annotations

from refnce.array.backend import Array

Derivatives = tuple[Array, ...]

# Where phi1 is at least this at the last point, |phi2| <= 1/2 puts the root within twice the last step.
SLOPE = 0.5


def cumulants(first: Array, second: Array, third: Array) -> Derivatives:
    """Return the first three derivatives of log P from P1/P, P2/P, P3/P."""
    square = first * first
    return first, second - square, third - first * (3.0 * second - 2.0 * square)


def reversion(
    phi: Array, P: Derivatives, N: Derivatives
) -> tuple[Array, Array, Array, Array]:
    """Return (step, slope, c2, c3): the root of the model phi + slope (d + c2 d^2 + c3 d^3), and that model.

    P and N hold as many derivatives of log P by F and of log N by -F, one to three.
    """
    slope = P[0] + N[0]
    w = -phi / slope
    if len(P) == 1:
        return w, slope, 0.0, 0.0
    c2 = 0.5 * (P[1] - N[1]) / slope
    if len(P) == 2:
        return w - w * w * c2, slope, c2, 0.0
    c3 = (P[2] + N[2]) / (6.0 * slope)
    return w - w * w * (c2 - w * (2.0 * c2 * c2 - c3)), slope, c2, c3


def remainder(w: Array, c2: Array, c3: Array) -> Array:
    """How far the root of the cubic model may be from phi's own; w = phi/slope.

    The next term of the series is (5 c2^3 - 5 c2 c3 + c4) w^4, and |c4| <= 1/12 where phi1 >= 1/2 and |phi4| <= 1.
    """
    square = w * w
    return (5.0 * abs(c2 * (c2 * c2 - c3)) + 1.0 / 12.0) * square * square
