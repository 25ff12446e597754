"""Free energies of physical systems against exact values, from the gallery's numbers.

As in test_experiments, statements are recomputed from figures/gallery/beyond02.json,
and a rerun with the same seed shows that it comes from this code.
"""

import numpy as np
import pytest

from tests.gallery import committed, experiment, listed  # or skips

from figures import coverage, exact_answers, ising
from refnce.array import make_rng

ISING = (
    "on the Ising model of 16 x 16 spins, from infinite temperature to beyond the"
    " critical point, log Z, energy and entropy agree with Kaufman's exact values"
    " within 5 standard errors"
)
JUMP = (
    "one jump from infinite temperature, and exponential averaging more, fail where a"
    " chain of states does not, and the overlap says where"
)
QUANTUM = (
    "on a quantum double well, a ring of 32 beads, log Z agrees with the transfer"
    " matrix within 5 standard errors"
)
COVERAGE = (
    "exact free energies lie within 1 and 2 standard errors as often as a normal"
    " variable, for independent and for correlated samples"
)
SQUARES = "pairs' errors added as squares are too small, by a quarter"
# Shares of a normal variable.
NORMAL = np.array([0.682689, 0.954500])


def free_energies(statement, **options):
    options = {"where": "freeenergy.chain", **options}
    return experiment("Free energies", statement, **options)


@pytest.fixture(scope="module")
def numbers():
    return committed("beyond02")


def z_of(compared):
    """Every z but those of the first state, whose log Z is known."""
    z = np.asarray(compared["z"], dtype=float)
    return z[np.asarray(compared["error"]) > 0.0]


# The committed numbers come from this code; seven digits are written


def test_ising_reruns(numbers):
    """Energies are whole numbers: the samples are the same on every machine."""
    there = numbers["ising"]
    size = (there["setting"][name] for name in ("chains", "sweeps", "warmup"))
    here = exact_answers.spins(*size, make_rng(0, 31))
    for name in ("log_z", "energy", "entropy"):
        for what in ("found", "error", "exact"):
            values = here[name][what], there[name][what]
            np.testing.assert_allclose(*values, 1e-6, err_msg=f"{name}, {what}")
    assert here["jump"]["trusted"].tolist() == there["jump"]["trusted"]


def test_coverage_reruns(numbers):
    there = numbers["harmonic"]
    here = coverage.harmonic(there["chains"], 100, make_rng(0, 33))
    for way, error in there["mean_error"].items():
        assert here["mean_error"][way] == pytest.approx(error, rel=1e-6)
        # Chains that are off by one error to the last digits may count or not: 2 of
        # the 2,000.
        assert here["shares"][way] == pytest.approx(there["shares"][way], abs=1e-3)


# What they say


@free_energies(ISING)
def test_ising_against_kaufman(numbers, evidence):
    """72 values of z: right errors fail once in 24,000 seeds."""
    found = numbers["ising"]
    assert found["trusted"] and found["beta"][0] == 0.0
    assert found["beta"][-1] > ising.CRITICAL + 0.1
    for name in ("log_z", "energy", "entropy"):
        worst = np.max(abs(z_of(found[name])))
        evidence(f"Ising, {name}: worst |z| {worst:.2f} at 25 temperatures")
        assert worst < 5.0


@free_energies(JUMP)
def test_one_jump(numbers, evidence):
    found, jump = numbers["ising"], numbers["ising"]["jump"]
    trusted, z = np.asarray(jump["trusted"]), z_of(jump)
    beta, exact = np.asarray(found["beta"])[1:], np.asarray(jump["exact"])
    assert np.all(trusted == (np.asarray(jump["overlap"]) >= 0.01))
    assert np.all(abs(z[trusted]) < 5.0) and not trusted[beta > ising.CRITICAL].any()
    wrong = np.asarray(jump["found"]) - exact
    exponential = np.asarray(jump["exponential"]) - exact
    ends = f"{wrong[-1]:.1f} and {exponential[-1]:.1f} off"
    evidence(f"beta {beta[-1]}: one jump, exponential averaging are {ends} in log Z")
    evidence(f"one jump: trusted up to beta {beta[trusted].max():.3f}, then not")
    assert z[-1] > 20.0 and np.all(abs(z[beta > 0.5]) > 20.0)
    assert exponential[-1] < -50.0 and min(found["overlap"]) > 0.7


@free_energies(QUANTUM)
def test_double_well_against_the_transfer_matrix(numbers, evidence):
    """30 values of z: right errors fail once in 58,000 seeds."""
    found = numbers["quantum"]
    assert all(found["trusted"]) and max(found["beta"]) == 3.0
    worst = np.max(abs(z_of(found["log_z"])))
    evidence(f"double well: worst |z| {worst:.2f} at 6 temperatures, 5 potentials")
    assert worst < 5.0
    # The quantum effect is far beyond the errors.
    quantum = np.asarray(found["log_z"]["exact"])[-1, -1]
    assert found["classical"][-1] - quantum > 1.0


@free_energies(COVERAGE)
@pytest.mark.parametrize("name", ["harmonic", "lattices"])
def test_coverage_is_that_of_a_normal_variable(numbers, evidence, name):
    """Within 5 errors of a share of so many chains, sqrt(p (1 - p)/chains)."""
    found = numbers[name]
    shares = np.asarray(found["shares"]["chain"])
    error = np.sqrt(NORMAL * (1.0 - NORMAL) / found["chains"])
    told = ", ".join(f"{share:.3f}" for share in shares)
    evidence(f"{name}: {told} of {found['chains']} chains within 1, 2 errors")
    assert np.all(abs(shares - NORMAL) < 5.0 * error)
    assert found["chains"] == {"harmonic": 2000, "lattices": 200}[name]


@free_energies(SQUARES)
@pytest.mark.parametrize("name", ["harmonic", "lattices"])
def test_squares_of_the_pairs_are_too_small(numbers, evidence, name):
    found = numbers[name]
    evidence(f"{name}, mean error: " + listed(found["mean_error"], ".3f"))
    evidence(f"{name}, spread over the chains: {found['spread']:.3f}")
    ratio = found["mean_error"]["squares"] / found["mean_error"]["chain"]
    assert 0.7 < ratio < 0.78
    error = np.sqrt(NORMAL * (1.0 - NORMAL) / found["chains"])
    assert np.all(np.asarray(found["shares"]["squares"]) < NORMAL - 4.0 * error)


def test_benzene_beside_alchemlyb(numbers):
    """The roots are BAR's; errors are above the squares', totals within MBAR's."""
    for leg, expected in (("Coulomb", 3.0444), ("VDW", -3.0329)):
        found = numbers["benzene"]["legs"][leg]
        total, error = found["total"]["chain"]
        bar, squares = found["total"]["BAR"]
        mbar, mbar_error = found["total"]["MBAR"]
        # The expected totals have four decimals.
        assert total == pytest.approx(expected, abs=1e-4) and found["trusted"]
        assert found["pairs_off_BAR"] < 1e-10 and total == pytest.approx(bar)
        assert squares < 0.8 * error and abs(total - mbar) < mbar_error
