"""(A - nu B)/(1 + nu) and its derivatives, without cancellation and underflow."""

from __future__ import annotations

from typing import Any, NamedTuple

from refnce.array.backend import array_namespace
from refnce.array.special import pairwise_sum
from refnce.nce import count_difference, nearest, over_samples, small_sides, weights


class Residual(NamedTuple):
    """(A - nu B)/(1 + nu) = c + (U[0] - D[0]) e^-M at one F per run.

    c is the exact difference of counts. U sums the weighted t of the samples above
    F + log nu and D of those below, times e^M (see ``refnce.nce``). U[k] is the k-th
    derivative of U by F, D[k] that of D by -F. M is the distance to the nearest sample.
    """

    c: Any
    U: Any
    D: Any
    M: Any
    below: Any

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
    """Return the residual at F and its derivatives up to ``order``, at most 2."""
    xp = array_namespace(r_data, r_noise)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    M = xp.minimum(nearest(r_data, F, nu), nearest(r_noise, F, nu))

    def sums(r, F, M):
        below, t, scale = small_sides(r, F, nu, M)
        terms = [t, t - t * t * scale]
        terms.append(terms[1] * (1.0 - 2.0 * t * scale))
        every = xp.stack(terms[: order + 1])
        D = every * below
        count = xp.sum(below, axis=-1, dtype=xp.float64)
        both = pairwise_sum(xp.concat([every - D, D]))
        return [*(both[k, ...] for k in range(2 * order + 2)), count]

    *parts, below = over_samples(sums, r_data, r_noise, F, M)
    w_data, w_noise = weights(n, m, nu)
    both = xp.stack([w_data * data + w_noise * noise for data, noise in parts])
    c = xp.astype(count_difference(*below, n, m, nu), F.dtype)
    return Residual(c, both[: order + 1, ...], both[order + 1 :, ...], M, below)
