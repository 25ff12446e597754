"""The functions of log-ratios by their formulas, on arrays of mpmath's numbers."""

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


def logits(r_data, r_noise, F, nu):
    """F + log nu - r of data, and its negative of noise: log nu is not lost in F."""
    return (F - r_data) + mpmath.log(nu), (r_noise - F) - mpmath.log(nu)


def loss(r_data, r_noise, F, nu):
    data, noise = (mean(log1p(exp(z))) for z in logits(r_data, r_noise, F, nu))
    return (data + nu * noise) / (1 + nu)


def sides(r_data, r_noise, F, nu):
    """A and nu B of Equation 3."""
    A, B = (mean(sigmoid(z)) for z in logits(r_data, r_noise, F, nu))
    return A, nu * B


def grad_F(r_data, r_noise, F, nu):
    A, B = sides(r_data, r_noise, F, nu)
    return (A - B) / (1 + nu)


def hess_F(r_data, r_noise, F, nu):
    sides = logits(r_data, r_noise, F, nu)
    data, noise = (mean(sigmoid(z) * sigmoid(-z)) for z in sides)
    return (data + nu * noise) / (1 + nu)


def grad_r(r_data, r_noise, F, nu):
    s, t = map(sigmoid, logits(r_data, r_noise, F, nu))
    return -s / (r_data.size * (1 + nu)), nu * t / (r_noise.size * (1 + nu))


def bar_update(r_data, r_noise, F, nu):
    A, B = sides(r_data, r_noise, F, nu)
    return F - mpmath.log(A) + mpmath.log(B)


def at_root(r_data, r_noise, F, nu):
    s, t = map(sigmoid, logits(r_data, r_noise, F, nu))
    slope = (1 + nu) * hess_F(r_data, r_noise, F, nu)
    data, noise = (mean((x - mean(x)) ** 2) for x in (s, t))
    error = mpmath.sqrt(data / s.size + nu**2 * noise / t.size) / slope
    return {
        "overlap": (1 + nu) / nu * slope,
        "standard_error": error if min(s.size, t.size) > 1 else mpmath.nan,
    }


def balance(r_data, r_noise, F, nu):
    """A - nu B. Sigmoids near 1 are counted in fractions, for they may cancel."""
    z, w = logits(r_data, r_noise, F, nu)
    above = Fraction(int(np.sum(w > 0)), w.size)
    ones = Fraction(int(np.sum(z > 0)), z.size) - Fraction(float(nu)) * above
    small = [mean(np.where(x > 0, -1, 1) * sigmoid(-abs(x))) for x in (z, w)]
    return mpmath.mpf(ones.numerator) / ones.denominator + small[0] - nu * small[1]


def root(r_data, r_noise, nu):
    """The root of log A - log nu B, by bisection and then Newton's method."""
    both = [r for r in (*r_data, *r_noise) if mpmath.isfinite(r)]
    low, high = min(both) - 50, max(both) + 50
    for _ in range(50):
        middle = (low + high) / 2
        A, B = sides(r_data, r_noise, middle, nu)
        low, high = (middle, high) if A < B else (low, middle)
    F = (low + high) / 2
    for _ in range(6):
        s, t = map(sigmoid, logits(r_data, r_noise, F, nu))
        slope = mean(s * (1 - s)) / mean(s) + mean(t * (1 - t)) / mean(t)
        F -= mpmath.log(mean(s) / (nu * mean(t))) / slope
    return F


def _halves(r_data, r_noise, F):
    return exp((F - r_data) / 2), exp((r_noise - F) / 2)


def ence_loss(r_data, r_noise, F):
    a, b = _halves(r_data, r_noise, F)
    return (mean(a) + mean(b)) / 2


def ence_grad_F(r_data, r_noise, F):
    a, b = _halves(r_data, r_noise, F)
    return (mean(a) - mean(b)) / 4


def ence_grad_r(r_data, r_noise, F):
    a, b = _halves(r_data, r_noise, F)
    return -a / (4 * a.size), b / (4 * b.size)


def ence_log_z(r_data, r_noise, F=0):
    """It does not depend on F."""
    a, b = _halves(r_data, r_noise, F)
    return F + mpmath.log(mean(b)) - mpmath.log(mean(a))
