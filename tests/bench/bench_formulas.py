"""Formulas and solvers against the obvious NumPy line: a table of ratios of times.

``python -m tests.bench.bench_formulas`` times public functions on NumPy float64, one
thread, validation included, xtol = 0 where the row names no other. "Naive" is the
formula as printed, with np.logaddexp or 1/(1 + np.exp(.)) and np.mean. A ratio is ours
over theirs (smaller is better), or theirs over ours where the row says "faster". Ratios
are medians over interleaved rounds (``timing``).
"""

import os
from functools import partial
from importlib import import_module

from tests.bench.timing import ratios, row

import numpy as np
from scipy.optimize import brentq

from refnce import logz, nce

os.environ["JAX_ENABLE_X64"] = "1"


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def means(r_data, r_noise, F):
    """A and B."""
    F = np.asarray(F)[..., None]
    return sigmoid(F - r_data).mean(axis=-1), sigmoid(r_noise - F).mean(axis=-1)


def ends(r_data, r_noise):
    """The pooled extremes, between which the root lies."""
    lo = np.minimum(r_data.min(axis=-1), r_noise.min(axis=-1))
    return lo, np.maximum(r_data.max(axis=-1), r_noise.max(axis=-1))


def naive(name, r_data, r_noise, F):
    """The obvious line for ``name``."""
    if name in ("grad_F", "bar_update"):
        A, B = means(r_data, r_noise, F)
        return 0.5 * (A - B) if name == "grad_F" else F - np.log(A) + np.log(B)
    F = np.asarray(F)[..., None]
    if name == "loss":
        data, noise = np.logaddexp(0.0, F - r_data), np.logaddexp(0.0, r_noise - F)
        return 0.5 * (np.mean(data, axis=-1) + np.mean(noise, axis=-1))
    a, b = sigmoid(F - r_data), sigmoid(r_noise - F)
    if name == "grad_r":
        return -0.5 * a / a.shape[-1], 0.5 * b / b.shape[-1]
    a, b = a * (1.0 - a), b * (1.0 - b)  # hess_F
    return 0.5 * (np.mean(a, axis=-1) + np.mean(b, axis=-1))


def naive_bar(r_data, r_noise, F):
    for _ in range(20):
        F = naive("bar_update", r_data, r_noise, F)
    return F


def naive_bisection(r_data, r_noise, lo, hi, halvings=52):
    for _ in range(halvings):
        F = 0.5 * (lo + hi)
        above = naive("grad_F", r_data, r_noise, F) > 0
        lo, hi = np.where(above, lo, F), np.where(above, F, hi)
    return F


# shape of the log-ratios, rounds and calls
SIZES = {"512": ((512,), 31, 20), "100 x 512": ((100, 512), 11, 3)}
SIZES["1e6"] = (10**6,), 7, 1
# must and aim for these three sizes
FORMULA = (3, 2), (2.5, 1.5), (2, 1)
BAR, BISECT = ((2, 1), (1.5, 1), (1, 1)), ((1.5, 0.5), (1, 0.5), (0.7, 0.5))


def table(size: str) -> None:
    shape, rounds, calls = SIZES[size]
    rng = np.random.Generator(np.random.PCG64(0))
    pair = rng.normal(1.0, 1.0, shape), rng.normal(0.0, 1.0, shape)
    F = np.full(shape[:-1], 0.4)

    def show(work, peer, ours, theirs, limits, rounds=rounds):
        works = {"ours": ours, "naive": theirs}
        ratio = ratios(works, "naive", rounds=rounds, calls=calls)["ours"]
        line = f"{work}, {size}", peer, ratio, *limits[list(SIZES).index(size)]
        print(row(*line, less_is_better=True), flush=True)

    for name in ("loss", "grad_F", "hess_F", "grad_r", "bar_update"):
        ours, args = getattr(logz if name == "bar_update" else nce, name), (*pair, F)
        show(name, "naive", lambda: ours(*args), lambda: naive(name, *args), FORMULA)
    few = {"rounds": min(rounds, 3) if size == "1e6" else rounds}
    solve, peer = partial(logz.bar, *pair), partial(naive_bar, *pair, F)
    show("bar", "20 naive updates", solve, peer, BAR, **few)
    solve = partial(logz.bisect, *pair)
    peer = partial(naive_bisection, *pair, F - 4.0, F + 4.0)
    show("bisect", "52 naive halvings", solve, peer, BISECT, **few)


def reversed_samples() -> None:
    """Data scored below the noise, where the solution is on the bracketed way."""
    rng = np.random.Generator(np.random.PCG64(1))
    r_data, r_noise = -6.0 * (6.0 + rng.normal(size=512)), -6.0 * rng.normal(size=512)

    def by_brentq():
        slope = lambda F: float(naive("grad_F", r_data, r_noise, F))  # noqa: E731
        return brentq(slope, *ends(r_data, r_noise))

    works = {"newton": lambda: logz.newton(r_data, r_noise), "brentq": by_brentq}
    ratio = ratios(works, "newton", rounds=31, calls=5)["brentq"]
    print(row("newton on reversed samples, 512, faster", "brentq", ratio, 1, 3))


def other_libraries() -> None:
    """newton on PyTorch and JAX arrays of the CPU, against NumPy."""
    rng = np.random.Generator(np.random.PCG64(2))
    pair = rng.normal(1.0, 1.0, 512), rng.normal(0.0, 1.0, 512)
    for name, must, aim in (("torch", 2, 1.3), ("jax.numpy", 3, 1.5)):
        try:
            theirs = [import_module(name).from_dlpack(r) for r in pair]
        except ImportError:
            print(f"{name} is not installed: its row is left out")
            continue
        arrays = {"theirs": theirs, "numpy": pair}
        works = {k: partial(logz.newton, *r) for k, r in arrays.items()}
        ratio = ratios(works, "numpy", rounds=31, calls=20)["theirs"]
        work = f"newton, 512, on {name} arrays"
        print(row(work, "on NumPy's", ratio, must, aim, less_is_better=True))


if __name__ == "__main__":
    # An array of megabytes, freed once, lets malloc keep freed pages: before that every
    # temporary of 100 kB and more is paged in anew, for us and for the naive line.
    np.exp(np.zeros(4_000_000))
    for size in SIZES:
        table(size)
    reversed_samples()
    other_libraries()
