"""Sums over samples in blocks that fit in cache, and the choice of runs of a batch.

Leading axes are runs, the last axis is samples.
"""

from __future__ import annotations

from refnce.array.backend import BLOCK, all_true, array_namespace, is_numpy
from refnce.array.special import last_sum


def over_blocks(f, r, *runs):
    """The sums that ``f(r, *runs)`` returns, from blocks of r that fit in cache.

    ``runs`` are arrays over the runs, numbers or None.
    """
    if not is_numpy(r) or r.size <= BLOCK:
        return f(r, *runs)
    xp, n = array_namespace(r), r.shape[-1]
    if n > BLOCK // 8 or r.ndim != 2 or runs[0].shape[:1] != r.shape[:1]:
        width = max(BLOCK * n // r.size, 512)
        parts = [f(r[..., k : k + width], *runs) for k in range(0, n, width)]
        return [last_sum(xp.stack(x, axis=-1)) for x in zip(*parts)]
    few = BLOCK // n
    blocks = [slice(k, k + few) for k in range(0, len(r), few)]
    parts = [
        f(r[k], *(x[k] if hasattr(x, "shape") else x for x in runs)) for k in blocks
    ]
    return [xp.concat(x) for x in zip(*parts)]


def where_certified(certified, values, exact, pair, F, nu):
    """``values``, in the runs that are not certified those of ``exact(pair, F, nu)``."""
    if all_true(certified):
        return values
    if F.ndim == 0:
        return exact(pair, F, nu)
    hard = ~certified
    hard_pair = [_broadcast(r, hard.shape)[hard] for r in pair]
    for value, part in zip(values, exact(hard_pair, F[hard], nu)):
        value[hard] = part
    return values


def _broadcast(r, runs):
    return array_namespace(r).broadcast_to(r, (*runs, r.shape[-1]))
