"""Runs do not know of each other: a batch of runs as unlike as can be gives what each gives alone, for every function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.close import assert_close
from tests.regimes import gaussian_1d, rng

INF = math.inf
N, M = 9, 7


def runs() -> tuple[np.ndarray, np.ndarray]:
    """Near 0, far out on either side, in the chasm, on the plateau, with infinite log-ratios of different shares."""
    g = rng(21)
    r_data, r_noise = g.normal(size=(8, N)), g.normal(size=(8, M))
    r_data[1], r_noise[1] = r_data[1] + 3000.0, r_noise[1] + 3000.0
    r_data[2], r_noise[2] = r_data[2] - 3000.0, r_noise[2] - 3000.0
    r_data[3], r_noise[3] = r_data[3] + 900.0, r_noise[3] - 900.0
    r_data[4], r_noise[4] = r_data[4] - 60.0, r_noise[4] + 60.0
    r_data[5, 0], r_noise[5, 0] = INF, -INF
    r_data[6, :2], r_noise[6, :3] = -INF, INF
    r_data[7, 1], r_data[7, 2], r_noise[7, 1] = INF, -INF, INF
    return r_data, r_noise


F = np.asarray([0.1, 3000.2, -2999.0, 1.0, 0.0, 0.3, -0.2, 0.5])
NCE = [("nce", name) for name in ("loss", "grad_F", "hess_F", "grad_r")] + [
    ("logz", "bar_update")
]
ENCE = [("ence", name) for name in ("loss", "grad_F", "grad_r")]


def _check(together: Any, alone: Any, k: Any, scale: Any) -> None:
    if isinstance(together, tuple):
        for part, whole in zip(alone, together, strict=True):
            _check(whole, part, k, scale)
        return
    together, alone = np.asarray(together[k]), np.asarray(alone)
    finite = np.isfinite(alone)
    assert np.array_equal(together[~finite], alone[~finite], equal_nan=True)
    assert_close(
        together[finite],
        alone[finite],
        scale=np.maximum(scale, np.abs(alone[finite])),
        ulps=16.0,
    )


@pytest.mark.parametrize("space, name", NCE + ENCE)
def test_formulas(impl, space, name):
    function = getattr(getattr(impl, space), name)
    r_data, r_noise = runs()
    options = [{}] if space == "ence" else [{}, {"nu": 0.4}]
    for option in options:
        together = function(r_data, r_noise, F, **option)
        for k in range(len(F)):
            _check(
                together,
                function(r_data[k], r_noise[k], float(F[k]), **option),
                k,
                0.0 if name != "grad_F" else 1.0,
            )


def test_closed_form_of_F(impl):
    r_data, r_noise = runs()
    together = impl.ence.log_z(r_data, r_noise)
    for k in range(len(F)):
        _check(together, impl.ence.log_z(r_data[k], r_noise[k]), k, 1.0)


@pytest.mark.parametrize("nu", [1.0, 0.4])
@pytest.mark.parametrize("name", ["newton", "bisect", "bar"])
def test_solvers(impl, name, nu):
    solver = getattr(impl.logz, name)
    r_data, r_noise = runs()
    together = solver(r_data, r_noise, nu=nu)
    for k in range(len(F)):
        alone = solver(r_data[k], r_noise[k], nu=nu)
        assert together.status[k] == alone.status
        if alone.status in (
            0,
            2,
        ):  # else the iterate at which it gave up, with the rounding of the batch
            _check(together.F, alone.F, k, 1.0)
        # A batch may go on for the sake of another run.
        assert name == "bisect" or together.evaluations[k] <= alone.evaluations + 2
        if alone.status == 0:
            for field in ("standard_error", "overlap"):
                _check(
                    getattr(together, field),
                    getattr(alone, field),
                    k,
                    64.0 * np.abs(getattr(alone, field)),
                )


@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 1), (1, 2)])
def test_an_axis_of_one_run_stays(impl, shape):
    """Nothing squeezes away more than it should."""
    r_data, r_noise = gaussian_1d(1.0, 1.0, 6, 5, 3)
    r_data, r_noise = (
        np.broadcast_to(r_data, (*shape, 6)).copy(),
        np.broadcast_to(r_noise, (*shape, 5)).copy(),
    )
    zero = np.zeros(shape)
    for space, name in (*NCE, *ENCE):
        value = getattr(getattr(impl, space), name)(r_data, r_noise, zero)
        shapes = [x.shape for x in value] if isinstance(value, tuple) else [value.shape]
        assert shapes == ([(*shape, 6), (*shape, 5)] if name == "grad_r" else [shape])
    assert impl.ence.log_z(r_data, r_noise).shape == shape
    for name in ("newton", "bisect", "bar"):
        z = getattr(impl.logz, name)(r_data, r_noise)
        fields = (z.F, z.status, z.evaluations, *z.bracket, z.standard_error, z.overlap)
        assert [x.shape for x in fields] == [shape] * 7


@pytest.mark.parametrize("space, name", NCE + ENCE)
@pytest.mark.parametrize("which", [0, 1])
def test_either_sample_may_bring_the_runs(impl, space, name, which):
    """Three samples of data against one of noise, and the other way round."""
    function = getattr(getattr(impl, space), name)
    pair = list(gaussian_1d(1.0, 1.0, 6, 5, 3))
    pair[which] = rng(23).normal(size=(3, 8))
    together = function(*pair, 0.25)
    for k in range(3):
        alone = [r[k] if r.ndim == 2 else r for r in pair]
        _check(together, function(*alone, 0.25), k, 1.0 if name == "grad_F" else 0.0)


@pytest.mark.parametrize("space, name", NCE + ENCE)
def test_more_F_than_samples(impl, space, name):
    """One pair of samples, several F: F brings the runs."""
    r_data, r_noise = gaussian_1d(1.0, 1.0, 6, 5, 3)
    function = getattr(getattr(impl, space), name)
    together = function(r_data, r_noise, F[3:6])
    for k in range(3):
        _check(
            together,
            function(r_data, r_noise, float(F[3 + k])),
            k,
            1.0 if name == "grad_F" else 0.0,
        )


def test_solvers_of_many_runs_of_many_samples(impl):
    """Longer than a block and more runs than stay in cache, of unequal counts: each run gives what it gives alone."""
    g = rng(22)
    for runs, n, m in ((3, 40_000, 9_000), (90, 800, 500)):
        shift = np.linspace(-30.0, 150.0, runs)[:, None]
        r_data, r_noise = shift + g.normal(0.5, 1.0, (runs, n)), shift + g.normal(
            -0.5, 1.0, (runs, m)
        )
        for name in ("newton", "bisect"):
            together = getattr(impl.logz, name)(r_data, r_noise)
            for k in range(0, runs, 1 + runs // 5):
                alone = getattr(impl.logz, name)(r_data[k], r_noise[k])
                _check(together.F, alone.F, k, 1.0)
                _check(
                    together.standard_error,
                    alone.standard_error,
                    k,
                    64.0 * alone.standard_error,
                )
