"""How often the exact free energy lies within the stated errors, over many chains."""

from typing import Any

import numpy as np

from figures import ising
from refnce.freeenergy import FreeEnergies, chain

STIFFNESS = 2.0 ** np.linspace(0.0, 6.0, 9)  # of harmonic oscillators
BETAS = np.linspace(0.0, 0.6, 9)  # of Ising lattices of 8 x 8


def harmonic(chains: int, n: int, rng: Any) -> dict[str, Any]:
    """Chains of oscillators u_k = a_k x^2/2, with n independent samples of each."""
    a = STIFFNESS[:, None]
    x = rng.standard_normal((chains, a.size, n)) / np.sqrt(a)
    u = 0.5 * a * x.reshape(chains, 1, -1) ** 2
    z = chain(u, [n] * a.size, independent=True)
    return judged(z, 0.5 * np.log(STIFFNESS[-1] / STIFFNESS[0]))


def lattices(chains: int, series: int, sweeps: int, rng: Any) -> dict[str, Any]:
    """Chains of Ising lattices from infinite temperature, with correlated samples."""
    beta = np.broadcast_to(BETAS, (chains, BETAS.size))
    E = ising.sample(beta, 8, series, sweeps, 100, rng)
    u = BETAS[:, None] * E.reshape(chains, 1, -1)
    z = chain(u, [series * sweeps] * BETAS.size, chains=series)
    ends = ising.log_z(BETAS[[0, -1]], 8)
    return judged(z, ends[0] - ends[1])


def judged(z: FreeEnergies, exact: float) -> dict[str, Any]:
    """The shares of chains whose f_{K-1} - f_0 is within 1 and 2 errors of ``exact``.

    Once with the errors of `chain`, once with the pairs' errors added as squares. The
    spread is the standard deviation of f_{K-1} - f_0 over the chains.
    """
    off = abs(z.f[:, -1] - exact)
    pairs = np.diagonal(z.error, 1, axis1=-2, axis2=-1)
    errors = {"chain": z.error[:, 0, -1], "squares": np.sqrt(np.sum(pairs**2, axis=-1))}
    shares = {k: [np.mean(off < m * e) for m in (1, 2)] for k, e in errors.items()}
    return {
        "chains": len(off),
        "shares": shares,
        "mean_error": {name: e.mean() for name, e in errors.items()},
        "spread": z.f[:, -1].std(),
        "bias": z.f[:, -1].mean() - exact,
        "trusted": np.mean(z.trusted),
        "least_overlap": z.overlap.min(),
        "least_ess": z.ess.min(),
    }
