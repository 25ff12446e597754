"""Batches of runs, one run at a time."""

from collections.abc import Iterable
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Arrays = tuple[Any, ...]


def split(arrays: Iterable[Any], ranks: Iterable[int]) -> tuple[Shape, list[Arrays]]:
    """The shape of the runs, and the arrays of each run.

    In one run an array has as many axes as ``ranks`` says; those before broadcast.
    """
    pairs = list(zip(map(np.asarray, arrays), ranks, strict=True))
    runs = np.broadcast_shapes(*(x.shape[: x.ndim - rank] for x, rank in pairs))
    each = [np.broadcast_to(x, (*runs, *x.shape[x.ndim - rank :])) for x, rank in pairs]
    return runs, [tuple(x[run] for x in each) for run in np.ndindex(runs)]
