"""Nats per image of a model q(x) exp(r(x))/Z, with Z by Hamiltonian Monte Carlo.

NCE solves for F = log Z on batches, where few samples of the noise tell of the digits.
Here chains pass through a sequence of states q exp(beta r), beta from 0 to 1, and log Z
is found in two ways. A chain has the weight exp(sum (beta' - beta) r), r where it
leaves beta for beta'; the mean weight is Z (annealed importance sampling, Neal 2001;
Jarzynski 1997), even if chains lag behind beta, but few of them may have all the
weight. `refnce.freeenergy.chain` compares neighbouring states: it uses all samples
alike, and errs where chains lag. Nothing is resampled.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from refnce import freeenergy, sampling
from refnce.array import array_namespace, asarray, device, to_numpy

__all__ = ["Annealed", "anneal", "nats"]

Ratio = Callable[[Any], tuple[Any, Any]]
GROUPS = 16  # of chains, for the jackknife
SETTLED = 64  # chains that find the first step size
TARGET = 0.8  # acceptance


@dataclass(frozen=True)
class Annealed:
    """The normalising constant of q exp(r) and how it was found.

    Attributes
    ----------
    log_z, error : float
        log of the mean weight, and its standard error by a jackknife over groups of
        chains. It does not tell of a mode that no chain has visited.
    effective : float
        (sum w)^2/sum w^2 of the weights: how many chains the mean is of. Of a few, the
        error is too small and log_z is likely too low.
    by_states : tuple of float
        log Z and its standard error by neighbouring states.
    betas : list of float
        The states, from 0 to 1.
    overlap : float
        The smallest of neighbouring states, see `refnce.freeenergy.FreeEnergies`.
    acceptance : float
        The smallest mean acceptance of a state.
    step_size : float
        Of the last state.
    samples : array (steps, chains, d)
        Of the last state, the model.
    """

    log_z: float
    error: float
    effective: float
    by_states: tuple[float, float]
    betas: list[float]
    overlap: float
    acceptance: float
    step_size: float
    samples: Any


def anneal(
    noise: Any,
    ratio: Ratio,
    rng: Any,
    like: Any,
    *,
    chains: int,
    steps: int,
    warmup: int = 0,
    settle: int = 30,
    leapfrog: int = 8,
    keep: float = 0.5,
    progress: Callable[[Any], Any] = iter,
) -> Annealed:
    """Return log Z of q exp(r) from Hamiltonian Monte Carlo at a sequence of beta.

    Parameters
    ----------
    noise : object
        The law q: ``sample(rng, *shape)`` and ``log_density_and_score(x)``.
    ratio : callable
        x (n, d) -> (r (n,), dr/dx (n, d)).
    rng : numpy.random.Generator
    like : array
        Samples have its library, dtype and device.
    chains : int
        At least 16.
    steps, warmup : int
        Moves of a chain at every beta whose samples are kept, and moves before them.
        At beta = 0 samples are drawn from q instead. The chains of another state begin
        where those of the state before ended.
    settle : int
        Moves at the first beta, of some of the chains, that find the step size.
    leapfrog : int
        The longest trajectory, see `refnce.sampling.hmc`.
    keep : float
        Each beta is the largest at which samples of the one before have ``keep`` of
        their number as effective size, (sum w)^2/sum w^2.
    progress : callable
        Wraps the iterator over the values of beta.

    Returns
    -------
    Annealed

    Raises
    ------
    ValueError
        If there are fewer than 16 chains, or r is not finite.

    Notes
    -----
    After the moves that are not kept, and after those that are, the step size is
    multiplied by exp(acceptance - 0.8).

    Examples
    --------
    N(0, 1) times exp(-x^2/2) has the normalising constant 1/sqrt(2), log Z = -0.3466.

    >>> import numpy as np
    >>> from figures.mnist.annealed import anneal
    >>> from refnce.distributions import GaussianMixture
    >>> one, none = np.ones(1), np.zeros((1, 0))
    >>> noise = GaussianMixture(one, np.zeros((1, 1)), none[..., None], none, one)
    >>> found = anneal(noise, lambda x: (-0.5 * x[:, 0] ** 2, -x),
    ...     np.random.default_rng(0), one, chains=512, steps=4)
    >>> abs(found.log_z + 0.5 * np.log(2.0)) < 4.0 * found.error < 0.1
    True
    """
    if chains < GROUPS:
        raise ValueError(f"chains must be at least {GROUPS}; got {chains}")
    xp = array_namespace(like)
    drawn = noise.sample(rng, steps, chains)
    samples = asarray(drawn, xp, dtype=like.dtype, device=device(like))
    betas, ratios, acceptances = [0.0], [_ratios(ratio, samples)], []
    size = None

    def next_betas() -> Iterator[float]:
        while betas[-1] < 1.0:
            yield min(1.0, betas[-1] + _increment(ratios[-1], keep, 1.0 - betas[-1]))

    for beta in progress(next_betas()):

        def density(x: Any, beta: float = beta) -> tuple[Any, Any]:
            (log_q, score), (r, dr) = noise.log_density_and_score(x), ratio(x)
            return log_q + beta * r, score + beta * dr

        move = partial(sampling.hmc, density, rng=rng, leapfrog=leapfrog)
        x = samples[-1, ...]
        if size is None:
            size = move(x[:SETTLED, :], steps=1, warmup=settle).step_size
        for count in [warmup, steps] if warmup else [steps]:
            found = move(x, steps=count, warmup=0, step_size=size)
            x, accepted = found.samples[-1, ...], to_numpy(found.acceptance).mean()
            size *= math.exp(accepted - TARGET)
        samples = found.samples
        acceptances.append(float(accepted))
        betas.append(beta)
        ratios.append(_ratios(ratio, samples))
    left = zip(np.diff(betas), ratios[:-1], strict=True)
    log_w = sum(change * r[-1] for change, r in left)
    w = np.exp(log_w - log_w.max())
    by_states, overlap = _by_states(betas, ratios)
    # Chains are independent of each other; the states of one chain are not.
    groups = np.arange(chains) * GROUPS // chains
    fewer = [groups != g for g in range(GROUPS)]
    weights = [np.log(w[k].mean()) for k in fewer]
    states = [_by_states(betas, [r[:, k] for r in ratios])[0] for k in fewer]
    return Annealed(
        log_z=float(np.log(w.mean()) + log_w.max()),
        error=_jackknife(weights),
        effective=float(w.sum() ** 2 / (w @ w)),
        by_states=(by_states, _jackknife(states)),
        betas=betas,
        overlap=overlap,
        acceptance=min(acceptances),
        step_size=found.step_size,
        samples=samples,
    )


def _increment(r: Any, keep: float, most: float) -> float:
    """The largest step of beta, at most ``most``, with ``keep`` as effective share."""

    def share(step: float) -> float:
        w = np.exp(step * (r - r.max()))
        return float(w.sum() ** 2 / (w @ w) / w.size)

    r = r.reshape(-1)
    if share(most) >= keep:
        return most
    low, high = 0.0, most
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share(middle) >= keep else (low, middle)
    return low


def _jackknife(fewer: list[float]) -> float:
    """The standard error of what ``fewer`` are without one of GROUPS groups each."""
    return float(np.std(fewer) * (GROUPS - 1) ** 0.5)


def _by_states(betas: list[float], ratios: list[Any]) -> tuple[float, float]:
    """log Z of the last state, and the smallest overlap, of r (steps, chains) each."""
    r = np.stack([x.reshape(-1) for x in ratios])
    # -log q is common to all states and cancels in their differences.
    u = -np.asarray(betas)[:, None] * r.reshape(-1)
    free = freeenergy.chain(u, [r.shape[1]] * len(betas), independent=True)
    return float(-free.f[-1]), float(free.overlap.min())


def _ratios(ratio: Ratio, samples: Any) -> Any:
    """r (steps, chains) of samples (steps, chains, d), on the host in float64."""
    r = np.stack([to_numpy(ratio(x)[0]) for x in _each(samples)]).astype(float)
    if not np.isfinite(r).all():
        raise ValueError("ratio must give finite numbers; got nan or an infinity")
    return r


def _each(samples: Any) -> Any:
    return (samples[k, ...] for k in range(samples.shape[0]))


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
    >>> exact = Annealed(1.0, 0.0, 16.0, (1.0, 0.0), [0.0, 1.0], 1.0, 1.0, 0.1, None)
    >>> nats(np.array([-2.0, -4.0]), exact)
    (4.0, 1.0)
    """
    x = np.asarray(log_unnormalised, float)
    error = np.hypot(annealed.error, x.std(ddof=1) / x.size**0.5)
    return float(annealed.log_z - x.mean()), float(error)
