"""(A - nu B)/(1 + nu) and its derivatives, without cancellation and underflow."""

from __future__ import annotations

from typing import Any, NamedTuple

from refnce import nce
from refnce.array.backend import array_namespace
from refnce.array.runs import over_samples, where_certified
from refnce.array.special import last_sum


class Residual(NamedTuple):
    """(A - nu B)/(1 + nu) = c + (U[0] - D[0]) e^-M at one F per run.

    c is the exact difference of counts. U sums the weighted t of the samples above
    F + log nu and D of those below, times e^M (see ``refnce.nce``). U[k] is the k-th
    derivative of U by F, D[k] that of D by -F. M is 0 or the distance to the nearest
    sample.
    """

    c: Any
    U: list[Any]
    D: list[Any]
    M: Any

    @property
    def counts(self):
        """c e^M: it may be infinite where c is not 0."""
        xp = array_namespace(self.M)
        return xp.where(self.c == 0, self.c, self.c * xp.exp(self.M))

    @property
    def scaled(self):
        """(A - nu B)/(1 + nu) e^M."""
        return self.counts + (self.U[0] - self.D[0])


def residual(r_data, r_noise, F, nu, order):
    """Return the residual at F and its derivatives up to ``order``, at most 2."""
    values = _parts(r_data, r_noise, F, nu, order)

    def exact(r_data, r_noise, F, nu):
        xp = array_namespace(F)
        M = xp.minimum(nce.nearest(r_data, F, nu), nce.nearest(r_noise, F, nu))
        return _parts(r_data, r_noise, F, nu, order, M)

    size = values[2] + values[3 + order]  # of U and D
    certified, pair = nce.is_certified(size, F, nu), (r_data, r_noise)
    c, M, *parts = where_certified(certified, values, exact, *pair, F, nu)
    return Residual(c, parts[: order + 1], parts[order + 1 :], M)


def _parts(r_data, r_noise, F, nu, order, M=None):
    """c, M, then U and D with their derivatives."""
    xp = array_namespace(r_data, r_noise)
    n, m = r_data.shape[-1], r_noise.shape[-1]

    def sums(r, F, M):
        below, t, scale = nce.small_sides(r, F, nu, M)
        terms = [t, t - t * t * scale]
        terms.append(terms[1] * (1.0 - 2.0 * t * scale))
        every = xp.stack(terms[: order + 1])
        D = every * below
        both = last_sum(xp.concat([every - D, D]))
        count = xp.sum(below, axis=-1, dtype=xp.float64)
        return [count, *(both[k, ...] for k in range(2 * order + 2))]

    below, *parts = over_samples(sums, r_data, r_noise, F, M)
    w_data, w_noise = nce.weights(n, m, nu)
    parts = [w_data * data + w_noise * noise for data, noise in parts]
    c = xp.astype(nce.count_difference(below[0], below[1], n, m, nu), F.dtype)
    return c, xp.zeros_like(F) if M is None else M, *parts
