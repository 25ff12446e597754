"""The two systems in the plane, and how far a learnt density is from the truth."""

import math
from typing import Any

import numpy as np

from refnce import distributions, nce, nn
from refnce.nn.params import Flat

SYSTEMS: dict[str, Any] = {
    "8-Gaussians": distributions.RingMixture(2, 8, 4.0 / 2**0.5, sd=0.5 / 2**0.5),
    "pinwheel": distributions.Pinwheel(),
}
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
FLAT = Flat(SHAPES)
HALF = 4.5  # the grid is the square of this half width
GRID = 120


def grid(points: int = GRID) -> tuple[Any, float]:
    """Midpoints (points^2, 2) of the cells of the square, and the area of a cell."""
    edge = HALF * ((2.0 * np.arange(points) + 1.0) / points - 1.0)
    x = np.stack(np.meshgrid(edge, edge, indexing="xy"), axis=-1).reshape(-1, 2)
    return x, (2.0 * HALF / points) ** 2


def log_model(theta: Any, x: Any) -> Any:
    """E (..., points) of the networks theta (..., k)."""
    flat = theta.reshape(-1, theta.shape[-1])
    E = np.stack([nn.mlp(FLAT.unravel(one), x)[0][:, 0] for one in flat])
    return E.reshape(*theta.shape[:-1], -1)


def log_mass(E: Any, cell: float) -> Any:
    """log Z of exp(E) on the square."""
    top = E.max(axis=-1)
    return top + np.log(np.exp(E - top[..., None]).sum(axis=-1)) + math.log(cell)


def qualities(system: str, theta: Any, F: Any) -> dict[str, Any]:
    """KL(truth || model), total variation and F - log Z, each of the shape of F.

    theta (..., k), F (...). The model is normalised on the square.
    """
    x, cell = grid()
    truth = np.exp(SYSTEMS[system].log_density(x))
    truth /= truth.sum() * cell
    log_truth, E = np.log(np.maximum(truth, 1e-300)), log_model(theta, x)
    log_z = log_mass(E, cell)
    log_p = E - log_z[..., None]
    return {
        "kl": cell * np.sum(truth * (log_truth - log_p), axis=-1),
        "tv": 0.5 * cell * np.sum(np.abs(truth - np.exp(log_p)), axis=-1),
        "log_z_error": F - log_z,
    }


def truth_loss(law: Any, x: Any, y: Any) -> Any:
    """The NCE loss of the truth on a batch.

    What a model's loss is above it has far less noise than either.
    """
    r_data, r_noise = (law.log_density(z) - NOISE.log_density(z) for z in (x, y))
    return nce.loss(r_data, r_noise, 0.0)


def floor(system: str) -> float:
    """The NCE loss of the truth in the population, the least possible."""
    points, half = 1500, 10.0
    edge = half * ((2.0 * np.arange(points) + 1.0) / points - 1.0)
    total = 0.0
    for b in edge:  # a row at a time
        x = np.stack([edge, np.full(points, b)], axis=-1)
        log_p, log_q = SYSTEMS[system].log_density(x), NOISE.log_density(x)
        both = np.logaddexp(log_p, log_q)
        total += np.sum(np.exp(log_p) * (both - log_p) + np.exp(log_q) * (both - log_q))
    return float(0.5 * total * (2.0 * half / points) ** 2)
