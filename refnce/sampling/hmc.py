"""Hamiltonian Monte Carlo on an unnormalised log-density, for many chains at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from refnce.array import Array, array_namespace, asarray, check_arrays, check_count
from refnce.array import check_positive, device, host, ignore_fp_errors, invalid
from refnce.array import make_rng, shape_of, to_numpy

Density = Callable[[Array], tuple[Array, Array]]
KEY = 0x686D63  # spawn key reserved for the random streams of this module


@dataclass(frozen=True)
class Chains:
    """Result of ``hmc``: the samples after the warm-up and how well the chains moved.

    Parameters
    ----------
    samples : array (steps, ..., chains, d)
        ``effective_sample_size(samples)`` says how many independent ones they equal.
    acceptance : array (..., chains)
        Mean probability of acceptance after the warm-up.
    step_size : float
        The step size that the warm-up found.
    """

    samples: Array
    acceptance: Array
    step_size: float


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
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Chains:
    """Sample exp(E) by Hamiltonian Monte Carlo.

    Parameters
    ----------
    density : callable
        x (..., chains, d) -> (E (..., chains), dE/dx (..., chains, d)), an unnormalised
        log-density and its gradient; ``train.models.energy`` makes one of a network.
    x : array (..., chains, d)
        The start of each chain.
    rng : numpy.random.Generator
        Its spawned children draw all random numbers, on the host.
    steps, warmup : int
        Steps whose samples are returned, and steps before them that set the step size.
    leapfrog : int
        Each trajectory has 1 to ``leapfrog`` leapfrog steps, drawn uniformly, so that
        its length does not stay at a period of the target. With 1 this is the
        Metropolis-adjusted Langevin algorithm (MALA), for which ``target`` 0.574 suits.
    step_size : float
        Length of the first leapfrog step; without warm-up, of all.
    target : float
        Mean acceptance that the warm-up aims at.
    progress : callable
        Wraps the range of steps, as ``tqdm.tqdm`` does.

    Returns
    -------
    Chains
        In the library, dtype and device of x.

    Raises
    ------
    TypeError
        If x is not an array of floats or rng is not a NumPy Generator.
    ValueError
        If an argument is out of its range; if density returns other shapes; if x, E or
        dE/dx is not finite at the start, naming the chains; if samples exceed the
        square root of the largest float or the step size grows 1e15 times, as happens
        where exp(E) has no finite integral.

    Notes
    -----
    A proposal follows H(x, p) = -E(x) + |p|^2/2 with p ~ N(0, I) by leapfrog steps.
    They preserve volume and are reversible, so acceptance with probability
    min(1, exp(H - H')) leaves exp(E) invariant for every step size. A proposal is
    rejected if x or H' is not finite.

    During the warm-up dual averaging moves the step size until the mean acceptance is
    ``target`` (Hoffman and Gelman 2014, Section 3.2.1). All chains and leading axes
    share one step size: rescale targets of different widths or sample them separately.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.sampling import hmc
    >>> rng = np.random.default_rng(0)
    >>> def density(x):  # N(3, 1)
    ...     return -0.5 * ((x - 3.0) ** 2).sum(-1), 3.0 - x
    >>> chains = hmc(density, np.zeros((16, 1)), rng, steps=500, warmup=100)
    >>> print(chains.samples.shape, chains.samples.mean().round(1))
    (500, 16, 1) 3.0
    """
    xp = check_arrays(x=x)
    if x.ndim < 2 or 0 in x.shape:
        must = "be (..., chains, d) with chains >= 1 and d >= 1"
        raise invalid("x", must, shape_of(x), "one chain is x[None, :]")
    if not hasattr(rng, "bit_generator"):
        got, remedy = type(rng).__name__, "pass numpy.random.default_rng(seed)"
        raise invalid("rng", "be a NumPy Generator", got, remedy, TypeError)
    check_count("steps", steps, 1)
    check_count("warmup", warmup, 0)
    check_count("leapfrog", leapfrog, 1)
    check_positive("step_size", step_size)
    check_positive("target", target)
    if target >= 1:
        raise invalid("target", "be < 1", target)
    E, grad = density(x)
    _check_start(x, E, grad)
    like_x = partial(asarray, xp=xp, dtype=x.dtype, device=device(x))
    size = like_x(step_size)
    mu, lack, averaged = xp.log(10.0 * size), 0.0 * size, 0.0 * size
    momenta, thresholds, lengths = _streams(rng, 3)
    kept, accepted = [], xp.zeros_like(E)
    for k in progress(range(warmup + steps)):
        p = like_x(momenta.standard_normal(x.shape))
        threshold = like_x(thresholds.random(E.shape))
        length = int(lengths.integers(1, leapfrog + 1))
        x_new, p_new, E_new, grad_new = _leapfrog(density, x, p, grad, size, length)
        kinetic = xp.sum(p**2, axis=-1) - xp.sum(p_new**2, axis=-1)
        gain = (E_new - E) + 0.5 * kinetic  # H - H'
        finite = xp.isfinite(gain) & xp.all(xp.isfinite(x_new), axis=-1)
        probability = xp.exp(xp.minimum(xp.where(finite, gain, -xp.inf), 0.0))
        accept = threshold < probability
        x = xp.where(accept[..., None], x_new, x)
        grad = xp.where(accept[..., None], grad_new, grad)
        E = xp.where(accept, E_new, E)
        if k < warmup:
            lack, averaged, log_size = _dual_averaging(
                k + 1, mu, lack, averaged, target - xp.mean(probability)
            )
            size = xp.exp(averaged if k == warmup - 1 else log_size)
        else:
            kept.append(x)
            accepted = accepted + probability
    samples, found = xp.stack(kept), float(size)
    largest = float(xp.max(xp.abs(samples)))
    if largest > float(xp.finfo(x.dtype).max) ** 0.5 or found > 1e15 * step_size:
        why = "the target is improper (exp(E) has no finite integral), or step_size bad"
        raise ValueError(f"samples reach {largest:.3g}, step size {found:.3g}: {why}")
    return Chains(samples, accepted / steps, found)


def _check_start(x, E, grad):
    """Raise unless E and grad have their shapes and all three are finite."""
    if (E.shape, grad.shape) != (x.shape[:-1], x.shape):
        raise invalid("density", f"return {shape_of(x[..., 0], x)}", shape_of(E, grad))
    xp = array_namespace(x)
    finite = xp.all(xp.isfinite(x) & xp.isfinite(grad), axis=-1) & xp.isfinite(E)
    bad = to_numpy(~finite)
    if bad.any():
        chains = host.argwhere(bad)[:5].tolist()
        must = "start each chain where x, E and dE/dx are finite"
        got = f"{bad.sum()} of {bad.size} that do not: chains {chains}"
        raise invalid("x", must, got)


def _leapfrog(density, x, p, grad, size, length):
    """(x, p, E, dE/dx) after ``length`` leapfrog steps."""
    half = 0.5 * size
    for _ in range(length):
        p = p + half * grad
        x = x + size * p
        E, grad = density(x)
        p = p + half * grad
    return x, p, E, grad


def _dual_averaging(t, mu, lack, averaged, shortfall):
    """Update t = 1, 2, ... of Hoffman and Gelman 2014, Section 3.2.1.

    Returns the mean lack of acceptance, the averaged and the next log step size.
    """
    gamma, t0, kappa = 0.05, 10.0, 0.75
    w, decay = 1.0 / (t + t0), t**-kappa
    lack = (1.0 - w) * lack + w * shortfall
    log_size = mu - (t**0.5 / gamma) * lack
    return lack, decay * log_size + (1.0 - decay) * averaged, log_size


def _streams(rng, count):
    """Child generators of ``rng``, new at each call.

    They use a reserved spawn key, because ``rng.spawn`` would reproduce the streams of
    ``make_rng``, from which the batches of a training are drawn.
    """
    child = rng.bit_generator.seed_seq.spawn(1)[0]
    return [make_rng(child.entropy, *child.spawn_key, KEY, k) for k in range(count)]
