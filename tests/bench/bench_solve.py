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

import logging
from typing import Any

from tests.bench.timing import ratios, row

import numpy as np
from scipy.optimize import brentq, elementwise

from refnce import logz
from tests.bench.bench_formulas import ends, means, naive_bisection
from tests.regimes import gaussian_1d, ring

try:
    import pymbar
except ImportError:
    print("pymbar is not installed: its rows are left out (extra bench)")
    pymbar = None
PYMBAR_METHODS = ("self-consistent-iteration", "false-position", "bisection")


def newton(*pair: Any, xtol: float = 0.0) -> Any:
    """The solve to be timed, after a check against bisection."""
    exact, F = logz.bisect(*pair).F, logz.newton(*pair, xtol=xtol).F
    worst = float(np.max(np.abs(F - exact) / np.maximum(1.0, np.abs(exact))))
    units = 8 * np.finfo(float).eps  # both solvers are right to 4
    assert worst <= xtol + units, f"a timed solve is {worst:.1e} off"
    return lambda: logz.newton(*pair, xtol=xtol).F


def log_ratio_of_means(F: Any, r_data: Any, r_noise: Any) -> Any:
    A, B = means(r_data, r_noise, F)
    return np.log(A) - np.log(B)


def one_solve(law: str, r_data: Any, r_noise: Any) -> None:
    pair, work = (r_data, r_noise), f"one solve, 512 + 512, {law}"
    works = {"newton": newton(*pair)}
    works["brentq"] = lambda: brentq(log_ratio_of_means, *ends(*pair), args=pair)
    for method in PYMBAR_METHODS if pymbar else ():
        works[method] = lambda m=method: pymbar.bar(-r_noise, r_data, method=m)
    times = ratios(works, "newton", rounds=31, calls=20)
    print(row(work, "brentq", times["brentq"], 3, 5), flush=True)
    if pymbar:
        least = min(PYMBAR_METHODS, key=times.__getitem__)
        print(row(work, f"pymbar {least}", times[least], 12, 20), flush=True)


def many_solves(law: str, r_data: Any, r_noise: Any) -> None:
    pair, runs = (r_data, r_noise), np.arange(len(r_data), dtype=float)
    work = f"{len(runs)} solves, 512 + 512, {law}"

    def h(F: Any, run: Any) -> Any:
        return log_ratio_of_means(F, *(r[run.astype(int)] for r in pair))

    works = {"newton": newton(*pair)}
    works["find_root"] = lambda: elementwise.find_root(h, ends(*pair), args=(runs,)).x
    works["bisection"] = lambda: naive_bisection(*pair, *ends(*pair), halvings=60)
    times = ratios(works, "newton", rounds=15, calls=3)
    print(row(work, "scipy elementwise.find_root", times["find_root"], 4, 6))
    print(row(work, "batched bisection, 60 steps", times["bisection"], 15, 30))
    if pymbar:
        loop = lambda: [pymbar.bar(-b, a) for a, b in zip(*pair)]  # noqa: E731
        works = {"newton": works["newton"], "pymbar": loop}
        ratio = ratios(works, "newton", rounds=5, calls=3)["pymbar"]
        print(row(work, "a loop of pymbar (its default)", ratio, 60, 120))


def large_solve(law: str, *pair: Any) -> None:
    solve, F = newton(*pair, xtol=1e-9), logz.newton(*pair).F + 0.01
    works = {"newton": solve, "naive": lambda: means(*pair, F)}
    ratio = ratios(works, "naive", rounds=15, calls=3)["newton"]
    work, peer = f"one solve, 1e6 + 1e6, {law}, xtol 1e-9", "one evaluation of A and B"
    print(row(work, peer, ratio, 1.0, 0.5, less_is_better=True), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # pymbar announces each solve
    laws = {"ring": ring}
    laws["Gaussians 1 apart"] = lambda seed, n: gaussian_1d(1.0, 1.0, n, n, seed)
    # Drawn first, because glibc keeps freed pages only once a process has freed an
    # array of megabytes. Before that, arrays of 100 kB take up to four times as long.
    large = {label: law(0, 10**6) for label, law in laws.items()}
    for label, law in laws.items():
        one_solve(label, *law(1, 512))
        many = zip(*(law(seed, 512) for seed in range(100)), strict=True)
        many_solves(label, *map(np.stack, many))
        large_solve(label, *large[label])
