"""Certified values of every quantity of nce, logz and ence, by ball arithmetic (Arb, through python-flint).

Inputs are exact doubles, one run at a time (1-d arrays); the working precision doubles until 40 decimal digits of the
result are certain (or, where the exact value is zero, until that is known far below one unit). Nothing here shares a
formula's evaluation with the package: the sums run over e^r, whose exponents are unbounded in Arb.

With t = nu e^F and e = e^r:  s_data = t/(t + e),  s_noise = e/(t + e).
Each sample is split at r = F + log nu, so that only the small one of s and 1 - s is ever summed and the rest is an
integer count:  A - nu B = c + P - N  with c rational, P increasing in F, N decreasing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
from flint import arb, ctx, fmpq

from .ulps import eps, ulp

START = 192  # bits; 40 digits are 133
STOP = 2**15
DIGITS = 40


class Exact(NamedTuple):
    """A value certain to 40 digits and what its unit of error is made of (DESIGN, Numbers)."""

    value: mpmath.mpf
    scale: mpmath.mpf  # the unit is ulp(scale) ...
    slack: int = 0  # ... + slack * eps

    def unit(self, dtype: str = "float64") -> mpmath.mpf:
        return ulp(self.scale, dtype) + self.slack * eps(dtype)


class Uncertain(ArithmeticError):
    """The present precision does not decide; take more."""


# --- balls -----------------------------------------------------------------------------------------------------------


def to_mpf(x: arb) -> mpmath.mpf:
    """The midpoint of the ball, unrounded."""
    man, exp = x.mid().man_exp()
    return mpmath.mp.make_mpf(mpmath.libmp.from_man_exp(int(man), int(exp)))


def _rational(x: Fraction) -> arb:
    return arb(fmpq(x.numerator, x.denominator))


def _certain(ball: arb, scale: arb) -> mpmath.mpf | None:
    """The value, if 40 digits of it are certain, or if it is 0 to within 2**-256 of the scale; else None."""
    if not ball.is_finite() or not scale.is_finite():
        return None
    value = to_mpf(ball)
    if ball.rad() == 0:
        return value
    if 0 in ball:
        return mpmath.mpf(0) if bool(ball.rad() * arb(2) ** 256 <= scale) else None
    low, high = to_mpf(ball.lower()), to_mpf(ball.upper())
    if _digits(low) == _digits(high):
        return value
    # a value half-way between two decimals, such as a dyadic number of 41 digits, is known but never rounds with certainty
    return value if bool(ball.rad() * arb(2) ** 256 <= abs(ball).lower()) else None


def _digits(x: mpmath.mpf) -> str:
    return mpmath.libmp.to_str(x._mpf_, DIGITS)


def certify(formula: Callable[[], tuple[arb, arb]], slack: int = 0) -> Exact:
    """Double the precision until formula() -> (value, scale) is certain."""
    return certify_all(lambda: [formula()], slack)[0]


def certify_all(
    formula: Callable[[], list[tuple[arb, arb]]], slack: int = 0
) -> list[Exact]:
    """The same for several values that are computed together."""
    prec = START
    while prec <= STOP:
        with ctx.workprec(prec):
            try:
                pairs = formula()
                values = [_certain(ball, scale) for ball, scale in pairs]
            except Uncertain:
                values = [None]
            if None not in values:
                return [
                    Exact(value, to_mpf(scale), slack)
                    for value, (_, scale) in zip(values, pairs, strict=True)
                ]
        prec *= 2
    raise ArithmeticError(f"not certain at {STOP} bits")


def _limit(x: float) -> Exact:
    return Exact(mpmath.mpf(x), mpmath.mpf(1))


# --- the two samples -------------------------------------------------------------------------------------------------


class Sample:
    """Finite log-ratios, the counts of infinite ones, and e^r at the present precision."""

    def __init__(self, r: Any) -> None:
        r = np.asarray(r, dtype=np.float64).ravel()
        assert r.size and not np.isnan(r).any(), "a sample needs elements and no nan"
        self.n = int(r.size)
        self.at_neg, self.at_pos = int((r == -np.inf).sum()), int((r == np.inf).sum())
        self.array = r[np.isfinite(r)]
        self.finite: list[float] = self.array.tolist()
        self._exps: dict[int, list[arb]] = {}

    def exps(self) -> list[arb]:
        if ctx.prec not in self._exps:
            self._exps[ctx.prec] = [arb(x).exp() for x in self.finite]
        return self._exps[ctx.prec]

    def shares(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.at_neg, self.n), Fraction(self.at_pos, self.n)


class Sides(NamedTuple):
    """The small ones of t/(t + e) (for r above F + log nu) and e/(t + e) (below)."""

    above: list[arb]
    below: list[arb]


def _sides(sample: Sample, t: arb, u: float) -> Sides:
    pairs = list(zip(sample.finite, sample.exps(), strict=True))
    return Sides(
        [t / (t + e) for r, e in pairs if r > u],
        [e / (t + e) for r, e in pairs if r <= u],
    )


def _total(xs: Sequence[arb]) -> arb:
    return sum(xs, arb(0))


class Parts(NamedTuple):
    """A, B, and A - nu B = c + P - N, with the sums of s(1 - s) that belong to P and to N."""

    A: arb
    B: arb
    c: arb
    P: arb
    N: arb
    dP: arb
    dN: arb


def _parts(
    data: Sample, noise: Sample, nu: Fraction, F: arb, *, slopes: bool = True
) -> Parts:
    n, m = data.n, noise.n
    v = _rational(nu)
    u = float(F.mid()) + math.log(nu)
    t = v * F.exp()
    d, y = _sides(data, t, u), _sides(noise, t, u)
    one_d = Fraction(len(d.below) + data.at_neg, n)
    one_n = Fraction(len(y.above) + noise.at_pos, m)
    d_above, d_below, y_above, y_below = (_total(x) for x in (*d, *y))
    d1, d2, y1, y2 = (
        _total([s * (1 - s) for s in x]) if slopes else arb(0) for x in (*d, *y)
    )
    return Parts(
        A=_rational(one_d) + (d_above - d_below) / n,
        B=_rational(one_n) + (y_below - y_above) / m,
        c=_rational(one_d - nu * one_n),
        P=d_above / n + v * y_above / m,
        N=d_below / n + v * y_below / m,
        dP=d1 / n + v * y1 / m,
        dN=d2 / n + v * y2 / m,
    )


def _prepare(
    r_data: Any, r_noise: Any, F: Any, nu: Any
) -> tuple[Sample, Sample, float, Fraction]:
    return Sample(r_data), Sample(r_noise), float(F), Fraction(float(nu))


# --- nce -------------------------------------------------------------------------------------------------------------


def loss(r_data: Any, r_noise: Any, F: float, nu: float = 1.0) -> Exact:
    """Def. 3.1; +inf where r_data = -inf or r_noise = +inf."""
    data, noise, F, nu_ = _prepare(r_data, r_noise, F, nu)
    if data.at_neg or noise.at_pos:
        return _limit(float("inf"))

    def formula() -> tuple[arb, arb]:
        v = _rational(nu_)
        t = v * arb(F).exp()
        L_data = _total([(t / e).log1p() for e in data.exps()]) / data.n
        L_noise = _total([(e / t).log1p() for e in noise.exps()]) / noise.n
        L = (L_data + v * L_noise) / (1 + v)
        return L, L

    return certify(formula)


def grad_F(r_data: Any, r_noise: Any, F: float, nu: float = 1.0) -> Exact:
    """Eq. 3; scale max(|dL|, T)."""
    data, noise, F, nu_ = _prepare(r_data, r_noise, F, nu)

    def formula() -> tuple[arb, arb]:
        p = _parts(data, noise, nu_, arb(F), slopes=False)
        weight = 1 + _rational(nu_)
        gradient, T = (p.c + p.P - p.N) / weight, (p.P + p.N) / weight
        return gradient, abs(gradient).max(T)

    return certify(formula)


def hess_F(r_data: Any, r_noise: Any, F: float, nu: float = 1.0) -> Exact:
    """Eq. 4."""
    data, noise, F, nu_ = _prepare(r_data, r_noise, F, nu)

    def formula() -> tuple[arb, arb]:
        p = _parts(data, noise, nu_, arb(F))
        H = (p.dP + p.dN) / (1 + _rational(nu_))
        return H, H

    return certify(formula)


def grad_r(
    r_data: Any, r_noise: Any, F: float, nu: float = 1.0
) -> tuple[list[Exact], list[Exact]]:
    """-s_data / (n (1 + nu)) and nu s_noise / (m (1 + nu)), each to one ulp of itself."""
    _, _, F, nu_ = _prepare(r_data, r_noise, F, nu)
    n, m = np.size(r_data), np.size(r_noise)

    def sigmoid(r: float, sign: int, factor: Fraction) -> Exact:
        if math.isinf(r):
            return certify(
                lambda: (_rational(factor if sign * r > 0 else Fraction(0)),) * 2
            )

        def formula() -> tuple[arb, arb]:
            x = sign * (arb(r) - arb(F) - _rational(nu_).log())
            s = _rational(factor) / (1 + (-x).exp())
            return s, abs(s)

        return certify(formula)

    weight_data, weight_noise = -1 / (n * (1 + nu_)), nu_ / (m * (1 + nu_))
    return (
        [sigmoid(float(r), -1, weight_data) for r in np.ravel(r_data)],
        [sigmoid(float(r), 1, weight_noise) for r in np.ravel(r_noise)],
    )


# --- logz ------------------------------------------------------------------------------------------------------------


def bar_update(r_data: Any, r_noise: Any, F: float, nu: float = 1.0) -> Exact:
    """Eq. 10: F - log A + log B + log nu; infinite where A or B is 0, nan where both are."""
    data, noise, F, nu_ = _prepare(r_data, r_noise, F, nu)
    no_A, no_B = data.at_pos == data.n, noise.at_neg == noise.n
    if no_A or no_B:
        return _limit(
            float("nan") if no_A and no_B else float("inf") if no_A else float("-inf")
        )

    def formula() -> tuple[arb, arb]:
        p = _parts(data, noise, nu_, arb(F), slopes=False)
        F_next = arb(F) - (p.A / (p.B * _rational(nu_))).log()
        # the zero of F_next is judged against the slack of one eps, so the scale must not vanish with it
        return F_next, abs(F_next).max(arb(2) ** -80)

    return certify(formula, slack=1)


class Root(NamedTuple):
    F: Exact
    has_root: bool
    standard_error: Exact
    overlap: Exact


def verdict(r_data: Any, r_noise: Any, nu: float = 1.0) -> float | None:
    """None where a finite root exists; else the limit of F: -inf, +inf or nan (both conditions fail)."""
    (a_neg, a_pos), (b_neg, b_pos) = Sample(r_data).shares(), Sample(r_noise).shares()
    v = Fraction(float(nu))
    left, right = a_neg < v * (1 - b_neg), 1 - a_pos > v * b_pos
    if left and right:
        return None
    return (
        float("nan") if not (left or right) else float("inf") if left else float("-inf")
    )


def _guess(data: Sample, noise: Sample, nu: Fraction) -> float:
    """A double near the root, by bisection on the sign of log(c+ + P) - log(c- + N) in ordinary arithmetic."""
    n, m, v = data.n, noise.n, float(nu)

    def difference(F: float) -> float:
        u = F + math.log(nu)
        x, y = u - data.array, noise.array - u
        c = float(
            Fraction(int((x >= 0).sum()) + data.at_neg, n)
            - nu * Fraction(int((y >= 0).sum()) + noise.at_pos, m)
        )

        def log_small(z: np.ndarray, weight: float) -> np.ndarray:
            z = -np.abs(z)
            return z - np.log1p(np.exp(z)) + math.log(weight)

        small_x, small_y = log_small(x, 1 / n), log_small(y, v / m)
        up = np.concatenate(
            [small_x[x < 0], small_y[y >= 0], [math.log(c) if c > 0 else -np.inf]]
        )
        down = np.concatenate(
            [small_x[x >= 0], small_y[y < 0], [math.log(-c) if c < 0 else -np.inf]]
        )
        return float(np.logaddexp.reduce(up) - np.logaddexp.reduce(down))

    pooled = np.concatenate([data.array, noise.array])
    lo, hi = float(pooled.min()), float(pooled.max())
    width = 1.0
    while difference(lo) > 0 or difference(hi) < 0:
        lo, hi, width = lo - width, hi + width, 2 * width
    for _ in range(100):
        middle = lo + (hi - lo) / 2
        if not lo < middle < hi:
            break
        lo, hi = (lo, middle) if difference(middle) > 0 else (middle, hi)
    return lo + (hi - lo) / 2


def _sign(data: Sample, noise: Sample, nu: Fraction, F: arb) -> int:
    p = _parts(data, noise, nu, F.mid(), slopes=False)
    balance = p.c + p.P - p.N
    if not balance.is_finite() or 0 in balance:
        raise Uncertain
    return 1 if bool(balance > 0) else -1


def _tiny(F: arb) -> arb:
    """Half the width of the certified enclosure: 2**-140 at 192 bits, times |F| where |F| < 1 (2**-60 near 0)."""
    return abs(F.mid()).max(arb(2) ** -60).min(arb(1)) * arb(2) ** -(ctx.prec // 2 + 44)


def _enclosed(data: Sample, noise: Sample, nu: Fraction, F: arb) -> bool:
    d = _tiny(F)
    return _sign(data, noise, nu, F - d) < 0 < _sign(data, noise, nu, F + d)


def _root(data: Sample, noise: Sample, nu: Fraction, guess: float) -> arb:
    """A ball that contains the root, proved by the signs of A - nu B (increasing in F) at its ends."""
    F = arb(guess)
    for _ in range(
        8
    ):  # Newton on log(c+ + P) - log(c- + N), quadratic from a guess that is right to a few ulps
        p = _parts(data, noise, nu, F)
        if not p.P.is_finite() or not p.N.is_finite():
            raise Uncertain
        up, down = p.P + p.c.nonnegative_part(), p.N + (-p.c).nonnegative_part()
        if up == 0 or down == 0:
            break
        step = (up / down).log() / (p.dP / up + p.dN / down)
        if not step.is_finite():
            break
        F = (F - step).mid()
        if bool(abs(step.mid()) < _tiny(F)):
            break
    if _enclosed(data, noise, nu, F):
        return F + arb(0, _tiny(F))
    # Bisection from the guess, where Newton left the enclosure.
    lo, hi, width = (arb(guess) - 1).mid(), (arb(guess) + 1).mid(), arb(1)
    if not bool(lo < hi):
        raise Uncertain
    while _sign(data, noise, nu, lo) > 0:
        lo, width = (lo - width).mid(), 2 * width
    while _sign(data, noise, nu, hi) < 0:
        hi, width = (hi + width).mid(), 2 * width
    while True:
        F = ((lo + hi) / 2).mid()
        if bool(hi - lo < _tiny(F)):
            return F + arb(0, _tiny(F))
        if not bool(lo < F) or not bool(F < hi):
            raise Uncertain
        try:
            lo, hi = (lo, F) if _sign(data, noise, nu, F) > 0 else (F, hi)
        except Uncertain:  # F may be the root itself, to the last bit
            if not _enclosed(data, noise, nu, F):
                raise
            return F + arb(0, _tiny(F))


@lru_cache(maxsize=256)
def _root_of(data_bytes: bytes, noise_bytes: bytes, nu: float) -> Root:
    r_data, r_noise = np.frombuffer(data_bytes), np.frombuffer(noise_bytes)
    limit = verdict(r_data, r_noise, nu)
    if limit is not None:
        return Root(_limit(limit), False, _limit(float("nan")), _limit(float("nan")))
    data, noise, F, nu_ = _prepare(r_data, r_noise, 0.0, nu)
    guess = _guess(data, noise, nu_)
    roots: dict[int, arb] = {}

    def root() -> arb:
        if ctx.prec not in roots:
            roots[ctx.prec] = _root(data, noise, nu_, guess)
        return roots[ctx.prec]

    def root_formula() -> tuple[arb, arb]:
        F = root()
        # a root within 2**-80 of 0 is 0 as far as its unit (ulp + eps) can tell
        return (F if bool(abs(F.mid()) > arb(2) ** -80) else F.mid()), abs(F.mid()).max(
            arb(2) ** -80
        )

    def curvature(F: arb) -> arb:
        p = _parts(data, noise, nu_, F)
        return p.dP + p.dN

    def overlap_formula() -> tuple[arb, arb]:
        v = _rational(nu_)
        value = (1 + v) / v * curvature(root())
        return value, value

    def variance(sample: Sample, t: arb, ones: int) -> arb:
        # var s = var(1 - s): of the two, the one that most of the sample has small, since it is their spread that cancels
        flip = 2 * ones > sample.n
        s = [(e if flip else t) / (t + e) for e in sample.exps()]
        s += [arb(1)] * (sample.at_pos if flip else sample.at_neg)
        s += [arb(0)] * (sample.at_neg if flip else sample.at_pos)
        mean = _total(s) / sample.n
        return _total([(x - mean) * (x - mean) for x in s]) / sample.n

    def error_formula() -> tuple[arb, arb]:
        F = root()
        v = _rational(nu_)
        t = v * F.exp()
        u = float(F.mid()) + math.log(nu_)
        var_data = variance(data, t, int((data.array <= u).sum()) + data.at_neg)
        var_noise = variance(noise, t, int((noise.array <= u).sum()) + noise.at_neg)
        total = var_data / data.n + v * v * var_noise / noise.n
        spread = (
            arb(0, total.upper().sqrt()) if 0 in total else total.sqrt()
        )  # tied samples have no spread
        error = spread / curvature(F)
        return error, abs(error).max(arb(2) ** -80)

    error = (
        _limit(float("nan")) if min(data.n, noise.n) == 1 else certify(error_formula)
    )
    return Root(certify(root_formula, slack=1), True, error, certify(overlap_formula))


def root(r_data: Any, r_noise: Any, nu: float = 1.0) -> Root:
    """The root of A = nu B, with the sandwich standard error and the overlap there. NO_ROOT: has_root False, F its limit."""
    data, noise = (
        np.ascontiguousarray(r, dtype=np.float64).ravel() for r in (r_data, r_noise)
    )
    return _root_of(data.tobytes(), noise.tobytes(), float(nu))


def root_F(r_data: Any, r_noise: Any, nu: float = 1.0) -> float:
    """The double nearest to the root."""
    return float(root(r_data, r_noise, nu).F.value)


# --- ence ------------------------------------------------------------------------------------------------------------


def _half_exps(r_data: Any, r_noise: Any, F: float) -> tuple[arb, arb]:
    """E_p*[e^{-(r - F)/2}], E_q[e^{(r - F)/2}] (finite ratios)."""
    half = (arb(F) / 2).exp()
    data, noise = Sample(r_data), Sample(r_noise)
    return (
        half * _total([(arb(-r) / 2).exp() for r in data.finite]) / data.n,
        _total([(arb(r) / 2).exp() for r in noise.finite]) / noise.n / half,
    )


def ence_loss(r_data: Any, r_noise: Any, F: float) -> Exact:
    """Liu et al. 2021; +inf where r_data = -inf or r_noise = +inf."""
    if Sample(r_data).at_neg or Sample(r_noise).at_pos:
        return _limit(float("inf"))

    def formula() -> tuple[arb, arb]:
        a, b = _half_exps(r_data, r_noise, F)
        return (a + b) / 2, (a + b) / 2

    return certify(formula)


def ence_grad_F(r_data: Any, r_noise: Any, F: float) -> Exact:
    """(a - b)/4 with the scale (a + b)/4, which is its T."""
    diverges = bool(Sample(r_data).at_neg), bool(Sample(r_noise).at_pos)
    if any(diverges):
        return _limit(
            float("nan")
            if all(diverges)
            else float("inf") if diverges[0] else float("-inf")
        )

    def formula() -> tuple[arb, arb]:
        a, b = _half_exps(r_data, r_noise, F)
        return (a - b) / 4, (a + b) / 4

    return certify(formula)


def ence_log_z(r_data: Any, r_noise: Any) -> Exact:
    """log E_q[e^{r/2}] - log E_p*[e^{-r/2}]."""
    data, noise = Sample(r_data), Sample(r_noise)
    b = (
        float("inf")
        if noise.at_pos
        else float("-inf") if noise.at_neg == noise.n else 0.0
    )
    a = float("inf") if data.at_neg else float("-inf") if data.at_pos == data.n else 0.0
    if a or b:
        return _limit(b - a)

    def formula() -> tuple[arb, arb]:
        x, y = _half_exps(r_data, r_noise, 0.0)
        F = (y / x).log()
        return F, abs(F).max(arb(2) ** -80)

    return certify(formula, slack=1)


def ence_grad_r(r_data: Any, r_noise: Any, F: float) -> tuple[list[Exact], list[Exact]]:
    """-e^{-(r - F)/2}/(4n) and e^{(r - F)/2}/(4m), each to one ulp of itself."""

    def one(r: float, sign: int, count: int) -> Exact:
        if math.isinf(r):
            return _limit(0.0 if sign * r < 0 else sign * math.inf)

        def formula() -> tuple[arb, arb]:
            w = sign * (sign * (arb(r) - arb(F)) / 2).exp() / (4 * count)
            return w, abs(w)

        return certify(formula)

    return (
        [one(float(r), -1, np.size(r_data)) for r in np.ravel(r_data)],
        [one(float(r), 1, np.size(r_noise)) for r in np.ravel(r_noise)],
    )
