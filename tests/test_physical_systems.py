"""The systems of beyond02: exact partition functions, samplers, other packages.

Statistical tests compare with 5 standard errors: a right value fails one comparison in
1.7 million. Their seeds are fixed.
"""

from importlib import metadata
from importlib.util import find_spec
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest

from tests.gallery import committed  # or skips

from figures import benzene, beyond02, exact_answers, ising, ring_polymer
from refnce.array import make_rng
from refnce.sampling import effective_sample_size

EPS = 2.0**-52
BETAS = np.array([0.0, 1e-3, 0.1, 0.3, 0.4, ising.CRITICAL, 0.45, 0.5, 1.0, 3.0])


def all_energies(L):
    """The energy of each of the 2^(L^2) states, bond by bond."""
    s = np.array(list(product((-1, 1), repeat=L * L))).reshape(-1, L, L)
    return -np.sum(s * np.roll(s, 1, axis=1) + s * np.roll(s, 1, axis=2), axis=(1, 2))


@pytest.mark.parametrize("L", [2, 3, 4])
def test_kaufman_is_the_sum_over_all_states(L):
    """Below, at and above the critical point; at L = 2 bonds are double."""
    exponents = -BETAS[:, None] * all_energies(L)
    top = exponents.max(axis=1)
    exact = top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))
    # Terms of the size of log Z, each right to some ulps.
    size = L * L * (np.log(2.0) + 2.0 * BETAS)
    assert np.all(abs(ising.log_z(BETAS, L) - exact) <= 8.0 * EPS * size)


def test_energy_is_the_mean_over_all_states():
    """Central differences: h^2/6 of a third derivative of 1e3, eps 100/h of log Z."""
    E = all_energies(4)
    weight = np.exp(-BETAS[:, None] * (E - E.min()))
    exact = (weight * E).sum(axis=1) / weight.sum(axis=1)
    assert np.all(abs(ising.energy(BETAS, 4) - exact) <= 1e-5)


def test_the_large_lattice_has_onsager_s_energy():
    """-sqrt(2) a spin at the critical point, with a correction of order 1/L."""
    energy = ising.energy(np.array([ising.CRITICAL]), 128)[0] / 128**2
    assert abs(energy + 2.0**0.5) <= 1.0 / 128


@pytest.mark.parametrize("L", [2, 4, 6])
def test_heat_bath_has_the_exact_energies(L):
    """12 comparisons, of a false-failure rate of 7e-6 together."""
    beta = np.array([0.0, 0.2, 0.44, 0.6])
    E = ising.sample(beta, L, 32, 800, 100, make_rng(5, L))
    ess = effective_sample_size(np.moveaxis(E, -1, 0), chain_axis=-1)
    z = (E.mean(axis=(1, 2)) - ising.energy(beta, L)) / np.sqrt(
        E.var(axis=(1, 2)) / ess
    )
    assert np.all(abs(z) < 5.0)


def test_heat_bath_reports_energies_of_lattices():
    """-2 L^2 to 2 L^2 in steps of 4, and all of them at L = 2."""
    E = ising.sample(np.zeros(1), 2, 4, 400, 0, make_rng(6))
    assert set(E.ravel()) == set(all_energies(2))
    E = ising.sample(np.full((3, 1), 9.0), 16, 2, 5, 0, make_rng(7))
    assert E.shape == (3, 1, 2, 5) and np.all(E == -512.0)  # they start ordered


# The ring polymer


def action(x, beta):
    """The harmonic S (...), bead by bead."""
    tau = beta / ring_polymer.BEADS
    bonds = (x - np.roll(x, 1, axis=-1)) ** 2 / (2.0 * tau)
    return np.sum(bonds + 0.5 * tau * x**2, axis=-1)


@pytest.mark.parametrize("beta", exact_answers.QUANTUM_BETAS)
def test_transfer_matrix_has_the_harmonic_closed_form(beta):
    """32 powers of eigenvalues that are right to some 100 eps: 601 terms in each."""
    exact = ring_polymer.harmonic_log_z(beta)
    assert abs(ring_polymer.transfer_log_z(beta, 0.0) - exact) <= 32 * 601 * EPS
    # A single oscillator has 1/(2 sinh(beta/2)), up to the discretisation's tau^2.
    quantum = -np.log(2.0 * np.sinh(0.5 * beta))
    assert abs(exact - quantum) <= (beta / ring_polymer.BEADS) ** 2


def test_coordinates_make_the_harmonic_ring_normal():
    for beta in exact_answers.QUANTUM_BETAS:
        C = ring_polymer._coordinates(beta)
        q = make_rng(8).standard_normal((5, ring_polymer.BEADS))
        expected = 0.5 * np.sum(q * q, axis=-1)
        np.testing.assert_allclose(action(q @ C, beta), expected, rtol=1e-12)
        assert abs(C - C.T).max() <= 8.0 * EPS * C.max()


def test_derivative_of_the_well():
    """A central difference: its error is h^2/6 of the third derivative 12 x."""
    x, h = np.linspace(-3.0, 3.0, 13), 1e-4
    slope = (ring_polymer.well(x + h)[0] - ring_polymer.well(x - h)[0]) / (2.0 * h)
    np.testing.assert_allclose(ring_polymer.well(x)[1], slope, atol=1e-6)


# Benzene


@pytest.fixture
def packages():
    """Or a skip. They are not imported here, as they change other libraries."""
    for name in benzene.PACKAGES:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed (extra freeenergy)")


def test_benzene_is_the_root_that_alchemlyb_finds(packages):
    """pymbar stops at a relative 1e-12. The totals are to the digits of issue 15."""
    leg = benzene.compare(quick=True)["legs"]["Coulomb"]
    assert leg["pairs_off_BAR"] <= 1e-10 and leg["trusted"]
    assert leg["total"]["chain"] == pytest.approx([3.0444, 0.0218], abs=5e-4)
    assert leg["total"]["BAR"][1] < leg["total"]["chain"][1]


def test_without_the_packages_the_panel_says_why(monkeypatch):
    missing = Mock(side_effect=metadata.PackageNotFoundError("alchemtest"))
    monkeypatch.setattr(benzene.metadata, "version", missing)
    found = benzene.measure(quick=True)
    assert found == {"absent": "alchemtest is not installed (extra freeenergy)"}
    figure = beyond02.draw({**committed("beyond02"), "benzene": found})
    assert found["absent"] in [text.get_text() for text in figure.axes[-1].texts]


def test_a_failure_of_the_packages_is_said(monkeypatch):
    failed = Mock(returncode=1, stderr="Traceback\nValueError: no such file\n")
    monkeypatch.setattr(benzene.subprocess, "run", Mock(return_value=failed))
    expected = {"absent": "alchemlyb failed: ValueError: no such file"}
    assert benzene.compare(quick=True) == expected
