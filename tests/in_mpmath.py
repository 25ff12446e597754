"""The functions of log-ratios by their formulas, on arrays of mpmath's numbers."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np

exp, log1p, sqrt = (
    np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log1p, mpmath.sqrt)
)
to_mp = np.frompyfunc(mpmath.mpf, 1, 1)


def mean(x):
    return np.sum(x, axis=-1) / x.shape[-1]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def loss(r_data, r_noise, F, nu):
    u = F + mpmath.log(nu)
    data, noise = log1p(exp(u - r_data)), log1p(exp(r_noise - u))
    return (mean(data) + nu * mean(noise)) / (1 + nu)


def sides(r_data, r_noise, F, nu):
    """A and nu B of Equation 3."""
    u = F + mpmath.log(nu)
    return mean(sigmoid(u - r_data)), nu * mean(sigmoid(r_noise - u))


def nce(r_data, r_noise, F, nu):
    u = F + mpmath.log(nu)
    s, t = sigmoid(u - r_data), sigmoid(r_noise - u)
    A, B, bends = mean(s), mean(t), (s * sigmoid(r_data - u), t * sigmoid(u - r_noise))
    return {
        "loss": loss(r_data, r_noise, F, nu),
        "grad_F": (A - nu * B) / (1 + nu),
        "hess_F": (mean(bends[0]) + nu * mean(bends[1])) / (1 + nu),
        "bar_update": F - mpmath.log(A) + mpmath.log(nu * B),
        "grad_r_data": -s / (r_data.size * (1 + nu)),
        "grad_r_noise": nu * t / (r_noise.size * (1 + nu)),
    }


def at_root(r_data, r_noise, F, nu):
    u = F + mpmath.log(nu)
    s, t = sigmoid(u - r_data), sigmoid(r_noise - u)
    steepness = mean(s * sigmoid(r_data - u)) + nu * mean(t * sigmoid(u - r_noise))
    data, noise = (mean((x - mean(x)) ** 2) for x in (s, t))
    error = mpmath.sqrt(data / s.size + nu**2 * noise / t.size) / steepness
    return {
        "overlap": (1 + nu) / nu * steepness,
        "standard_error": error if min(s.size, t.size) > 1 else mpmath.nan,
    }


def balance(r_data, r_noise, F, nu):
    """A - nu B. Sigmoids near 1 are counted in fractions, for they may cancel."""
    u = F + mpmath.log(nu)
    one, other = r_data < u, r_noise > u
    above = Fraction(int(np.sum(other)), other.size)
    ones = Fraction(int(np.sum(one)), one.size) - Fraction(float(nu)) * above
    small = [
        mean(np.where(at, -1, 1) * sigmoid(-abs(r - u)))
        for at, r in ((one, r_data), (other, r_noise))
    ]
    return mpmath.mpf(ones.numerator) / ones.denominator + small[0] - nu * small[1]


def root(r_data, r_noise, nu):
    """The root of log A - log nu B, by bisection and then Newton's method."""
    both = np.concatenate([r_data, r_noise])
    low, high = min(both) - 50, max(both) + 50
    for _ in range(50):
        middle = (low + high) / 2
        A, B = sides(r_data, r_noise, middle, nu)
        low, high = (middle, high) if A < B else (low, middle)
    F = (low + high) / 2
    for _ in range(6):
        u = F + mpmath.log(nu)
        s, t = sigmoid(u - r_data), sigmoid(r_noise - u)
        slope = mean(s * (1 - s)) / mean(s) + mean(t * (1 - t)) / mean(t)
        F -= mpmath.log(mean(s) / (nu * mean(t))) / slope
    return F


def ence(r_data, r_noise, F):
    a, b = exp((F - r_data) / 2), exp((r_noise - F) / 2)
    return {
        "loss": (mean(a) + mean(b)) / 2,
        "grad_F": (mean(a) - mean(b)) / 4,
        "log_z": mpmath.log(mean(exp(r_noise / 2)))
        - mpmath.log(mean(exp(-r_data / 2))),
        "grad_r_data": -a / (4 * a.size),
        "grad_r_noise": b / (4 * b.size),
    }
