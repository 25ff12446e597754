"""Sigmoids, logarithms of means and error-free sums on any array library, accurate in both tails."""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import lru_cache

from refnce.backend import Array, array_namespace, quiet

__all__ = ["log_sigmoid", "logmeanexp", "sigmoid", "softplus"]


@quiet()
def sigmoid(x: Array) -> Array:
    """Return 1/(1 + exp(-x)) elementwise, with full relative accuracy down to the smallest subnormal."""
    xp = array_namespace(x)
    q = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, q) / (1.0 + q)


@quiet()
def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) elementwise; softplus(-inf) = 0, softplus(inf) = inf."""
    xp = array_namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid(x: Array) -> Array:
    """Return log(sigmoid(x)) = -softplus(-x) elementwise."""
    return -softplus(-x)


@quiet()
def logmeanexp(x: Array) -> Array:
    """Return log(mean(exp(x))) over the last axis, x (..., n) -> (...); of -inf alone it is -inf, with +inf it is +inf."""
    xp = array_namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    finite = xp.isfinite(top)
    top = xp.where(finite, top, xp.zeros_like(top))
    return xp.squeeze(top, axis=-1) + xp.log(xp.mean(xp.exp(x - top), axis=-1))


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return (s, e) with s = fl(a + b) and s + e = a + b exactly (Knuth's TwoSum; nan in e where s is not finite)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def two_product(a: float, b: Array) -> tuple[Array, Array]:
    """Return (p, e) with p = fl(a b) and p + e = a b exactly, in float64 (Dekker's product on Veltkamp's halves)."""
    p = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Array) -> tuple[Array, Array]:
    c = 134217729.0 * a  # 2^27 + 1
    high = c - (c - a)
    return high, a - high


@lru_cache(maxsize=256)
def log_pair(nu: float) -> tuple[float, float]:
    """Return (high, low) with high = fl(log nu) and high + low = log nu to about 2^-106."""
    high = math.log(nu)
    return high, float(Decimal(nu).ln(Context(prec=50)) - Decimal(high))
