r"""The fast road to the root: a few passes over the samples, one with an exponential a sample, each with a few dot products.

phi(F) = log A - log B - log nu is near-linear wherever the data's log-ratios are not below the noise's: exactly linear for
one-point sets and for samples far apart, slope 1 to 2. A pass at G = F + log nu yields the power sums of the sigmoids
(``powers``), and they yield two things: phi with two derivatives, hence the root of its quadratic model (``series``), and the
sums at every near point as geometric series in u = exp(distance) - 1. When these miss less than the tolerance, they give a
last Newton step and the standard error.

Where the slope of phi is under 1/2 (data scored below noise), where a sum underflows, or after five passes, the road is left,
and ``newton`` takes the one that cannot fail.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from refnce.array.backend import (
    BLOCK,
    Array,
    Namespace,
    device,
    all_true,
    machine_eps,
    is_numpy,
    all_numpy_float64,
    is_async_device,
)
from refnce.logz.powers import ORDERS, Pair, Samples, derivatives, moved
from refnce.logz.series import SLOPE, reversion
from refnce.array.special import log_double_double, two_sum

PASSES = 5
BLIND_PASSES = 3  # made before the host first looks at the result, where looking means waiting for an accelerator
# A long sample starts from a sixteenth of it, the middle 512 of every so many: neighbours in memory, and all of a sorted one.
STRETCH = 16 * 512
MIDDLE = slice(STRETCH // 2 - 256, STRETCH // 2 + 256)
# After a step this short the model has missed the root by under 1e-7, a tenth of its cube; a Newton step ends it.
SHORT = 0.01
# Cancellation in var s = mean s^2 - (mean s)^2 is left to the pass that avoids it.
SPREAD = 1e-6


class Root(NamedTuple):
    """F between lo and hi, passes made, standard error and overlap; proven where ``sure``."""

    F: Array
    lo: Array
    hi: Array
    passes: Array
    standard_error: Array
    overlap: Array
    sure: Array


def solve(
    xp: Namespace,
    r_data: Array,
    r_noise: Array,
    F0: Array | None,
    nu: float,
    *,
    xtol: float,
) -> Root | None:
    """Follow the fast road for checked arguments; NaN in the samples shows as ``sure`` = False, or None."""
    try:
        return _solve(xp, r_data, r_noise, F0, nu, xtol)
    except (
        ArithmeticError,
        ValueError,
    ):  # from ``math``, for a run whose every sigmoid underflows in its first pass
        return None


def _solve(
    xp: Namespace,
    r_data: Array,
    r_noise: Array,
    F0: Array | None,
    nu: float,
    xtol: float,
) -> Root:
    n, m = r_data.shape[-1], r_noise.shape[-1]
    eps = machine_eps(r_data.dtype, xp)
    log_nu, log_nu_low = log_double_double(nu, eps)
    tol = max(xtol, eps)
    # The standard error is right to 1e-6, to the last digits with xtol = 0; for these the last pass takes a third power.
    last, fine = (2, max(1e-6, 4096.0 * eps)) if xtol > 0.0 else (3, 4096.0 * eps)
    ready = not is_async_device(r_data)
    # Python's floats do the arithmetic of a single run in a fraction of the time of NumPy's scalars.
    single = r_data.ndim == r_noise.ndim == 1 and all_numpy_float64(r_data, r_noise)
    calc = math if single else xp
    samples = (
        Pair(xp, r_data, r_noise)
        if single and n == m <= BLOCK
        else Samples(xp, r_data, r_noise, calc)
    )
    order = 3
    if F0 is not None:
        G = (float(F0) if single else F0) + log_nu
    elif max(n, m) <= BLOCK or not is_numpy(r_data):
        G = 0.5 * (samples.means() + log_nu)
    else:
        part = _solve(
            xp, _sixteenth(xp, r_data), _sixteenth(xp, r_noise), None, nu, 1e-3
        )
        G = part.F + log_nu
        # As many powers as mostly let one pass be enough, or all.
        order = next(
            (
                k
                for k in ORDERS
                if k > order and all_true(0.5 * (2.5 * part.standard_error) ** k <= tol)
            ),
            ORDERS[-1],
        )
    samples.weigh(G)
    for passes in range(1, PASSES + 1):
        A, B = samples.sums(G, order)
        phi = calc.log(A[0] / B[0] * (m / (nu * n)))
        step, slope, _, _ = reversion(phi, derivatives(A), derivatives(B))
        steep, distance = slope >= SLOPE, abs(step)
        # What the series in u miss, half as much again for the terms that follow and for u > step: in F, and in mean s^2.
        missed = 1.5 * distance**order * (A[-1] / A[0] + B[-1] / B[0]) / slope
        close = steep & (missed <= tol) & (order * distance ** (order - 1) <= fine)
        if (
            passes == PASSES
            or (ready or passes >= BLIND_PASSES)
            and all_true(close | (steep ^ True))
        ):
            break
        G = G + step
        order = last if ready and all_true(distance <= SHORT) else 6
    more = 0.0 * step
    for _ in range(2):  # once more where the standard error would notice
        step = step + more
        mean_A, square_A = moved(A, calc.expm1(step), n)
        mean_B, square_B = moved(B, calc.expm1(-step), m)
        hess = (mean_A - square_A) + nu * (mean_B - square_B)
        more = calc.log(nu * mean_B / mean_A) * mean_A / hess
        if ready and all_true(abs(more) <= fine):
            break
    # F = G + step + more - log nu, summed in twofold precision.
    F, rest = two_sum(G, step)
    if nu != 1.0:
        F, lost = two_sum(F, -log_nu)
        rest = rest + lost - log_nu_low
    var_A, var_B = square_A - mean_A * mean_A, square_B - mean_B * mean_B
    sure = (
        close
        & (more * more <= tol)
        & (var_A > SPREAD * square_A)
        & (var_B > SPREAD * square_B)
    )
    standard_error = calc.sqrt(var_A / n + (nu * nu / m) * var_B) / hess
    F = F + (rest + more)
    reach = 2.0 * (abs(step) + abs(more)) + 4.0 * (tol + eps * abs(F))
    made: Any = (
        passes if single else xp.full(F.shape, passes, dtype=xp.int64, device=device(F))
    )
    return Root(
        F, F - reach, F + reach, made, standard_error, hess * ((1.0 + nu) / nu), sure
    )


def _sixteenth(xp: Namespace, r: Array) -> Array:
    n = r.shape[-1]
    if n <= STRETCH:
        return r
    stretches = xp.reshape(
        r[..., : n - n % STRETCH], (*r.shape[:-1], n // STRETCH, STRETCH)
    )
    return xp.reshape(stretches[..., MIDDLE], (*r.shape[:-1], -1))
