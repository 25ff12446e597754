"""Sigmoids, logarithms of means and error-free sums on any array library, accurate in both tails."""

from __future__ import annotations

import math
import struct
from decimal import Context, Decimal
from functools import lru_cache

from refnce.array.backend import Array, array_namespace, is_numpy, ignore_fp_errors

__all__ = ["log_sigmoid", "logmeanexp", "sigmoid", "softplus"]


@ignore_fp_errors()
def sigmoid(x: Array) -> Array:
    """Return 1/(1 + exp(-x)) elementwise, with full relative accuracy down to the smallest subnormal."""
    xp = array_namespace(x)
    q = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, q) / (1.0 + q)


@ignore_fp_errors()
def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) elementwise; softplus(-inf) = 0, softplus(inf) = inf."""
    xp = array_namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid(x: Array) -> Array:
    """Return log(sigmoid(x)) = -softplus(-x) elementwise."""
    return -softplus(-x)


@ignore_fp_errors()
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


def pairwise_sum(x: Array) -> Array:
    """Return the sum over the last axis.

    NumPy adds 16 numbers of a row one after another, and where they are equal all roundings go one way; added in halves they do
    not add up.
    """
    xp = array_namespace(x)
    while is_numpy(x) and x.shape[-1] > 16:
        half, odd = divmod(x.shape[-1], 2)
        folded = x[..., :half] + x[..., half : 2 * half]
        if odd:
            folded[..., 0] += x[..., -1]
        x = folded
    return xp.sum(x, axis=-1)


@lru_cache(maxsize=256)
def log_double_double(nu: float, eps: float = 2.0**-52) -> tuple[float, float]:
    """Return (high, low) with high = log nu as a number of that eps (float64 or float32), high + low = log nu to 2^-106."""
    high = math.log(nu)
    if eps > 2.0**-52:
        (high,) = struct.unpack("f", struct.pack("f", high))
    return high, float(Decimal(nu).ln(Context(prec=50)) - Decimal(high))
