r"""The fast road to the root: exp once per sample, then passes of one division and four dot products.

phi(F) = log A - log B - log nu is near-linear wherever the data's log-ratios are not below the noise's: exactly linear for
one-point sets and for samples far apart, slope 1 to 2. With G = F + log nu, base b, d = G - b and E = exp(r - b),

    sigmoid(G - r) = s p,  s = exp(d),  p = 1/(s + E),

so one pass yields the powers sum p^k, k = 1..4, of both samples: phi and three derivatives, and the root of the cubic model by
series reversion (``series``), with an error of the order of (step)^4. After a short step a pass with two powers is enough,
since the derivatives can be moved along; for the last units that pass alone puts right the rounding of r - b.

Where the slope of phi is under 1/2 (data scored below noise), where a sum underflows, or after five passes, the road is left,
and ``newton`` takes the one that cannot fail.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refnce.backend import BLOCK, Array, Namespace, array_namespace, blocks, by_runs, host_bool, on_host
from refnce.logz.series import SLOPE, cumulants, reversion
from refnce.special import log_pair, two_sum

PASSES = 5
BLIND_PASSES = 3  # made before the host first looks at the result, where looking means waiting for an accelerator
# Cancellation in var s = mean s^2 - (mean s)^2 is left to the pass that avoids it.
SPREAD = 1e-6

# Mean sigmoid, and mean sigmoid^k over it for k = 2, 3, 4: none of the ratios underflows.
Powers = tuple[Array, Array, Array, Array]


class Root(NamedTuple):
    """F, a bound on its error, passes made, standard error and overlap; proven where ``sure``."""

    F: Array
    reach: Array
    passes: Array
    standard_error: Array
    overlap: Array
    sure: Array


@by_runs
def solve(r_data: Array, r_noise: Array, F0: Array | None, nu: float, *, xtol: float) -> Root:
    """Follow the fast road for checked arguments; NaN in the samples shows as ``sure`` = False."""
    xp = array_namespace(r_data, r_noise)
    try:
        return _solve(xp, r_data, r_noise, nu, F0, xtol)
    except ZeroDivisionError:  # a single run whose every sigmoid underflows: its arithmetic is Python's
        nan = xp.asarray(float("nan"))
        return Root(nan, nan, xp.asarray(1), nan, nan, xp.asarray(False))


def _solve(xp: Namespace, r_data: Array, r_noise: Array, nu: float, F0: Array | None, xtol: float) -> Root:
    n, m = r_data.shape[-1], r_noise.shape[-1]
    log_nu, log_nu_low = log_pair(nu)
    eps = float(xp.finfo(r_data.dtype).eps)
    # Rounding r - b moves the root by at most ulp(700)/2 = 256 eps: sums that reach further underflow.
    exact = xtol < 512.0 * eps
    tol = max(xtol, eps)
    # The last pass leaves (1/12 step^4)(1/3 step^3): what the step misses, times how far the moved slope is off.
    short = min(0.05, (36.0 * tol) ** (1.0 / 7.0))
    samples = _Samples(xp, r_data, r_noise)
    if F0 is not None:
        b = F0 + log_nu
    elif max(n, m) <= 2 * BLOCK or not on_host(r_data):
        b = 0.5 * (samples.mean() + log_nu)
    else:  # every fourth sample brings the start within a step that one pass over all of them can take
        b = _solve(xp, r_data[..., ::4], r_noise[..., ::4], nu, None, 1e-3).F + log_nu
    samples.base(b)
    d, step, more, last = 0.0 * b, 0.0 * b, 0.0 * b, False
    for passes in range(1, PASSES + 1):
        d = d + step
        A, B = samples.powers(d, _four)
        phi = xp.log(A[0] / (nu * B[0]))
        derivatives = cumulants(*_derivatives(A)), cumulants(*_derivatives(B))
        step, (slope, second, third), error = reversion(phi, *derivatives)
        steep = slope >= SLOPE
        close = (error <= tol) & steep & (not exact)
        if on_host(step) or passes >= BLIND_PASSES:
            last = host_bool((abs(step) <= short) & steep)
            if last or host_bool(close | xp.logical_not(steep)):
                break
    if last and not host_bool(close):
        passes += 1
        d = d + step
        A, B = samples.powers(d, _two, exact)
        more = -xp.log(A[0] / (nu * B[0])) / (slope + step * (second + 0.5 * step * third))
        close, step = steep & (abs(more) <= short), 0.0 * b
    # F = b + d + step - log nu, summed in twofold precision: d may be large against F.
    G, rest = two_sum(b, d)
    if nu != 1.0:
        G, lost = two_sum(G, -log_nu)
        rest = rest + lost - log_nu_low
    F = G + (rest + (step + more))
    # Variance and slope move from the last pass to the root, ``step`` away, to second order.
    var_A, square_A, slope_A = _moments(A, step)
    var_B, square_B, slope_B = _moments(B, -step)
    hess = slope_A + nu * slope_B
    sure = close & (var_A > SPREAD * square_A) & (var_B > SPREAD * square_B)
    standard_error = xp.sqrt(var_A / n + (nu * nu / m) * var_B) / hess
    count = xp.full(sure.shape, passes, device=r_data.device) if r_data.ndim > 1 else passes
    return Root(F, 2.0 * (abs(step) + abs(more)), count, standard_error, hess * ((1.0 + nu) / nu), sure)


class _Samples:
    """The odds E = exp(+-(r - b)) of both samples: stacked along a first axis where they are small and alike."""

    def __init__(self, xp: Namespace, r_data: Array, r_noise: Array) -> None:
        self.xp, self.n, self.m = xp, r_data.shape[-1], r_noise.shape[-1]
        self.parts = [list(blocks(r_data)), list(blocks(r_noise))]
        self.stacked = r_data.shape == r_noise.shape and len(self.parts[0]) == 1
        if self.stacked:
            self.r = xp.concat([r_data[None, ...], r_noise[None, ...]], axis=0)
            self.sign = xp.asarray([1.0, -1.0], dtype=r_data.dtype, device=r_data.device)
            if r_data.ndim > 1:
                self.sign = xp.reshape(self.sign, (2,) + (1,) * (r_data.ndim - 1))
        width = max(part[0].shape[-1] for part in self.parts)
        self.ones = xp.ones((width,), dtype=r_data.dtype, device=r_data.device)
        self.odds: Array = None

    def mean(self) -> Array:
        """The sum of both sample means."""
        if self.stacked:
            data, noise = self._pair(self.xp.vecdot(self.r, self.ones))
            return (data + noise) / self.n
        data, noise = (self._join([self.xp.vecdot(x, self.ones[: x.shape[-1]]) for x in part]) for part in self.parts)
        return data / self.n + noise / self.m

    def base(self, b: Array) -> None:
        """Set the base of the odds."""
        self.b = b if isinstance(b, float) else b[..., None]

    def powers(self, d: Array, sums: Any, exact: bool = False) -> tuple[Powers, Powers]:
        """For data and noise, mean sigmoid and its power ratios at b + d; ``exact``: with the rounding of r - b put right."""
        xp = self.xp
        if self.stacked:
            if self.odds is None or exact:
                self.odds = self._odds(self.r, self.sign[..., None], exact)
            s = xp.exp(self.sign * d)
            columns = [self._pair(x) for x in (*sums(xp, 1.0 / (s[..., None] + self.odds), self.ones), s)]
            return _ratios([x[0] for x in columns], self.n), _ratios([x[1] for x in columns], self.m)
        s = xp.exp(d)
        return self._part(0, +1.0, s, self.n, sums, exact), self._part(1, -1.0, 1.0 / s, self.m, sums, exact)

    def _part(self, k: int, sign: float, s: Array, n: int, sums: Any, exact: bool) -> Powers:
        # The odds are made anew in each pass: for many blocks that is cheaper than writing them to memory.
        row = s[..., None]
        rows = [sums(self.xp, 1.0 / (row + self._odds(x, sign, exact)), self.ones) for x in self.parts[k]]
        return _ratios([*(self._join(list(column)) for column in zip(*rows, strict=True)), s], n)

    def _odds(self, x: Array, sign: Any, exact: bool) -> Array:
        if not exact:
            return self.xp.exp(sign * (x - self.b))
        difference, e = two_sum(x, -self.b)
        return self.xp.exp(sign * difference) * (1.0 + sign * e)

    def _join(self, sums: list[Array]) -> Array:
        return sums[0] if len(sums) == 1 else self.xp.sum(self.xp.stack(sums, axis=-1), axis=-1)

    def _pair(self, x: Array) -> Any:
        # Python's floats do the arithmetic of a single run in half the time of NumPy's scalars.
        if x.ndim == 1 and x.shape[0] == 2 and self.r.ndim == 2 and on_host(x):
            return x.tolist()
        return [x[0, ...], x[1, ...]]


def _two(xp: Namespace, p: Array, ones: Array) -> tuple[Array, Array]:
    return xp.vecdot(p, ones[: p.shape[-1]]), xp.vecdot(p, p)


def _four(xp: Namespace, p: Array, ones: Array) -> Powers:
    square = p * p
    return xp.vecdot(p, ones[: p.shape[-1]]), xp.vecdot(p, p), xp.vecdot(p, square), xp.vecdot(square, square)


def _ratios(sums: list[Array], n: int) -> Powers:
    """Mean sigmoid, and mean sigmoid^k over it for k = 2 and, where they were summed, 3 and 4 (else 0)."""
    m1, m2, *higher, s = sums
    q = s / m1
    r = q * s
    y, z = (r * higher[0], r * s * higher[1]) if higher else (0.0 * q, 0.0 * q)
    return m1 * (s / n), q * m2, y, z


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
