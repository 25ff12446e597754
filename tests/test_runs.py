"""Runs are independent: a batch of very different runs gives what each gives alone."""

import math
from functools import partial

import numpy as np
import pytest

from tests.close import assert_close
from tests.regimes import gaussian_1d, rng

INF = math.inf
N, M = 9, 7
F = np.asarray([0.1, 3000.2, -2999.0, 1.0, 0.0, 0.3, -0.2, 0.5])
CONVERGED, NO_ROOT = 0, 2


def runs() -> tuple[np.ndarray, np.ndarray]:
    """Near 0, far on either side, without overlap, reversed, with infinite numbers."""
    g = rng(21)
    r_data, r_noise = g.normal(size=(8, N)), g.normal(size=(8, M))
    shifts = [0.0, 3000.0, -3000.0, 900.0, -60.0, 0.0, 0.0, 0.0]
    r_data += np.asarray(shifts)[:, None]
    r_noise += np.asarray([*shifts[:3], -900.0, 60.0, 0.0, 0.0, 0.0])[:, None]
    r_data[5, 0], r_noise[5, 0] = INF, -INF
    r_data[6, :2], r_noise[6, :3] = -INF, INF
    r_data[7, 1], r_data[7, 2], r_noise[7, 1] = INF, -INF, INF
    return r_data, r_noise


section_4 = partial(pytest.mark.claim, "Section 4", kind="theorem")
BATCHED = "along leading axes are independent: batched equals looped"
independent = section_4(f"runs {BATCHED}", where="nce")
OBJECTIVE = ["nce.loss", "nce.grad_F", "nce.hess_F", "nce.grad_r"]
OTHERS = ["logz.bar_update", "ence.loss", "ence.grad_F", "ence.grad_r"]
FORMULAS = [pytest.param(name, marks=independent) for name in OBJECTIVE] + OTHERS
formulas = pytest.mark.parametrize("name", FORMULAS)
solvers = pytest.mark.parametrize("solver", ["newton", "bisect", "bar"])


def find(impl, name):
    space, function = name.split(".")
    return getattr(getattr(impl, space), function)


def size(name):
    """The size of the terms of a formula whose sum cancels."""
    return 1.0 if name.endswith(("grad_F", "bar_update")) else 0.0


def check(together, alone, k, scale):
    """Run ``k`` of a batch equals the run alone, to 16 ulps of ``scale``."""
    if isinstance(together, tuple):
        for whole, part in zip(together, alone, strict=True):
            check(whole, part, k, scale)
        return
    together, alone = np.asarray(together[k]), np.asarray(alone)
    finite = np.isfinite(alone)
    assert np.array_equal(together[~finite], alone[~finite], equal_nan=True)
    together, alone = together[finite], alone[finite]
    assert_close(together, alone, scale=np.maximum(scale, np.abs(alone)), ulps=16.0)


@formulas
def test_section_4_formulas_of_a_batch(impl, name):
    function = find(impl, name)
    r_data, r_noise = runs()
    for options in [{}] if name.startswith("ence") else [{}, {"nu": 0.4}]:
        together = function(r_data, r_noise, F, **options)
        for k in range(len(F)):
            alone = function(r_data[k], r_noise[k], float(F[k]), **options)
            check(together, alone, k, size(name))


def test_closed_form_of_F_of_a_batch(impl):
    r_data, r_noise = runs()
    together = impl.ence.log_z(r_data, r_noise)
    for k in range(len(F)):
        check(together, impl.ence.log_z(r_data[k], r_noise[k]), k, 1.0)


def crossed(scale):
    """Six runs of r_data (2, 3, n) against r_noise (3, m)."""
    g = rng(33)
    return scale * g.normal(size=(2, 3, N)), scale * g.normal(size=(3, M))


@section_4(f"solves {BATCHED}", where="logz")
@solvers
@pytest.mark.parametrize("nu", [1.0, 0.4, 30.0])
@pytest.mark.parametrize("pair", [runs(), crossed(10.0), crossed(0.1)])
def test_section_4_solves_of_a_batch(impl, solver, nu, pair):
    solve = getattr(impl.logz, solver)
    r_data, r_noise = np.broadcast_arrays(pair[0][..., 0], pair[1][..., 0])
    together = solve(*pair, nu=nu)
    for k in np.ndindex(r_data.shape):
        alone = solve(pair[0][k], pair[1][k[-pair[1].ndim + 1 :]], nu=nu)
        assert together.status[k] == alone.status
        if alone.status in (CONVERGED, NO_ROOT):
            check(together.F, alone.F, k, 1.0)
        # A batch may go on for the sake of another run.
        assert solver == "bisect" or together.evaluations[k] <= alone.evaluations + 2
        if alone.status == CONVERGED:
            assert together.bracket[0][k] <= together.F[k] <= together.bracket[1][k]
            for name in ("standard_error", "overlap"):
                got = getattr(alone, name)
                check(getattr(together, name), got, k, 64.0 * np.abs(got))


@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 1), (1, 2)])
def test_axis_of_one_run_stays(impl, shape):
    pair = [np.tile(r, (*shape, 1)) for r in gaussian_1d(1.0, 1.0, 6, 5, 3)]
    for name in OBJECTIVE + OTHERS:
        value = find(impl, name)(*pair, np.zeros(shape))
        values = value if isinstance(value, tuple) else [value]
        expected = [(*shape, 6), (*shape, 5)] if len(values) == 2 else [shape]
        assert [x.shape for x in values] == expected
    assert impl.ence.log_z(*pair).shape == shape
    for solver in ("newton", "bisect", "bar"):
        z = getattr(impl.logz, solver)(*pair)
        fields = (z.F, z.status, z.evaluations, *z.bracket, z.standard_error, z.overlap)
        assert [x.shape for x in fields] == [shape] * 7 and np.all(z.evaluations >= 1)


@formulas
@pytest.mark.parametrize("which", ["r_data", "r_noise", "F"])
def test_section_4_one_argument_brings_the_runs(impl, name, which):
    """Three samples of data, of noise, or three F, against one of the others."""
    r_data, r_noise = gaussian_1d(1.0, 1.0, 6, 5, 3)
    arguments = {"r_data": r_data, "r_noise": r_noise, "F": 0.25}
    runs = F[3:6] if which == "F" else rng(23).normal(size=(3, 8))
    together = find(impl, name)(*(arguments | {which: runs}).values())
    for k in range(3):
        one = float(runs[k]) if which == "F" else runs[k]
        alone = find(impl, name)(*(arguments | {which: one}).values())
        check(together, alone, k, size(name))


@pytest.mark.parametrize("runs, n, m", [(3, 40_000, 9_000), (90, 800, 500)])
@pytest.mark.parametrize("solver", ["newton", "bisect"])
def test_large_batch(impl, solver, runs, n, m):
    """Longer than a block, and more runs than stay in cache.

    The batch is sorted, so that no block of a run is like the whole.
    """
    g, solve = rng(22), getattr(impl.logz, solver)
    shift = np.linspace(-30.0, 150.0, runs)[:, None]
    r_data = shift + g.normal(0.5, 1.0, (runs, n))
    r_noise = shift + g.normal(-0.5, 1.0, (runs, m))
    together = solve(np.sort(r_data), np.sort(r_noise))
    for k in range(0, runs, 1 + runs // 5):
        alone = solve(r_data[k], r_noise[k])
        check(together.F, alone.F, k, 1.0)
        for name in ("standard_error", "overlap"):
            got = getattr(alone, name)
            check(getattr(together, name), got, k, 64.0 * got)


@pytest.mark.parametrize("sizes", [(500, 3), (3, 500), (40, 60)])
def test_runs_that_end_late_beside_others(impl, sizes):
    """newton ends when all runs do: a long last step must not be taken twice."""
    g, (n, m) = rng(24), sizes
    r_data, r_noise = (3.0 * g.normal(size=(300, k)) for k in (n, m))
    nu = m / n
    newton, bisect = (
        f(r_data, r_noise, nu=nu) for f in (impl.logz.newton, impl.logz.bisect)
    )
    unit = np.spacing(np.abs(bisect.F)) + impl.eps
    assert np.max(np.abs(newton.F - bisect.F) / unit) <= 8.0  # 4 of each


@pytest.mark.parametrize("solver", ["newton", "bisect", "bar"])
def test_batch_of_no_runs_is_empty(impl, solver):
    for m in (6, 70_000):
        z = getattr(impl.logz, solver)(np.zeros((0, 5)), np.zeros((0, m)))
        assert z.F.shape == z.status.shape == (0,)
