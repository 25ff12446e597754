"""One number at a time, as in C, with every sum by ``math.fsum``."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.corpus import over_runs

LEVEL = "A"
SKIP = ("Large",)  # a loop of Python over 30 thousand numbers, for each halving
MOST = 2000


def _small(r, F, nu, M=0.0):
    """Of each r: whether it lies below F + log nu, the distance, e^(M - distance).

    The exponential is corrected for the rounding of the distance.
    """
    if r.size > MOST:
        raise ValueError(f"{r.size} numbers are too many")
    log_nu, found = math.log(nu), []
    for x in r.tolist():
        z = math.fsum([F, log_nu, -x])
        known = math.isfinite(z) and abs(z) < 1e15
        lost = math.fsum([F, log_nu, -x, -z]) if known else 0.0
        q = math.exp(min(M - abs(z), 700.0))
        found.append((z >= 0, abs(z), q * (1.0 + (-lost if z >= 0 else lost))))
    return found


def _sigmoids(r, F, nu, side):
    """The sigmoids of data (side True) or of noise."""
    small = _small(r, F, nu)
    return [(1.0 if below == side else q) / (1.0 + q) for below, _, q in small]


def _softplus(r, F, nu, side):
    """softplus(z) of data (side True), softplus(-z) of noise."""
    terms = []
    for below, z, q in _small(r, F, nu):
        terms.append((z if below == side else 0.0) + math.log1p(q))
    return terms


def _mean(x):
    return math.inf if math.inf in x else math.fsum(x) / len(x)


def _nearest(data, noise, F, nu):
    M = min(z for r in (data, noise) for _, z, _ in _small(r, F, nu))
    return M if math.isfinite(M) else 0.0


def _parts(data, noise, F, nu, M=0.0):
    """The part of A - nu B from the counts, exactly, and the rest times e^M."""
    scale, terms, counts = math.exp(-min(M, 745.2)), [], []
    for r, weight in ((data, 1.0), (noise, nu)):
        small = _small(r, F, nu, M)
        counts.append(sum(below for below, _, _ in small))
        terms += [
            (-weight if below else weight) * (q / (1.0 + q * scale)) / r.size
            for below, _, q in small
        ]
    above = Fraction(noise.size - counts[1], noise.size)
    return Fraction(counts[0], data.size) - Fraction(nu) * above, math.fsum(terms)


def _grad_F(data, noise, F, nu):
    count, rest = _parts(data, noise, F, nu)
    return (float(count) + rest) / (1.0 + nu)


def _log_mean(r, F, nu, side):
    """log mean sigmoid, the largest term taken out."""
    small = _small(r, F, nu)
    any_large = any(below == side for below, _, _ in small)
    M = 0.0 if any_large else min(z for _, z, _ in small)
    if math.isinf(M):
        return -M, 0.0
    scale = math.exp(-M)
    terms = [
        (1.0 if below == side else q) / (1.0 + q * scale)
        for below, _, q in _small(r, F, nu, M)
    ]
    return -M, math.log(math.fsum(terms) / r.size)


class nce:
    """Definition 3.1 and its derivatives."""

    grad_F = over_runs(_grad_F)

    @over_runs
    def loss(data, noise, F, nu):
        loss_data = _mean(_softplus(data, F, nu, True))
        loss_noise = _mean(_softplus(noise, F, nu, False))
        return (loss_data + nu * loss_noise) / (1.0 + nu)

    @over_runs
    def hess_F(data, noise, F, nu):
        bends = [
            _mean([q / (1.0 + q) / (1.0 + q) for _, _, q in _small(r, F, nu)])
            for r in (data, noise)
        ]
        return (bends[0] + nu * bends[1]) / (1.0 + nu)

    @over_runs
    def grad_r(data, noise, F, nu):
        w = 1.0 / (data.size * (1.0 + nu)), nu / (noise.size * (1.0 + nu))
        w_data = [-w[0] * s for s in _sigmoids(data, F, nu, True)]
        return w_data, [w[1] * s for s in _sigmoids(noise, F, nu, False)]


@over_runs
def bar_update(data, noise, F, nu):
    M, log_A = _log_mean(data, F, nu, True)
    N, log_B = _log_mean(noise, F, nu, False)
    far = [F, math.log(nu), -M, N, -log_A, log_B]
    return math.fsum(far) if all(map(math.isfinite, far)) else sum(far)


@over_runs
def _bisect(data, noise, xtol, nu):
    low = np.mean(data == -math.inf) < nu * np.mean(noise > -math.inf)
    high = np.mean(data < math.inf) > nu * np.mean(noise == math.inf)
    if not low or not high:
        return math.nan if low == high else (math.inf if low else -math.inf)
    finite = [x for r in (data, noise) for x in r.tolist() if math.isfinite(x)]
    # More than the log of any ratio of counts here
    reach = 0.0 if len(finite) == data.size + noise.size else 50.0
    lo, hi = min(finite) - reach, max(finite) + reach
    while True:
        middle = 0.5 * lo + 0.5 * hi
        if hi - lo <= max(xtol, math.ulp(middle), 2.0**-52):
            return middle
        M = _nearest(data, noise, middle, nu)
        count, rest = _parts(data, noise, middle, nu, M)
        if count == 0 or abs(math.log(abs(count)) + M) < 700.0:
            rest += float(count) * math.exp(M) if count else 0.0
        else:  # the counts alone, unless what they weigh is nothing
            rest = math.copysign(math.inf, count) if M > 0 else rest
        lo, hi = (middle if rest <= 0 else lo), (middle if rest >= 0 else hi)


def bisect(r_data, r_noise, *, nu=1.0, xtol=0.0):
    return _bisect(r_data, r_noise, xtol, nu=nu)
