"""Nats per image of a model q(x) exp(r(x))/Z, with Z by Hamiltonian Monte Carlo.

NCE solves for F = log Z on batches, where few samples of the noise tell of the digits.
Here a chain of states q exp(beta r), beta from 0 to 1, each sampled, gives log Z with
a standard error of its own, by `refnce.freeenergy.chain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnce import freeenergy, sampling
from refnce.array import array_namespace, asarray, device, to_numpy

__all__ = ["Annealed", "anneal", "nats"]

Ratio = Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Annealed:
    """The normalising constant of q exp(r) and how it was found.

    Attributes
    ----------
    log_z, error : float
        log of the integral of q exp(r), and its standard error.
    trusted : bool
        See `refnce.freeenergy.FreeEnergies`. It does not tell of a mode that no chain
        has visited.
    overlap : float
        The smallest of neighbouring states.
    acceptance : float
        The smallest mean acceptance of a state.
    samples : array (steps, chains, d)
        Of the last state, the model.
    """

    log_z: float
    error: float
    trusted: bool
    overlap: float
    acceptance: float
    samples: Any


def anneal(
    noise: Any,
    ratio: Ratio,
    betas: Sequence[float],
    rng: Any,
    like: Any,
    *,
    chains: int,
    steps: int,
    warmup: int,
    leapfrog: int = 10,
    progress: Callable[[Any], Any] = iter,
) -> Annealed:
    """Return log Z of q exp(r) from Hamiltonian Monte Carlo at every beta.

    Parameters
    ----------
    noise : object
        The law q: ``sample(rng, *shape)`` and ``log_density_and_score(x)``.
    ratio : callable
        x (n, d) -> (r (n,), dr/dx (n, d)).
    betas : sequence of float
        0, ..., 1, increasing.
    rng : numpy.random.Generator
    like : array
        Samples have its library, dtype and device.
    chains, steps, warmup, leapfrog : int
        See `refnce.sampling.hmc`. State 0 is drawn from q instead; the chains of
        another state begin where those of the state before ended.
    progress : callable
        Wraps the sequence of betas after the first.

    Returns
    -------
    Annealed

    Raises
    ------
    ValueError
        If betas do not rise from 0 to 1.

    Examples
    --------
    N(0, 1) times exp(-x^2/2) has the normalising constant 1/sqrt(2), log Z = -0.3466.

    >>> import numpy as np
    >>> from figures.mnist.annealed import anneal
    >>> from refnce.distributions import GaussianMixture
    >>> one, none = np.ones(1), np.zeros((1, 0))
    >>> noise = GaussianMixture(one, np.zeros((1, 1)), none[..., None], none, one)
    >>> found = anneal(noise, lambda x: (-0.5 * x[:, 0] ** 2, -x), [0.0, 0.5, 1.0],
    ...     np.random.default_rng(0), one, chains=50, steps=50, warmup=30)
    >>> abs(found.log_z + 0.5 * np.log(2.0)) < 4.0 * found.error < 0.1
    True
    """
    if list(betas) != sorted({*betas, 0.0, 1.0}) or betas[0] < 0 or betas[-1] > 1:
        raise ValueError(f"betas must increase from 0 to 1; got {list(betas)}")
    xp = array_namespace(like)
    drawn = noise.sample(rng, steps, chains)
    samples = asarray(drawn, xp, dtype=like.dtype, device=device(like))
    ratios, acceptances, step_size = [_ratios(ratio, samples)], [], 0.1
    for beta in progress(betas[1:]):

        def density(x: Any, beta: float = beta) -> tuple[Any, Any]:
            (log_q, score), (r, dr) = noise.log_density_and_score(x), ratio(x)
            return log_q + beta * r, score + beta * dr

        moved = sampling.hmc(
            density,
            samples[-1, ...],
            rng,
            steps=steps,
            warmup=warmup,
            leapfrog=leapfrog,
            step_size=step_size,
        )
        samples, step_size = moved.samples, moved.step_size
        ratios.append(_ratios(ratio, samples))
        acceptances.append(float(np.mean(to_numpy(moved.acceptance))))
    # -log q is common to all states and cancels in their differences.
    u = -np.asarray(betas)[:, None] * np.concatenate(ratios)
    free = freeenergy.chain(u, [steps * chains] * len(betas), chains=chains)
    return Annealed(
        log_z=float(-free.f[-1]),
        error=float(free.error[0, -1]),
        trusted=bool(free.trusted),
        overlap=float(free.overlap.min()),
        acceptance=min(acceptances),
        samples=samples,
    )


def _ratios(ratio: Ratio, samples: Any) -> Any:
    """r of samples (steps, chains, d), chain after chain, on the host in float64."""
    steps = range(samples.shape[0])
    rows = [to_numpy(ratio(samples[k, ...])[0]).astype(float) for k in steps]
    return np.stack(rows, axis=-1).reshape(-1)


def nats(log_unnormalised: Any, annealed: Annealed) -> tuple[float, float]:
    """Return log Z - mean(log q + r), the nats per image, and its standard error.

    Parameters
    ----------
    log_unnormalised : array (n,)
        log q(x) + r(x) of independent held-out images.
    annealed : Annealed

    Returns
    -------
    nats, error : float
        The error is that of log Z and of the mean over the images.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.annealed import Annealed, nats
    >>> nats(np.array([-2.0, -4.0]), Annealed(1.0, 0.0, True, 1.0, 1.0, None))
    (4.0, 1.0)
    """
    x = np.asarray(log_unnormalised, float)
    error = np.hypot(annealed.error, x.std(ddof=1) / x.size**0.5)
    return float(annealed.log_z - x.mean()), float(error)
