"""What a solver returns, and the sampling error that goes with it."""

import math
from dataclasses import dataclass
from enum import IntEnum

from refnce import nce
from refnce.array import Array, host, last_sum, where, where_certified

# Below this overlap the standard error rests on a handful of samples. It is then often
# far too small.
TRUSTED_OVERLAP = 0.01
# A difference below this part of its terms has lost too many digits: 1e-12 are left.
NARROW = 1e-4


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
        Passes over the samples to find F, bracketing included. A pass for the standard
        error is not counted. For bisection it is the number known before the loop.
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
        finite = self.standard_error < math.inf
        return self.converged & (self.overlap >= TRUSTED_OVERLAP) & finite


def make_result(ratios, fields):
    """The LogZ of NumPy's arrays (F, status, evaluations, lo, hi, error, overlap)."""
    F, status, evaluations, lo, hi, error, overlap = fields
    status, evaluations = map(ratios.to_device, (status, evaluations))
    F, lo, hi, error, overlap = map(ratios.result, (F, lo, hi, error, overlap))
    return LogZ(F, status, evaluations, (lo, hi), error, overlap)


def completed(limit, ratios, F, status, evaluations, lo, hi):
    """The fields of a LogZ.

    A run without a root gets its limit as F and the whole line as bracket.
    """
    no_root = limit != 0
    F, status = where(no_root, limit, F), where(no_root, int(Status.NO_ROOT), status)
    lo, hi = where(no_root, -math.inf, lo), where(no_root, math.inf, hi)
    return F, status, evaluations, lo, hi, *error_and_overlap(ratios, F)


def error_and_overlap(ratios, F):
    """Return (standard_error, overlap) at F.

    standard_error = sqrt(var(s_data)/n + nu^2 var(s_noise)/m) / ((1 + nu) hess_F), var
    with denominator n (or m). It is nan where n or m is 1, F is not finite, or the
    denominator is 0.
    """
    nu, (n, m) = ratios.nu, ratios.sizes
    finite = abs(F) < math.inf
    F = where(finite, F, 0.0)
    if ratios.is_lazy:  # reading takes longer than the exact way
        error, hess = _exact_error(ratios, F)
    else:
        certified, values = _plain_error(ratios, F)
        error, hess = where_certified(certified, values, _exact_error, ratios, F)
    usable = finite & (min(n, m) > 1)
    overlap = (1.0 + nu) ** 2 / nu * hess  # Eq. (4), normalised
    return where(usable, error, math.nan), where(finite, overlap, math.nan)


def _plain_error(ratios, F):
    """Return where they have their digits, the standard error and `hess_F`."""
    nu, (n, m) = ratios.nu, ratios.sizes
    (A, A_square), (B, B_square) = ratios.over_sigmoids(F, nce.two_powers)
    u_data, u_noise = A - A_square, B - B_square
    v_data, v_noise = A_square - A * A / n, B_square - B * B / m
    hess = u_data / n + nu * u_noise / m
    error = host.hypot(host.sqrt(v_data) / n, host.sqrt(v_noise) * (nu / m)) / hess
    certified = nce.is_certified(host.minimum(v_data, v_noise), F, nu)
    certified = certified & (u_data > NARROW * A) & (u_noise > NARROW * B)
    certified = certified & (v_data > NARROW * A_square) & (v_noise > NARROW * B_square)
    return certified, (error, hess / (1.0 + nu))


def _exact_error(ratios, F):
    """Return the standard error and `hess_F`, without cancellation and underflow."""
    xp, nu = ratios.xp, ratios.nu
    sums, distances = nce.exact_sums(ratios, F, order=1)
    _, M, _, U, _, D = nce.combined(ratios, sums, distances)
    deviations = []  # times e^M
    parts = zip(ratios.pair, sums, distances, nce.divisors(*ratios.sizes, nu))
    for r, (k, above, below, *_), own, by in parts:
        n = r.shape[-1]
        # Where all samples are on one side of F, s or s - 1 is taken, times e^own.
        two_sided = ((k > 0) & (k < n)).astype(float)
        factor = host.exp(-own * two_sided)
        mean = (k.astype(float) * two_sided + (above - below) * factor) / n

        def squares(r, F, M, *runs):
            two_sided, factor, mean = (x[..., None] for x in runs)
            b, t, _ = nce.exact_sides(r, F, nu, M)
            s = xp.where(b, two_sided - factor * t, factor * t) - mean
            return [last_sum(s * s), last_sum(s)]

        square, rest = ratios.over(squares, r, F, own, two_sided, factor, mean)
        variance = host.maximum(square / n - (rest / n) ** 2, 0.0)
        scale = host.exp(M - own * (1.0 - two_sided))
        deviations.append(n**0.5 / by * host.sqrt(variance) * scale)
    hess = (U + D) / nce.common_divisor(ratios)
    error = where(hess > 0, host.hypot(*deviations) / hess, math.nan)
    return error, hess * host.exp(-M)
