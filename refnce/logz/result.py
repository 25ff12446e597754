"""What a solver returns, and the sampling error that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from refnce import nce
from refnce.array.backend import Array, array_namespace
from refnce.array.runs import over_blocks, where_certified
from refnce.array.special import last_sum

# Below this overlap the standard error rests on a handful of samples. It is then often
# far too small.
TRUSTED_OVERLAP = 0.01


class Status(IntEnum):
    """Why a solver stopped, one code per run.

    FLAT stands for a certified zero of A - nu B over more than 4 units. A - nu B
    increases strictly wherever it is not constant, and the scaled sums of
    ``residual`` resolve its sign to the last unit even where every sigmoid
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


def error_and_overlap(r_data, r_noise, F, nu):
    """Return (standard_error, overlap) at F, for checked arguments.

    standard_error = sqrt(var(s_data)/n + nu^2 var(s_noise)/m) / ((1 + nu) hess_F), var
    with denominator n (or m). It is nan where n or m is 1, F is not finite, or the
    denominator is 0.
    """
    xp = array_namespace(r_data, r_noise)
    finite = abs(F) < float("inf")
    F = xp.where(finite, F, xp.zeros_like(F))
    quick = _moments(r_data, r_noise, F, nu)

    def exact(r_data, r_noise, F, nu):
        M = xp.minimum(nce.nearest(r_data, F, nu), nce.nearest(r_noise, F, nu))
        return _moments(r_data, r_noise, F, nu, M)

    certified, pair = nce.is_certified(quick[0], F, nu), (r_data, r_noise)
    hess, sd, scale = where_certified(certified, quick, exact, *pair, F, nu)
    positive = hess > 0
    error = sd / xp.where(positive, hess, xp.ones_like(hess))
    usable = finite & positive & (min(r_data.shape[-1], r_noise.shape[-1]) > 1)
    overlap = (1.0 + nu) ** 2 / nu * (hess * scale)  # Eq. (4), normalised
    nan = xp.full_like(F, float("nan"))
    return xp.where(usable, error, nan), xp.where(finite, overlap, nan)


def _moments(r_data, r_noise, F, nu, M=None):
    """Return hess_F, the standard deviation of dL/dF, both times e^M, and e^-M."""
    xp = array_namespace(r_data)
    below, small = nce.count_and_sum(r_data, r_noise, F, nu, M)
    distance = xp.zeros_like(F) if M is None else M
    hess, deviations = xp.zeros_like(F), []
    both = nce.weights(r_data.shape[-1], r_noise.shape[-1], nu)
    for r, k, total, w in zip((r_data, r_noise), below, small, both):
        n = r.shape[-1]
        # Where all samples are on one side of F, s - 0 or s - 1 is taken, times e^M.
        two_sided = xp.astype((k > 0) & (k < n), F.dtype)
        factor = xp.exp(-distance * two_sided)
        mean = (xp.astype(k, F.dtype) * two_sided + total * factor) / n

        def sums(r, F, M, two_sided, factor, mean):
            b, t, scale = nce.small_sides(r, F, nu, M)
            u = last_sum(t - t * t * scale)
            s = two_sided * b + factor * (t - 2.0 * (b * t)) - mean
            return [u, last_sum(s * s), last_sum(s)]

        runs = (x[..., None] for x in (two_sided, factor, mean))
        u, squares, rest = over_blocks(sums, r, F, M, *runs)
        variance = xp.maximum(squares / n - (rest / n) ** 2, xp.zeros_like(F))
        hess = hess + w * u
        deviations.append(w * n**0.5 * xp.sqrt(variance) / factor)
    return hess, xp.hypot(*deviations), xp.exp(-distance)
