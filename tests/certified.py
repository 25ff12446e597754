"""Certified values of nce, logz and ence, by ball arithmetic (Arb, from python-flint).

Inputs are exact doubles, one run at a time (1-d arrays). The working precision doubles
until 40 decimal digits of the result are certain, or, if the exact value is 0, until it
is known to be far below one unit. No formula is evaluated as the package does: the sums
run over e^r, whose exponents are unbounded in Arb.

With t = nu e^F and e = e^r:  s_data = t/(t + e),  s_noise = e/(t + e).
Each sample is split at r = F + log nu, so that only the small one of s and 1 - s is
summed and the rest is an integer count:  A - nu B = c + P - N,  where c is rational, P
increases in F and N decreases.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial, wraps
from typing import Any, NamedTuple

import numpy as np
from flint import arb, ctx

from tests.certainty import Balls, Exact, Uncertain, certify, certify_all
from tests.certainty import limit, rational, total

NAN, INF = math.nan, math.inf


# The two samples


class Sample:
    """Finite log-ratios, the counts of infinite ones, e^r at the present precision."""

    def __init__(self, r: Any) -> None:
        r = np.asarray(r, dtype=np.float64).ravel()
        assert r.size and not np.isnan(r).any(), "a sample needs elements and no nan"
        self.n = int(r.size)
        self.at_neg, self.at_pos = (int((r == x).sum()) for x in (-INF, INF))
        self.array = r[np.isfinite(r)]
        self._exps: dict[int, list[arb]] = {}

    def exps(self) -> list[arb]:
        if ctx.prec not in self._exps:
            self._exps[ctx.prec] = [arb(x).exp() for x in self.array.tolist()]
        return self._exps[ctx.prec]

    def small_sides(self, t: arb, u: float) -> tuple[list[arb], list[arb]]:
        """t/(t + e) of the samples above u = F + log nu, e/(t + e) of those below."""
        above, e = self.array > u, self.exps()
        return (
            [t / (t + e[k]) for k in np.flatnonzero(above)],
            [e[k] / (t + e[k]) for k in np.flatnonzero(~above)],
        )


class Parts:
    """A, B and A - nu B = c + P - N at one F."""

    def __init__(self, data: Sample, noise: Sample, nu: Fraction, F: arb) -> None:
        v, u = rational(nu), float(F.mid()) + math.log(nu)
        sides = [x.small_sides(v * F.exp(), u) for x in (data, noise)]
        (above, below), (noise_above, noise_below) = sides
        one_d = Fraction(len(below) + data.at_neg, data.n)
        one_n = Fraction(len(noise_above) + noise.at_pos, noise.n)
        self._n, self._m, self._v = data.n, noise.n, v
        self._sides = sides
        self.c = rational(one_d - nu * one_n)
        self.P, self.N = self._sums(lambda s: s)
        self.A = rational(one_d) + (total(above) - total(below)) / data.n
        self.B = rational(one_n) + (total(noise_below) - total(noise_above)) / noise.n
        self.difference = self.c + self.P - self.N

    def _sums(self, f: Callable[[arb], arb]) -> list[arb]:
        """The weighted sums of f(s) over the samples above, and over those below."""
        return [
            total(map(f, x)) / self._n + self._v * total(map(f, y)) / self._m
            for x, y in zip(*self._sides, strict=True)
        ]

    def slopes(self) -> list[arb]:
        """dP/dF and -dN/dF."""
        return self._sums(lambda s: s * (1 - s))


def value_of_run(f: Callable[..., Balls], slack: int = 0) -> Callable[..., Exact]:
    """A function of arrays and numbers that certifies ``f(data, noise, F, nu)``."""

    @wraps(f)
    def call(r_data: Any, r_noise: Any, F: float = 0.0, nu: float = 1.0) -> Exact:
        data, noise, exact_nu = _prepared(r_data, r_noise, nu)
        return certify(lambda: f(data, noise, arb(float(F)), exact_nu), slack)

    return call


def _prepared(r_data: Any, r_noise: Any, nu: Any) -> tuple[Sample, Sample, Fraction]:
    return Sample(r_data), Sample(r_noise), Fraction(float(nu))


# nce


@value_of_run
def loss(data: Sample, noise: Sample, F: arb, nu: Fraction) -> Balls:
    """Eq. 1; +inf where r_data = -inf or r_noise = +inf."""
    if data.at_neg or noise.at_pos:
        return limit(INF)
    v = rational(nu)
    t = v * F.exp()
    L_data = total((t / e).log1p() for e in data.exps()) / data.n
    L_noise = total((e / t).log1p() for e in noise.exps()) / noise.n
    L = (L_data + v * L_noise) / (1 + v)
    return L, L


@value_of_run
def grad_F(data: Sample, noise: Sample, F: arb, nu: Fraction) -> Balls:
    """Eq. 3; its scale is max(|dL/dF|, T)."""
    p, weight = Parts(data, noise, nu, F), 1 + rational(nu)
    gradient = p.difference / weight
    return gradient, abs(gradient).max((p.P + p.N) / weight)


@value_of_run
def hess_F(data: Sample, noise: Sample, F: arb, nu: Fraction) -> Balls:
    """Eq. 4."""
    H = total(Parts(data, noise, nu, F).slopes()) / (1 + rational(nu))
    return H, H


Pair = tuple[list[Exact], list[Exact]]


def _each(one: Callable[[int, int, float], Exact], r_data: Any, r_noise: Any) -> Pair:
    """``one(sign, n, r)`` of each number: sign -1 for data, 1 for noise."""
    data, noise = np.ravel(r_data).tolist(), np.ravel(r_noise).tolist()
    return [one(-1, len(data), r) for r in data], [one(1, len(noise), r) for r in noise]


def grad_r(r_data: Any, r_noise: Any, F: float, nu: float = 1.0) -> Pair:
    """-s_data/(n (1 + nu)) and nu s_noise/(m (1 + nu)), each to an ulp of itself."""
    v = Fraction(float(nu))

    def one(sign: int, count: int, r: float) -> Exact:
        weight = (-1 if sign < 0 else v) / (count * (1 + v))

        def formula() -> Balls:
            if math.isinf(r):
                s = rational(weight if sign * r > 0 else 0)
                return s, abs(s)
            x = sign * (arb(r) - arb(float(F)) - rational(v).log())
            s = rational(weight) / (1 + (-x).exp())
            return s, abs(s)

        return certify(formula)

    return _each(one, r_data, r_noise)


# logz


@partial(value_of_run, slack=1)
def bar_update(data: Sample, noise: Sample, F: arb, nu: Fraction) -> Balls:
    """Eq. 10: F - log A + log B + log nu; infinite where A or B is 0, nan for both."""
    no_A, no_B = data.at_pos == data.n, noise.at_neg == noise.n
    if no_A or no_B:
        return limit(NAN if no_A and no_B else INF if no_A else -INF)
    p = Parts(data, noise, nu, F)
    F_next = F - (p.A / (p.B * rational(nu))).log()
    # A value of 0 is judged by the slack, so that the scale must not vanish.
    return F_next, abs(F_next).max(arb(2) ** -80)


class Root(NamedTuple):
    F: Exact
    has_root: bool
    standard_error: Exact
    overlap: Exact


def verdict(r_data: Any, r_noise: Any, nu: float = 1.0) -> float | None:
    """None where a finite root exists; else the limit of F: -inf, +inf or nan."""
    data, noise, v = _prepared(r_data, r_noise, nu)
    left = Fraction(data.at_neg, data.n) < v * Fraction(noise.n - noise.at_neg, noise.n)
    right = Fraction(data.n - data.at_pos, data.n) > v * Fraction(noise.at_pos, noise.n)
    if left and right:
        return None
    return INF if left else -INF if right else NAN


def _guess(data: Sample, noise: Sample, nu: Fraction) -> float:
    """A double near the root: bisection on log(c+ + P) - log(c- + N) in doubles."""
    n, m, pooled = data.n, noise.n, np.concatenate([data.array, noise.array])
    logs = math.log(1 / n), math.log(float(nu) / m)
    log_weights = np.repeat(logs, [data.array.size, noise.array.size])

    def difference(F: float) -> float:
        u = F + math.log(nu)
        above, noise_above = data.array > u, noise.array >= u
        ones = Fraction(int((~above).sum()) + data.at_neg, n)
        c = float(ones - nu * Fraction(int(noise_above.sum()) + noise.at_pos, m))
        z, up = -np.abs(u - pooled), np.concatenate([above, noise_above])
        small = z - np.log1p(np.exp(z)) + log_weights
        P = np.append(small[up], math.log(c) if c > 0 else -INF)
        N = np.append(small[~up], math.log(-c) if c < 0 else -INF)
        return float(np.logaddexp.reduce(P) - np.logaddexp.reduce(N))

    lo, hi, width = float(pooled.min()), float(pooled.max()), 1.0
    while difference(lo) > 0 or difference(hi) < 0:
        lo, hi, width = lo - width, hi + width, 2 * width
    for _ in range(100):
        middle = lo + (hi - lo) / 2
        if not lo < middle < hi:
            break
        lo, hi = (lo, middle) if difference(middle) > 0 else (middle, hi)
    return lo + (hi - lo) / 2


def _radius(F: arb) -> arb:
    """2**-140 at 192 bits, times |F| where |F| < 1 (2**-60 near 0)."""
    return abs(F).max(arb(2) ** -60).min(arb(1)) * arb(2) ** -(ctx.prec // 2 + 44)


def _root(data: Sample, noise: Sample, nu: Fraction, guess: float) -> arb:
    """A ball that holds the root: A - nu B changes its sign between the ends.

    It is found by Newton's method on log(c+ + P) - log(c- + N), which is quadratic from
    a guess that is right to a few ulps.
    """
    F = arb(guess)
    for _ in range(8):
        p = Parts(data, noise, nu, F)
        if not p.P.is_finite() or not p.N.is_finite():
            raise Uncertain
        up, down = p.P + p.c.nonnegative_part(), p.N + (-p.c).nonnegative_part()
        if up == 0 or down == 0:
            break
        dP, dN = p.slopes()
        step = (up / down).log() / (dP / up + dN / down)
        if not step.is_finite():
            break
        F = (F - step).mid()
        if bool(abs(step.mid()) < _radius(F)):
            break
    radius = _radius(F)
    ends = ((F + x).mid() for x in (-radius, radius))
    low, high = (Parts(data, noise, nu, end).difference for end in ends)
    if not (bool(low < 0) and bool(high > 0)):
        raise Uncertain
    return F + arb(0, radius)


@lru_cache(maxsize=256)
def _root_of(data_bytes: bytes, noise_bytes: bytes, nu: float) -> Root:
    samples = np.frombuffer(data_bytes), np.frombuffer(noise_bytes)
    F = verdict(*samples, nu)
    if F is not None:
        return Root(limit(F), False, limit(NAN), limit(NAN))
    data, noise, exact_nu = run = _prepared(*samples, nu)
    guess = _guess(*run)

    def variance(sample: Sample, F: arb) -> arb:
        # var s = var(1 - s): take the one that is small for most of the sample.
        t, u = rational(exact_nu) * F.exp(), float(F.mid()) + math.log(exact_nu)
        flip = 2 * (int((sample.array <= u).sum()) + sample.at_neg) > sample.n
        s = [(e if flip else t) / (t + e) for e in sample.exps()]
        s += [arb(1)] * (sample.at_pos if flip else sample.at_neg)
        s += [arb(0)] * (sample.at_neg if flip else sample.at_pos)
        mean = total(s) / sample.n
        return total((x - mean) * (x - mean) for x in s) / sample.n

    def formula() -> list[Balls]:
        F, v, least = _root(*run, guess), rational(exact_nu), arb(2) ** -80
        size = abs(F.mid()).max(least)
        # A root within 2**-80 of 0 is 0 as far as its unit (ulp + eps) can tell.
        value = F if bool(abs(F.mid()) > least) else F.mid()
        slope = total(Parts(*run, F).slopes())
        overlap = (1 + v) / v * slope
        if min(data.n, noise.n) == 1:
            return [(value, size), limit(NAN), (overlap, overlap)]
        var = variance(data, F) / data.n + v * v * variance(noise, F) / noise.n
        # Tied samples have no spread.
        error = (arb(0, var.upper().sqrt()) if 0 in var else var.sqrt()) / slope
        return [(value, size), (error, abs(error).max(least)), (overlap, overlap)]

    F, error, overlap = certify_all(formula)
    return Root(F._replace(slack=1), True, error, overlap)


def root(r_data: Any, r_noise: Any, nu: float = 1.0) -> Root:
    """The root of A = nu B, with the sandwich standard error and the overlap there.

    Without a finite root ``has_root`` is False and F is its limit.
    """
    samples = (np.ravel(np.asarray(r, dtype=np.float64)) for r in (r_data, r_noise))
    return _root_of(*(r.tobytes() for r in samples), float(nu))


def root_F(r_data: Any, r_noise: Any, nu: float = 1.0) -> float:
    """The double nearest to the root."""
    return float(root(r_data, r_noise, nu).F.value)


# ence


def _half_exps(data: Sample, noise: Sample, F: arb) -> tuple[arb, arb]:
    """E_p*[e^{-(r - F)/2}], E_q[e^{(r - F)/2}] (finite ratios)."""
    half = (F / 2).exp()
    a, b = (
        total((sign * arb(r) / 2).exp() for r in x.array.tolist()) / x.n
        for sign, x in ((-1, data), (1, noise))
    )
    return half * a, b / half


@value_of_run
def ence_loss(data: Sample, noise: Sample, F: arb, _: Fraction) -> Balls:
    """Liu et al. 2021; +inf where r_data = -inf or r_noise = +inf."""
    if data.at_neg or noise.at_pos:
        return limit(INF)
    L = total(_half_exps(data, noise, F)) / 2
    return L, L


@value_of_run
def ence_grad_F(data: Sample, noise: Sample, F: arb, _: Fraction) -> Balls:
    """(a - b)/4 with the scale (a + b)/4."""
    if data.at_neg or noise.at_pos:
        both = data.at_neg and noise.at_pos
        return limit(NAN if both else INF if data.at_neg else -INF)
    a, b = _half_exps(data, noise, F)
    return (a - b) / 4, (a + b) / 4


@partial(value_of_run, slack=1)
def ence_log_z(data: Sample, noise: Sample, F: arb, _: Fraction) -> Balls:
    """log E_q[e^{r/2}] - log E_p*[e^{-r/2}]."""
    b = INF if noise.at_pos else -INF if noise.at_neg == noise.n else 0.0
    a = INF if data.at_neg else -INF if data.at_pos == data.n else 0.0
    if a or b:
        return limit(b - a)
    x, y = _half_exps(data, noise, arb(0))
    log_z = (y / x).log()
    return log_z, abs(log_z).max(arb(2) ** -80)


def ence_grad_r(r_data: Any, r_noise: Any, F: float) -> Pair:
    """-e^{-(r - F)/2}/(4n) and e^{(r - F)/2}/(4m), each to one ulp of itself."""

    def one(sign: int, count: int, r: float) -> Exact:
        if math.isinf(r):
            return limit(0.0 if sign * r < 0 else sign * INF)

        def formula() -> tuple[arb, arb]:
            w = sign * (sign * (arb(r) - arb(float(F))) / 2).exp() / (4 * count)
            return w, abs(w)

        return certify(formula)

    return _each(one, r_data, r_noise)
