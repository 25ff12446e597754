"""What a solver returns, and the sampling error that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from refnce.array.backend import Array, array_namespace
from refnce.array.special import pairwise_sum
from refnce.logz.bracket import Bracket
from refnce.nce import (
    curvature,
    is_certified,
    over_blocks,
    quick_odds,
    residual,
    split,
    weights,
    where_certified,
)

# Below this overlap the standard error rests on a handful of samples. It is then often
# far too small.
TRUSTED_OVERLAP = 0.01


class Status(IntEnum):
    """Why a solver stopped, one code per run.

    FLAT stands for a certified zero of A - nu B over more than 4 units. A - nu B
    increases strictly wherever it is not constant, and the scaled sums of
    ``nce.residual`` resolve its sign to the last unit even where every sigmoid
    underflows. The solvers here therefore never return FLAT. It is part of the surface
    for solvers that work with plain sigmoids.
    """

    CONVERGED = 0
    FLAT = 1
    NO_ROOT = 2
    CYCLE = 3
    MAX_UPDATES = 4


@dataclass(frozen=True, slots=True)
class LogZ:
    """The estimate of the log of the partition function, for every run.

    Attributes
    ----------
    F : array (...)
        The estimate.
    status : integer array (...)
        Codes of `Status`.
    evaluations : integer array (...)
        Passes over the samples made to find F, bracketing included. The pass for the
        standard error is not counted.
    bracket : pair of arrays (...)
        (lo, hi), with the root inside.
    standard_error : array (...)
        Of F, in the sandwich form: right also where data are not from the model. It
        assumes independent samples.
    overlap : array (...)
        (1 + nu)^2/nu d2L/dF2 at F: 1 for equal distributions, 0 for samples that are
        far apart.
    """

    F: Array
    status: Array
    evaluations: Array
    bracket: tuple[Array, Array]
    standard_error: Array
    overlap: Array

    @property
    def converged(self):
        """status == CONVERGED."""
        return self.status == int(Status.CONVERGED)

    @property
    def trusted(self):
        """Whether the standard error can be relied on.

        It cannot where the run has not converged, the overlap is below
        TRUSTED_OVERLAP, or the standard error is nan.
        """
        finite = self.standard_error < float("inf")
        return self.converged & (self.overlap >= TRUSTED_OVERLAP) & finite


def make_result(start, r_data, r_noise, nu, found):
    """The LogZ of a solve that found (F, status, evaluations, lo, hi).

    A run without a root gets its limit as F and the whole line as bracket.
    """
    F, status, evaluations, lo, hi = found
    xp = array_namespace(F)
    inf = xp.full_like(F, float("inf"))
    F = xp.where(start.no_root, start.limit, F)
    status = xp.where(start.no_root, xp.full_like(status, Status.NO_ROOT), status)
    ends = xp.where(start.no_root, -inf, lo), xp.where(start.no_root, inf, hi)
    return LogZ(
        F, status, evaluations, ends, *error_and_overlap(r_data, r_noise, F, nu)
    )


def joined(parts):
    """One LogZ of the runs of several."""
    xp = array_namespace(parts[0].F)
    rows = [(z.F, z.status, z.evaluations, *z.bracket) for z in parts]
    rows = [(*row, z.standard_error, z.overlap) for row, z in zip(rows, parts)]
    F, status, count, lo, hi, *rest = (xp.concat(x) for x in zip(*rows, strict=True))
    return LogZ(F, status, count, (lo, hi), *rest)


def error_and_overlap(r_data, r_noise, F, nu):
    """Return (standard_error, overlap) at F, for checked arguments.

    standard_error = sqrt(var(s_data)/n + nu^2 var(s_noise)/m) / ((1 + nu) hess_F), var
    with denominator n (or m). It is nan where n or m is 1, F is not finite, or the
    denominator is 0.
    """
    xp = array_namespace(r_data, r_noise)
    n, m = r_data.shape[-1], r_noise.shape[-1]
    finite = xp.isfinite(F)
    F = xp.where(finite, F, xp.zeros_like(F))
    w_data, w_noise = weights(n, m, nu)
    quick = _moments(r_data, r_noise, F, nu)
    certified = is_certified(quick[0], F, nu)
    pair = r_data, r_noise
    moments = where_certified(certified, quick, _scaled_moments, *pair, F, nu)
    hess, data, noise, scale = moments
    positive = hess > 0
    error = xp.hypot(w_data * n**0.5 * data, w_noise * m**0.5 * noise)
    error = error / xp.where(positive, hess, xp.ones_like(hess))
    usable = finite & positive & (min(n, m) > 1)
    overlap = (1.0 + nu) ** 2 / nu * (hess * scale)  # Eq. (4), normalised
    nan = xp.full_like(F, float("nan"))
    return xp.where(usable, error, nan), xp.where(finite, overlap, nan)


def _moments(r_data, r_noise, F, nu):
    """hess_F, the standard deviations of s_data and s_noise, and their scale: 1."""
    xp = array_namespace(r_data)

    def sums(r, F):
        S, E, _ = quick_odds(r, F, nu)
        return [pairwise_sum(curvature(S, E)), xp.sum(S / (S + E), axis=-1)]

    def squares(r, F, mean):
        S, E, _ = quick_odds(r, F, nu)
        # The smaller of s and 1 - s has the digits of their common deviation.
        small = 1.0 / (1.0 + xp.where(mean[..., None] > 0.5, S / E, E / S))
        small -= xp.minimum(mean, 1.0 - mean)[..., None]
        return [xp.vecdot(small, small), xp.sum(small, axis=-1)]

    w, parts = weights(r_data.shape[-1], r_noise.shape[-1], nu), []
    hess = 0.0
    for weight, r in zip(w, (r_data, r_noise), strict=True):
        n = r.shape[-1]
        curvatures, total = over_blocks(sums, r, F)
        hess = hess + weight * curvatures
        square, rest = over_blocks(squares, r, F, total / n)
        parts.append(xp.sqrt(xp.maximum(square / n - (rest / n) ** 2, 0.0 * square)))
    return hess, parts[0], parts[1], xp.ones_like(hess)


def _scaled_moments(r_data, r_noise, F, nu):
    """The same times e^M, M the distance to the nearest sample, and e^-M."""
    xp = array_namespace(r_data)
    g = residual(r_data, r_noise, F, nu, order=1)
    parts = []
    for r, below in zip((r_data, r_noise), g.below, strict=True):
        n = r.shape[-1]
        flip = (2.0 * below > n)[..., None]
        # Samples on one side are scaled before their squares underflow. On both sides
        # s is of size 1 and is scaled afterwards.
        K = xp.where((below == 0) | (below == n), g.M, xp.zeros_like(g.M))

        def small(r, F, K):
            is_below, _, q = split(r, F, nu, K)
            one = xp.ones_like(q)
            return xp.where(is_below == flip, q, one) / (
                1.0 + q * xp.exp(-K)[..., None]
            )

        s = small(r, F, K)
        s = s - xp.mean(s, axis=-1, keepdims=True)
        parts.append(xp.sqrt(xp.vecdot(s, s) / n) * xp.exp(g.M - K))
    return g.U[1, ...] + g.D[1, ...], parts[0], parts[1], xp.exp(-g.M)
