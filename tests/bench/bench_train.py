"""A training step of 5 runs, batch 1024, against a PyTorch loop of the same.

Run ``python -m tests.bench.bench_train``. One method per training: NCE, NCE with a
higher rate of F, BAR, and the root. PyTorch takes the obvious way: one model per run,
autograd for theta, binary search by halving its bracket on the sign of dL/dF to 1e-6.
refnce steps all runs as one array program, with the root by ``newton`` to the same
tolerance. Both end at the same F. One thread; blocks of steps are interleaved; medians.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from refnce import distributions, train  # noqa: E402
from refnce.train import models  # noqa: E402
from refnce.train import Method  # noqa: E402

RUNS, BATCH, XTOL = 5, 1024, 1e-6
BLOCK, BLOCKS = 16, 6  # steps in a block, and blocks, the first of which warms up
MUST, AIM = {1: 5.0, 16: 4.0}, {1: 8.0, 16: 6.0}
Work = Callable[[Any, Any], None]


def problem(d: int) -> tuple[Any, Any, Any, Any, Any, float]:
    """Laws of data and noise, the family, theta0, F0 and the rate.

    The settings are those of Figure 9 (d = 1) and of Figure 3 (d = 16).
    """
    noise = distributions.UnitGaussian(np.zeros(d))
    if d == 1:
        family, theta0 = distributions.UnitGaussian, np.zeros((RUNS, 1))
        return family(np.full(1, 4.0)), noise, family, theta0, np.zeros(RUNS), 1.0
    rng = np.random.Generator(np.random.PCG64(1))
    zeros, family = np.zeros((RUNS, 1, d)), distributions.DiagonalGaussian
    data = family(zeros, rng.uniform(6.0, 12.0, zeros.shape))
    first = family(zeros[:, 0], zeros[:, 0] + 1.0)
    return data, noise, family, first.theta, first.log_z, 0.1


def methods(rate: float) -> dict[str, Method]:
    return {
        "NCE": Method("gradient", rate),
        "NCE, F rate 10x": Method("gradient", 10 * rate),
        "BAR": Method("bar"),
        "root": Method("newton", F_first=True),
    }


class Refnce:
    """All runs of a method as one training."""

    def __init__(self, d: int, name: str) -> None:
        _, noise, family, theta0, F0, rate = problem(d)
        model = models.exponential_family(family, noise)
        training = train.Training(model, methods(rate)[name], rate=rate, xtol=XTOL)
        self.state = train.start(training, theta0, F0)

    def step(self, x_data: Any, x_noise: Any) -> None:
        self.state = train.step(self.state, x_data, x_noise)

    def F(self) -> Any:
        return self.state.F


class TorchLoop:
    """The same steps, one model after another."""

    def __init__(self, d: int, name: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.d, self.name = torch, d, name
        _, _, _, theta0, F0, rate = problem(d)
        rate_F = methods(rate)[name].rate
        self.models = []
        for run in range(RUNS):
            theta = torch.tensor(theta0[run], requires_grad=True)
            F = torch.tensor(F0[run], requires_grad=True)
            groups = [{"params": [theta], "lr": rate}, {"params": [F], "lr": rate_F}]
            if name == "root":
                groups[1]["lr"] = 0.0
            self.models.append((theta, F, torch.optim.SGD(groups)))

    def log_ratios(self, x: Any, theta: Any) -> Any:
        if self.d == 1:
            return x @ theta + 0.5 * distributions.LOG_2PI
        statistics = self.torch.cat([x * x, x], dim=-1)
        log_q = -0.5 * (x * x).sum(-1) - 0.5 * self.d * distributions.LOG_2PI
        return statistics @ theta - log_q

    def step(self, x_data: Any, x_noise: Any) -> None:
        torch = self.torch
        softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
        for run, (theta, F, optimizer) in enumerate(self.models):
            r_data = self.log_ratios(x_data[run], theta)
            r_noise = self.log_ratios(x_noise[run], theta)
            if self.name == "root":
                with torch.no_grad():
                    F.copy_(self.search(r_data, r_noise))
            optimizer.zero_grad()
            loss = 0.5 * (softplus(F - r_data).mean() + softplus(r_noise - F).mean())
            loss.backward()
            if self.name == "BAR":
                with torch.no_grad():
                    A, B = sigmoid(F - r_data).mean(), sigmoid(r_noise - F).mean()
                    F.grad = A.log() - B.log()
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

    def F(self) -> Any:
        return np.asarray([F.item() for _, F, _ in self.models])


def measure(d: int, name: str) -> tuple[float, float]:
    """Median seconds of a step of refnce and of PyTorch, on the same batches.

    Each gets them in the layout that it is fast with: as drawn, and contiguous.
    """
    import torch

    data, noise = problem(d)[:2]
    rng = [np.random.Generator(np.random.PCG64([d, k])) for k in range(2)]
    contestants = Refnce(d, name), TorchLoop(d, name)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(BLOCKS):
        drawn = (
            data.sample(rng[0], BLOCK, RUNS, BATCH),
            noise.sample(rng[1], BLOCK, RUNS, BATCH),
        )
        tensors = [torch.from_numpy(np.ascontiguousarray(z)) for z in drawn]
        for contestant, (x, y), seconds in zip(
            contestants, (drawn, tensors), times, strict=True
        ):
            for k in range(BLOCK):
                start = time.perf_counter()
                contestant.step(x[k], y[k])
                seconds.append(time.perf_counter() - start)
    off = np.max(np.abs(contestants[0].F() - contestants[1].F()))
    if not off < 100 * XTOL:  # the roots' tolerance, step after step
        raise AssertionError(f"{d}-d, {name}: F differs from PyTorch's by {off:.2g}")
    ours, theirs = (statistics.median(seconds[BLOCK:]) for seconds in times)
    return ours, theirs


def main() -> int:
    print(
        f"one training step of {RUNS} runs, batch {BATCH}, root to {XTOL:g}; "
        f"one thread, medians of {BLOCK * (BLOCKS - 1)} steps"
    )
    short = False
    for d in (1, 16):
        ratios = []
        for name in methods(1.0):
            ours, theirs = measure(d, name)
            ratios.append(theirs / ours)
            print(
                f"{d:3d}-d  {name:15s}  {1e3 * ours:7.3f} ms   "
                f"PyTorch loop {1e3 * theirs:7.3f} ms   {ratios[-1]:5.1f}x"
            )
        short = short or min(ratios) < MUST[d]
        print(
            f"{d:3d}-d  the least {min(ratios):.1f}x (must {MUST[d]:g}, aim {AIM[d]:g})"
        )
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
