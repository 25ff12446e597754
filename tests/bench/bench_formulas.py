"""Formulas and solvers against the obvious NumPy line: a table of ratios of times.

``python -m tests.bench.bench_formulas`` times public functions on NumPy float64, one
thread, validation included, xtol = 0 where the row names no other. "Naive" is the
formula as printed, with np.logaddexp or 1/(1 + np.exp(.)) and np.mean. A ratio is ours
over theirs (smaller is better), or theirs over ours where the row says "faster". Ratios
are medians over interleaved rounds (``timing``).
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from scipy.optimize import brentq  # noqa: E402

from refnce import logz, nce  # noqa: E402
from tests.bench.timing import ratios, row  # noqa: E402


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def naive(name, r_data, r_noise, F):
    """The obvious line for ``name``."""
    F = np.asarray(F)[..., None]
    if name == "loss":
        data, noise = np.logaddexp(0.0, F - r_data), np.logaddexp(0.0, r_noise - F)
        return 0.5 * (np.mean(data, axis=-1) + np.mean(noise, axis=-1))
    a, b = sigmoid(F - r_data), sigmoid(r_noise - F)
    if name == "grad_r":
        return -0.5 * a / a.shape[-1], 0.5 * b / b.shape[-1]
    if name == "hess_F":
        a, b = a * (1.0 - a), b * (1.0 - b)
        return 0.5 * (np.mean(a, axis=-1) + np.mean(b, axis=-1))
    A, B = np.mean(a, axis=-1), np.mean(b, axis=-1)
    return 0.5 * (A - B) if name == "grad_F" else F[..., 0] - np.log(A) + np.log(B)


def naive_bar(r_data, r_noise, F):
    for _ in range(20):
        F = naive("bar_update", r_data, r_noise, F)
    return F


def naive_bisection(r_data, r_noise, lo, hi):
    for _ in range(52):
        F = 0.5 * (lo + hi)
        above = naive("grad_F", r_data, r_noise, F) > 0
        lo, hi = np.where(above, lo, F), np.where(above, F, hi)
    return F


SIZES = {
    "512": ((512,), 31, 20),
    "100 x 512": ((100, 512), 11, 3),
    "1e6": ((10**6,), 7, 1),
}
# must and aim by size; "formula" holds for the three formulas of a mean and grad_r
LIMITS = {
    "formula": {"512": (3, 2), "100 x 512": (2.5, 1.5), "1e6": (2, 1)},
    "bar_update": {"512": (3, 2), "100 x 512": (2.5, 1.5), "1e6": (2, 1)},
    "bar": {"512": (2, 1), "100 x 512": (1.5, 1), "1e6": (1, 1)},
    "bisect": {"512": (1.5, 0.5), "100 x 512": (1, 0.5), "1e6": (0.7, 0.5)},
}


def table(size: str) -> None:
    shape, rounds, calls = SIZES[size]
    rng = np.random.Generator(np.random.PCG64(0))
    pair = rng.normal(1.0, 1.0, shape), rng.normal(0.0, 1.0, shape)
    F = np.full(shape[:-1], 0.4)
    lo, hi = F - 4.0, F + 4.0

    def show(work, peer, ours, theirs, limits):
        ratio = ratios(
            {"ours": ours, "naive": theirs}, "naive", rounds=rounds, calls=calls
        )
        work = f"{work}, {size}"
        print(row(work, peer, ratio["ours"], *limits[size], less_is_better=True))

    for name in ("loss", "grad_F", "hess_F", "grad_r", "bar_update"):
        ours = getattr(logz if name == "bar_update" else nce, name)
        limits = LIMITS.get(name, LIMITS["formula"])
        args = (*pair, F)
        show(name, "naive", lambda: ours(*args), lambda: naive(name, *args), limits)
    if size == "1e6":
        rounds = 3
    by_hand = lambda: naive_bar(*pair, F)  # noqa: E731
    show("bar", "20 naive updates", lambda: logz.bar(*pair), by_hand, LIMITS["bar"])
    by_hand = lambda: naive_bisection(*pair, lo, hi)  # noqa: E731
    work = lambda: logz.bisect(*pair)  # noqa: E731
    show("bisect", "52 naive halvings", work, by_hand, LIMITS["bisect"])


def reversed_samples() -> None:
    """Data scored below the noise, where the solution is on the bracketed way."""
    rng = np.random.Generator(np.random.PCG64(1))
    r_data, r_noise = -6.0 * (6.0 + rng.normal(size=512)), -6.0 * rng.normal(size=512)

    def by_brentq():
        lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
        return brentq(lambda F: float(naive("grad_F", r_data, r_noise, F)), lo, hi)

    works = {"newton": lambda: logz.newton(r_data, r_noise), "brentq": by_brentq}
    ratio = ratios(works, "newton", rounds=31, calls=5)["brentq"]
    print(row("newton on reversed samples, 512, faster", "brentq", ratio, 1, 3))


def other_libraries() -> None:
    """newton on PyTorch and JAX arrays of the CPU, against NumPy."""
    rng = np.random.Generator(np.random.PCG64(2))
    pair = rng.normal(1.0, 1.0, 512), rng.normal(0.0, 1.0, 512)
    for name, must, aim in (("torch", 2, 1.3), ("jax", 3, 1.5)):
        try:
            theirs = [_array(name, r) for r in pair]
        except ImportError:
            print(f"{name} is not installed: its row is left out")
            continue
        works = {
            "theirs": lambda: logz.newton(*theirs),
            "numpy": lambda: logz.newton(*pair),
        }
        ratio = ratios(works, "numpy", rounds=31, calls=20)["theirs"]
        work = f"newton, 512, on {name} arrays"
        print(row(work, "on NumPy's", ratio, must, aim, less_is_better=True))


def _array(name, r):
    if name == "torch":
        import torch

        return torch.from_numpy(r)
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(r)


if __name__ == "__main__":
    # An array of megabytes, freed once, lets malloc keep freed pages: before that every
    # temporary of 100 kB and more is paged in anew, for us and for the naive line.
    np.exp(np.zeros(4_000_000))
    for size in SIZES:
        table(size)
    reversed_samples()
    other_libraries()
