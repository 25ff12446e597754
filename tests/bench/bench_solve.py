"""``logz.newton`` against its peers: a table of ratios.

``python -m tests.bench.bench_solve`` times the public function from cold on NumPy
float64, one thread: validation, bracket, standard error and overlap included, at
xtol = 0 where the row names no other (brentq and find_root stop at 2e-12 and closer).
brentq gets the pooled extremes, found within its time, and the obvious function. pymbar
is called as it stands, and its fastest method counts. The naive evaluation is A and B
once, at one F, with NumPy's temporaries as they come. Ratios are medians over
interleaved rounds (``timing``). Every timed result is checked against bisection first.

The rows of 1e6 depend on the process: where malloc returns freed megabytes to the
system, as glibc's does by default, the naive evaluation spends more than half its time
on fresh pages.
"""

from __future__ import annotations

import logging
import os
import tracemalloc

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from scipy.optimize import brentq, elementwise  # noqa: E402

from refnce import logz  # noqa: E402
from tests.bench.timing import ratios, row  # noqa: E402

XTOL = 0.0


def ring(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios of Figure 1: a ring of ten Gaussians against N(0, I) in R^20."""
    angle = 2 * np.pi * (np.arange(10) / 10 + rng.uniform())
    mu = np.zeros((10, 20))
    mu[:, 0], mu[:, 1] = 4 * np.cos(angle), 4 * np.sin(angle)

    def r(x: np.ndarray) -> np.ndarray:
        # log sum_k exp(x mu_k - |mu_k|^2/2) + 10 log 2 pi: |x|^2 cancels
        return np.logaddexp.reduce(x @ mu.T - 8.0, axis=-1) + 10 * np.log(2 * np.pi)

    x = rng.normal(size=(n, 20))
    return r(x + mu[rng.integers(0, 10, n)]), r(rng.normal(size=(n, 20)))


def gaussians(
    n: int, rng: np.random.Generator, d: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios of unit Gaussians d apart."""
    return d * (rng.normal(size=n) + d) - d * d / 2, d * rng.normal(size=n) - d * d / 2


def check(
    F: np.ndarray, r_data: np.ndarray, r_noise: np.ndarray, xtol: float = XTOL
) -> None:
    """Raise unless F is within xtol max(1, |F|) of the root by bisection."""
    exact = logz.bisect(r_data, r_noise).F
    xtol = max(xtol, 1e-15)
    worst = float(np.max(np.abs(F - exact) / np.maximum(1.0, np.abs(exact))))
    if not worst <= xtol:
        raise AssertionError(f"a timed solve is {worst:.1e} off")


def one_solve(
    label: str, r_data: np.ndarray, r_noise: np.ndarray, pymbar: object
) -> list[str]:
    def h(F: float) -> float:
        return float(
            np.log(np.mean(1 / (1 + np.exp(r_data - F))))
            - np.log(np.mean(1 / (1 + np.exp(F - r_noise))))
        )

    def by_brentq() -> float:
        lo = min(np.min(r_data), np.min(r_noise))
        hi = max(np.max(r_data), np.max(r_noise))
        return brentq(h, lo, hi)

    works = {
        "newton": lambda: logz.newton(r_data, r_noise, xtol=XTOL).F,
        "brentq": by_brentq,
    }
    for method in (
        ("self-consistent-iteration", "false-position", "bisection") if pymbar else ()
    ):
        works[method] = lambda method=method: -pymbar.bar(
            -r_noise, r_data, method=method
        )["Delta_f"]
    check(works["newton"](), r_data, r_noise)
    times = ratios(works, "newton", rounds=31, calls=20)
    rows = [row(f"one solve, 512 + 512, {label}", "brentq", times["brentq"], 3, 5)]
    if pymbar:
        fastest = min((times[k], k) for k in works if k not in ("newton", "brentq"))
        rows.append(
            row(
                f"one solve, 512 + 512, {label}",
                f"pymbar {fastest[1]}",
                fastest[0],
                12,
                20,
            )
        )
    return rows


def large_solve(label: str, r_data: np.ndarray, r_noise: np.ndarray) -> list[str]:
    F = float(logz.newton(r_data, r_noise).F) + 0.01

    def naive() -> tuple[float, float]:
        return np.mean(1 / (1 + np.exp(r_data - F))), np.mean(
            1 / (1 + np.exp(F - r_noise))
        )

    rows = []
    for xtol in (1e-9, XTOL, 0.0):
        solve = {
            "newton": lambda xtol=xtol: logz.newton(r_data, r_noise, xtol=xtol).F,
            "naive": naive,
        }
        check(solve["newton"](), r_data, r_noise, max(xtol, XTOL))
        ratio = ratios(solve, "naive", rounds=15, calls=3)["newton"]
        work = f"one solve, 1e6 + 1e6, {label}, xtol {xtol:g}"
        rows.append(
            row(
                work,
                "one naive evaluation of A and B",
                ratio,
                1.0,
                0.5,
                less_is_better=True,
            )
        )
    tracemalloc.start()
    logz.newton(r_data, r_noise)
    peak = tracemalloc.get_traced_memory()[1] / (r_data.nbytes + r_noise.nbytes)
    tracemalloc.stop()
    rows.append(
        row(
            f"memory of a solve, 1e6 + 1e6, {label}, xtol 0",
            "its input",
            peak,
            2.0,
            2.0,
            less_is_better=True,
        )
    )
    return rows


def many_solves(
    label: str, r_data: np.ndarray, r_noise: np.ndarray, pymbar: object
) -> list[str]:
    def h(F: np.ndarray, run: np.ndarray) -> np.ndarray:
        run, F = run.astype(int), F[..., None]
        A, B = np.mean(1 / (1 + np.exp(r_data[run] - F)), axis=-1), np.mean(
            1 / (1 + np.exp(F - r_noise[run])), axis=-1
        )
        return np.log(A) - np.log(B)

    runs = np.arange(len(r_data), dtype=float)

    def ends() -> tuple[np.ndarray, np.ndarray]:
        return np.minimum(r_data.min(-1), r_noise.min(-1)), np.maximum(
            r_data.max(-1), r_noise.max(-1)
        )

    def bisection() -> np.ndarray:
        lo, hi = ends()
        for _ in range(60):
            F = 0.5 * (lo + hi)
            above = h(F, runs) > 0
            lo, hi = np.where(above, lo, F), np.where(above, F, hi)
        return F

    works = {
        "newton": lambda: logz.newton(r_data, r_noise, xtol=XTOL).F,
        "find_root": lambda: elementwise.find_root(h, ends(), args=(runs,)).x,
        "bisection": bisection,
    }
    check(works["newton"](), r_data, r_noise)
    times = ratios(works, "newton", rounds=15, calls=3)
    work = f"{len(r_data)} solves, 512 + 512, {label}"
    rows = [
        row(work, "scipy elementwise.find_root", times["find_root"], 3, 6),
        row(work, "batched bisection, 60 steps", times["bisection"], 15, 30),
    ]
    if pymbar:
        loop = {
            "newton": works["newton"],
            "pymbar": lambda: [
                pymbar.bar(-b, a) for a, b in zip(r_data, r_noise, strict=True)
            ],
        }
        times = ratios(loop, "newton", rounds=5, calls=3)
        rows.append(
            row(work, "a loop of pymbar (its default)", times["pymbar"], 60, 120)
        )
    return rows


def main() -> None:
    logging.disable(logging.WARNING)  # pymbar announces each solve
    try:
        import pymbar
    except ImportError:
        pymbar = None
        print("pymbar is not installed: its rows are left out (extra bench)")
    rng = np.random.Generator(np.random.PCG64(0))
    laws = {"ring": ring, "Gaussians 1 apart": gaussians}
    # Drawn first, because glibc keeps freed pages only once a process has freed an
    # array of megabytes. Before that, arrays of 100 kB take up to four times as long.
    large = {label: law(10**6, rng) for label, law in laws.items()}
    for label, law in laws.items():
        print(*one_solve(label, *law(512, rng), pymbar), sep="\n", flush=True)
        many = [law(512, rng) for _ in range(100)]
        print(
            *many_solves(
                label,
                np.stack([a for a, _ in many]),
                np.stack([b for _, b in many]),
                pymbar,
            ),
            sep="\n",
            flush=True,
        )
        print(*large_solve(label, *large[label]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
