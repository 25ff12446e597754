"""Checked log-ratios, and sums over their samples in blocks that fit in cache.

Leading axes are runs, the last axis is samples.
"""

from typing import Any

from refnce.array.backend import BLOCK, all_true, array_namespace, asarray, device
from refnce.array.backend import host, is_numpy, machine_eps, to_numpy, where
from refnce.array.chunks import is_lazy, over_chunks
from refnce.array.special import last_sum

HUGE = 2.0**1000  # an e^r for which E/(S + E) is 1, and not inf/inf = nan


class Ratios:
    """Checked log-ratios of data and noise, and the weight nu.

    Samples stay on their device. What is one number per run, such as F and sums over
    samples, is on the host: a GPU would take longer to start a kernel for it. All are
    float64, also where the caller's arrays are float32: results alone are rounded.

    Attributes
    ----------
    xp : namespace
    pair : r_data (..., n), r_noise (..., m)
    nu : float
    dtype : of the caller's arrays
    sizes : n, m
    is_lazy : whether either of the pair is a Dask array, whose chunks are of xp
    E : e^r of both, at most HUGE, once ``keep_exponentials`` was called, else None
    """

    def __init__(
        self, xp: Any, pair: Any, nu: float, dtype: Any = None, is_lazy: bool = False
    ) -> None:
        self.xp, self.nu, self.dtype = xp, nu, dtype or pair[0].dtype
        self.is_lazy, self.is_host = is_lazy, is_lazy or xp is host
        short = pair[0].dtype == xp.float32
        self.pair = tuple(xp.astype(r, xp.float64) for r in pair) if short else pair
        self.sizes = pair[0].shape[-1], pair[1].shape[-1]
        self.E: Any = None

    @property
    def eps(self):
        """The spacing at 1 of the caller's dtype."""
        return machine_eps(self.dtype, self.xp)

    def like(self, pair):
        """Return others of the same nu and dtype."""
        return Ratios(self.xp, pair, self.nu, self.dtype, self.is_lazy)

    def keep_exponentials(self) -> None:
        """Make e^r once for every F that follows, where it takes 256 MiB or less."""
        r, s = self.pair
        if self.E is None and not self.is_lazy and r.size + s.size <= 2**25:
            self.E = [self.xp.minimum(self.xp.exp(r), HUGE) for r in self.pair]

    def to_device(self, x):
        """NumPy's ``x`` beside the samples."""
        if self.is_host:
            return x
        return asarray(x, self.xp, device=device(self.pair[0]))

    def result(self, x):
        """Numbers per run or per sample, as the caller's arrays are."""
        if self.is_host:
            return x if x.dtype is self.dtype else x.astype(self.dtype)
        return asarray(x, self.xp, dtype=self.dtype, device=device(self.pair[0]))

    def to_host(self, arrays):
        """The arrays over the runs as NumPy's, in one transfer."""
        if self.is_host:
            return arrays
        arrays = self.xp.broadcast_arrays(*arrays)
        return list(to_numpy(self.xp.stack(arrays)))

    def over(self, f, r, *runs, **options):
        """The sums that f(r, *runs) returns, of data or of noise (``over_blocks``)."""
        return self.to_host(over_blocks(f, r, *map(self.to_device, runs), **options))

    def over_odds(self, F, f_data, f_noise):
        """For data and for noise the sums that f(E, S) returns, S = nu e^F, E = e^r."""
        S, exp = self.to_device(host.exp(F) * self.nu), self.xp.exp
        S = S[..., None] if S.ndim else S
        if self.E is not None:
            data, noise = map(over_blocks, (f_data, f_noise), self.E, (S, S))
        else:
            data, noise = (
                over_blocks(lambda r, S: f(exp(r), S), r, S)
                for f, r in zip((f_data, f_noise), self.pair)
            )
        sums = self.to_host([*data, *noise])
        return sums[: len(data)], sums[len(data) :]

    def over_sigmoids(self, F, f):
        """The sums that f(s) returns for s_data, and for s_noise."""
        # What follows travels to Dask workers: it must not hold the samples.
        minimum, kept = self.xp.minimum, self.E is not None

        def noise(E, S):
            E = E if kept else minimum(E, HUGE)
            return f(E / (S + E))

        return self.over_odds(F, lambda E, S: f(S / (S + E)), noise)


def totals(*columns):
    """The sums of what blocks give, one column for each of f's sums."""
    return [last_sum(x) for x in columns]


def over_blocks(f, r, *runs, join=totals):
    """The sums that ``f(r, *runs)`` returns, from blocks of r that fit in cache.

    ``runs`` are numbers, or arrays whose first axes are the runs. ``join`` makes one
    result of those of all blocks, which it gets along the last axis.
    """
    if is_lazy(r):
        parts = over_chunks(lambda r, *x: over_blocks(f, r, *x, join=join), r, runs)
        return join(*(host.stack(x, axis=-1) for x in zip(*parts)))
    if not is_numpy(r) or r.size <= BLOCK:
        return f(r, *runs)
    xp, n = array_namespace(r), r.shape[-1]
    by_runs = n <= BLOCK // 8 and r.ndim == 2 and runs
    if not by_runs or runs[0].shape[:1] != r.shape[:1]:
        width = max(BLOCK * n // r.size, 512)
        parts = [f(r[..., k : k + width], *runs) for k in range(0, n, width)]
        return join(*(xp.stack(x, axis=-1) for x in zip(*parts)))
    few = BLOCK // n
    blocks = [slice(k, k + few) for k in range(0, len(r), few)]
    own = [[x[k] if hasattr(x, "shape") else x for x in runs] for k in blocks]
    parts = [f(r[k], *x) for k, x in zip(blocks, own)]
    return [xp.concat(x) for x in zip(*parts)]


def where_certified(certified, values, exact, ratios, F):
    """Return ``values``; in the runs not certified, those of ``exact(ratios, F)``."""
    if all_true(certified):
        return values
    if F.ndim == 0 or not certified.any():
        return exact(ratios, F)
    if ratios.is_lazy:
        return [where(certified, *x) for x in zip(values, exact(ratios, F))]
    hard = ~certified
    mask = ratios.to_device(hard)

    def chosen(arrays):
        runs = ((*hard.shape, x.shape[-1]) for x in arrays)
        return tuple(ratios.xp.broadcast_to(*x)[mask] for x in zip(arrays, runs))

    part = ratios.like(chosen(ratios.pair))
    part.E = ratios.E and chosen(ratios.E)
    for value, x in zip(values, exact(part, F[hard])):
        value[hard] = x
    return values
