"""The paper's network against PyTorch and JAX: ``python -m tests.bench.bench_nn``.

One step of Algorithm 1 on the MLP 2-128-64-1 with 512 data and 512 noise samples:
forward, BAR update of F, gradient, Adam; PyTorch does it eagerly with its autograd,
JAX as one jitted function. Then a step of each of 20 trainings (5 seeds x 4 methods),
against 20 PyTorch models and a vmapped JAX step. All use the same samples, parameters
and formulas, and their F are compared. One thread on one processor; ratios are medians
over interleaved rounds.

The flop limit is the time that the step's matrix products would take at the speed of
the largest of them, which is measured beside it.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.bench.network import BAR, BATCH, METHODS, Jax, Refnce, Torch, rng
from tests.bench.timing import ratios, row

import numpy as np

# forward, gradient of the weights, gradient of all activations but the first
FLOPS = 2 * 2 * BATCH * (3 * (2 * 128 + 128 * 64 + 64) - 2 * 128)


def check(contestants: dict[str, Any], dtype: str, steps: int) -> None:
    """Raise unless all have the same F after some steps, to what Adam magnifies."""
    for _ in range(steps):
        for contestant in contestants.values():
            contestant.step()
    bound, right = 2e-2 if dtype == "float32" else 1e-5, contestants["refnce"].F()
    for name, contestant in contestants.items():
        error = float(np.max(np.abs(contestant.F() - right)))
        if not error <= bound:
            raise AssertionError(f"{dtype}: F of {name} is off by {error:.1e}")


def product(dtype: str) -> Any:
    A = rng(3).normal(size=(2 * BATCH, 128)).astype(dtype)
    B = rng(4).normal(size=(128, 64)).astype(dtype)
    return lambda: A @ B


def table_rows(
    work: str, works: dict[str, Any], bounds: dict[str, Any], **counts: int
) -> tuple[list[str], dict[str, float]]:
    """Rows of the installed peers, and all ratios; bounds: label, must, aim."""
    times = ratios(works, "refnce", **counts)
    peers = [name for name in bounds if name in times]
    rows = [(bounds[name][0], times[name], *bounds[name][1:]) for name in peers]
    return [row(work, *each) for each in rows], times


def contestants(peers: dict[str, Any], steps: int, *args: Any) -> dict[str, Any]:
    made = {name: peer(*args) for name, peer in peers.items()}
    check(made, args[0], steps)
    return {name: each.step for name, each in made.items()}


def steps_table(peers: dict[str, Any]) -> list[str]:
    table = []
    for dtype in ("float32", "float64"):
        works = contestants(peers, 5, dtype, BAR, 1) | {"product": product(dtype)}
        work = f"MLP step, 512 + 512, BAR, Adam, {dtype}"
        bounds = {"torch": ("PyTorch eager", 1.5, 2.2), "jax": ("JAX jit", 1.0, 1.2)}
        rows, times = table_rows(work, works, bounds, rounds=31, calls=10)
        part = 2 * 2 * BATCH * 128 * 64 / (times["product"] * FLOPS)
        limit = row(work, "its flop limit", part, 1.8, 1.4, less_is_better=True)
        table += [*rows, limit]
    works = contestants(peers, 2, "float32", METHODS, 5)
    work = "20 runs, 5 seeds x 4 methods, float32"
    bounds = {"torch": ("20 PyTorch models", 1.5, 2.0), "jax": ("JAX vmap", 1.8, 2.4)}
    return table + table_rows(work, works, bounds, rounds=9, calls=3)[0]


def main(table: Any = steps_table) -> int:
    peers: dict[str, Any] = {"refnce": Refnce}
    for name, peer in (("torch", Torch), ("jax", Jax)):
        try:
            __import__(name)
        except ImportError:
            print(f"{name} is not installed: its rows are left out")
        else:
            peers[name] = peer
    # glibc returns freed memory to the system, and faults it in again page by page,
    # until a large array has been freed once.
    large = np.ones(4_000_000)
    del large
    lines = table(peers)
    print(*lines, sep="\n")
    return int(any("MISSED" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
