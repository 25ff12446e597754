r"""The fast road to the root: a few passes over the samples, each one exponential, one division and a few dot products.

phi(F) = log A - log B - log nu is near-linear wherever the data's log-ratios are not below the noise's: exactly linear for
one-point sets and for samples far apart, slope 1 to 2. With G = F + log nu and E = exp(r - G),

    sigmoid(G - r) = p = 1/(1 + E),    sigmoid(G + d - r) = (1 + u) p/(1 + u p),    u = exp(d) - 1,

so one pass yields the powers sum p^k of both samples, and they yield two things: phi with three derivatives, hence the root of
its cubic model (``series``), and the sums at every near point as geometric series in u. After a short step the sums there,
from the series or, where these miss too much, from a pass of three powers, give Newton's last step and the standard error.

Where the slope of phi is under 1/2 (data scored below noise), where a sum underflows, or after five passes, the road is left,
and ``newton`` takes the one that cannot fail.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from refnce.backend import BLOCK, Array, Namespace, array_namespace, blocks, by_runs, device, host_bool, on_host, waits
from refnce.logz.series import SLOPE, Derivatives, reversion
from refnce.special import log_pair, two_sum

PASSES = 5
BLIND_PASSES = 3  # made before the host first looks at the result, where looking means waiting for an accelerator
# A long sample starts from every sixteenth of it, and takes six powers to end in the one pass over all of it.
STRIDE = 16
# Between means further apart the first pass rarely ends near enough to the root for more than four powers.
FAR = 4.0
# Cancellation in var s = mean s^2 - (mean s)^2 is left to the pass that avoids it.
SPREAD = 1e-6
# Rounding r - G moves the root by at most eps/2 mean(v |r - G|)/mean(v), v = s (1 - s) <= exp(-|r - G|), which by Jensen's
# inequality is at most eps/2 log(1/mean v): two units here.
ROUNDED = math.exp(-4.0)

Sums = list[Array]  # sum sigmoid^k over the samples, k = 1, 2, ...


class Root(NamedTuple):
    """F between lo and hi, passes made, standard error and overlap; proven where ``sure``."""

    F: Array
    lo: Array
    hi: Array
    passes: int
    standard_error: Array
    overlap: Array
    sure: Array


def solve(r_data: Array, r_noise: Array, F0: Array | None, nu: float, *, xtol: float) -> Root:
    """Follow the fast road for checked arguments; NaN in the samples shows as ``sure`` = False."""
    xp = array_namespace(r_data, r_noise)
    try:
        return _solve(xp, r_data, r_noise, F0, nu, xtol)
    except (ArithmeticError, ValueError):  # from ``math``, for a run whose every sigmoid underflows
        nan = float("nan")
        return Root(nan, nan, nan, 1, nan, nan, False)


def _solve(xp: Namespace, r_data: Array, r_noise: Array, F0: Array | None, nu: float, xtol: float) -> Root:
    n, m = r_data.shape[-1], r_noise.shape[-1]
    log_nu, log_nu_low = log_pair(nu)
    eps = float(xp.finfo(r_data.dtype).eps)
    tol = max(xtol, eps)
    # What the cubic model misses, about 1/12 step^4, is left to a Newton step, which misses half its square.
    short = min(0.1, (12.0 * tol**0.5) ** 0.25)
    host, ready = on_host(r_data), not waits(r_data)
    # Python's floats do the arithmetic of a single run in half the time of NumPy's scalars.
    single = host and r_data.ndim == r_noise.ndim == 1 and r_data.dtype == xp.float64
    calc = math if single else xp
    samples = _Samples(xp, r_data, r_noise, single)
    order = 6
    if F0 is not None:
        G = (float(F0) if single else F0) + log_nu
    elif max(n, m) <= BLOCK or not host:
        data, noise = samples.means()
        G = 0.5 * (data + noise + log_nu)
        order = 4 if ready and host_bool(abs(data - noise) > FAR) else 6
    else:
        G = _solve(xp, r_data[..., ::STRIDE], r_noise[..., ::STRIDE], None, nu, 1e-3).F + log_nu
    step, exact = 0.0 * G, False
    for passes in range(1, PASSES + 1):
        G = G + step
        A, B = samples.sums(G, order)
        phi = calc.log(A[0] / B[0] * (m / (nu * n)))
        step, (slope, _, _), _ = reversion(phi, _derivatives(A), _derivatives(B))
        steep, distance = slope >= SLOPE, abs(step)
        near = steep & (distance <= short)
        # What the series in u miss, half as much again for the terms that follow and for u > step.
        missed = 1.5 * distance**order * (A[-1] / A[0] + B[-1] / B[0]) / slope
        close = near & (missed <= tol)
        if (ready or passes >= BLIND_PASSES) and (host_bool(near) or host_bool(close | (steep ^ True))):
            break
        order = 6
    if xtol < 512.0 * eps:
        exact = not host_bool(A[0] * slope >= ROUNDED * (1.0 + nu) * n)
    if exact or not host_bool(close) and host_bool(near):
        passes += 1
        G = G + step
        A, B = samples.sums(G, 3, exact)
        step = calc.log(B[0] / A[0] * (nu * n / m)) / (2.0 - A[1] / A[0] - B[1] / B[0])
        close = near & (abs(step) ** 3 <= tol)
    mean_A, square_A = _moved(A, calc.expm1(step), n)
    mean_B, square_B = _moved(B, calc.expm1(-step), m)
    hess = (mean_A - square_A) + nu * (mean_B - square_B)
    more = calc.log(nu * mean_B / mean_A) * mean_A / hess
    # F = G + step + more - log nu, summed in twofold precision.
    F, rest = two_sum(G, step)
    if nu != 1.0:
        F, lost = two_sum(F, -log_nu)
        rest = rest + lost - log_nu_low
    var_A, var_B = square_A - mean_A * mean_A, square_B - mean_B * mean_B
    sure = close & (more * more <= tol) & (var_A > SPREAD * square_A) & (var_B > SPREAD * square_B)
    standard_error = calc.sqrt(var_A / n + (nu * nu / m) * var_B) / hess
    F = F + (rest + more)
    reach = 2.0 * (abs(step) + abs(more)) + 4.0 * (tol + eps * abs(F))
    return Root(F, F - reach, F + reach, passes, standard_error, hess * ((1.0 + nu) / nu), sure)


class _Samples:
    """Both samples; those of a single run, where they are equally many and few, stacked as (r_data, -r_noise)."""

    def __init__(self, xp: Namespace, r_data: Array, r_noise: Array, single: bool) -> None:
        self.xp, self.r_data, self.r_noise = xp, r_data, r_noise
        self.stacked = single and r_data.shape == r_noise.shape and r_data.shape[0] <= BLOCK
        if self.stacked:
            self.r, width = xp.concat([r_data[None, :], -r_noise[None, :]]), r_data.shape[0]
        else:
            width = max(next(blocks(r)).shape[-1] for r in (r_data, r_noise))
        self.ones = xp.ones((width,), dtype=r_data.dtype, device=device(r_data))

    def means(self) -> tuple[Array, Array]:
        """The means of both samples."""
        if self.stacked:
            data, noise = self.xp.vecdot(self.r, self.ones).tolist()
            return data / self.ones.shape[0], -noise / self.ones.shape[0]
        both = ([[self.xp.vecdot(x, self.ones[: x.shape[-1]])] for x in blocks(r)] for r in (self.r_data, self.r_noise))
        (data,), (noise,) = (_joined(self.xp, rows) for rows in both)
        return data / self.r_data.shape[-1], noise / self.r_noise.shape[-1]

    def sums(self, G: Array, order: int, exact: bool = False) -> tuple[Sums, Sums]:
        """Of data and noise at G, ``order`` (3, 4 or 6) powers; ``exact``: with the rounding of r - G put right."""
        if not self.stacked:
            return _sums(self.r_data, self.r_noise, G, 1.0, ones=self.ones, order=order, exact=exact)
        g = self.xp.asarray([[G], [-G]])
        pairs = [x.tolist() for x in _powers(self.xp, self.r, g, self.ones, order, exact)]
        return [x for x, _ in pairs], [x for _, x in pairs]


@by_runs
def _sums(
    r_data: Array, r_noise: Array, G: Array, nu: float, *, ones: Array, order: int, exact: bool
) -> tuple[Sums, Sums]:
    xp = array_namespace(ones)
    column = G if isinstance(G, float) else G[..., None]
    data = [_powers(xp, x, column, ones[: x.shape[-1]], order, exact) for x in blocks(r_data)]
    noise = [_powers(xp, column, x, ones[: x.shape[-1]], order, exact) for x in blocks(r_noise)]
    return _joined(xp, data), _joined(xp, noise)


def _powers(xp: Namespace, a: Array, b: Array, ones: Array, order: int, exact: bool) -> Sums:
    """Sums over the last axis of p^k, p = 1/(1 + exp(a - b))."""
    if exact:
        z, e = two_sum(a, -b)
        p = 1.0 / (1.0 + xp.exp(z) * (1.0 + e))
    else:
        p = 1.0 / (1.0 + xp.exp(a - b))
    dot = xp.vecdot
    square = p * p
    sums = [dot(p, ones), dot(p, p), dot(p, square)]
    if order > 3:
        sums.append(dot(square, square))
    if order > 4:
        fourth = square * square
        sums += [dot(p, fourth), dot(square, fourth)]
    return sums


def _joined(xp: Namespace, rows: list[Sums]) -> Sums:
    """The sums over a sample from those over its blocks."""
    if len(rows) == 1:
        return rows[0]
    sums = [xp.sum(xp.stack(list(column), axis=-1), axis=-1) for column in zip(*rows, strict=True)]
    return sums if sums[0].ndim else [float(x) for x in sums]


def _derivatives(sums: Sums) -> Derivatives:
    """The first three derivatives of log mean sigmoid: in x, y, z = sum p^k/sum p, k = 2, 3, 4."""
    scale = 1.0 / sums[0]
    x, y, z = sums[1] * scale, sums[2] * scale, sums[3] * scale
    return 1.0 - x, 2.0 * y - x * (1.0 + x), 6.0 * (y - z + x * y) - x * (1.0 + x * (3.0 + 2.0 * x))


def _moved(sums: Sums, u: Array, n: int) -> tuple[Array, Array]:
    """Mean sigmoid and mean sigmoid^2 at a distance log(1 + u): (1 + u) p/(1 + u p) and its square as series in u."""
    mean, square = sums[-1], 0.0 * u
    for k in range(len(sums) - 1, 0, -1):
        square = k * sums[k] - u * square
        mean = sums[k - 1] - u * mean
    scale = (1.0 + u) / n
    return scale * mean, scale * (1.0 + u) * square
