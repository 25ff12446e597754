"""How many passes over the samples Newton makes: what its start, its centre and its powers are for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.regimes import gaussian_1d, ring, rng


@pytest.mark.parametrize("counts", [(512, 512), (500, 512), (300, 700)])
@pytest.mark.parametrize("shift", [0.0, 70.0, -90.0, 1000.0, -1e5])
def test_nothing_depends_on_where_the_log_ratios_lie(impl, counts, shift):
    """One start and two passes or three to 1e-10; a shift by a sum of powers of two moves F by as much."""
    for seed in range(5):
        r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, seed)
        here = impl.logz.newton(r_data, r_noise, xtol=1e-10)
        # Half an ulp of the shift is what rounding r + shift may move F by.
        there = impl.logz.newton(r_data + shift, r_noise + shift, xtol=1e-10)
        assert 2 <= here.evaluations <= 4 and 2 <= there.evaluations <= 4
        assert abs(there.F - shift - here.F) <= 2e-10 + np.spacing(abs(shift))


@pytest.mark.parametrize("counts", [(500, 500), (500, 400)])
@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
def test_unequal_counts_and_weights_cost_nothing(impl, nu, counts):
    """A start and two passes; the skewed log-ratios of the ring, whose means mislead, may want one more."""
    for seed in range(5):
        pair = gaussian_1d(1.0, 1.0, *counts, seed)
        z = impl.logz.newton(*pair, nu=nu, xtol=1e-12)
        assert (
            z.evaluations <= 3
            and impl.logz.newton(*pair, nu=nu, F0=z.F, xtol=1e-12).evaluations == 1
        )
        r_data, r_noise = ring(seed)
        assert (
            impl.logz.newton(
                r_data[: counts[0]], r_noise[: counts[1]], nu=nu, xtol=1e-12
            ).evaluations
            <= 4
        )


@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("counts", [(500, 500), (500, 400), (3, 2)])
def test_brackets_are_as_narrow_as_the_last_step(impl, nu, counts):
    """Within twice what the last pass moved F, and no wider than a hundredth where that pass began near."""
    for seed in range(5):
        r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, seed)
        z, exact = impl.logz.newton(r_data, r_noise, nu=nu), impl.logz.bisect(
            r_data, r_noise, nu=nu
        )
        lo, hi = z.bracket
        assert lo <= exact.F <= hi and hi - lo <= 0.05
        lo, hi = exact.bracket
        assert (
            0 <= hi - lo <= 12 * impl.eps * (1 + abs(float(exact.F)))
            and lo <= exact.F <= hi
        )


@pytest.mark.parametrize("solver", ["newton", "bisect", "bar"])
@pytest.mark.parametrize("shape", [(), (3,), (70,)])
def test_counts_and_codes_are_whole_numbers(impl, solver, shape):
    g = rng(32)
    r_data, r_noise = g.normal(1.0, 1.0, (*shape, 600)), g.normal(
        0.0, 1.0, (*shape, 600)
    )
    z = getattr(impl.logz, solver)(r_data, r_noise)
    assert (
        z.status.dtype == z.evaluations.dtype == np.int64
        and z.evaluations.shape == shape
    )


@pytest.mark.parametrize("nu", [1.0, 5.0])
@pytest.mark.parametrize("law", ["drawn", "sorted", "runs"])
def test_a_long_sample_is_read_once(impl, law, nu):
    """A sixteenth of it gives the start, which counts as a pass; one more read at most where the last digits are wanted."""
    g = rng(31)
    r_data, r_noise = g.normal(0.5, 1.0, 150_000), g.normal(-0.5, 1.0, 150_001)
    if law == "sorted":  # no stretch of it is like the whole
        r_data, r_noise = np.sort(r_data), np.sort(r_noise)
    if law == "runs":
        r_data, r_noise = np.stack([r_data, r_data + 3.0]), np.stack(
            [r_noise, r_noise + 3.0]
        )
    once = impl.logz.newton(r_data, r_noise, nu=nu, xtol=1e-8)
    exact = impl.logz.newton(r_data, r_noise, nu=nu)
    most = (3, 4)
    assert np.all(once.evaluations <= most[0]) and np.all(exact.evaluations <= most[1])
    assert np.all(np.abs(once.F - exact.F) <= 1e-8)


@pytest.mark.parametrize("counts", [(512, 512), (500, 512)])
def test_a_good_start_saves_passes(impl, counts):
    r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, 7)
    cold = impl.logz.newton(r_data, r_noise)
    warm = impl.logz.newton(r_data, r_noise, F0=cold.F)
    assert warm.evaluations == 1 and abs(warm.F - cold.F) <= 4 * impl.eps
    assert impl.logz.newton(r_data, r_noise, F0=float(cold.F) + 1e-3).evaluations == 2


def test_runs_that_only_the_bracket_can_solve_keep_their_start(impl):
    """In a batch some runs are scored the wrong way round and left by the fast road: from their root they end at once."""
    pairs = [
        gaussian_1d(6.0, theta, 400, 400, seed)
        for seed, theta in enumerate((6.0, -6.0, 1.0, -6.0))
    ]
    r_data, r_noise = (np.stack(x) for x in zip(*pairs, strict=True))
    cold = impl.logz.newton(r_data, r_noise)
    warm = impl.logz.newton(r_data, r_noise, F0=cold.F)
    assert np.all(np.abs(warm.F - cold.F) <= 8 * impl.eps * (1 + np.abs(cold.F)))
    assert np.all(warm.evaluations < cold.evaluations)
    # A pass that sees the slope, the extremes, and one that proves the root; from the quantile it is two more at least.
    assert np.all(warm.evaluations[[1, 3]] == 3) and np.all(
        cold.evaluations[[1, 3]] >= 5
    )
