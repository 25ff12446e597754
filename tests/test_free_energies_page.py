"""The table of wishes in docs/free-energies.md: what ``chain`` answers to each."""

import math

import numpy as np
import pytest

from refnce import logz
from refnce.freeenergy import chain

N = 1000
RNG = np.random.Generator(np.random.PCG64(7))
FORWARD, REVERSE = RNG.normal(1.0, math.sqrt(2.0), size=(2, N))  # Delta f = 0


def solved(forward, reverse):
    """chain of two states, from u_1 - u_0 on state 0 and u_0 - u_1 on state 1."""
    u = np.zeros((2, len(forward) + len(reverse)))
    u[1, : len(forward)], u[0, len(forward) :] = forward, reverse
    z = chain(u, [len(forward), len(reverse)], independent=True)
    return z, z.f[1], z.error[0, 1]


@pytest.mark.parametrize("work", [math.inf, 1e300])
def test_infinite_and_huge_work_are_samples_of_weight_0(work):
    """It counts in nu alone, so that f moves by log(N/(N - 1))."""
    z, f, error = solved(np.append(FORWARD[1:], work), REVERSE)
    assert z.trusted and 0.0 < error < 0.05 and abs(f) <= 4 * error
    without = solved(FORWARD[1:], REVERSE)[1]
    assert abs(f - without - math.log(N / (N - 1))) <= 8 * 2.0**-52  # units of f


def test_constant_work_has_error_0_and_overlap_1():
    z, f, error = solved(np.full(100, 2.5), np.full(100, -2.5))
    assert (f, error, z.overlap[0]) == (2.5, 0.0, 1.0) and z.trusted


def test_no_overlap_is_not_trusted_and_the_error_is_never_0():
    for shift in (10.0, 100.0, 1e3, 1e4):
        z, f, error = solved(FORWARD + shift, REVERSE + shift)
        assert z.overlap[0] < 0.01 and not z.trusted and not error == 0.0
        assert math.isnan(error) == (shift >= 1e3)


def test_the_example_of_nan_errors():
    """That of pymbar's issue 428, whose error was nan in 6 of 10 trials."""
    rng = np.random.Generator(np.random.PCG64(428))
    forward, reverse = rng.normal(0, 10.0, 50_000) * 10, rng.normal(0, 175, 50_000) * 20
    z, _, error = solved(forward, reverse)
    assert 0.5 < error < 1.0 and z.overlap[0] < 0.01 and not z.trusted


def test_no_sample_possible_at_the_other_state():
    impossible = np.full(N, math.inf)
    for pair, expected in [
        ((impossible, impossible), math.nan),
        ((impossible, REVERSE), math.inf),
        ((FORWARD, impossible), -math.inf),
    ]:
        z, f, error = solved(*pair)
        assert z.status[0] == logz.Status.NO_ROOT and math.isnan(error)
        assert f == expected or math.isnan(f) == math.isnan(expected)
        assert not z.trusted


def test_bootstraps_are_one_call():
    """Bootstraps of one pair scatter as the error of that pair says, to 10%."""
    runs, n = 1000, 200
    draws = RNG.integers(n, size=(2, runs, n))
    u = np.zeros((runs, 2, 2 * n))
    u[:, 1, :n], u[:, 0, n:] = FORWARD[draws[0]], REVERSE[draws[1]]
    z = chain(u, [n, n], independent=True)
    _, _, error = solved(FORWARD[:n], REVERSE[:n])
    assert z.f.shape == (runs, 2) and z.error.shape == (runs, 2, 2)
    # The standard deviation of 1000 draws is uncertain by 2.2%.
    assert z.f[:, 1].std() == pytest.approx(error, rel=0.1)
    one = chain(u[5], [n, n], independent=True)
    assert z.f[5, 1] == one.f[1] and z.error[5, 0, 1] == one.error[0, 1]


def test_a_total_knows_what_pairs_share():
    """Three states: the variance of f_2 - f_0 exceeds the sum of the pairs'."""
    a, n = np.array([1.0, 2.0, 4.0]), 500
    x = RNG.standard_normal((3, n)) / np.sqrt(a)[:, None]
    z = chain(a[:, None] / 2 * x.ravel() ** 2, [n, n, n], independent=True)
    assert z.error[0, 2] > math.hypot(z.error[0, 1], z.error[1, 2])
    assert (z.error == z.error.T).all()
