"""How many passes over the samples Newton's method makes: bounds, not exact counts."""

import numpy as np
import pytest

from tests.regimes import gaussian_1d, ring, rng


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
        warm = impl.logz.newton(*pair, nu=nu, F0=z.F, xtol=1e-12)
        assert z.evaluations <= 3 and warm.evaluations == 1
        assert abs(warm.F - z.F) <= 1e-12
        assert impl.logz.newton(*pair, nu=nu, F0=float(z.F) + 1e-3).evaluations <= 2
        skewed = [r[:count] for r, count in zip(ring(seed), counts, strict=True)]
        assert impl.logz.newton(*skewed, nu=nu, xtol=1e-12).evaluations <= 4


@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("counts", [(500, 500), (500, 400), (3, 2)])
def test_brackets_are_narrow(impl, nu, counts):
    """Within twice the last step, and at most 0.05 wide."""
    for seed in range(5):
        r_data, r_noise = gaussian_1d(1.0, 1.0, *counts, seed)
        newton, bisect = impl.logz.newton, impl.logz.bisect
        z, exact = (solve(r_data, r_noise, nu=nu) for solve in (newton, bisect))
        lo, hi = z.bracket
        assert lo <= exact.F <= hi and hi - lo <= 0.05
        lo, hi = exact.bracket
        assert 0 <= hi - lo <= 16 * impl.eps * (1 + abs(float(exact.F)))
        assert lo <= exact.F <= hi


@pytest.mark.parametrize("nu", [1.0, 5.0])
@pytest.mark.parametrize("law", ["drawn", "sorted", "runs"])
def test_newton_reads_a_long_sample_at_most_three_times(impl, law, nu):
    """A part of it gives the start, which counts as a pass."""
    g = rng(31)
    r_data, r_noise = g.normal(0.5, 1.0, 150_000), g.normal(-0.5, 1.0, 150_001)
    if law == "sorted":  # no stretch of it is like the whole
        r_data, r_noise = np.sort(r_data), np.sort(r_noise)
    if law == "runs":
        r_data, r_noise = (np.stack([r, r + 3.0]) for r in (r_data, r_noise))
    once = impl.logz.newton(r_data, r_noise, nu=nu, xtol=1e-8)
    exact = impl.logz.newton(r_data, r_noise, nu=nu)
    assert np.all(once.evaluations <= 3) and np.all(exact.evaluations <= 4)
    assert np.all(np.abs(once.F - exact.F) <= 1e-8)


def test_bracketed_runs_of_a_batch_use_their_start(impl):
    """Runs whose data are scored below the noise start from F0 in a batch as well."""
    thetas = enumerate((6.0, -6.0, 1.0, -6.0))
    pairs = [gaussian_1d(6.0, theta, 400, 400, seed) for seed, theta in thetas]
    r_data, r_noise = (np.stack(x) for x in zip(*pairs, strict=True))
    cold = impl.logz.newton(r_data, r_noise)
    warm = impl.logz.newton(r_data, r_noise, F0=cold.F)
    assert np.all(np.abs(warm.F - cold.F) <= 8 * impl.eps * (1 + np.abs(cold.F)))
    assert np.all(warm.evaluations < cold.evaluations)
    # A pass that sees the slope, the bracket, and one or two that prove the root.
    assert np.all(warm.evaluations[[1, 3]] <= 4)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("shift", [0.0, 40.0, -300.0])
def test_an_infinite_sample_costs_newton_no_passes(impl, shift, infinite):
    """A12: its start is made of the finite samples."""
    pairs = [gaussian_1d(1.0, 1.0, 512, 400, seed) for seed in range(3)]
    for side in range(2):
        pair = [shift + np.stack(r) for r in zip(*pairs, strict=True)]
        pair[side][1:, 7] = infinite
        z = impl.logz.newton(*pair, xtol=1e-10)
        assert np.all(z.converged) and np.all(z.evaluations <= 4)
