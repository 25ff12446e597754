r"""The fast road to the root: exp once per sample, then passes of one division and four dot products.

phi(F) = log A - log B - log nu is near-linear wherever the data's log-ratios are not below the noise's: exactly linear for
one-point sets and for samples far apart, slope 1 to 2. With G = F + log nu, base b, d = G - b and E = exp(r - b),

    sigmoid(G - r) = s p,  s = exp(d),  p = 1/(s + E),

so one pass yields the powers sum p^k, k = 1..4, of both samples: phi and three derivatives, and the root of the cubic model by
series reversion, with an error of the order of (step)^4. phi'' lies in [-1/2, 1/2] (the second cumulants of sigmoids in
[0, 1]), so phi' >= 1/2 at the last point proves that the root is within twice the last step.

Where phi' < 1/2 (data scored below noise), where a sum underflows, or after five passes, the road is left, and
``newton`` takes the one that cannot fail.
"""

from __future__ import annotations

from typing import NamedTuple

from refnce.backend import Array, array_namespace, blocks, host_bool, on_host
from refnce.special import log_pair, two_sum

PASSES = 5
BLIND_PASSES = 3  # made before the host first looks at the result, where looking means waiting for an accelerator
SLOPE = 0.5
# Cancellation in var s = mean s^2 - (mean s)^2 is left to the pass that avoids it.
SPREAD = 1e-6


class Root(NamedTuple):
    """F with the last step taken to it, standard error and overlap; proven where ``sure``."""

    F: Array
    step: Array
    passes: int
    standard_error: Array
    overlap: Array
    sure: Array


class _Powers(NamedTuple):
    """Means of sigmoid^k, the first scaled by exp(-d), and the derivatives of the log of the first."""

    p: Array
    a1: Array
    a2: Array
    a3: Array
    a4: Array
    l1: Array
    l2: Array
    l3: Array


def solve(r_data: Array, r_noise: Array, nu: float, F0: Array | None, xtol: float) -> Root:
    """Follow the fast road for checked arguments; NaN in the samples shows as ``sure`` = False."""
    xp = array_namespace(r_data, r_noise)
    log_nu, log_nu_low = log_pair(nu)
    if F0 is None:
        b = 0.5 * (_mean(r_data) + _mean(r_noise)) + 0.5 * log_nu
    else:
        b = F0 + log_nu
    eps = float(xp.finfo(r_data.dtype).eps)
    # Rounding r - b moves the root by at most ulp(700)/2, 512 eps/2: sums that reach further underflow.
    exact = xtol < 512 * eps
    tol = max(xtol, eps)
    data, noise = _Odds(r_data, b, +1.0, exact), _Odds(r_noise, b, -1.0, exact)
    d = xp.zeros_like(b)
    for passes in range(1, PASSES + 1):
        A, B = data.powers(d), noise.powers(-d)
        phi = 2.0 * d + xp.log(A.p / (nu * B.p))
        slope = A.l1 + B.l1
        w = -phi / slope
        c2 = (A.l2 - B.l2) / (2.0 * slope)
        c3 = (A.l3 + B.l3) / (6.0 * slope)
        step = w * (1.0 - w * (c2 - w * (2.0 * c2 * c2 - c3)))
        d = d + step
        close = (step**4 <= tol) & (slope >= SLOPE)
        if on_host(close) or passes >= BLIND_PASSES:
            if host_bool(close | ~(slope >= SLOPE)):
                break
    G, rest = two_sum(b, d)
    F, more = two_sum(G, xp.full_like(G, -log_nu))
    F = F + (rest + more - log_nu_low)
    return _finish(A, B, r_data.shape[-1], r_noise.shape[-1], nu, F, step, passes, close)


def _finish(A: _Powers, B: _Powers, n: int, m: int, nu: float, F: Array, step: Array, passes: int, close: Array) -> Root:
    """Move variance and slope from the last point to the root, ``step`` away, to second order."""
    xp = array_namespace(F)
    var_A, var_B = _variance(A, step), _variance(B, -step)
    slope = _slope(A, step) + nu * _slope(B, -step)
    sure = close & (var_A[0] > SPREAD * var_A[1]) & (var_B[0] > SPREAD * var_B[1])
    error = xp.sqrt(var_A[0] / n + nu * nu / m * var_B[0]) / slope
    return Root(F, step, passes, error, slope / nu, sure)


def _variance(A: _Powers, step: Array) -> tuple[Array, Array]:
    """(var sigmoid, mean sigmoid^2), from their Taylor series about the point of A."""
    mean = A.a1 + step * ((A.a1 - A.a2) + 0.5 * step * (A.a1 - 3.0 * A.a2 + 2.0 * A.a3))
    square = A.a2 + step * (2.0 * (A.a2 - A.a3) + step * (2.0 * A.a2 - 5.0 * A.a3 + 3.0 * A.a4))
    return square - mean * mean, square


def _slope(A: _Powers, step: Array) -> Array:
    """mean sigmoid (1 - sigmoid), likewise."""
    third = A.a1 - 7.0 * A.a2 + 12.0 * A.a3 - 6.0 * A.a4
    return (A.a1 - A.a2) + step * ((A.a1 - 3.0 * A.a2 + 2.0 * A.a3) + 0.5 * step * third)


class _Odds:
    """E = exp(sign (r - b)) of one sample, kept in cache-sized blocks after the first pass."""

    def __init__(self, r: Array, b: Array, sign: float, exact: bool) -> None:
        self.r, self.b, self.sign, self.exact = r, b[..., None], sign, exact
        self.blocks: list[Array] = []

    def powers(self, d: Array) -> _Powers:
        """Means of the powers of sigmoid(sign d - sign (r - b)) and the derivatives of the log of the first by sign d."""
        xp = array_namespace(d)
        s = xp.exp(d)
        row = s[..., None]
        first = not self.blocks
        sums = []
        for x in blocks(self.r) if first else self.blocks:
            E = self._odds(x) if first else x
            if first:
                self.blocks.append(E)
            p = 1.0 / (row + E)
            p2 = p * p
            sums.append((xp.vecdot(p, xp.ones_like(p)), xp.vecdot(p, p), xp.vecdot(p, p2), xp.vecdot(p2, p2)))
        n = self.r.shape[-1]
        m1, m2, m3, m4 = sums[0] if len(sums) == 1 else (xp.sum(xp.stack(k, axis=-1), axis=-1) for k in zip(*sums, strict=True))
        x = s * m2 / m1  # ratios of mean sigmoid^k to mean sigmoid: none of them underflows
        y = s * s * m3 / m1
        z = s * s * s * m4 / m1
        l1 = 1.0 - x
        second = 1.0 - 3.0 * x + 2.0 * y
        l2 = second - l1 * l1
        l3 = 1.0 - 7.0 * x + 12.0 * y - 6.0 * z - l1 * (3.0 * second - 2.0 * l1 * l1)
        p1 = m1 / n
        a1 = s * p1
        return _Powers(p1, a1, a1 * x, a1 * y, a1 * z, l1, l2, l3)

    def _odds(self, x: Array) -> Array:
        xp = array_namespace(x)
        if not self.exact:
            return xp.exp(x - self.b if self.sign > 0 else self.b - x)
        difference, e = two_sum(x, -self.b)
        return xp.exp(self.sign * difference) * (1.0 + self.sign * e)


def _mean(r: Array) -> Array:
    xp = array_namespace(r)
    sums = [xp.vecdot(x, xp.ones_like(x)) for x in blocks(r)]
    return (sums[0] if len(sums) == 1 else xp.sum(xp.stack(sums, axis=-1), axis=-1)) / r.shape[-1]
