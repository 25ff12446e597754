"""One number at a time, as in C, with every sum by ``math.fsum``; ence in decimals."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

from tests.corpus import over_runs, without_root

LEVEL = "A"
SKIP = ("Large",)  # a loop of Python over 30 thousand numbers, for each halving
MOST = 2000


def _small(r, F, nu, side=1, M=0.0):
    """Of each z, F + log nu - r times the side: whether z >= 0, |z|, e^(M - |z|).

    The side is 1 for data and -1 for noise. The exponential is corrected for the
    rounding of z.
    """
    if r.size > MOST:
        raise ValueError(f"{r.size} numbers are too many")
    found = []
    for x in r.tolist():
        z = math.fsum([F, *_log(nu), -x])
        known = math.isfinite(z) and abs(z) < 1e15
        lost = math.fsum([F, *_log(nu), -x, -z]) if known else 0.0
        q = math.exp(min(M - abs(z), 700.0))
        q *= 1.0 + (-lost if z >= 0 else lost)
        found.append((side * z >= 0, abs(z), q))
    return found


@cache
def _log(nu):
    """log nu, and what is lost in rounding it."""
    high = math.log(nu)
    return high, float(Decimal(nu).ln() - Decimal(high))


def _sigmoids(r, F, nu, side):
    return [(1.0 if up else q) / (1.0 + q) for up, _, q in _small(r, F, nu, side)]


def _softplus(r, F, nu, side):
    return [(z if up else 0.0) + math.log1p(q) for up, z, q in _small(r, F, nu, side)]


def _mean(x):
    return math.inf if math.inf in x else math.fsum(x) / len(x)


def _parts(data, noise, F, nu, M=0.0):
    """The part of A - nu B from the counts, exactly, and the rest times e^M."""
    scale, count, terms = math.exp(-min(M, 745.2)), Fraction(0), []
    for r, weight, side in ((data, 1.0, 1), (noise, -nu, -1)):
        small = _small(r, F, nu, side, M)
        count += Fraction(weight) * Fraction(sum(up for up, _, _ in small), r.size)
        terms += [
            (-weight if up else weight) * (q / (1.0 + q * scale)) / r.size
            for up, _, q in small
        ]
    return count, math.fsum(terms)


def _log_mean(r, F, nu, side):
    """log mean sigmoid, the largest term taken out."""
    small = _small(r, F, nu, side)
    M = 0.0 if any(up for up, _, _ in small) else min(z for _, z, _ in small)
    if math.isinf(M):
        return -M, 0.0
    scale = math.exp(-M)
    terms = [
        (1.0 if up else q) / (1.0 + q * scale) for up, _, q in _small(r, F, nu, side, M)
    ]
    return -M, math.log(math.fsum(terms) / r.size)


class nce:
    """Definition 3.1 and its derivatives."""

    @over_runs
    def grad_F(data, noise, F, nu):
        count, rest = _parts(data, noise, F, nu)
        return (float(count) + rest) / (1.0 + nu)

    @over_runs
    def loss(data, noise, F, nu):
        loss_data = _mean(_softplus(data, F, nu, 1))
        loss_noise = _mean(_softplus(noise, F, nu, -1))
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
        w_data = [-w[0] * s for s in _sigmoids(data, F, nu, 1)]
        return w_data, [w[1] * s for s in _sigmoids(noise, F, nu, -1)]


class ence:
    """The exponential loss."""

    @over_runs
    def loss(data, noise, F, _):
        with localcontext(prec=40, traps=[]):
            halves = ((Decimal(F) - Decimal(x)) / 2 for x in data.tolist())
            loss_data = sum(half.exp() for half in halves) / data.size
            halves = ((Decimal(x) - Decimal(F)) / 2 for x in noise.tolist())
            loss_noise = sum(half.exp() for half in halves) / noise.size
            return float((loss_data + loss_noise) / 2)


@over_runs
def bar_update(data, noise, F, nu):
    M, log_A = _log_mean(data, F, nu, 1)
    N, log_B = _log_mean(noise, F, nu, -1)
    far = [F, *_log(nu), -M, N, -log_A, log_B]
    return math.fsum(far) if all(map(math.isfinite, far)) else sum(far)


@over_runs
def _bisect(data, noise, xtol, nu):
    none, limit = without_root(data, noise, nu)
    if none:
        return limit
    finite = [x for r in (data, noise) for x in r.tolist() if math.isfinite(x)]
    # More than the log of any ratio of counts here
    reach = 0.0 if len(finite) == data.size + noise.size else 50.0
    lo, hi = min(finite) - reach, max(finite) + reach
    while True:
        middle = 0.5 * lo + 0.5 * hi
        if hi - lo <= max(xtol, math.ulp(middle), 2.0**-52):
            return middle
        sides = _small(data, middle, nu) + _small(noise, middle, nu)
        M = min(z for _, z, _ in sides)
        M = M if math.isfinite(M) else 0.0
        count, rest = _parts(data, noise, middle, nu, M)
        if count == 0 or abs(math.log(abs(count)) + M) < 700.0:
            rest += float(count) * math.exp(M) if count else 0.0
        else:  # the counts alone, unless what they weigh is nothing
            rest = math.copysign(math.inf, count) if M > 0 else rest
        lo, hi = (middle if rest <= 0 else lo), (middle if rest >= 0 else hi)


def bisect(r_data, r_noise, *, nu=1.0, xtol=0.0):
    return _bisect(r_data, r_noise, xtol, nu=nu)
