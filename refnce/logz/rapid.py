r"""The fast road to the root: exp once per sample, then passes of one division and four dot products.

phi(F) = log A - log B - log nu is near-linear wherever the data's log-ratios are not below the noise's: exactly linear for
one-point sets and for samples far apart, slope 1 to 2. With G = F + log nu, base b, d = G - b and E = exp(r - b),

    sigmoid(G - r) = s p,  s = exp(d),  p = 1/(s + E),

so one pass yields the powers sum p^k, k = 1..4, of both samples: phi and three derivatives, and the root of the cubic model by
series reversion (``series``), with an error of the order of (step)^4.

Where phi' < 1/2 (data scored below noise), where a sum underflows, or after five passes, the road is left, and
``newton`` takes the one that cannot fail.
"""

from __future__ import annotations

from typing import NamedTuple

from refnce.backend import BLOCK, Array, Namespace, blocks, host_bool, on_host
from refnce.logz.series import SLOPE, cumulants, reversion
from refnce.special import log_pair, two_sum

PASSES = 5
BLIND_PASSES = 3  # made before the host first looks at the result, where looking means waiting for an accelerator
# Cancellation in var s = mean s^2 - (mean s)^2 is left to the pass that avoids it.
SPREAD = 1e-6

# Mean sigmoid, and mean sigmoid^k over it for k = 2, 3, 4: none of the ratios underflows.
Powers = tuple[Array, Array, Array, Array]


class Root(NamedTuple):
    """F with the last step taken to it, standard error and overlap; proven where ``sure``."""

    F: Array
    step: Array
    passes: int
    standard_error: Array
    overlap: Array
    sure: Array


def solve(xp: Namespace, r_data: Array, r_noise: Array, nu: float, F0: Array | None, xtol: float) -> Root:
    """Follow the fast road for checked arguments; NaN in the samples shows as ``sure`` = False.

    Many runs are taken a few at a time, so that what is made from them stays in cache.
    """
    runs = r_data.shape[0] if r_data.ndim == 2 and r_data.shape == r_noise.shape and F0 is None and on_host(r_data) else 1
    few = max(1, 2 * BLOCK // r_data.shape[-1])
    if runs <= few:
        return _solve(xp, r_data, r_noise, nu, F0, xtol)
    pieces = [_solve(xp, r_data[i : i + few], r_noise[i : i + few], nu, None, xtol) for i in range(0, runs, few)]
    F, step, _, error, overlap, sure = (list(field) for field in zip(*pieces, strict=True))
    passes = max(piece.passes for piece in pieces)
    return Root(xp.concat(F), xp.concat(step), passes, xp.concat(error), xp.concat(overlap), xp.concat(sure))


def _solve(xp: Namespace, r_data: Array, r_noise: Array, nu: float, F0: Array | None, xtol: float) -> Root:
    n, m = r_data.shape[-1], r_noise.shape[-1]
    log_nu, log_nu_low = log_pair(nu)
    samples = _Samples(xp, r_data, r_noise)
    b = 0.5 * (samples.mean() + log_nu) if F0 is None else F0 + log_nu
    eps = float(xp.finfo(r_data.dtype).eps)
    # Rounding r - b moves the root by at most ulp(700)/2 = 256 eps: sums that reach further underflow.
    exact = xtol < 512.0 * eps
    tol = max(xtol, eps)
    samples.start(b, exact)
    d, step = 0.0 * b, 0.0 * b
    for passes in range(1, PASSES + 1):
        d = d + step
        A, B = samples.powers(d)
        phi = xp.log(A[0] / (nu * B[0]))
        step, slope = reversion(phi, cumulants(*_derivatives(A)), cumulants(*_derivatives(B)))
        square = step * step
        close = (square * square <= tol) & (slope >= SLOPE)
        if (on_host(close) or passes >= BLIND_PASSES) and host_bool(close | ~(slope >= SLOPE)):
            break
    # F = b + d + step - log nu, summed in twofold precision: d may be large against F.
    G, rest = two_sum(b, d)
    if nu != 1.0:
        G, more = two_sum(G, xp.full_like(G, -log_nu))
        rest = rest + more - log_nu_low
    F = G + (rest + step)
    # Variance and slope move from the last point to the root, ``step`` away, to second order.
    var_A, square_A, slope_A = _moments(A, step)
    var_B, square_B, slope_B = _moments(B, -step)
    hess = slope_A + nu * slope_B
    sure = close & (var_A > SPREAD * square_A) & (var_B > SPREAD * square_B)
    error = (var_A / n + (nu * nu / m) * var_B) ** 0.5 / hess
    return Root(F, step, passes, error, hess * ((1.0 + nu) / nu), sure)


class _Samples:
    """The odds E = exp(+-(r - b)) of both samples: stacked along a first axis where they are small and alike."""

    def __init__(self, xp: Namespace, r_data: Array, r_noise: Array) -> None:
        self.xp, self.n, self.m = xp, r_data.shape[-1], r_noise.shape[-1]
        self.parts = [list(blocks(r_data)), list(blocks(r_noise))]
        self.stacked = r_data.shape == r_noise.shape and len(self.parts[0]) == 1
        if self.stacked:
            self.parts = [[xp.concat([r_data[None, ...], r_noise[None, ...]], axis=0)]]
            signs = xp.asarray([1.0, -1.0], dtype=r_data.dtype, device=r_data.device)
            self.sign = xp.reshape(signs, (2,) + (1,) * (r_data.ndim - 1))
        widths = [x.shape[-1] for part in self.parts for x in part]
        self.ones = xp.ones((max(widths),), dtype=r_data.dtype, device=r_data.device)
        self.kept: Array = None

    def mean(self) -> Array:
        """The sum of both sample means."""
        sums = [self._join([self.xp.vecdot(x, self.ones[: x.shape[-1]]) for x in part]) for part in self.parts]
        return (sums[0][0] + sums[0][1]) / self.n if self.stacked else sums[0] / self.n + sums[1] / self.m

    def start(self, b: Array, exact: bool) -> None:
        """Set the base of the odds; ``exact``: with the rounding of r - b put right to first order."""
        self.b, self.exact = b[..., None], exact

    def powers(self, d: Array) -> tuple[Powers, Powers]:
        """For data and noise, mean sigmoid and its power ratios at b + d."""
        xp = self.xp
        if self.stacked:
            if self.kept is None:
                self.kept = self._odds(self.parts[0][0], self.sign[..., None])
            s = xp.exp(self.sign * d)
            p1, p2, p3, p4 = self._sums(self.kept, s[..., None])
            return _ratios(p1[0], p2[0], p3[0], p4[0], s[0], self.n), _ratios(p1[1], p2[1], p3[1], p4[1], s[1], self.m)
        s = xp.exp(d)
        return self._part(0, +1.0, s, self.n), self._part(1, -1.0, 1.0 / s, self.m)

    def _part(self, k: int, sign: float, s: Array, n: int) -> Powers:
        # The odds are made anew in each pass: for many blocks that is cheaper than writing them to memory.
        sums = [self._sums(self._odds(x, sign), s[..., None]) for x in self.parts[k]]
        return _ratios(*(self._join(list(column)) for column in zip(*sums, strict=True)), s, n)

    def _sums(self, E: Array, s: Array) -> Powers:
        xp = self.xp
        p = 1.0 / (s + E)
        square = p * p
        one = self.ones[: p.shape[-1]]
        return xp.vecdot(p, one), xp.vecdot(p, p), xp.vecdot(p, square), xp.vecdot(square, square)

    def _odds(self, x: Array, sign: Array) -> Array:
        if not self.exact:
            return self.xp.exp(sign * (x - self.b))
        difference, e = two_sum(x, -self.b)
        return self.xp.exp(sign * difference) * (1.0 + sign * e)

    def _join(self, sums: list[Array]) -> Array:
        return sums[0] if len(sums) == 1 else self.xp.sum(self.xp.stack(sums, axis=-1), axis=-1)


def _ratios(m1: Array, m2: Array, m3: Array, m4: Array, s: Array, n: int) -> Powers:
    q = s / m1
    r = q * s
    return m1 * (s / n), q * m2, r * m3, r * s * m4


def _derivatives(powers: Powers) -> tuple[Array, Array, Array]:
    """The first three derivatives of mean sigmoid over it."""
    _, x, y, z = powers
    return 1.0 - x, 1.0 - 3.0 * x + 2.0 * y, 1.0 - 7.0 * x + 12.0 * y - 6.0 * z


def _moments(powers: Powers, step: Array) -> tuple[Array, Array, Array]:
    """(var sigmoid, mean sigmoid^2, mean sigmoid (1 - sigmoid)) at ``step`` from the point of ``powers``."""
    a, x, y, z = powers
    first, second, third = _derivatives(powers)
    mean = a * (1.0 + step * (first + 0.5 * step * second))
    square = a * (x + step * (2.0 * (x - y) + step * (2.0 * x - 5.0 * y + 3.0 * z)))
    return square - mean * mean, square, a * (first + step * (second + 0.5 * step * third))
