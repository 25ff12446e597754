"""Chains of states of the Ising model and the double well, beside the exact values."""

from typing import Any

import numpy as np

from figures import ising, ring_polymer
from refnce.freeenergy import chain
from refnce.sampling import effective_sample_size

L = 16
BETAS = np.linspace(0.0, 0.575, 25)
QUANTUM_BETAS = np.linspace(0.5, 3.0, 6)
LAMBDAS = np.linspace(0.0, 1.0, 6) ** 2


def spins(chains: int, sweeps: int, warmup: int, rng: Any) -> dict[str, Any]:
    """The Ising model from infinite temperature on: thermodynamics, and one jump."""
    E = ising.sample(BETAS, L, chains, sweeps, warmup, rng)
    n = chains * sweeps
    z = chain(BETAS[:, None] * E.reshape(-1), [n] * BETAS.size, chains=chains)
    exact_log_z, exact_energy = ising.log_z(BETAS, L), ising.energy(BETAS, L)
    log_z, log_z_error = exact_log_z[0] - z.f, z.error[0]
    ess = np.minimum(effective_sample_size(np.moveaxis(E, -1, 0), -1), n)
    energy = E.mean(axis=(1, 2))
    energy_error = np.sqrt(E.var(axis=(1, 2)) / ess)
    # log Z decreases as the energy of its own samples increases, so that the errors of
    # the two terms are correlated negatively: this is an upper bound.
    entropy_error = np.hypot(log_z_error, BETAS * energy_error)
    quantities = {
        "log_z": (log_z, log_z_error, exact_log_z),
        "energy": (energy, energy_error, exact_energy),
        "entropy": (
            log_z + BETAS * energy,
            entropy_error,
            exact_log_z + BETAS * exact_energy,
        ),
    }
    numbers = {name: compared(*values) for name, values in quantities.items()}
    setting = {"L": L, "chains": chains, "sweeps": sweeps, "warmup": warmup}
    more = {"overlap": z.overlap, "ess": z.ess, "trusted": z.trusted}
    jumps = one_jump(E.reshape(len(E), -1), chains, exact_log_z)
    return {"setting": setting, "beta": BETAS, **numbers, **more, "jump": jumps}


def one_jump(E: Any, chains: int, exact_log_z: Any) -> dict[str, Any]:
    """log Z at each beta > 0 from two states, and from the first alone."""
    far, n = len(E) - 1, E.shape[-1]
    u = np.zeros((far, 2, 2 * n))
    both = np.concatenate([np.broadcast_to(E[0], (far, n)), E[1:]], axis=-1)
    u[:, 1] = BETAS[1:, None] * both
    z = chain(u, [n, n], chains=chains)
    # Exponential averaging (Zwanzig 1954): Z(beta)/Z(0) = mean of exp(-beta E) at 0.
    weight = -BETAS[1:, None] * E[0]
    top = weight.max(axis=-1)
    mean = top + np.log(np.mean(np.exp(weight - top[:, None]), axis=-1))
    first, exact = exact_log_z[0], exact_log_z[1:]
    jump = compared(first - z.f[:, 1], z.error[:, 0, 1], exact)
    more = {"overlap": z.overlap[:, 0], "trusted": z.trusted, "status": z.status[:, 0]}
    return {**jump, **more, "exponential": first + mean}


def quantum(chains: int, steps: int, warmup: int, rng: Any) -> dict[str, Any]:
    """The double well from the harmonic ring on, one chain for each temperature."""
    size = chains, steps, warmup
    w, acceptance = ring_polymer.sample(QUANTUM_BETAS, LAMBDAS, *size, rng)
    u = LAMBDAS[:, None] * w.reshape(QUANTUM_BETAS.size, 1, -1)
    z = chain(u, [chains * steps] * LAMBDAS.size, chains=chains)
    first = np.array([ring_polymer.harmonic_log_z(beta) for beta in QUANTUM_BETAS])
    exact = np.array(
        [
            [ring_polymer.transfer_log_z(beta, lam) for lam in LAMBDAS]
            for beta in QUANTUM_BETAS
        ]
    )
    return {
        "setting": {"chains": chains, "steps": steps, "warmup": warmup},
        "beta": QUANTUM_BETAS,
        "lambda": LAMBDAS,
        "log_z": compared(first[:, None] - z.f, z.error[:, 0], exact),
        "classical": [ring_polymer.classical_log_z(beta) for beta in QUANTUM_BETAS],
        "acceptance": acceptance,
        "overlap": z.overlap,
        "ess": z.ess,
        "trusted": z.trusted,
    }


def compared(found: Any, error: Any, exact: Any) -> dict[str, Any]:
    """Estimates, errors, exact values and z; z is nan where the error is 0."""
    z = np.divide(
        found - exact, error, out=np.full_like(found, np.nan), where=error > 0
    )
    return {"found": found, "error": error, "exact": exact, "z": z}
