"""Error-free sums and products, sums over samples, dot products, log nu.

All but log nu take arrays of NumPy or CuPy.
"""

import math
from decimal import Context, Decimal
from functools import lru_cache

from refnce.array.backend import array_namespace, host, is_numpy


def two_sum(a, b):
    """Return (s, e): s = fl(a + b), s + e = a + b exactly (Knuth's TwoSum).

    e is nan where s is not finite.
    """
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def two_product(a, b):
    """Return (p, e): p = fl(a b), p + e = a b exactly, in float64 (Dekker)."""
    p = a * b
    (a_high, a_low), (b_high, b_low) = veltkamp_split(a), veltkamp_split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def veltkamp_split(a):
    """Return (high, low): a = high + low, each of at most 26 bits."""
    c = 134217729.0 * a  # 2^27 + 1
    high = c - (c - a)
    return high, a - high


def last_sum(x):
    """Return the sum over the last axis.

    NumPy adds blocks of up to 128 terms in 8 sums, which round little, and then the
    last n mod 8 terms to their total one by one, which would round each time.
    """
    if not is_numpy(x):
        return array_namespace(x).sum(x, axis=-1)
    n, add = x.shape[-1], host.add.reduce  # less than half the time of host.sum
    if n < 8 or not n & 7:
        return add(x, axis=-1)
    return add(x[..., : n & ~7], axis=-1) + add(x[..., n & ~7 :], axis=-1)


def dot(x, y):
    """Return the dot products (...) of x and y (..., n).

    Long ones are cut into rows of 512. BLAS adds the terms of a row one after another
    in some 32 sums, so for equal terms its rounding errors would accumulate.
    """
    if x.ndim == 1 and isinstance(x, host.ndarray) and x.size <= 512:
        return x.dot(y)  # a third of the time of vecdot
    n, row, xp = x.shape[-1], 512, array_namespace(x)
    if n <= row or not is_numpy(x):
        return xp.vecdot(x, y)
    cut = n - n % row
    rows = (*x.shape[:-1], cut // row, row)
    head = xp.vecdot(x[..., :cut].reshape(rows), y[..., :cut].reshape(rows)).sum(-1)
    return head if cut == n else head + xp.vecdot(x[..., cut:], y[..., cut:])


@lru_cache(maxsize=256)
def log_double_double(nu):
    """Return (high, low): high is log nu rounded, high + low is log nu to 2^-106."""
    high = math.log(nu)
    return high, float(Decimal(nu).ln(Context(prec=50)) - Decimal(high))
