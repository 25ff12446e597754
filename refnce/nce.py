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
  where |F + log nu| is at most L/3 and |F| at most 5L/6, L the logarithm of the largest
  float, and the result is at least 64 e^{-2L/3}/eps: a finite log-ratio whose e^r
  overflows or underflows then changes it by less than a rounding error
  (``is_certified``);
- elsewhere from z = F + log nu - r with its TwoSum remainder (``split``), since half an
  ulp of z = 460 changes e^z by 128 eps. In sums of t the terms are multiplied by e^M,
  M the distance to the nearest sample, so that they do not underflow.

The loss has the same two ways. Its terms from the odds are log(1 + S/E) on data and
log(1 + E/S) on noise.
"""

import math
import sys
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, NamedTuple

from refnce.array import HUGE, all_true, array_namespace, beside, dot, host
from refnce.array import interoperable, last_sum, log_double_double, over_samples
from refnce.array import samples, to_numpy, two_product, two_sum, where, where_certified

__all__ = ["grad_F", "grad_r", "hess_F", "loss"]

EPS, NORMAL = sys.float_info.epsilon, sys.float_info.min
SCALE = 2.0**64
FAR = math.log(sys.float_info.max) / 3.0  # L/3
TINY = 64.0 * math.exp(-2.0 * FAR) / EPS


@interoperable
def loss(r_data, r_noise, F, *, nu=1.0):
    """Return the NCE loss.

    Parameters
    ----------
    r_data : array (..., n)
        Log-ratios log p~ - log q on data. Infinities take the limit of the formula.
        They may be a Dask array in chunks of samples; results are then NumPy's.
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
    Definition 3.1 and Equation 1, where 1 + nu = 2. The error is at most 4 ulps, for
    log-ratios and F up to 1e15 in size. It may reach 10 ulps where 16 or more samples
    are equal to rounding, since their rounding errors are equal too. float32 log-ratios
    are evaluated in float64, and the result is rounded: it is right to half an ulp.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.loss(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    0.3377
    """
    ratios, F = samples(r_data, r_noise, F, nu)
    xp, nu = ratios.xp, ratios.nu

    def quick_data(E, S):  # an E below NORMAL has lost digits
        return [last_sum(xp.log1p(xp.where(E < NORMAL, math.inf, S / E)))]

    def quick_noise(E, S):
        return [last_sum(xp.log1p(E / S))]

    def softplus(r, F, sign):
        below, d, e, q = split(r, F, nu, 0.0 * F)
        large = below if sign > 0 else ~below
        rest = xp.where(large, e, 0.0) + xp.log1p(q)
        # The sum of far samples may overflow where their mean does not.
        far = large & (d > SCALE)
        rest = xp.where(large & ~far, d, 0.0) + rest
        return [last_sum(rest), last_sum(xp.where(far, d / SCALE, 0.0))]

    def exact(ratios, F):
        value = 0.0 * F
        sides = zip(ratios.pair, (1, -1), divisors(*ratios.sizes, ratios.nu))
        for r, sign, by in sides:
            rest, far = ratios.over(lambda r, F: softplus(r, F, sign), r, F)
            value = value + rest / by + (far / by) * SCALE
        return [value]

    return _weighted(ratios, F, quick_data, quick_noise, exact)  # Eq. (1)


@interoperable
def grad_F(r_data, r_noise, F, *, nu=1.0):
    """Return dL/dF = (A - nu B)/(1 + nu), Equation 3.

    It increases in F from -nu/(1 + nu) to 1/(1 + nu). Parameters and errors are those
    of `loss`.

    Returns
    -------
    array (...)
        Right to 4 units, or 5 if nu is not 1. A unit is ulp(max(|dL/dF|, T)), T the
        mean t of data plus nu times that of noise, over 1 + nu.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.grad_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.0).round(4))
    -0.0952
    """
    ratios, F = samples(r_data, r_noise, F, nu)
    return ratios.result(residual(ratios, F, order=0).value)  # Eq. (3)


@interoperable
def hess_F(r_data, r_noise, F, *, nu=1.0):
    """Return d2L/dF2, Equation 4: it is never negative (Lemma 3.2).

    Parameters and errors are those of `loss`.

    Returns
    -------
    array (...)
        (mean s_data (1 - s_data) + nu mean s_noise (1 - s_noise))/(1 + nu). Right to 4
        units, or 5 if nu is not 1, which rounds twice more; equal samples are as in
        `loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nce
    >>> float(nce.hess_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    0.1921
    """
    ratios, F = samples(r_data, r_noise, F, nu)

    def quick(E, S):
        t = small_side(E, S)
        return [last_sum(t - t * t)]

    def exact(ratios, F):
        _, M, _, U, _, D = combined(ratios, *exact_sums(ratios, F, order=1))
        return [(U + D) / common_divisor(ratios) * host.exp(-M)]

    return _weighted(ratios, F, quick, quick, exact)  # Eq. (4)


@interoperable
def grad_r(r_data, r_noise, F, *, nu=1.0):
    """Return dL/dr of every sample: the weights that a model's pullback takes.

    Parameters and errors are those of `loss`. Of a Dask array the result is one, and
    nothing is read yet.

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
    ratios, F = samples(r_data, r_noise, F, nu)
    by_data, by_noise = divisors(*ratios.sizes, ratios.nu)
    data, noise = each(lambda S, E: S / (S + E), lambda S, E: E / (S + E), ratios, F)
    return ratios.result(-data / by_data), ratios.result(noise / by_noise)


def _weighted(ratios, F, f_data, f_noise, exact):
    """The weighted sum of f(E, S), or that of ``exact`` where it is not certified."""
    by_data, by_noise = divisors(*ratios.sizes, ratios.nu)
    (data,), (noise,) = ratios.over_odds(F, f_data, f_noise)
    value = data / by_data + noise / by_noise
    certified = is_certified(value, F, ratios.nu)
    (value,) = where_certified(certified, (value,), exact, ratios, F)
    return ratios.result(value)


def curvature_weights(ratios, F):
    """What every sample adds to `hess_F`."""

    def curvature(S, E):
        t = small_side(E, S)
        return t - t * t

    by_data, by_noise = divisors(*ratios.sizes, ratios.nu)
    data, noise = each(curvature, curvature, ratios, F)
    return ratios.result(data / by_data), ratios.result(noise / by_noise)


# Of every sample: the side of F + log nu on which it lies, and its small side t


def small_side(E, S):
    """Return t from the odds S = nu e^F (..., 1) and E = e^r (..., n)."""
    return array_namespace(E).minimum(S, E) / (S + E)


def split(r, F, nu, M):
    """Return (below, d, e, exp(M - |G - r|)) with G = F + log nu, |G - r| = d + e.

    e is the TwoSum remainder of d. For d of 64/EPS and more, infinity included, e is 0:
    d is then exact to far less than an ulp of the log-ratio.
    """
    xp = array_namespace(r)
    log_nu, log_nu_low = log_double_double(nu)
    G, low = two_sum(F, 0.0 * F + log_nu)
    z, e = two_sum(G[..., None], -r)
    z, e = two_sum(z, xp.where(abs(z) < 64.0 / EPS, e + low[..., None], 0.0))
    below, d = z >= 0, abs(z)
    e = xp.where(d < math.inf, e + log_nu_low, 0.0)
    e = xp.where(below, e, -e)
    q = xp.exp(M[..., None] - d)
    return below, d, e, q + q * xp.expm1(-e)


def exact_sides(r, F, nu, M):
    """Return (below, t e^M, e^-M) from F + log nu - r with its remainder."""
    below, _, _, q = split(r, F, nu, M)
    scale = array_namespace(r).exp(-M)[..., None]
    return below, q / (1.0 + q * scale), scale


def each(f_data, f_noise, ratios, F):
    """A formula of the odds S and E for every data and every noise sample."""
    nu, pair = ratios.nu, zip((f_data, f_noise), ratios.pair, (math.inf, HUGE))
    return [
        over_samples(partial(_each, f, nu, largest), r, F) for f, r, largest in pair
    ]


def _each(f, nu, largest, r, F):
    """f(S, E) of every sample; if one run is not certified, all the exact way."""
    xp = array_namespace(r)
    S = beside(r, [host.exp(F) * nu])[0]
    value = f(S[..., None], xp.minimum(xp.exp(r), largest))
    # The value at an infinite log-ratio is a limit, and right.
    least = to_numpy(xp.min(xp.where(abs(r) < math.inf, value, 1.0), axis=-1))
    if all_true(is_certified(least, F, nu)):
        return value
    F = beside(r, [F])[0]
    below, _, _, q = split(r, F, nu, 0.0 * F)
    return f(xp.where(below, 1.0, q), xp.where(below, q, 1.0))


def is_certified(value, F, nu):
    """Whether ``value``, made from odds at F, has all its digits."""
    in_range = (abs(F + math.log(nu)) <= FAR) & (abs(F) <= 2.5 * FAR)
    return in_range & (abs(value) >= TINY) & (value < math.inf)


# Sums over samples


@lru_cache(maxsize=256)
def divisors(n, m, nu):
    """n (1 + nu) and m (1 + nu)/nu, rounded once: at nu = 1 they are exact.

    Sums over data and over noise are divided by them.
    """
    exact = Fraction(nu)
    return float(n * (1 + exact)), float(m * (1 + exact) / exact)


def common_divisor(ratios):
    """n m (1 + nu), by which `combined` does not divide."""
    return divisors(math.prod(ratios.sizes), 1, ratios.nu)[0]


def nearest(r, F, nu):
    """The distance from F + log nu to the nearest sample, less its part below 2^-8.

    It is infinite where all samples are. The difference of two others is exact.
    """
    M = array_namespace(r).min(abs((F + math.log(nu))[..., None] - r), axis=-1)
    return where(M < math.inf, M - M % 2.0**-8, math.inf)


def sums_of(below, t, scale, order):
    """How many samples are below; the sums, above and below, of t and derivatives."""
    below = array_namespace(t).astype(below, t.dtype)
    terms = [t, t - t * t * scale] if order else [t]
    if order > 1:
        terms.append(terms[1] * (1.0 - 2.0 * t * scale))
    sums = [last_sum(below)]
    for u in terms:
        u_below = below * u
        sums += [last_sum(u - u_below), last_sum(u_below)]
    return sums


def exact_sums(ratios, F, order):
    """For data and for noise the sums of ``sums_of`` times e^M, and M."""
    nu = ratios.nu

    def sums(r, F):
        M = nearest(r, F, nu)
        below, t, scale = exact_sides(r, F, nu, where(M < math.inf, M, 0.0))
        return [*sums_of(below, t, scale, order), M]

    def joined(k, *columns):  # each block has its own M
        *sums, M = columns
        least = host.min(M, axis=-1)
        scale = host.exp(where(least < math.inf, least, 0.0)[..., None] - M)
        return [last_sum(k), *(last_sum(x * scale) for x in sums), least]

    both = [ratios.over(sums, r, F, join=joined) for r in ratios.pair]
    distances = [where(M < math.inf, M, 0.0) for *_, M in both]
    return [part for *part, _ in both], distances


def two_powers(p):
    """The sums of p and p^2 over samples."""
    return last_sum(p), dot(p, p)


def count_difference(k_data, k_noise, sizes, nu):
    """m k_data - nu n (m - k_noise) of counts: exact if nu = 1, else rounded once."""
    n, m = sizes
    below, above, rest = m * k_data, n * (m - k_noise), 0.0
    if n * m > 2**53:  # these products are no float64 numbers
        below, below_rest = two_product(float(m), k_data)
        above, above_rest = two_product(float(n), m - k_noise)
        rest = nu * above_rest - below_rest
    product, low = two_product(nu, above) if nu != 1.0 else (above, 0.0)
    return (below - product) - (low + rest)


class Residual(NamedTuple):
    """A - nu B at one F per run, as ``value``, which is (A - nu B)/(1 + nu).

    All but ``value`` are times n m, so that the weights are m and nu n: c is the
    difference of counts, U sums the weighted t of the samples above F + log nu and D of
    those below, times e^M, and n m (A - nu B) = c + (U[0] - D[0]) e^-M. U[k] is the
    k-th derivative of U by F, D[k] that of D by -F. ``scaled`` is n m (A - nu B) e^M,
    ``counts`` c e^M.
    """

    value: Any
    scaled: Any
    counts: Any
    U: list[Any]
    D: list[Any]


def combined(ratios, sums, distances):
    """Return c, M, U and D from the sums of data and noise, each times its own e^M."""
    M = where(distances[0] < distances[1], *distances)
    n, m = ratios.sizes
    w_data, w_noise = (host.exp(M - own) for own in distances)
    w_data, w_noise = m * w_data, (ratios.nu * n) * w_noise
    (k_data, *data), (k_noise, *noise) = sums
    total = [w_data * x + w_noise * y for x, y in zip(data, noise)]
    c = count_difference(k_data, k_noise, ratios.sizes, ratios.nu)
    return c, M, *total[::2], *total[1::2]


def residual(ratios, F, order):
    """Return the residual at F and its derivatives up to ``order``, at most 2."""
    zero = 0.0 * F

    def quick(E, S):
        return sums_of(E <= S, small_side(E, S), 1.0, order)

    def exact(ratios, F):
        return combined(ratios, *exact_sums(ratios, F, order))

    by = common_divisor(ratios)
    if ratios.is_lazy:  # reading takes longer than the exact way
        c, M, *parts = exact(ratios, F)
    else:
        values = combined(ratios, ratios.over_odds(F, quick, quick), (zero, zero))
        size = (values[2 + order] + values[-1]) / by  # of U and D
        certified = is_certified(size, F, ratios.nu)
        c, M, *parts = where_certified(certified, values, exact, ratios, F)
    U, D = parts[: order + 1], parts[order + 1 :]
    difference = U[0] - D[0]
    counts = where(c == 0, 0.0, c * host.exp(M))
    value = (c + difference * host.exp(-M)) / by
    return Residual(value, counts + difference, counts, U, D)
