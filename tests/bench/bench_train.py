"""A training step of 5 runs, batch 1024, against a PyTorch loop of the same.

Run ``python -m tests.bench.bench_train``. One method per training: NCE, NCE with a
higher rate of F, BAR, and the root. PyTorch takes the obvious way: one model per run,
autograd for theta, binary search by halving its bracket on the sign of dL/dF to 1e-6.
refnce steps all runs as one array program, with the root by ``newton`` to the same
tolerance. Both see the same batches, each in the layout that it is fast with (as drawn,
and contiguous), and end at the same F. One thread; interleaved blocks; medians.
"""

from itertools import cycle
from typing import Any

from tests.bench.timing import ratios, row

import numpy as np
import torch

from refnce import distributions, train
from refnce.train import Method, models

torch.set_num_threads(1)
RUNS, BATCH, XTOL, BLOCK = 5, 1024, 1e-6, 16
BOUNDS = {1: (5.0, 8.0), 16: (4.0, 6.0)}  # must and aim by dimension


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
    ten, root = Method("gradient", 10 * rate), Method("newton", F_first=True)
    nce, bar = Method("gradient", rate), Method("bar")
    return {"NCE": nce, "NCE, F rate 10x": ten, "BAR": bar, "root": root}


class TorchLoop:
    """The same steps, one model after another."""

    def __init__(self, d: int, name: str) -> None:
        self.d, self.name, self.models = d, name, []
        _, _, _, theta0, F0, rate = problem(d)
        rate_F = 0.0 if name == "root" else methods(rate)[name].rate
        for run in range(RUNS):
            theta = torch.tensor(theta0[run], requires_grad=True)
            F = torch.tensor(F0[run], requires_grad=True)
            groups = [{"params": [theta], "lr": rate}, {"params": [F], "lr": rate_F}]
            self.models.append((theta, F, torch.optim.SGD(groups)))

    def log_ratios(self, x: Any, theta: Any) -> Any:
        if self.d == 1:
            return x @ theta + 0.5 * distributions.LOG_2PI
        log_q = -0.5 * (x * x).sum(-1) - 0.5 * self.d * distributions.LOG_2PI
        return torch.cat([x * x, x], dim=-1) @ theta - log_q

    def step(self, x_data: Any, x_noise: Any) -> None:
        softplus = torch.nn.functional.softplus
        for run, (theta, F, optimizer) in enumerate(self.models):
            r = [self.log_ratios(x[run], theta) for x in (x_data, x_noise)]
            if self.name == "root":
                with torch.no_grad():
                    F.copy_(search(*r))
            optimizer.zero_grad()
            (0.5 * (softplus(F - r[0]).mean() + softplus(r[1] - F).mean())).backward()
            if self.name == "BAR":
                with torch.no_grad():
                    A, B = (F - r[0]).sigmoid().mean(), (r[1] - F).sigmoid().mean()
                    F.grad = A.log() - B.log()
            optimizer.step()


def search(r_data: Any, r_noise: Any) -> Any:
    lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
    while hi - lo > XTOL:
        F = 0.5 * (lo + hi)
        above = (F - r_data).sigmoid().mean() > (r_noise - F).sigmoid().mean()
        lo, hi = (lo, F) if above else (F, hi)
    return 0.5 * (lo + hi)


def ratio(d: int, name: str) -> float:
    """PyTorch's time of a step over ours."""
    data, noise, family, theta0, F0, rate = problem(d)
    rng = [np.random.Generator(np.random.PCG64([d, k])) for k in range(2)]
    laws = zip((data, noise), rng, strict=True)
    drawn = [law.sample(g, BLOCK, RUNS, BATCH) for law, g in laws]
    tensors = [torch.from_numpy(np.ascontiguousarray(z)) for z in drawn]
    model = models.exponential_family(family, noise)
    training = train.Training(model, methods(rate)[name], rate=rate, xtol=XTOL)
    state, loop = train.start(training, theta0, F0), TorchLoop(d, name)
    batches, copies = (cycle(zip(*z, strict=True)) for z in (drawn, tensors))

    def ours() -> None:
        nonlocal state
        state = train.step(state, *next(batches))

    works = {"ours": ours, "torch": lambda: loop.step(*next(copies))}
    found = ratios(works, "ours", rounds=6, calls=BLOCK)["torch"]
    off = np.max(np.abs(state.F - [F.item() for _, F, _ in loop.models]))
    assert off < 100 * XTOL, (d, name, off)  # the roots' tolerance, step after step
    return found


if __name__ == "__main__":
    for d, bounds in BOUNDS.items():
        for name in methods(1.0):
            work = f"step of {RUNS} runs, {d}-d, {name}"
            print(row(work, "PyTorch loop", ratio(d, name), *bounds), flush=True)
