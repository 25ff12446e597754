r"""The NCE objective as a function of log-ratios and F, and its derivatives.

With r_data (..., n) = log p~(x_i) - log q(x_i) on data, r_noise (..., m) the same on
noise, F (...) and the weight nu of noise against data (1 in the paper; m/n gives
Gutmann and Hyvarinen's objective), Definition 3.1 and Equations 1, 3 and 4 use

    s_data  = sigmoid(F + log nu - r_data),   A = mean s_data     = E_p*[nu q/(p + nu q)]
    s_noise = sigmoid(r_noise - F - log nu),  B = mean s_noise    = E_q[p/(p + nu q)]

Every formula takes the odds S/E of a sample to lie on the noise's side:
S/(S + E) = sigmoid(F + log nu - r). There are two ways to the odds:

- ``quick_odds``: S = nu e^F once per run and E = e^r once per sample. r itself enters
  exp, so r - F is never rounded.
- ``exact_odds``: S = 1 and E = exp(-|z|), or the reverse, with z = F + log nu - r. The
  TwoSum remainder of z corrects E, since half an ulp of z = 460 is 128 ulps of e^z.

The quick odds serve where |F + log nu| is at most L/3, L the logarithm of the largest
float, and the result is at least e^{-2L/3}/eps. A finite log-ratio whose e^r overflows
or underflows changes such a result by less than a rounding error.

A - nu B is taken apart so that nothing cancels. Each sample lies below or above the
point F + log nu, k of each kind below. With t = min(S, E)/(S + E), the small one of the
sigmoid and its complement,

    A - nu B = k_data/n + nu k_noise/m - nu + mean (+-t) on data + nu mean (+-t) on noise,

+ above and - below. The counts cancel exactly, so A - nu B keeps its sign and digits
where A and B are both near 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from refnce.array.backend import (
    Array,
    BLOCK,
    all_true,
    array_namespace,
    is_numpy,
    machine_eps,
)
from refnce.array.interop import interoperable
from refnce.array.special import log_double_double, pairwise_sum, two_product, two_sum
from refnce.array.validation import samples

__all__ = ["grad_F", "grad_r", "hess_F", "loss"]

Odds = tuple[Array, Array, Any]  # S, E and, from exact_odds, z of the sigmoid


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
    0.3627
    """
    return _at_F(loss_at, r_data, r_noise, F, nu)


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
    >>> float(nce.grad_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    -0.0
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
    return _at_F(hess_at, r_data, r_noise, F, nu)


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
    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    data, noise = _each(curvature, curvature, r_data, r_noise, F, nu)
    return data * w_data, noise * w_noise


# The odds S/E of the samples


def quick_odds(r, F, nu):
    """S = nu e^F (..., 1) and E = e^r."""
    xp = array_namespace(r)
    return (xp.exp(F) * nu)[..., None], xp.exp(r), None


def exact_odds(r, F, nu):
    """S = 1 and E = exp(-|z|), or the reverse, and |z|, with z = F + log nu - r."""
    xp = array_namespace(r)
    below, distance, q = split(r, F, nu)
    one = xp.ones_like(q)
    return xp.where(below, one, q), xp.where(below, q, one), distance


def split(r, F, nu, M=None):
    """Return (r <= G, |G - r|, exp(M - |G - r|)) with G = F + log nu, M = 0 for None.

    G - r is z + e, e its TwoSum remainder. For |z| of 64/eps and more, infinity
    included, e is 0: z is then exact to far less than an ulp of the log-ratio.
    """
    xp = array_namespace(r)
    eps = machine_eps(r.dtype, xp)
    high, low = F, 0.0
    if nu != 1.0:
        log_nu, log_nu_low = log_double_double(nu, eps)
        high, low = two_sum(F, xp.full_like(F, log_nu))
        low = (low + log_nu_low)[..., None]
    z, e = two_sum(high[..., None], -r)
    below, distance = z >= 0, xp.abs(z)
    e = xp.where(distance < 64.0 / eps, e + low, xp.zeros_like(e))
    q = xp.exp(-distance if M is None else M[..., None] - distance)
    return below, distance, q + q * xp.expm1(xp.where(below, -e, e))


def is_certified(value, F, nu):
    """Whether ``value``, made of the quick odds at F, has all its digits."""
    xp = array_namespace(value)
    largest, tiny = limits(value.dtype, xp)
    in_range = abs(F + math.log(nu)) <= largest
    return in_range & (abs(value) >= tiny) & (value < math.inf)


@lru_cache(maxsize=16)
def limits(dtype, xp):
    """L/3 and e^{-2L/3}/eps, L the logarithm of the largest float of ``dtype``."""
    third = math.log(xp.finfo(dtype).max) / 3.0
    return third, 64.0 * math.exp(-2.0 * third) / machine_eps(dtype, xp)


# The formulas of one sample


def softplus(S, E, distance):
    """log(1 + S/E)."""
    xp, ratio = array_namespace(S, E), S / E
    value = xp.log1p(ratio)
    return value if distance is None else xp.where(ratio < xp.inf, value, distance)


def curvature(S, E):
    """s (1 - s) of the sigmoid s."""
    t = array_namespace(E).minimum(S, E)
    t /= S + E
    return t - t * t


def sides(S, E):
    """1 for a sample below F + log nu, else 0; and t above it, -t below it."""
    xp = array_namespace(E)
    total = S + E
    below = xp.round(S / total)
    t = xp.minimum(S, E)
    t /= total
    twice = below * t
    t -= twice
    t -= twice
    return below, t


# Sums over samples


@lru_cache(maxsize=256)
def weights(n, m, nu):
    """The weights of a data and a noise sample in the loss, each rounded once.

    They are 1/(n (1 + nu)) and nu/(m (1 + nu)).
    """
    exact = Fraction(nu)
    return float(1 / (n * (1 + exact))), float(exact / (m * (1 + exact)))


Sums = Callable[..., list[Array]]


def over_samples(f, r_data, r_noise, *runs):
    """The pair (data, noise) of each sum that ``f(r, *runs)`` returns."""
    if r_data.shape == r_noise.shape and r_data.size <= BLOCK // 2:
        xp = array_namespace(r_data)
        both = xp.concat([r_data[None, ...], r_noise[None, ...]])
        return [(x[0, ...], x[1, ...]) for x in f(both, *runs)]
    data, noise = over_blocks(f, r_data, *runs), over_blocks(f, r_noise, *runs)
    return list(zip(data, noise, strict=True))


def over_blocks(f, r, *runs):
    """The sums that ``f(r, *runs)`` returns, from blocks of r that fit in cache.

    ``runs`` are arrays over the runs.
    """
    xp, n = array_namespace(r), r.shape[-1]
    if not is_numpy(r) or r.size <= BLOCK:
        return f(r, *runs)
    if n > BLOCK // 8 or r.ndim != 2 or runs[0].shape != r.shape[:1]:
        width = max(BLOCK * n // r.size, 512)
        parts = [f(r[..., k : k + width], *runs) for k in range(0, n, width)]
        return [pairwise_sum(xp.stack(x, axis=-1)) for x in zip(*parts, strict=True)]
    few = BLOCK // n
    blocks = [slice(k, k + few) for k in range(0, len(r), few)]
    parts = [f(r[k], *(x[k] for x in runs)) for k in blocks]
    return [xp.concat(x) for x in zip(*parts, strict=True)]


def counts_and_sides(odds, r_data, r_noise, F, nu):
    """The numbers of samples below F + log nu, and the sums of +-t: pairs."""
    xp = array_namespace(r_data)

    def terms(r, F):
        S, E, _ = odds(r, F, nu)
        below, t = sides(S, E)
        return [xp.sum(below, axis=-1, dtype=xp.float64), pairwise_sum(t)]

    return over_samples(terms, r_data, r_noise, F)


def count_difference(k_data, k_noise, n, m, nu):
    """k_data/n + nu k_noise/m - nu, over 1 + nu, of counts; rounded once."""
    weight, _ = weights(n * m, 1, nu)
    above = n * (m - k_noise)
    product, rest = (above, 0.0) if nu == 1.0 else two_product(nu, above)
    return ((m * k_data - product) - rest) * weight


class Residual(NamedTuple):
    """(A - nu B)/(1 + nu) = c + (U[0] - D[0]) e^{-M} at one F per run.

    c is the exact difference of counts, U sums the weighted t of the samples above
    F + log nu, and D of those below, both times e^M. U[k] is the k-th derivative of U
    by F, D[k] that of D by -F. M is the distance to the nearest sample, so that U and D
    exist where every t underflows.
    """

    c: Array
    U: Array
    D: Array
    M: Array
    below: tuple[Array, Array]

    @property
    def counts(self):
        """c e^M: it may be infinite where c is not 0."""
        xp = array_namespace(self.M)
        return xp.where(self.c == 0, self.c, self.c * xp.exp(self.M))

    @property
    def scaled(self):
        """(A - nu B)/(1 + nu) e^M."""
        return self.counts + (self.U[0, ...] - self.D[0, ...])


def residual(r_data, r_noise, F, nu, order):
    """Return the residual and its derivatives up to ``order``, from the exact odds."""
    xp = array_namespace(r_data, r_noise)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    M = xp.minimum(nearest(r_data, F, nu), nearest(r_noise, F, nu))
    M = xp.where(xp.isfinite(M), M, xp.zeros_like(M))

    def terms(r, F, M):
        is_below, _, q = split(r, F, nu, M)
        scale = xp.exp(-M)[..., None]
        t = q / (1.0 + q * scale)
        every = [t, t * (1.0 - t * scale)]
        every.append(every[1] * (1.0 - 2.0 * t * scale))
        stack, zero = xp.stack(every[: order + 1]), xp.zeros_like(q)
        U = pairwise_sum(xp.where(is_below, zero, stack))
        D = pairwise_sum(xp.where(is_below, stack, zero))
        return [*U, *D, xp.sum(is_below, axis=-1, dtype=xp.float64)]

    *sums, below = over_samples(terms, r_data, r_noise, F, M)
    w_data, w_noise = weights(n, m, nu)
    both = xp.stack([w_data * data + w_noise * noise for data, noise in sums])
    c = xp.astype(count_difference(*below, n, m, nu), F.dtype)
    return Residual(c, both[: order + 1, ...], both[order + 1 :, ...], M, below)


def nearest(r, F, nu):
    """The distance from F + log nu to the nearest sample."""
    xp = array_namespace(r)

    def least(r, G):
        return [xp.min(xp.abs(G[..., None] - r), axis=-1)]

    G, n = F + math.log(nu), r.shape[-1]
    if n <= BLOCK or not is_numpy(r):
        return least(r, G)[0]
    parts = [least(r[..., k : k + BLOCK], G)[0] for k in range(0, n, BLOCK)]
    return xp.min(xp.stack(parts, axis=-1), axis=-1)


def loss_at(r_data, r_noise, F, nu, odds):
    def data_terms(r, F):
        S, E, distance = odds(r, F, nu)
        return [pairwise_sum(softplus(S, E, distance))]

    def noise_terms(r, F):
        S, E, distance = odds(r, F, nu)
        return [pairwise_sum(softplus(E, S, distance))]

    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    (data,) = over_blocks(data_terms, r_data, F)
    (noise,) = over_blocks(noise_terms, r_noise, F)
    return w_data * data + w_noise * noise  # Eq. (1)


def grad_at(r_data, r_noise, F, nu, odds):
    n, m = r_data.shape[-1], r_noise.shape[-1]
    w_data, w_noise = weights(n, m, nu)
    below, sides = counts_and_sides(odds, r_data, r_noise, F, nu)
    small = w_data * sides[0] + w_noise * sides[1]
    counts = count_difference(*below, n, m, nu)
    if small.dtype != counts.dtype:
        counts = array_namespace(small).astype(counts, small.dtype)
    return counts + small  # Eq. (3)


def hess_at(r_data, r_noise, F, nu, odds):
    def terms(r, F):
        S, E, _ = odds(r, F, nu)
        return [pairwise_sum(curvature(S, E))]

    w_data, w_noise = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    ((data, noise),) = over_samples(terms, r_data, r_noise, F)
    return w_data * data + w_noise * noise  # Eq. (4)


def _at_F(formula, r_data, r_noise, F, nu):
    """``formula`` by the quick odds; by the exact ones in the runs not certified."""
    xp, r_data, r_noise, F, nu = samples(r_data, r_noise, F, nu)
    value = formula(r_data, r_noise, F, nu, quick_odds)

    def exact(*chosen):
        return (formula(*chosen, exact_odds),)

    certified = is_certified(value, F, nu)
    return where_certified(certified, (value,), exact, r_data, r_noise, F, nu)[0]


def _each(f_data, f_noise, r_data, r_noise, F, nu):
    """A formula for every sample, by the quick odds if these are certified."""
    xp = array_namespace(r_data)
    (S, E, _), (S, E_noise, _) = quick_odds(r_data, F, nu), quick_odds(r_noise, F, nu)
    data, noise = f_data(S, E), f_noise(S, E_noise)
    least = xp.minimum(xp.min(data, axis=-1), xp.min(noise, axis=-1))
    if all_true(is_certified(least, F, nu)):
        return data, noise
    odds = exact_odds(r_data, F, nu), exact_odds(r_noise, F, nu)
    return f_data(*odds[0][:2]), f_noise(*odds[1][:2])


def where_certified(certified, values, exact, r_data, r_noise, F, nu):
    """``values``, in the runs that are not certified those of ``exact``."""
    if all_true(certified):
        return values
    if F.ndim == 0:
        return exact(r_data, r_noise, F, nu)
    hard = ~certified
    parts = exact(*chosen_runs(hard, r_data, r_noise, F), nu)
    for value, part in zip(values, parts, strict=True):
        value[hard] = part
    return values


def chosen_runs(chosen, r_data, r_noise, F):
    """The samples (k, n), (k, m) and F (k) of the k runs where ``chosen`` is true."""
    xp, runs = array_namespace(F), chosen.shape
    data = xp.broadcast_to(r_data, (*runs, r_data.shape[-1]))[chosen, :]
    noise = xp.broadcast_to(r_noise, (*runs, r_noise.shape[-1]))[chosen, :]
    return data, noise, xp.broadcast_to(F, runs)[chosen]
