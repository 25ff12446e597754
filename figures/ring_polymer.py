"""A quantum particle in a double well as a classical ring of 32 beads, hbar = m = 1.

With tau = beta/32 the ring has the density exp(-S),

    S(x) = sum_j (x_j - x_{j+1})^2/(2 tau) + tau V(x_j),

and Z = integral exp(-S) dx/(2 pi tau)^16 is the Z of the quantum particle up to
O(tau^2). The states are potentials between the harmonic one, whose Z has a closed form,
and the double well:

    V = (1 - lambda) x^2/2 + lambda (x^2 - 2)^2/2.

With the harmonic ring as the density of q ~ N(0, I), x = C q, state lambda has the
reduced potential |q|^2/2 + lambda w. Its first term is that of all states.
"""

from typing import Any

import numpy as np

from refnce.sampling import hmc

BEADS = 32
GRID = np.linspace(-12.0, 12.0, 601)  # for beta from 0.5, 8 standard deviations


def well(x: Any) -> tuple[Any, Any]:
    """The double well, of barrier 2, less the harmonic potential; its derivative."""
    return 0.5 * (x * x - 2.0) ** 2 - 0.5 * x * x, 2.0 * x * (x * x - 2.0) - x


def transfer_log_z(beta: float, lam: float) -> float:
    """log Z of the ring of 32 beads: Z = tr M^32, by quadrature on GRID.

    For these smooth, decaying functions the trapezoidal rule is exact to rounding where
    the step is below sqrt(tau)/2.
    """
    tau, step = beta / BEADS, GRID[1] - GRID[0]
    half = np.exp(-0.5 * tau * (0.5 * GRID**2 + lam * well(GRID)[0]))
    bond = np.exp(-((GRID[:, None] - GRID) ** 2) / (2.0 * tau))
    M = half[:, None] * bond * half * (step / np.sqrt(2.0 * np.pi * tau))
    values = np.linalg.eigvalsh(M)
    return float(np.log(np.sum(values**BEADS)))


def harmonic_log_z(beta: float) -> float:
    """log Z of the harmonic ring, a Gaussian integral."""
    return float(-0.5 * np.sum(np.log(beta / BEADS * _frequencies(beta))))


def classical_log_z(beta: float) -> float:
    """log Z of one bead: what is left where nothing is quantum."""
    V = 0.5 * GRID**2 + well(GRID)[0]
    total = np.sum(np.exp(-beta * V)) * (GRID[1] - GRID[0])
    return float(np.log(total / np.sqrt(2.0 * np.pi * beta)))


def sample(
    betas: Any, lams: Any, chains: int, steps: int, warmup: int, rng: Any
) -> tuple[Any, float]:
    """w of samples at each beta and lambda (..., chains, steps), and the acceptance."""
    C = np.stack([_coordinates(beta) for beta in betas])[:, None]
    tau = betas[:, None, None] / BEADS

    def density(q: Any) -> tuple[Any, Any]:
        V, slope = well(np.matmul(q, C))
        weight = tau * lams[:, None]
        E = -0.5 * np.sum(q * q, axis=-1) - weight * np.sum(V, axis=-1)
        return E, -q - weight[..., None] * np.matmul(slope, C)

    # All chains share a step size. In the tails of the harmonic ring it is too long for
    # the double well, so that a chain that started there could stay there.
    start = 0.5 * rng.standard_normal((len(betas), len(lams), chains, BEADS))
    found = hmc(density, start, rng, steps=steps, warmup=warmup, target=0.9)
    w = tau * np.sum(well(np.matmul(found.samples, C))[0], axis=-1)
    return np.moveaxis(w, 0, -1), float(found.acceptance.mean())


def _frequencies(beta: float) -> Any:
    """The eigenvalues of S, a quadratic form in the harmonic ring."""
    tau = beta / BEADS
    return tau + (2.0 - 2.0 * np.cos(2.0 * np.pi * np.arange(BEADS) / BEADS)) / tau


def _coordinates(beta: float) -> Any:
    """C, symmetric, with C^2 the covariance of the harmonic ring: a circulant."""
    row = np.fft.ifft(_frequencies(beta) ** -0.5).real
    j = np.arange(BEADS)
    return row[(j[:, None] - j) % BEADS]
