"""The root near F from sums of powers of the sigmoids at F.

A sigmoid p of F has p' = p (1 - p). The sums of p, p^2, ... over samples therefore give
the derivatives of A and B at F, and from them the step to the root of A = nu B, what it
misses, and the moments of p after the step. ``SHORT`` takes four powers. ``LONG`` takes
eight, for samples that take longer to read: one pass within 0.02 of the root is enough.

Sums over data are those of s_data, which grows with F; those over noise are of s_noise,
which falls, so that its sign alternates.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from refnce.array import BLOCK, HUGE, array_namespace, dot, host, is_lazy, is_numpy
from refnce.array import last_sum, over_chunks, where


class Series(NamedTuple):
    """Functions of the sums of powers of s_data (A) and of s_noise (B).

    ``powers(ratios, F)`` returns A and B, each a list of sums over samples.
    ``step(A, B, ratio)`` returns phi' at F, the step to the root of A = ratio B, and a
    bound on what it misses where phi' >= 1/2. ``moments(sums, d, n)`` returns the mean
    of p (1 - p) and the variance of p after a step d. For steps up to 0.02 those of
    SHORT are right to 1e-5, and those of LONG to the last units.
    """

    powers: Callable[[Any, Any], Any]
    step: Callable[..., Any]
    moments: Callable[..., Any]


def _four_powers(ratios, F):
    return ratios.over_sigmoids(F, _four_of)


def _four_of(p):
    square = p * p
    return last_sum(p), dot(p, p), dot(p, square), dot(square, square)


def _reversion_step(A, B, ratio):
    """The root of phi = log A - log B - log ratio by series reversion."""
    a, b = _log_derivatives(A), _log_derivatives(B)
    slope = a[0] + b[0]
    w = newton_step(A, B, ratio, slope)
    c2, c3 = 0.5 * (a[1] - b[1]) / slope, (a[2] + b[2]) / (6.0 * slope)
    step = w - w * w * (c2 - w * (2.0 * c2 * c2 - c3))
    # The next term is (5 c2^3 - 5 c2 c3 + c4) w^4; |c4| <= 1/12 for phi' >= 1/2.
    missed = (5.0 * abs(c2 * (c2 * c2 - c3)) + 1.0 / 12.0) * (w * w) * (w * w)
    return slope, step, missed


def newton_step(A, B, ratio, slope):
    """-phi/phi', phi from the difference, which near the root is exact."""
    scaled = B[0] * ratio
    return -host.log1p((A[0] - scaled) / scaled) / slope


def _log_derivatives(sums):
    """Three derivatives of the logarithm of the mean of p."""
    x, y, z = sums[1] / sums[0], sums[2] / sums[0], sums[3] / sums[0]
    dx = x + x * x - 2.0 * y
    return 1.0 - x, -dx, 4.0 * y - 6.0 * z + 2.0 * x * y - (1.0 + 2.0 * x) * dx


def _cubic_moments(sums, d, n):
    p1, p2, p3, p4 = (x / n for x in sums)
    d1, d2 = p1 - p2, 2.0 * (p2 - p3)
    dd1 = d1 - d2
    mean = d1 + d * (dd1 + 0.5 * d * (p1 - 7.0 * p2 + 12.0 * p3 - 6.0 * p4))
    second = 4.0 * p2 - 10.0 * p3 + 6.0 * p4 - 2.0 * (d1 * d1 + p1 * dd1)
    return mean, (p2 - p1 * p1) + d * (d2 - 2.0 * p1 * d1 + 0.5 * d * second)


def _eight_powers(ratios, F):
    S, both = host.asarray(host.exp(F) * ratios.nu)[..., None], []
    for is_noise, r in enumerate(ratios.pair):
        # Not over_blocks: f cuts a chunk itself, to use its buffers again.
        f = partial(_eight_of, is_noise)
        parts = over_chunks(f, r, (S,)) if is_lazy(r) else [f(r, S)]
        both.append([last_sum(host.stack(x, axis=-1)) for x in zip(*parts)])
    return both


def _eight_of(is_noise, r, S):
    """The sums over s_data or s_noise, in two buffers.

    A worker of Dask gives memory back at once, and is slow to get it again.
    """
    xp, n = array_namespace(r), r.shape[-1]
    runs = host.broadcast_shapes(r.shape[:-1], S.shape[:-1])
    width = max(BLOCK // max(math.prod(runs), 1), 512) if is_numpy(r) else n
    buffers, parts = [xp.empty((*runs, min(width, n))) for _ in range(2)], []
    for k in range(0, n, width):
        q, p = (x[..., : n - k] for x in buffers)
        E = xp.exp(r[..., k : k + width], out=q)
        if is_noise:
            xp.minimum(E, HUGE, out=E)
        xp.add(S, E, out=p)
        xp.divide(E if is_noise else S, p, out=p)
        xp.multiply(p, p, out=q)
        sums = [last_sum(p), dot(p, p), dot(p, q), dot(q, q)]
        p *= q  # p^3
        sums += [dot(p, q), dot(p, p)]
        q *= q  # p^4
        parts.append([*sums, dot(p, q), dot(q, q)])
    return [last_sum(xp.stack(x, axis=-1)) for x in zip(*parts)]


def _taylor(sums):
    """The Taylor coefficients of the sum of p, and those of the sum of p^2."""
    first, second = [], [0.0]
    while sums:
        first.append(sums[0])
        second += sums[1:2]
        pairs = enumerate(zip(sums, sums[1:]), start=1)
        sums = [j * (x - y) / len(first) for j, (x, y) in pairs]  # (p^j)' is j terms
    return first, second[1:]


def _value(coefficients, d):
    value = 0.0 * d
    for x in reversed(coefficients):
        value = value * d + x
    return value


def _taylor_step(A, B, ratio):
    """The root of the Taylor polynomial of A - ratio B, by Newton's method."""
    a, b = _taylor(A)[0], _taylor(B)[0]
    g = [x - ratio * (-1.0) ** k * y for k, (x, y) in enumerate(zip(a, b))]
    slopes = [k * x for k, x in enumerate(g)][1:]
    slope = a[1] / a[0] + b[1] / b[0]
    w = d = newton_step(A, B, ratio, slope)
    for _ in range(4):  # its error is squared four times
        d = d - _value(g, d) / _value(slopes, d)
    d = where(abs(w) <= 0.1, d, w)
    # |p^(8)| <= 6.5 p, so that A and B are right to 6.5 d^8/8! e^|d| of themselves.
    missed = 4.0 * 6.5 / math.factorial(8) * abs(d) ** 8 * host.exp(abs(d))
    return slope, d, missed


def _taylor_moments(sums, d, n):
    p, square = (_value(x, d) / n for x in _taylor(sums))
    return p - square, square - p * p


SHORT = Series(_four_powers, _reversion_step, _cubic_moments)
LONG = Series(_eight_powers, _taylor_step, _taylor_moments)
