"""The Ising model on a torus: its exact partition function, and samples by heat bath.

L x L spins of +1 and -1, E = -sum of s s' over the 2 L^2 bonds, Z = sum exp(-beta E).
At L = 2 two bonds join the same two spins. The solution on the finite torus is
Kaufman's (1949); Ferdinand and Fisher (1969) give the sign of its fourth product.
"""

from typing import Any

import numpy as np

CRITICAL = 0.5 * np.log1p(np.sqrt(2.0))  # beta of the infinite lattice


def log_z(beta: Any, L: int) -> Any:
    """log Z at each beta >= 0, L^2 log 2 at 0."""
    K = np.where(beta == 0, 1.0, beta)[..., None]  # the formula needs beta > 0
    cosh = np.cosh(2.0 * K) / np.tanh(2.0 * K) - np.cos(np.pi * np.arange(2 * L) / L)
    gamma = np.arccosh(np.maximum(cosh, 1.0))
    # gamma_0 is positive in order and negative in disorder, and so is its sinh: there
    # the fourth product cancels the third, and one ordered state is left of two.
    gamma[..., 0] = (2.0 * K + np.log(np.tanh(K)))[..., 0]
    x = 0.5 * L * gamma
    with np.errstate(divide="ignore"):  # sinh 0 at the critical point
        log_sinh = abs(x) + np.log(-np.expm1(-2.0 * abs(x)))  # of 2 |sinh x|
    log_cosh = abs(x) + np.log1p(np.exp(-2.0 * abs(x)))
    products = [f[..., k::2].sum(axis=-1) for k in (1, 0) for f in (log_cosh, log_sinh)]
    signs = 1.0, 1.0, 1.0, np.sign(x[..., 0])
    top = products[0]  # of all four the largest, up to a factor of order 1
    total = sum(s * np.exp(p - top) for s, p in zip(signs, products, strict=True))
    first = 0.5 * L**2 * np.log(2.0 * np.sinh(2.0 * K))[..., 0]
    return np.where(beta == 0, L**2 * np.log(2.0), first + top + np.log(0.5 * total))


def energy(beta: Any, L: int) -> Any:
    """The mean energy -d log Z/d beta, to about 1e-6 by central differences."""
    h = 1e-4
    slope = (log_z(beta + h, L) - log_z(abs(beta - h), L)) / (2.0 * h)
    return np.where(beta == 0, 0.0, -slope)


def sample(beta: Any, L: int, chains: int, sweeps: int, warmup: int, rng: Any) -> Any:
    """The energies (..., chains, sweeps) of lattices of even L at each beta (...).

    A sweep draws all spins of one colour of the checkerboard given their neighbours,
    which are of the other colour, and then those of the other. Chains start ordered at
    beta above the critical one, else at random.
    """
    # (L, L/2, lattices) for each colour; column j holds columns 2j and 2j + 1.
    shape = L, L // 2, beta.size * chains
    b = np.repeat(beta.ravel(), chains)
    # P(up) for each sum of the neighbours, which is even: compared with random numbers
    # of 24 bits, it makes the same samples on every machine.
    sums = np.arange(-4, 5, 2)[:, None]
    p = (1.0 / (1.0 + np.exp(-2.0 * sums * b))).astype(np.float32)
    lattice = np.arange(b.size)
    colours = [
        np.where((b > CRITICAL) | (rng.random(shape) < 0.5), 1, -1).astype(np.int8)
        for _ in range(2)
    ]
    energies = np.empty((sweeps, b.size))
    for k in range(-warmup, sweeps):
        for own in (0, 1):
            total = _neighbours(colours[1 - own], own)
            up = rng.random(shape, np.float32) < p[(total + 4) // 2, lattice]
            colours[own] = (2 * up - 1).astype(np.int8)
        if k >= 0:  # each bond joins the two colours; total is of colour 1
            energies[k] = -np.sum(colours[1] * total, axis=(0, 1), dtype=np.int32)
    return np.ascontiguousarray(energies.T).reshape(*beta.shape, chains, sweeps)


def _neighbours(other: Any, own: int) -> Any:
    """The sum of the four neighbours of each spin of colour ``own``."""
    total = other + np.roll(other, 1, axis=0)
    total += np.roll(other, -1, axis=0)
    # In a row, the columns of colour 0 are even in even rows and odd in odd rows. The
    # second neighbour is a column to the left of an even spin, to the right of an odd.
    total[own::2] += np.roll(other[own::2], 1, axis=1)
    total[1 - own :: 2] += np.roll(other[1 - own :: 2], -1, axis=1)
    return total
