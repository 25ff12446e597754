"""Samplers on a learnt energy: Hamiltonian Monte Carlo, and Langevin as its shortest trajectory, over many chains at once.

``density(x)`` -> (E, dE/dx) is an unnormalised log-density and its slope, x (..., chains, d) -> (..., chains), (..., chains, d);
``models.energy`` makes one of a network. A proposal follows H(x, p) = -E(x) + |p|^2/2 by leapfrog steps, which preserve volumes
and reverse, so that accepting it with probability min(1, exp(H - H')) leaves exp(E) invariant, whatever the step size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from refnce.array.backend import (
    Array,
    array_namespace,
    asarray,
    device,
    ignore_fp_errors,
    to_numpy,
)
from refnce.array.validation import check_arrays

__all__ = ["Chains", "diagnose", "hmc", "mala"]

Density = Callable[[Array], tuple[Array, Array]]
KEY = 0x686D63  # of this module's random streams: a Generator's own children have the keys of ``backend.make_rng``
BLOCK = 64  # steps whose random numbers are drawn and moved together; what is drawn does not depend on it


@dataclass(frozen=True)
class Chains:
    """Samples after the warm-up, and what tells whether to trust them.

    samples (steps, ..., chains, d) and acceptance (..., chains), the mean probability of acceptance, are of the start's library;
    step_size is the one that the warm-up arrived at. r_hat and ess (..., d) are host arrays, see ``diagnose``.
    """

    samples: Array
    acceptance: Array
    step_size: float
    r_hat: Any
    ess: Any


@ignore_fp_errors()
def hmc(
    density: Density,
    x: Array,
    rng: Any,
    *,
    steps: int,
    warmup: int,
    leapfrog: int = 10,
    step_size: float = 0.1,
    target: float = 0.8,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Chains:
    """Sample exp(E) by Hamiltonian Monte Carlo from the start x (..., chains, d), with NumPy's Generator ``rng``.

    A trajectory takes 1 to ``leapfrog`` steps, by chance, so that none fits a period of the target. During the first ``warmup``
    steps, which are not returned, the step size moves towards a mean acceptance of ``target`` by dual averaging (Hoffman and
    Gelman 2014); then it stays. It is one for all chains and leading axes: scale what differs, or sample it apart. A proposal
    that is not finite, or whose energy is not, is rejected. track: what steps are counted by, such as tqdm.

    Raises TypeError or ValueError for x not (..., chains, d) of a floating dtype, rng no Generator, steps or leapfrog < 1,
    warmup < 0, step_size <= 0 or infinite, target outside (0, 1), and a start whose energy is not finite in every chain.
    """
    xp = check_arrays(x=x)
    if x.ndim < 2:
        raise ValueError(
            f"x must be (..., chains, d); got shape {tuple(x.shape)}: one chain is x[None, :]"
        )
    if not hasattr(rng, "bit_generator"):
        raise TypeError(
            f"rng must be a NumPy Generator; got {type(rng).__name__}: pass backend.make_rng(seed)"
        )
    for name, count, least in (
        ("steps", steps, 1),
        ("warmup", warmup, 0),
        ("leapfrog", leapfrog, 1),
    ):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ValueError(f"{name} must be a whole number >= {least}; got {count!r}")
    if not isinstance(step_size, (int, float)) or not 0 < step_size < math.inf:
        raise ValueError(f"step_size must be a finite number > 0; got {step_size!r}")
    if not isinstance(target, (int, float)) or not 0 < target < 1:
        raise ValueError(f"target must be a number between 0 and 1; got {target!r}")
    E, slope = density(x)
    lost = int(xp.count_nonzero(~xp.isfinite(E)))
    if lost:
        raise ValueError(
            f"x must start each chain where its energy is finite; {lost} of {math.prod(E.shape)} do not"
        )
    size = xp.full((), step_size, dtype=x.dtype, device=device(x))
    tuning = _DualAveraging(size, target)
    chance = _chance(x, rng, leapfrog, warmup + steps)
    kept, accepted = [], xp.zeros_like(E)
    for k in track(range(warmup + steps)):
        p, threshold, length = next(chance)
        x_new, p_new, E_new, slope_new = _leapfrog(density, x, p, slope, size, length)
        gain = (E_new - E) + 0.5 * (
            xp.sum(p**2, axis=-1) - xp.sum(p_new**2, axis=-1)
        )  # H - H'
        probability = xp.exp(
            xp.minimum(xp.where(xp.isfinite(gain), gain, -xp.inf), 0.0)
        )
        accept = threshold < probability
        x, slope = (
            xp.where(accept[..., None], new, old)
            for new, old in ((x_new, x), (slope_new, slope))
        )
        E = xp.where(accept, E_new, E)
        if k < warmup:
            size = tuning.update(xp.mean(probability))
            size = tuning.settled if k == warmup - 1 else size
        else:
            kept.append(x)
            accepted = accepted + probability
    samples = xp.stack(kept)
    return Chains(samples, accepted / steps, float(size), *diagnose(samples))


def mala(
    density: Density,
    x: Array,
    rng: Any,
    *,
    steps: int,
    warmup: int,
    step_size: float = 0.1,
    target: float = 0.574,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Chains:
    """Sample exp(E) by the Metropolis-adjusted Langevin algorithm: ``hmc`` with trajectories of one step, which it is.

    x' = x + step_size^2/2 dE/dx + step_size N(0, I), accepted or not. Arguments, result and errors as in ``hmc``.
    """
    return hmc(
        density,
        x,
        rng,
        steps=steps,
        warmup=warmup,
        leapfrog=1,
        step_size=step_size,
        target=target,
        track=track,
    )


def _leapfrog(
    density: Density, x: Array, p: Array, slope: Array, size: Array, length: int
) -> tuple[Array, ...]:
    """(x, p, E, dE/dx) at the end of ``length`` steps."""
    half = 0.5 * size
    E = x
    for _ in range(length):
        p = p + half * slope
        x = x + size * p
        E, slope = density(x)
        p = p + half * slope
    return x, p, E, slope


class _DualAveraging:
    """The step size of Hoffman and Gelman 2014, Section 3.2.1, with their constants; nothing here waits for an accelerator."""

    gamma, t0, kappa = 0.05, 10.0, 0.75

    def __init__(self, size: Array, target: float) -> None:
        self.xp, self.target, self.count = array_namespace(size), target, 0
        self.mu = self.xp.log(10.0 * size)
        self.lack, self.log_settled = 0.0 * size, 0.0 * size

    def update(self, acceptance: Array) -> Array:
        """Return the next step size after a step with this mean acceptance."""
        self.count += 1
        weight, fade = 1.0 / (self.count + self.t0), self.count**-self.kappa
        self.lack = (1.0 - weight) * self.lack + weight * (self.target - acceptance)
        log_size = self.mu - (self.count**0.5 / self.gamma) * self.lack
        self.log_settled = fade * log_size + (1.0 - fade) * self.log_settled
        return self.xp.exp(log_size)

    @property
    def settled(self) -> Array:
        """The averaged step size, for after the warm-up."""
        return self.xp.exp(self.log_settled)


def _chance(
    x: Array, rng: Any, leapfrog: int, steps: int
) -> Iterator[tuple[Array, Array, int]]:
    """For each step momenta, thresholds of acceptance and the number of leapfrog steps, each from a stream of its own."""
    xp, where = array_namespace(x), device(x)
    momenta, thresholds, lengths = _streams(rng, 3)
    for start in range(0, steps, BLOCK):
        count = min(BLOCK, steps - start)
        p = asarray(
            momenta.standard_normal((count, *x.shape)), xp, dtype=x.dtype, device=where
        )
        u = asarray(
            thresholds.random((count, *x.shape[:-1])), xp, dtype=x.dtype, device=where
        )
        length = lengths.integers(1, leapfrog + 1, size=count).tolist()
        yield from ((p[k, ...], u[k, ...], length[k]) for k in range(count))


def _streams(rng: Any, count: int) -> list[Any]:
    """Generators that are rng's descendants, others at each call: under a key of their own, since rng.spawn would give those that
    ``backend.make_rng`` gives to the steps of a training."""
    child = rng.bit_generator.seed_seq.spawn(1)[0]
    own = type(child)(child.entropy, spawn_key=(*child.spawn_key, KEY))
    return [type(rng)(type(rng.bit_generator)(seed)) for seed in own.spawn(count)]


def diagnose(samples: Array) -> tuple[Any, Any]:
    """Return (r_hat, ess) (..., d) of samples (steps, ..., chains, d): host arrays, nan where fewer than 4 steps or no variance.

    r_hat is the potential scale reduction of chains cut in halves (Gelman et al. 2013): near 1, say under 1.01, where they agree.
    ess is the effective number of samples of all chains together, by Geyer's initial monotone sequence and the last even term
    after it (Vehtari et al. 2021).
    """
    x = to_numpy(samples)
    xp = array_namespace(x)
    n = x.shape[0] // 2
    if n < 2:
        nan = xp.full((*x.shape[1:-2], x.shape[-1]), xp.nan)
        return nan, nan
    halves = xp.concat([x[:n], x[-n:]], axis=-2).astype(xp.float64)
    halves = (
        halves - halves[:1, ..., :1, :]
    )  # what never moved is then exactly 0, and has no variance by rounding
    m = halves.shape[-2]
    with ignore_fp_errors():
        means = xp.mean(halves, axis=0)
        within = xp.mean(xp.var(halves, axis=0, correction=1), axis=-2)
        between = xp.var(means, axis=-2, correction=1)  # of the means, so B/n
        pooled = within * ((n - 1) / n) + between
        r_hat = xp.sqrt(pooled / within)
        # Autocovariances of all chains by the convolution theorem, padded so that the ends do not meet.
        spectrum = xp.fft.rfft(halves - means, n=2 * n, axis=0)
        covariance = xp.mean(
            xp.fft.irfft(xp.abs(spectrum) ** 2, n=2 * n, axis=0)[:n] / n, axis=-2
        )
        correlation = 1.0 - (within - covariance) / pooled
        correlation[0] = 1.0
        pairs = correlation[0 : n - n % 2 : 2] + correlation[1:n:2]
        positive = xp.cumulative_prod(xp.astype(pairs > 0, xp.float64), axis=0)
        monotone = xp.minimum.accumulate(pairs, axis=0) * positive
        # The first pair left out: its even term is still counted, once, where it is positive.
        left_out = (
            xp.concat([xp.ones_like(positive[:1]), positive[:-1]], axis=0) - positive
        )
        last = xp.sum(
            left_out * xp.maximum(correlation[0 : n - n % 2 : 2], 0.0), axis=0
        )
        time = xp.maximum(
            2.0 * xp.sum(monotone, axis=0) - 1.0 + last, 1.0 / math.log10(m * n)
        )
    return r_hat, m * n / time
