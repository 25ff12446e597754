"""Newton's method with a bracket, on the exact residual: it solves every run."""

import math

from refnce.array import all_true, host, machine_eps, to_numpy, where
from refnce.logz.bracket import bracket
from refnce.logz.result import Status, completed
from refnce.nce import residual

MAX_PASSES = 2200  # bisection alone needs no more between the extremes of float64
SUBSET = 1024


def bracketed(ratios, F0, xtol, passes):
    """Return the fields of a LogZ from a start F0, or None, after so many passes.

    At F the samples split into those below and those above (``residual``). With the
    split frozen, phi = log(U + max(c, 0)) - log(D + max(-c, 0)) has the same root, is
    smooth, and is linear in F where no sample is near. As t <= 1/2 on both sides,
    phi' >= 1/2 and |phi''| <= 1/2. A step that leaves the bracket, or is more than half
    the last but one, is replaced by bisection. A step of Chebyshev's method from the
    Newton step w misses the root by at most |w|^3.
    """
    ratios.keep_exponentials()
    lo, hi, limit = bracket(ratios)
    eps = machine_eps(lo.dtype, host)
    F = _pooled_quantile(ratios) if F0 is None else F0
    inside = host.isfinite(F) & (F >= lo) & (F <= hi)
    F = where(inside, F, 0.5 * lo + 0.5 * hi)
    running = limit == 0
    count = host.zeros(lo.shape, dtype=host.int64)[()]
    step = before = 0.0 * F + math.inf
    for _ in range(MAX_PASSES):
        g = residual(ratios, F, order=2)
        sign, counts = g.scaled, g.counts
        count = where(running, count + 1, count)
        lo = where(running & (sign <= 0), F, lo)
        hi = where(running & (sign >= 0), F, hi)
        P = g.U[0] + host.maximum(counts, 0.0)
        N = g.D[0] + host.maximum(-counts, 0.0)
        phi = where(
            abs(sign) < 0.5 * N, host.log1p(sign / N), host.log(P) - host.log(N)
        )
        p, q = g.U[1] / P, g.D[1] / N
        slope = p + q
        w = -phi / slope
        curvature = (g.U[2] / P - p * p) - (g.D[2] / N - q * q)
        move = w - 0.5 * w * w * curvature / slope  # Chebyshev
        inside = (F + move >= lo) & (F + move <= hi) & host.isfinite(move)
        good = inside & (abs(move) <= 0.5 * before)
        move = where(good, move, 0.5 * lo + 0.5 * hi - F)
        move = where(sign == 0, 0.0, move)
        ulp = host.maximum(abs(F) * (0.5 * eps), eps)
        # The bound holds for steps of at most 1, the width of the logistic.
        near = abs(w) ** 3 <= host.minimum(host.maximum(ulp, xtol), 1.0)
        narrow = hi - lo <= host.maximum(2.0 * ulp, xtol)
        done = (sign == 0) | (good & near) | narrow
        F = where(running, F + move, F)
        before, step = abs(step), where(running, move, step)
        running = running & ~done
        if all_true(~running):
            break
    reach = 2.0 * abs(step) + 4.0 * (max(xtol, eps) + eps * abs(F))
    slack = 4.0 * (eps + eps * abs(F))
    lo, hi = host.maximum(lo - slack, F - reach), host.minimum(hi + slack, F + reach)
    status = where(running, int(Status.MAX_UPDATES), 0 * count)
    return completed(limit, ratios, F, status, count + (1 + passes), lo, hi)


def _pooled_quantile(ratios):
    """The nu/(1 + nu) quantile of the pooled samples, data of weight 1/n, noise nu/m.

    Return it minus log nu, from about 1,000 samples each. In a gap between samples it
    is the middle.
    """
    nu, steps = ratios.nu, [n // SUBSET or 1 for n in ratios.sizes]
    data, noise = (to_numpy(r[..., ::k]) for r, k in zip(ratios.pair, steps))
    k, j = data.shape[-1], noise.shape[-1]
    runs = host.broadcast_shapes(data.shape[:-1], noise.shape[:-1])
    pooled = host.empty((*runs, k + j), data.dtype)
    pooled[..., :k], pooled[..., k:] = data, noise
    slack = (k + j) * machine_eps(data.dtype, host)
    q = host.minimum(host.asarray([1.0 - slack, 1.0 + slack]) * nu / (1.0 + nu), 1.0)
    w = host.repeat([1.0 / k, nu / j], [k, j])
    ends = host.quantile(pooled, q, axis=-1, method="inverted_cdf", weights=w)
    return 0.5 * ends[0] + 0.5 * ends[1] - math.log(nu)
