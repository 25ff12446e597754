r"""The NCE objective as a function of log-ratios and F, and its derivatives.

With r_data (..., n) = log p~(x_i) - log q(x_i) on data, r_noise (..., m) the same on
noise, F (...) and the weight nu of noise against data (1 in the paper; m/n gives
Gutmann and Hyvarinen's objective), Definition 3.1 and Equations 1, 3 and 4 use

    s_data  = sigmoid(F + log nu - r_data),   A = mean s_data   = E_p*[nu q/(p + nu q)]
    s_noise = sigmoid(r_noise - F - log nu),  B = mean s_noise  = E_q[p/(p + nu q)]

Each sample lies below or above the point F + log nu. Its small side is
t = sigmoid(-|F + log nu - r|), so s is t or 1 - t. With k samples below,

    A - nu B = k_data/n + nu k_noise/m - nu + mean(+-t of data) + nu mean(+-t of noise),

+ above and - below. The counts cancel exactly, so A - nu B keeps its sign and digits
where A and B are both near 1. There are two ways to t:

- from the odds S = nu e^F, once per run, and E = e^r, once per sample: t is
  min(S, E)/(S + E). r itself enters exp, so that r - F is never rounded. This serves
  where |F + log nu| is at most L/3, L the logarithm of the largest float, and the
  result is at least e^{-2L/3}/eps: a finite log-ratio whose e^r overflows or underflows
  then changes it by less than a rounding error (``is_certified``);
- elsewhere from z = F + log nu - r with its TwoSum remainder (``split``), since half an
  ulp of z = 460 is 128 ulps of e^z.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from refnce.array.backend import all_true, array_namespace, as_float, machine_eps
from refnce.array.interop import interoperable
from refnce.array.runs import over_blocks, over_samples, where_certified
from refnce.array.special import log_double_double, last_sum, two_product, two_sum
from refnce.array.validation import samples

__all__ = ["grad_F", "grad_r", "hess_F", "loss"]


@interoperable
def loss(r_data, r_noise, F, *, nu=1.0):
    """Return the NCE loss.

    Parameters
    ----------
    r_data : array (..., n)
        Log-ratios log p~ - log q on data. Infinities take the limit of the formula.
    r_noise : array (..., m)
        Log-ratios on noise.
    F : float or array (...)
        The log of the partition function, finite. Leading shapes (runs) broadcast.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.

    Returns
    -------
    array (...)
        [mean softplus(F + log nu - r_data) + nu mean softplus(r_noise - F - log nu)]
        / (1 + nu).

    Raises
    ------
    TypeError, ValueError
        For empty samples, NaN, integer arrays, mixed libraries or devices, tensors that
        record gradients, nu out of range. The message names the argument.

    Notes
    -----
    Definition 3.1 and Equation 1, where 1 + nu = 2. In float64 the error is at most
    4 ulps for log-ratios and F up to 1e15 in size.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.loss(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    0.3377
    """
    return _at_F(_loss, r_data, r_noise, F, nu)


@interoperable
def grad_F(r_data, r_noise, F, *, nu=1.0):
    """Return dL/dF = (A - nu B)/(1 + nu), Equation 3.

    It increases in F from -nu/(1 + nu) to 1/(1 + nu). Parameters and errors are those
    of `loss`.

    Returns
    -------
    array (...)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.grad_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.0).round(4))
    -0.0952
    """
    return _at_F(grad_at, r_data, r_noise, F, nu)


@interoperable
def hess_F(r_data, r_noise, F, *, nu=1.0):
    """Return d2L/dF2, Equation 4: it is never negative (Lemma 3.2).

    Parameters and errors are those of `loss`.

    Returns
    -------
    array (...)
        (mean s_data (1 - s_data) + nu mean s_noise (1 - s_noise))/(1 + nu).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.hess_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    0.1921
    """
    return _at_F(_hess_F, r_data, r_noise, F, nu)


@interoperable
def grad_r(r_data, r_noise, F, *, nu=1.0):
    """Return dL/dr of every sample: the weights that a model's pullback takes.

    Parameters and errors are those of `loss`.

    Returns
    -------
    dr_data : array (..., n)
        -s_data/(n (1 + nu)).
    dr_noise : array (..., m)
        nu s_noise/(m (1 + nu)).

    Notes
    -----
    By the chain rule the gradient of the loss in a model's parameters is the pullback
    of these arrays. At the F that minimises the loss this is also the gradient of the
    minimised loss (Appendix A.2).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> dr_data, dr_noise = nce.grad_r(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5)
    >>> dr_data.round(3).tolist(), dr_noise.round(3).tolist()
    ([-0.094, -0.046], [0.094, 0.046])
    """
    xp, r_data, r_noise, F, nu = samples(r_data, r_noise, F, nu)
    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    data, noise = _each(
        lambda S, E: S / (S + E), lambda S, E: E / (S + E), r_data, r_noise, F, nu
    )
    data *= -w_data
    noise *= w_noise
    return data, noise


def curvature_weights(r_data, r_noise, F, nu):
    """What every sample adds to `hess_F`, for checked arguments."""

    def curvature(S, E):
        q = array_namespace(E).minimum(S, E) / array_namespace(E).maximum(S, E)
        return q / (1.0 + q) ** 2

    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    data, noise = _each(curvature, curvature, r_data, r_noise, F, nu)
    return data * w_data, noise * w_noise


# The two ways to the odds S/E of a sample, S/(S + E) = sigmoid(F + log nu - r)


def quick_odds(r, F, nu):
    """S = nu e^F (..., 1) and E = e^r."""
    xp = array_namespace(r)
    return (xp.exp(F) * nu)[..., None], xp.exp(r)


def split(r, F, nu, M):
    """Return (r <= G, d, e, exp(M - |G - r|)) with G = F + log nu, |G - r| = d + e.

    e is the TwoSum remainder of d. For d of 64/eps and more, infinity included, e is 0:
    d is then exact to far less than an ulp of the log-ratio.
    """
    xp = array_namespace(r)
    eps = machine_eps(r.dtype, xp)
    log_nu, log_nu_low = log_double_double(nu, eps)
    high, low = two_sum(F, xp.full_like(F, log_nu))
    z, e = two_sum(high[..., None], -r)
    zero = xp.zeros_like(z)
    z, e = two_sum(z, xp.where(abs(z) < 64.0 / eps, e + low[..., None], zero))
    below, distance = z >= 0, abs(z)
    e = xp.where(distance < math.inf, e + log_nu_low, zero)
    e = xp.where(below, e, -e)
    q = xp.exp(M - distance)
    return below, distance, e, q + q * xp.expm1(-e)


def small_sides(r, F, nu, M=None):
    """Return (b, t e^M, e^-M): b is 1 below F + log nu, 0 above it.

    Without M, the exact way's distance to the nearest sample, the quick way is taken.
    """
    xp = array_namespace(r)
    if M is None:
        S, E = quick_odds(r, F, nu)
        t = xp.minimum(S, E) / (S + E)
        return as_float(E <= S, t), t, 1.0
    below, _, _, q = split(r, F, nu, M[..., None])
    scale = xp.exp(-M)[..., None]
    return as_float(below, q), q / (1.0 + q * scale), scale


def is_certified(value, F, nu):
    """Whether ``value``, made the quick way at F, has all its digits."""
    largest, tiny = limits(value.dtype, array_namespace(value))
    in_range = (abs(F + math.log(nu)) <= largest) & (abs(F) <= 2.5 * largest)
    return in_range & (abs(value) >= tiny) & (value < math.inf)


@lru_cache(maxsize=16)
def limits(dtype, xp):
    """L/3 and e^{-2L/3}/eps, L the logarithm of the largest float of ``dtype``."""
    third = math.log(xp.finfo(dtype).max) / 3.0
    return third, 64.0 * math.exp(-2.0 * third) / machine_eps(dtype, xp)


# Sums over samples


@lru_cache(maxsize=256)
def weights(n, m, nu):
    """The weights 1/(n (1 + nu)) of data and nu/(m (1 + nu)) of noise, rounded once."""
    exact = Fraction(nu)
    return float(1 / (n * (1 + exact))), float(exact / (m * (1 + exact)))


def nearest(r, F, nu):
    """The distance from F + log nu to the nearest sample, 0 where all are infinite."""
    xp = array_namespace(r)
    M = xp.min(abs((F + math.log(nu))[..., None] - r), axis=-1)
    return xp.where(M < math.inf, M, xp.zeros_like(M))


def count_and_sum(r_data, r_noise, F, nu, M=None):
    """Return pairs: how many samples are below F + log nu, and the sums of +-t."""
    xp = array_namespace(r_data)

    def sums(r, F, M):
        below, t, _ = small_sides(r, F, nu, M)
        count = xp.sum(below, axis=-1, dtype=xp.float64)
        return [count, last_sum(t - 2.0 * (below * t))]

    return over_samples(sums, r_data, r_noise, F, M)


def count_difference(k_data, k_noise, n, m, nu):
    """(k_data/n + nu k_noise/m - nu)/(1 + nu) of counts, rounded once."""
    above = n * (m - k_noise)
    product, rest = (above, 0.0) if nu == 1.0 else two_product(nu, above)
    return ((m * k_data - product) - rest) * weights(n * m, 1, nu)[0]


def grad_at(r_data, r_noise, F, nu, M=None):
    """(A - nu B)/(1 + nu), for checked arguments."""
    n, m = r_data.shape[-1], r_noise.shape[-1]
    below, small = count_and_sum(r_data, r_noise, F, nu, M)
    w_data, w_noise = weights(n, m, nu)
    small = w_data * small[0] + w_noise * small[1]
    counts = count_difference(below[0], below[1], n, m, nu)
    if small.dtype != counts.dtype:
        counts = array_namespace(small).astype(counts, small.dtype)
    return counts + small  # Eq. (3)


def _hess_F(r_data, r_noise, F, nu, M=None):
    def sums(r, F, M):
        _, t, _ = small_sides(r, F, nu, M)
        return [last_sum(t - t * t)]

    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    ((data, noise),) = over_samples(sums, r_data, r_noise, F, M)
    return w_data * data + w_noise * noise  # Eq. (4)


def _loss(r_data, r_noise, F, nu, M=None):
    def sums(sign):
        def softplus(r, F, M):
            xp = array_namespace(r)
            if M is None:
                S, E = quick_odds(r, F, nu)
                return [last_sum(xp.log1p(S / E if sign > 0 else E / S))]
            below, d, e, q = split(r, F, nu, M[..., None])
            large = below if sign > 0 else ~below
            d, e = (xp.where(large, x, xp.zeros_like(q)) for x in (d, e))
            return [last_sum(d + (e + xp.log1p(q)))]

        return softplus

    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    (data,) = over_blocks(sums(+1), r_data, F, M)
    (noise,) = over_blocks(sums(-1), r_noise, F, M)
    value = w_data * data + w_noise * noise  # Eq. (1)
    if M is not None:
        return value
    # Where an e^r of data is subnormal the quick way is not certified.
    xp = array_namespace(r_data)
    least = 2.0 - 3.0 * limits(r_data.dtype, xp)[0]
    normal = xp.min(r_data, axis=-1) >= least
    return xp.where(normal, value, xp.full_like(value, math.inf))


def _at_F(formula, r_data, r_noise, F, nu):
    """``formula`` the quick way; the exact way in the runs that are not certified."""
    xp, r_data, r_noise, F, nu = samples(r_data, r_noise, F, nu)
    value = formula(r_data, r_noise, F, nu)

    def exact(r_data, r_noise, F, nu):
        return (formula(r_data, r_noise, F, nu, xp.zeros_like(F)),)

    pair = r_data, r_noise
    return where_certified(is_certified(value, F, nu), (value,), exact, *pair, F, nu)[0]


def _each(f_data, f_noise, r_data, r_noise, F, nu):
    """A formula of S and E for every sample, from the quick odds if certified."""
    xp = array_namespace(r_data)
    (S, E_data), (_, E_noise) = quick_odds(r_data, F, nu), quick_odds(r_noise, F, nu)
    data, noise = f_data(S, E_data), f_noise(S, E_noise)
    least = xp.minimum(xp.min(data, axis=-1), xp.min(noise, axis=-1))
    if all_true(is_certified(least, F, nu)):
        return data, noise
    values = []
    for f, r in ((f_data, r_data), (f_noise, r_noise)):
        below, _, _, q = split(r, F, nu, xp.zeros_like(F)[..., None])
        one = xp.ones_like(q)
        values.append(f(xp.where(below, one, q), xp.where(below, q, one)))
    return values
