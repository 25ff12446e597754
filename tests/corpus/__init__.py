"""Implementations that test the conformance run: right ones, and ``wrong`` ones.

A right one is a module. LEVEL is the level it reaches, and SKIP names the flags whose
cases its style cannot do, with the reason beside it. None of them calls refnce. A class
such as ``nce`` is a namespace: its functions are called on the class itself. This file
has what they share: the refusals, and the loops over runs.
"""

import math

import numpy as np

from tests.runs import split


def refuse(r_data, r_noise, F=0.0, nu=1.0):
    """Return the shape of the runs. Raises ValueError for invalid input."""
    if 0 in r_data.shape[-1:] + r_noise.shape[-1:]:
        raise ValueError("a sample is empty")
    if np.isnan(r_data).any() or np.isnan(r_noise).any():
        raise ValueError("a log-ratio is NaN")
    if not np.all(np.isfinite(F)) or not 0 < nu < math.inf:
        raise ValueError("F must be finite, and nu a number > 0")
    return np.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1], np.shape(F))


def without_root(r_data, r_noise, nu):
    """Whether there is no finite root, and where F goes then: inf, -inf or nan."""
    low = (r_data == -np.inf).mean(-1) < nu * (r_noise > -np.inf).mean(-1)
    high = (r_data < np.inf).mean(-1) > nu * (r_noise == np.inf).mean(-1)
    limit = np.where(low, np.inf, np.where(high, -np.inf, np.nan))
    return ~(low & high), limit


def over_runs(f):
    """Call ``f(data, noise, F, nu)`` for each run.

    ``f`` returns a number or an array, or a tuple of them.
    """

    def call(r_data, r_noise, F=0.0, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        return _each(f, (r_data, r_noise, F), (1, 1, 0), nu)

    return call


def over_families(f):
    """Call ``f(T_data, T_noise, theta, [F,] offset_data, offset_noise, nu)`` for each
    run."""

    def call(*args, nu=1.0):
        ranks = (2, 2, 1, 0, 1, 1) if len(args) == 6 else (2, 2, 1, 1, 1)
        return _each(f, args, ranks, nu)

    return call


def _each(f, arrays, ranks, nu):
    shape, runs = split(arrays, ranks)

    def joined(found):
        found = np.asarray(found, dtype=float)
        return found.reshape(shape + found.shape[1:])

    found = [f(*run, nu) for run in runs]
    if isinstance(found[0], tuple):
        return tuple(map(joined, zip(*found, strict=True)))
    return joined(found)
