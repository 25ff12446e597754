"""The paper's network against PyTorch: ``python -m tests.bench.bench_nn``.

One step of Algorithm 1 on the MLP 2-128-64-1 with 512 data and 512 noise samples:
forward, BAR update of F, gradient, Adam; PyTorch does it eagerly with its autograd.
Then 64 chains of MALA and HMC on that network's energy, each library with its own
random numbers. Both use the same samples, parameters and formulas, and their F are
compared. One thread; ratios are medians over interleaved rounds.

The flop limit is the time that the step's matrix products would take at the speed of
the largest of them, which is measured beside it.
"""

from typing import Any

from tests.bench.timing import ratios, row

import numpy as np
import torch

from refnce import distributions, nn, optim, sampling, train
from refnce.nn.params import Flat
from refnce.train import Method, Training, models
from tests.regimes import rng

torch.set_num_threads(1)
BATCH, RATE, STEPS = 512, 1e-3, 50
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
FLAT = Flat(SHAPES)
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
DATA = distributions.RingMixture(2, 8, 4.0 / 2**0.5, sd=0.5 / 2**0.5)
LOG_Q0 = np.log(2.0) + distributions.LOG_2PI  # log q(x) = -|x|^2 / 4 - LOG_Q0
# forward, gradient of the weights, gradient of all activations but the first
FLOPS = 2 * 2 * BATCH * (3 * (2 * 128 + 128 * 64 + 64) - 2 * 128)


def first_theta(dtype: str) -> np.ndarray:
    return FLAT.ravel(nn.init_params(SHAPES, rng(0))).astype(dtype)


def torch_net(theta: np.ndarray) -> Any:
    linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
    layers = linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
    net = torch.nn.Sequential(*layers).to(getattr(torch, theta.dtype.name))
    params = {k: torch.from_numpy(p.copy()) for k, p in FLAT.unravel(theta).items()}
    net.load_state_dict(params)
    return net


def step_rows(dtype: str) -> list[str]:
    theta = first_theta(dtype)
    x, y = (law.sample(rng(k), BATCH) for k, law in ((1, DATA), (2, NOISE)))
    x, y = x.astype(dtype), y.astype(dtype)
    model = models.network(nn.mlp, SHAPES, NOISE)
    training = Training(model, Method("bar"), optim.adam, RATE)
    state = train.start(training, theta, np.zeros((), dtype))
    net, z = torch_net(theta), torch.from_numpy(np.concatenate([x, y]))
    adam = torch.optim.Adam(net.parameters(), lr=RATE)
    F = torch.zeros((), dtype=z.dtype)
    softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid

    def ours() -> None:
        nonlocal state
        state = train.step(state, x, y)

    def theirs() -> None:
        nonlocal F
        r = net(z)[:, 0] + 0.25 * (z * z).sum(-1) + LOG_Q0
        data, noise = F - r[:BATCH], r[BATCH:] - F
        adam.zero_grad()
        (0.5 * (softplus(data).mean() + softplus(noise).mean())).backward()
        adam.step()
        with torch.no_grad():
            F = F - sigmoid(data).mean().log() + sigmoid(noise).mean().log()

    for _ in range(5):
        ours()
        theirs()
    error = abs(float(state.F) - float(F))  # rounding, which Adam magnifies
    assert error <= (2e-2 if dtype == "float32" else 1e-5), error
    A, B = rng(3).normal(size=(2 * BATCH, 128)), rng(4).normal(size=(128, 64))
    A, B = A.astype(dtype), B.astype(dtype)
    works = {"refnce": ours, "torch": theirs, "product": lambda: A @ B}
    times = ratios(works, "refnce", rounds=31, calls=10)
    part = 2 * 2 * BATCH * 128 * 64 / (times["product"] * FLOPS)
    work = f"MLP step, 512 + 512, BAR, Adam, {dtype}"
    limit = row(work, "its flop limit", part, 1.8, 1.4, less_is_better=True)
    return [row(work, "PyTorch eager", times["torch"], 1.5, 2.2), limit]


def chains_row(sampler: str, leapfrog: int) -> str:
    """64 chains at step size 0.1, for equal numbers of leapfrog steps."""
    theta, start = first_theta("float32"), NOISE.sample(rng(5), 64).astype("float32")
    density = models.energy(nn.mlp, SHAPES, theta)
    options = {"steps": STEPS, "warmup": 0, "leapfrog": leapfrog, "step_size": 0.1}
    works = {"refnce": lambda: sampling.hmc(density, start, rng(6), **options)}
    works["torch"] = torch_chains(theta, start, leapfrog)
    ratio = ratios(works, "refnce", rounds=9)["torch"]
    return row(f"64 chains, {sampler}", "PyTorch eager", ratio, 4.0, 7.0)


def torch_chains(theta: np.ndarray, start: np.ndarray, leapfrog: int) -> Any:
    net = torch_net(theta).requires_grad_(False)
    # the lengths that ``sampling.hmc`` draws from this seed
    lengths = rng(6).spawn(3)[2].integers(1, leapfrog + 1, size=STEPS).tolist()

    def density(x: Any) -> Any:
        x = x.detach().requires_grad_()
        E = net(x)[:, 0]
        return E.detach(), torch.autograd.grad(E.sum(), x)[0]

    def sample() -> Any:
        generator = torch.Generator().manual_seed(0)
        x, kept = torch.from_numpy(start), []
        E, dE = density(x)
        for count in lengths:
            p = torch.randn(x.shape, generator=generator)
            q, p_new, E_new, dE_new = x, p, E, dE
            for _ in range(count):
                p_new = p_new + 0.05 * dE_new
                q = q + 0.1 * p_new
                E_new, dE_new = density(q)
                p_new = p_new + 0.05 * dE_new
            gain = E_new - E + 0.5 * ((p * p).sum(-1) - (p_new * p_new).sum(-1))
            accept = torch.rand(gain.shape, generator=generator) < gain.exp()
            x = torch.where(accept[:, None], q, x)
            dE = torch.where(accept[:, None], dE_new, dE)
            E = torch.where(accept, E_new, E)
            kept.append(x)
        return torch.stack(kept)

    return sample


if __name__ == "__main__":
    # glibc returns freed memory to the system, and faults it in again page by page,
    # until a large array has been freed once.
    np.ones(4_000_000)
    print(*step_rows("float32"), *step_rows("float64"), sep="\n", flush=True)
    print(chains_row("MALA", 1), chains_row("HMC, 10 leapfrog steps", 10), sep="\n")
