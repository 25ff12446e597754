"""What a solver returns, and the sampling error that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from refnce.array.backend import Array, array_namespace, blocks, in_run_blocks
from refnce.logz.bracket import Bracket
from refnce.nce import balance, odds

# Under this overlap the standard error rests on a handful of samples; it is then often far too small.
TRUSTED_OVERLAP = 0.01


class Status(IntEnum):
    """Why a solver stopped, one code per run.

    FLAT stands for a certified zero of A - nu B over more than 4 units. In exact arithmetic there is none (A - nu B
    increases strictly wherever it is not constant), and the scaled sums of ``nce.balance`` resolve its sign down to
    the last unit even where every sigmoid underflows, so the solvers here do not return it; it is part of the
    surface for solvers that work with plain sigmoids.
    """

    CONVERGED = 0
    FLAT = 1
    NO_ROOT = 2
    CYCLE = 3
    MAX_UPDATES = 4


@dataclass(frozen=True, slots=True)
class LogZ:
    """The log-partition estimate of each run. Every field is an array over the runs (bracket: a pair of arrays).

    F: the estimate. status: codes of ``Status``. evaluations: passes over the samples made to find F, bracketing
    included (the pass for the standard error is not counted). bracket: (lo, hi) with the root inside. standard_error:
    of F, sandwich form, right also where data are not from p_theta. overlap: (1 + nu)^2/nu d2L/dF2 at F: 1 for equal
    laws, 0 for chasm and plateau.
    """

    F: Array
    status: Array
    evaluations: Array
    bracket: tuple[Array, Array]
    standard_error: Array
    overlap: Array

    @property
    def converged(self) -> Array:
        """status == CONVERGED."""
        return self.status == int(Status.CONVERGED)

    @property
    def trusted(self) -> Array:
        """Converged, with an overlap of at least TRUSTED_OVERLAP: elsewhere do not rely on standard_error."""
        return self.converged & (self.overlap >= TRUSTED_OVERLAP)


def finished(
    start: Bracket, r_data: Array, r_noise: Array, nu: float, found: tuple[Array, ...]
) -> LogZ:
    """The LogZ of a solve from ``start`` that ``found`` (F, status, evaluations, lo, hi): runs without a root get their limit."""
    F, status, evaluations, lo, hi = found
    xp = array_namespace(F)
    inf = xp.full_like(F, float("inf"))
    F = xp.where(start.rootless, start.limit, F)
    status = xp.where(start.rootless, 0 * status + int(Status.NO_ROOT), status)
    ends = xp.where(start.rootless, -inf, lo), xp.where(start.rootless, inf, hi)
    return LogZ(F, status, evaluations, ends, *sampling(r_data, r_noise, F, nu))


@in_run_blocks
def sampling(r_data: Array, r_noise: Array, F: Array, nu: float) -> tuple[Array, Array]:
    """Return (standard_error, overlap) at F (...), for checked arguments.

    standard_error = sqrt(var(s_data)/n + nu^2 var(s_noise)/m)/(mean s_data(1 - s_data) + nu mean s_noise(1 - s_noise)),
    var with denominator n (or m); nan where n or m is 1, where F is not finite, or where the denominator is 0.
    """
    xp = array_namespace(r_data, r_noise)
    known = xp.isfinite(F)
    F = xp.where(known, F, xp.zeros_like(F))
    g = balance(r_data, r_noise, F, nu, order=1)
    slope = (1.0 + nu) * (g.U[1] + g.D[1])
    n, m = r_data.shape[-1], r_noise.shape[-1]
    data = _deviation(r_data, F, nu, g.M, g.below_data) / n**0.5
    noise = _deviation(r_noise, F, nu, g.M, g.below_noise) * (nu / m**0.5)
    nan = xp.full_like(F, float("nan"))
    usable = known & (slope > 0) if min(n, m) > 1 else xp.zeros_like(known)
    error = xp.where(
        usable,
        xp.hypot(data, noise) / xp.where(slope > 0, slope, xp.ones_like(slope)),
        nan,
    )
    overlap = (1.0 + nu) / nu * (slope * xp.exp(-g.M))  # Eq. (4), normalised
    return error, xp.where(known, overlap, nan)


def _deviation(r: Array, F: Array, nu: float, M: Array, below: Array) -> Array:
    """The standard deviation of sigmoid(F + log nu - r) times exp(M), on whichever of s and 1 - s is small for most."""
    xp = array_namespace(r)
    n = r.shape[-1]
    flip = (2.0 * below > n)[..., None]
    # Samples on one side are scaled before their squares underflow; on both sides s is of size 1 and is scaled after.
    K = xp.where((below == 0) | (below == n), M, xp.zeros_like(M))
    counts, means, squares = [], [], []
    for x in blocks(r):
        z, _, q = odds(x, F, nu, K)
        small = (z >= 0) == flip
        s = xp.where(small, q, 1.0) / (1.0 + q * xp.exp(-K)[..., None])
        mean = xp.mean(s, axis=-1)
        counts.append(x.shape[-1])
        means.append(mean)
        squares.append(xp.sum((s - mean[..., None]) ** 2, axis=-1))
    if len(counts) == 1:
        variance = squares[0] / n
    else:
        # Chan's rule joins the blocks: sums of squares about block means, plus those of the block means.
        size = xp.asarray(counts, dtype=F.dtype)
        block_means = xp.stack(means, axis=-1)
        mean = xp.sum(block_means * size, axis=-1, keepdims=True) / n
        within = xp.sum(xp.stack(squares, axis=-1), axis=-1)
        variance = (within + xp.sum(size * (block_means - mean) ** 2, axis=-1)) / n
    return xp.sqrt(variance) * xp.exp(M - K)
