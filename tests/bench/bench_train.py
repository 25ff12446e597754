"""One training step of 5 runs x 4 methods, batch 1024, against a PyTorch loop of the same: ``python -m tests.bench.bench_train``.

The methods are NCE, NCE with a higher F rate, BAR and binary search. PyTorch runs them the obvious way: one model per
run and method, autograd for theta, binary search by halving its bracket on the sign of dL/dF to 1e-6. refnce does one step
of one array program, with the root by ``bisect`` or ``newton`` to the same tolerance; both roots are checked against
each other. One thread, blocks of steps interleaved, medians.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import functools  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from refnce import distributions, train  # noqa: E402
from refnce.train import models  # noqa: E402
from refnce.train.algorithm1 import Method  # noqa: E402

RUNS, BATCH, XTOL = 5, 1024, 1e-6
BLOCK = 16  # batches are drawn in blocks of steps, as a training draws them
BLOCKS = 10
MUST = {1: 10.0, 16: 6.0}
AIM = {1: 25.0, 16: 15.0}


def problem(d: int) -> tuple[Any, Any, Any, Any, Any, float]:
    """Data and noise laws, the family, theta0 and F0 (runs, 1, ...), and the rate: Figure 9's setting and Figure 3's."""
    noise = distributions.UnitGaussian(np.zeros(d))
    if d == 1:
        return (
            distributions.UnitGaussian(np.full(1, 4.0)),
            noise,
            distributions.UnitGaussian,
            np.zeros((RUNS, 1, 1)),
            np.zeros((RUNS, 1)),
            1.0,
        )
    rng = np.random.Generator(np.random.PCG64(1))
    zeros = np.zeros((RUNS, 1, d))
    first = distributions.DiagonalGaussian(zeros, zeros + 1.0)
    data = distributions.DiagonalGaussian(zeros, rng.uniform(6.0, 12.0, zeros.shape))
    return data, noise, distributions.DiagonalGaussian, first.theta, first.log_z, 0.1


def refnce_state(d: int, solver: str) -> train.State:
    _, noise, family, theta0, F0, rate = problem(d)
    methods = (
        Method("gradient", rate),
        Method("gradient", 10 * rate),
        Method("bar"),
        Method(solver, order="first"),
    )
    training = train.Training(
        models.exponential_family(family, noise), methods, rate=rate, xtol=XTOL
    )
    return train.start(training, np.repeat(theta0, 4, axis=1), np.repeat(F0, 4, axis=1))


class TorchLoop:
    """The same step, one model after another."""

    def __init__(self, d: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.d = torch, d
        _, _, _, theta0, F0, rate = problem(d)
        self.models = []
        for run in range(RUNS):
            for method, F_rate in (
                ("nce", rate),
                ("nce", 10 * rate),
                ("bar", 1.0),
                ("search", 0.0),
            ):
                theta = torch.tensor(theta0[run, 0], requires_grad=True)
                F = torch.tensor(F0[run, 0], requires_grad=True)
                groups = [
                    {"params": [theta], "lr": rate},
                    {"params": [F], "lr": F_rate},
                ]
                self.models.append((run, method, theta, F, torch.optim.SGD(groups)))

    def log_ratios(self, x: Any, theta: Any) -> Any:
        if self.d == 1:
            return x @ theta + 0.5 * distributions.LOG_2PI
        statistics = self.torch.cat([x * x, x], dim=-1)
        return (
            statistics @ theta
            + 0.5 * (x * x).sum(-1)
            + 0.5 * self.d * distributions.LOG_2PI
        )

    def step(self, x_data: Any, x_noise: Any) -> None:
        torch = self.torch
        softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
        for run, method, theta, F, optimizer in self.models:
            r_data, r_noise = self.log_ratios(x_data[run], theta), self.log_ratios(
                x_noise[run], theta
            )
            if method == "search":
                with torch.no_grad():
                    F.copy_(self.search(r_data, r_noise))
            optimizer.zero_grad()
            loss = 0.5 * (softplus(F - r_data).mean() + softplus(r_noise - F).mean())
            loss.backward()
            if method == "bar":
                with torch.no_grad():
                    F.grad = (
                        sigmoid(F - r_data).mean().log()
                        - sigmoid(r_noise - F).mean().log()
                    )
            optimizer.step()

    def search(self, r_data: Any, r_noise: Any) -> Any:
        lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
        while hi - lo > XTOL:
            middle = 0.5 * (lo + hi)
            if (middle - r_data).sigmoid().mean() > (r_noise - middle).sigmoid().mean():
                hi = middle
            else:
                lo = middle
        return 0.5 * (lo + hi)


def measure(d: int) -> dict[str, float]:
    """Median seconds of a step by contestant, on the same batches, block after block; the four methods end at the same F."""
    import torch

    data, noise = problem(d)[:2]
    rng = [np.random.Generator(np.random.PCG64([d, k])) for k in range(2)]
    loop = TorchLoop(d)
    states = {name: refnce_state(d, name) for name in ("newton", "bisect")}
    times: dict[str, list[float]] = {"torch": [], "newton": [], "bisect": []}

    def timed(name: str, work: Callable[[int], None]) -> None:
        for k in range(BLOCK):
            start = time.perf_counter()
            work(k)
            times[name].append(time.perf_counter() - start)

    for _ in range(BLOCKS):
        x, y = data.sample(rng[0], BLOCK, RUNS, BATCH), noise.sample(
            rng[1], BLOCK, RUNS, BATCH
        )
        tensors = [
            [torch.from_numpy(np.ascontiguousarray(z[k])) for z in (x, y)]
            for k in range(BLOCK)
        ]

        def advance(name: str, k: int, x: Any = x, y: Any = y) -> None:
            states[name] = train.step(states[name], x[k], y[k])

        for name in states:
            timed(name, functools.partial(advance, name))
        timed("torch", lambda k, tensors=tensors: loop.step(*tensors[k]))  # type: ignore[misc]
    F_torch = np.array([F.item() for _, _, _, F, _ in loop.models]).reshape(RUNS, 4)
    for name, state in states.items():
        off = np.max(np.abs(state.F - F_torch))
        if (
            not off < 100 * XTOL
        ):  # the paths differ by the tolerance of their roots, step after step
            raise AssertionError(
                f"{d}-d, {name}: F differs from PyTorch's by {off:.2g}"
            )
    return {name: statistics.median(values[BLOCK:]) for name, values in times.items()}


def main() -> int:
    print(
        f"one training step, {RUNS} runs x 4 methods, batch {BATCH}, root to {XTOL:g}; "
        f"one thread, medians of {BLOCK * (BLOCKS - 1)} steps"
    )
    short = False
    for d in (1, 16):
        seconds = measure(d)
        for name in ("newton", "bisect"):
            ratio = seconds["torch"] / seconds[name]
            goal = (
                f"(must {MUST[d]:g}, aim {AIM[d]:g})"
                if name == "newton"
                else "(for comparison)"
            )
            print(
                f"{d:3d}-d  {name:7s} {1e3 * seconds[name]:7.3f} ms   "
                f"PyTorch loop {1e3 * seconds['torch']:7.3f} ms   {ratio:5.1f}x {goal}"
            )
            short = short or (name == "newton" and ratio < MUST[d])
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
