r"""The NCE objective as a function of log-ratios and F, and its derivatives (Definition 3.1, Equations 1, 3, 4, 9-11).

With r_data (..., n) = log p~(x_i) - log q(x_i) on data, r_noise (..., m) on noise, F (...) and the weight nu of noise
against data (1 in the paper; m/n gives Gutmann and Hyvarinen's objective):

    s_data  = sigmoid(F + log nu - r_data),   A = mean s_data     = E_p*[nu q/(p + nu q)]
    s_noise = sigmoid(r_noise - F - log nu),  B = mean s_noise    = E_q[p/(p + nu q)]

How the last digits are kept. Each sample lies below or above the point F + log nu. Its *small side* is
t = sigmoid(-|z|), z = F + log nu - r, so s is t or 1 - t, and

    A - nu B = (1 + nu) (c + U - D),
    c = [(share of data below) - nu (share of noise above)]/(1 + nu),   from counts, exact even where it cancels,
    U = [mean t over data above + nu mean t over noise above]/(1 + nu), D the same below.

Nothing of size 1 is subtracted where t is small, so the plateau (A and B both near 1) keeps its sign and digits. z itself
is F + log nu - r rounded; its TwoSum remainder is applied to exp(-|z|), since half an ulp of z = 460 is 128 ulps of t.
Where nu is not 1 that holds for log-ratios and F up to 1e15 in size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from refnce.array.backend import (
    Array,
    Namespace,
    array_namespace,
    blocks,
    in_run_blocks,
    machine_eps,
)
from refnce.array.interop import interoperable
from refnce.array.validation import (
    check_arrays,
    check_F,
    check_no_nan,
    check_nu,
    check_samples,
    rows,
    runs_shape,
)
from refnce.array.special import log_double_double, pairwise_sum, two_product, two_sum

__all__ = ["grad_F", "grad_r", "hess_F", "loss"]


class Balance(NamedTuple):
    """(A - nu B)/(1 + nu) = c + (U - D) exp(-M) at one F per run; see ``balance``. U and D hold the sum, then its derivatives.

    U[k] is the k-th derivative of U by F, D[k] that of D by -F: w t, w t (1 - t), w t (1 - t)(1 - 2t), ... summed.
    """

    c: Array
    U: tuple[Array, ...]
    D: tuple[Array, ...]
    M: Array
    below_data: Array
    below_noise: Array

    @property
    def count(self) -> Array:
        """c exp(M), which may be infinite where c is not 0."""
        xp = array_namespace(self.M)
        return xp.where(self.c == 0, self.c, self.c * xp.exp(self.M))

    @property
    def excess(self) -> Array:
        """(A - nu B)/(1 + nu) exp(M)."""
        return self.count + (self.U[0] - self.D[0])


@interoperable
def loss(r_data: Array, r_noise: Array, F: Any, *, nu: float = 1.0) -> Array:
    """Return the NCE loss (...), Definition 3.1 and Equation 1 (normalised by 1 + nu, which is 2 in the paper).

    loss = [mean softplus(F + log nu - r_data) + nu mean softplus(r_noise - F - log nu)]/(1 + nu)

    r_data is (..., n), r_noise (..., m), F a number or (...); leading shapes broadcast. An infinite log-ratio takes the
    limit of the formula. Raises TypeError or ValueError for arguments that DESIGN's entry rules refuse: empty samples,
    NaN, integer arrays, mixed libraries or devices, tensors that record gradients, nu not from 1e-30 to 1e30.
    """
    xp, r_data, r_noise, F, nu = _entry(r_data, r_noise, F, nu)
    return _loss(r_data, r_noise, F, nu)


@interoperable
def grad_F(r_data: Array, r_noise: Array, F: Any, *, nu: float = 1.0) -> Array:
    """Return dL/dF = (A - nu B)/(1 + nu) (...), Equation 3: increasing in F, from -nu/(1 + nu) to 1/(1 + nu).

    Arguments and errors as in ``loss``.
    """
    xp, r_data, r_noise, F, nu = _entry(r_data, r_noise, F, nu)
    g = balance(r_data, r_noise, F, nu, order=0, scaled=False)
    return g.c + (g.U[0] - g.D[0])  # Eq. (3)


@interoperable
def hess_F(r_data: Array, r_noise: Array, F: Any, *, nu: float = 1.0) -> Array:
    """Return d2L/dF2 = (mean s_data (1 - s_data) + nu mean s_noise (1 - s_noise))/(1 + nu) >= 0 (...), Equation 4.

    Arguments and errors as in ``loss``. That it is never negative is Lemma 3.2.
    """
    xp, r_data, r_noise, F, nu = _entry(r_data, r_noise, F, nu)
    g = balance(r_data, r_noise, F, nu, order=1, scaled=False)
    return g.U[1] + g.D[1]  # Eq. (4)


@interoperable
def grad_r(
    r_data: Array, r_noise: Array, F: Any, *, nu: float = 1.0
) -> tuple[Array, Array]:
    """Return (dL/dr_data (..., n), dL/dr_noise (..., m)): the weights that a model's pullback takes (the chain rule).

    dL/dr_data = -s_data/(n (1 + nu)), dL/dr_noise = nu s_noise/(m (1 + nu)). Arguments and errors as in ``loss``.
    """
    xp, r_data, r_noise, F, nu = _entry(r_data, r_noise, F, nu)
    w_data, w_noise, _ = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    return (
        _sigmoid(r_data, F, nu, +1.0) * -w_data,
        _sigmoid(r_noise, F, nu, -1.0) * w_noise,
    )


@in_run_blocks
def _loss(r_data: Array, r_noise: Array, F: Array, nu: float) -> Array:
    w_data, w_noise, _ = weights(r_data.shape[-1], r_noise.shape[-1], nu)
    (data,) = over_blocks(lambda x: [_softplus(x, F, nu, +1.0)], r_data)
    (noise,) = over_blocks(lambda x: [_softplus(x, F, nu, -1.0)], r_noise)
    return w_data * data + w_noise * noise  # Eq. (1)


@lru_cache(maxsize=256)
def weights(n: int, m: int, nu: float) -> tuple[float, float, float]:
    """What a data and a noise sample weigh in the loss, 1/(n (1 + nu)) and nu/(m (1 + nu)); the first over m; rounded once."""
    exact = Fraction(nu)
    return (
        float(1 / (n * (1 + exact))),
        float(exact / (m * (1 + exact))),
        float(1 / (n * m * (1 + exact))),
    )


@in_run_blocks
def balance(
    r_data: Array,
    r_noise: Array,
    F: Array,
    nu: float,
    *,
    order: int = 0,
    scaled: bool = True,
) -> Balance:
    """Return (A - nu B)/(1 + nu) in the parts named in this module's docstring, for checked arguments, with derivatives.

    With ``scaled`` U and D are multiplied by exp(M), M the distance from F + log nu to the nearest sample, so that they
    exist where every sigmoid underflows; otherwise M = 0.
    """
    xp = array_namespace(r_data, r_noise)
    zero = xp.zeros_like(F)
    M = (
        xp.minimum(_nearest(r_data, F, nu), _nearest(r_noise, F, nu))
        if scaled
        else zero
    )
    M = xp.where(xp.isfinite(M), M, zero)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    below_data, *data = _sums(r_data, F, nu, M, order)
    below_noise, *noise = _sums(r_noise, F, nu, M, order)
    product, remainder = two_product(nu, n * (m - below_noise))
    w_data, w_noise, w_count = weights(n, m, nu)
    c = xp.astype(((m * below_data - product) - remainder) * w_count, F.dtype)
    both = tuple(w_data * x + w_noise * y for x, y in zip(data, noise, strict=True))
    return Balance(c, both[: order + 1], both[order + 1 :], M, below_data, below_noise)


def _sums(r: Array, F: Array, nu: float, M: Array, order: int) -> list[Array]:
    """The number of samples below F + log nu, then the sums of exp(M) t and its derivatives above it, then those below."""
    xp = array_namespace(r)
    scale = xp.exp(-M)[..., None]

    def terms(x: Array) -> list[Array]:
        z, _, q = odds(x, F, nu, M)
        below = xp.astype(z >= 0, q.dtype)
        t = q / (1.0 + q * scale)
        u = t * (1.0 - t * scale)
        every: tuple[Array, ...] = (t, u)[: order + 1]
        if order > 1:
            every = (t, u, u * (1.0 - 2.0 * t * scale), u * (1.0 - 6.0 * u * scale))[
                : order + 1
            ]
        under = [v * below for v in every]  # v or 0, so that the rest is exactly 0 or v
        return [below, *(v - w for v, w in zip(every, under, strict=True)), *under]

    below, *sums = over_blocks(terms, r)
    return [xp.astype(below, xp.float64), *sums]


def over_blocks(f: Callable[[Array], list[Array]], r: Array) -> list[Array]:
    """The sums over the last axis of the arrays that ``f`` makes of r, block by block."""
    parts = [[pairwise_sum(v) for v in f(x)] for x in blocks(r)]
    return (
        parts[0]
        if len(parts) == 1
        else [
            pairwise_sum(array_namespace(r).stack(k, axis=-1))
            for k in zip(*parts, strict=True)
        ]
    )


def odds(
    r: Array, F: Array, nu: float, M: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return (z, e, q): z + e = F + log nu - r, and q = exp(M - |z + e|), the odds of the small side (M = 0 where None).

    Beyond |z| = 64/eps, infinity included, e is 0: z is then exact to far less than an ulp of the log-ratio.
    """
    xp = array_namespace(r)
    eps = machine_eps(r.dtype, xp)
    log_nu, log_nu_low = log_double_double(nu, eps)
    high, low = two_sum(F, xp.full_like(F, log_nu)) if nu != 1.0 else (F, None)
    z, e = two_sum(high[..., None], -r)
    if low is not None:
        e = e + (low + log_nu_low)[..., None]
    distance = xp.abs(z)
    e = xp.where(distance < 64.0 / eps, e, 0.0)
    below = xp.astype(z >= 0, e.dtype)
    q = xp.exp(-distance if M is None else M[..., None] - distance)
    return z, e, q + q * xp.expm1(e - 2.0 * below * e)


def _nearest(r: Array, F: Array, nu: float) -> Array:
    """The distance from F + log nu to the nearest sample (...)."""
    xp = array_namespace(r)
    shift = F + math.log(nu)
    return xp.min(
        xp.stack(
            [xp.min(xp.abs(shift[..., None] - x), axis=-1) for x in blocks(r)], axis=-1
        ),
        axis=-1,
    )


def _sigmoid(r: Array, F: Array, nu: float, sign: float) -> Array:
    """sigmoid(sign (F + log nu - r)) elementwise."""
    xp = array_namespace(r)
    z, _, q = odds(r, F, nu)
    return xp.where((z >= 0) == (sign > 0), 1.0, q) / (1.0 + q)


def _softplus(r: Array, F: Array, nu: float, sign: float) -> Array:
    """softplus(sign (F + log nu - r)) elementwise: max(sign z, 0) + log1p(exp(-|z|))."""
    xp = array_namespace(r)
    z, e, q = odds(r, F, nu)
    large = (z >= 0) == (sign > 0)
    return xp.where(large, sign * z, 0.0) + (
        xp.where(large, sign * e, 0.0) + xp.log1p(q)
    )


def _entry(
    r_data: Array, r_noise: Array, F: Any, nu: float
) -> tuple[Namespace, Array, Array, Array, float]:
    nu = check_nu(nu)
    xp = check_arrays(r_data=r_data, r_noise=r_noise)
    check_samples(r_data=r_data, r_noise=r_noise)
    check_no_nan(r_data=r_data, r_noise=r_noise)
    F = check_F(F, r_data, xp)
    shape = runs_shape(r_data=r_data, r_noise=r_noise, F=F[..., None])
    return xp, rows(r_data), rows(r_noise), xp.broadcast_to(F, shape), nu
