"""How many passes over the samples Newton's method makes: bounds, not exact counts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.regimes import gaussian_1d, ring, rng


def warm_passes(impl):
    """From the root one pass; an accelerator makes two before the host looks."""
    return 2 if impl.name == "cupy" else 1


@pytest.mark.parametrize("counts", [(512, 512), (500, 512), (300, 700)])
@pytest.mark.parametrize("shift", [0.0, 70.0, -90.0, 1000.0, -1e5])
def test_newton_is_shift_equivariant(impl, counts, shift):
    """At most four passes to 1e-10, wherever the log-ratios lie."""
    for seed in range(5):
        r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, seed)
        here = impl.logz.newton(r_data, r_noise, xtol=1e-10)
        # Half an ulp of the shift is what rounding r + shift may move F by.
        there = impl.logz.newton(r_data + shift, r_noise + shift, xtol=1e-10)
        assert 2 <= here.evaluations <= 4 and 2 <= there.evaluations <= 4
        assert abs(there.F - shift - here.F) <= 2e-10 + np.spacing(abs(shift))


@pytest.mark.parametrize("counts", [(500, 500), (500, 400)])
@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
def test_newton_passes_do_not_depend_on_counts_and_nu(impl, nu, counts):
    """Three passes; four for the ring, whose log-ratios are skewed."""
    for seed in range(5):
        pair = gaussian_1d(1.0, 1.0, *counts, seed)
        z = impl.logz.newton(*pair, nu=nu, xtol=1e-12)
        assert z.evaluations <= 3 and impl.logz.newton(
            *pair, nu=nu, F0=z.F, xtol=1e-12
        ).evaluations <= warm_passes(impl)
        r_data, r_noise = ring(seed)
        assert (
            impl.logz.newton(
                r_data[: counts[0]], r_noise[: counts[1]], nu=nu, xtol=1e-12
            ).evaluations
            <= 4
        )


@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("counts", [(500, 500), (500, 400), (3, 2)])
def test_brackets_are_narrow(impl, nu, counts):
    """Within twice the last step, and at most 0.05 wide."""
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
def test_status_and_evaluations_are_int64(impl, solver, shape):
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
def test_newton_reads_a_long_sample_at_most_three_times(impl, law, nu):
    """A sixteenth of it gives the start, which counts as a pass."""
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
def test_newton_from_a_good_start(impl, counts):
    r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, 7)
    cold = impl.logz.newton(r_data, r_noise)
    warm = impl.logz.newton(r_data, r_noise, F0=cold.F)
    assert (
        warm.evaluations <= warm_passes(impl) and abs(warm.F - cold.F) <= 4 * impl.eps
    )
    assert impl.logz.newton(r_data, r_noise, F0=float(cold.F) + 1e-3).evaluations <= 2


def test_bracketed_runs_of_a_batch_use_their_start(impl):
    """Runs whose data are scored below the noise start from F0 in a batch as well."""
    pairs = [
        gaussian_1d(6.0, theta, 400, 400, seed)
        for seed, theta in enumerate((6.0, -6.0, 1.0, -6.0))
    ]
    r_data, r_noise = (np.stack(x) for x in zip(*pairs, strict=True))
    cold = impl.logz.newton(r_data, r_noise)
    warm = impl.logz.newton(r_data, r_noise, F0=cold.F)
    assert np.all(np.abs(warm.F - cold.F) <= 8 * impl.eps * (1 + np.abs(cold.F)))
    assert np.all(warm.evaluations < cold.evaluations)
    # A pass that sees the slope, the bracket, and one or two that prove the root.
    assert np.all(warm.evaluations[[1, 3]] <= 3 + warm_passes(impl))
