"""Implementations that test the conformance run: right ones, and ``wrong`` ones.

A right one is a module. LEVEL is the level it reaches, and SKIP names the flags whose
cases its style cannot do, with the reason beside it. None of them calls refnce. This
file has what they share: the refusals, and the loops over runs.
"""

from __future__ import annotations

import math

import numpy as np


def refuse(r_data, r_noise, F=0.0, nu=1.0):
    """Return the shape of the runs. Raises ValueError for invalid input."""
    if 0 in r_data.shape[-1:] + r_noise.shape[-1:]:
        raise ValueError("a sample is empty")
    if np.isnan(r_data).any() or np.isnan(r_noise).any():
        raise ValueError("a log-ratio is NaN")
    if not np.all(np.isfinite(F)) or not 0 < nu < math.inf:
        raise ValueError("F must be finite, and nu a number > 0")
    return np.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1], np.shape(F))


def over_runs(f):
    """Call ``f(data, noise, F, nu)`` for each run.

    ``f`` returns a number, or a pair of rows; those become an array, or a pair.
    """

    def call(r_data, r_noise, F=0.0, *, nu=1.0):
        shape = refuse(r_data, r_noise, F, nu)
        data, noise = (
            np.broadcast_to(r, (*shape, r.shape[-1])).reshape(-1, r.shape[-1])
            for r in (r_data, r_noise)
        )
        Fs = np.broadcast_to(F, shape).ravel().tolist()
        found = [f(x, y, z, nu) for x, y, z in zip(data, noise, Fs, strict=True)]
        if not isinstance(found[0], tuple):
            return np.asarray(found, dtype=float).reshape(shape)
        return tuple(
            np.asarray(part, dtype=float).reshape(*shape, -1)
            for part in zip(*found, strict=True)
        )

    return call


def over_families(f):
    """Call ``f(T_data, T_noise, theta, [F,] offset_data, offset_noise, nu=)`` for each
    run."""

    def call(*args, nu=1.0):
        arrays = [np.asarray(x) for x in args]
        ranks = (2, 2, 1, 0, 1, 1) if len(args) == 6 else (2, 2, 1, 1, 1)
        leads = [x.ndim - rank for x, rank in zip(arrays, ranks, strict=True)]
        pairs = list(zip(arrays, leads, strict=True))
        runs = np.broadcast_shapes(*(x.shape[:lead] for x, lead in pairs))
        each = [np.broadcast_to(x, (*runs, *x.shape[lead:])) for x, lead in pairs]
        found = [f(*(x[run] for x in each), nu=nu) for run in np.ndindex(runs)]
        return np.asarray(found, dtype=float).reshape((*runs, *np.shape(found[0])))

    return call
