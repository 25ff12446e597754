"""64 chains of MALA and HMC on the paper's network, against PyTorch and JAX.

``python -m tests.bench.bench_chains`` prints the table of ratios: the same energy,
step size and numbers of leapfrog steps for all, each with its own random numbers. One
thread on one processor; ratios are medians over interleaved rounds.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.bench.bench_nn import main, table_rows
from tests.bench.network import FLAT, NOISE, SHAPES, first_theta, jax_energy
from tests.bench.network import rng, torch_net

import numpy as np

from refnce import nn, sampling
from refnce.train import models

STEPS = 50


def chains_table(peers: dict[str, Any]) -> list[str]:
    """64 chains at a fixed step size: equal numbers of steps, own random numbers."""
    table, theta = [], first_theta("float32", 1)[0]
    x, bounds = NOISE.sample(rng(5), 64).astype("float32"), {
        "torch": ("PyTorch eager", 4.0, 7.0),
        "jax": ("JAX scan", 0.7, 1.0),
    }
    samplers = {"refnce": refnce_chains, "torch": torch_chains, "jax": jax_chains}
    for sampler, leapfrog in (("MALA", 1), ("HMC, 10 leapfrog steps", 10)):
        works = {name: samplers[name](theta, x, leapfrog) for name in peers}
        table += table_rows(f"64 chains, {sampler}", works, bounds, rounds=9)[0]
    return table


def trajectory_lengths(leapfrog: int) -> np.ndarray:
    """The lengths that ``sampling.hmc`` draws from this seed."""
    return rng(6).spawn(3)[2].integers(1, leapfrog + 1, size=STEPS)


def refnce_chains(theta: np.ndarray, start: np.ndarray, leapfrog: int) -> Any:
    density = models.energy(nn.mlp, SHAPES, theta)
    options = {"steps": STEPS, "warmup": 0, "leapfrog": leapfrog, "step_size": 0.1}
    return lambda: sampling.hmc(density, start, rng(6), **options)


def torch_chains(theta: np.ndarray, start: np.ndarray, leapfrog: int) -> Any:
    import torch

    net = torch_net(theta).requires_grad_(False)

    def density(x: Any) -> Any:
        x = x.detach().requires_grad_()
        E = net(x)[:, 0]
        return E.detach(), torch.autograd.grad(E.sum(), x)[0]

    def sample() -> Any:
        generator = torch.Generator().manual_seed(0)
        x, kept = torch.from_numpy(start), []
        E, dE = density(x)
        for count in trajectory_lengths(leapfrog).tolist():
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


def jax_chains(theta: np.ndarray, start: np.ndarray, leapfrog: int) -> Any:
    import jax
    import jax.numpy as jnp

    params = jax.tree.map(jnp.asarray, FLAT.unravel(theta))

    def density(x: Any) -> Any:
        E, pull = jax.vjp(lambda x: jax_energy(params, x), x)
        return E, pull(jnp.ones_like(E))[0]

    def leap(_: Any, state: Any) -> Any:
        q, p, _, dE = state
        p = p + 0.05 * dE
        q = q + 0.1 * p
        E, dE = density(q)
        return q, p + 0.05 * dE, E, dE

    def trajectory(state: Any, chance: Any) -> Any:
        (x, E, dE), (key, count) = state, chance
        key_p, key_accept = jax.random.split(key)
        p = jax.random.normal(key_p, x.shape, x.dtype)
        moved = jax.lax.fori_loop(0, count, leap, (x, p, E, dE))
        q, p_new, E_new, dE_new = moved
        gain = E_new - E + 0.5 * ((p * p).sum(-1) - (p_new * p_new).sum(-1))
        accept = jax.random.uniform(key_accept, gain.shape, gain.dtype) < jnp.exp(gain)
        x = jnp.where(accept[:, None], q, x)
        dE = jnp.where(accept[:, None], dE_new, dE)
        return (x, jnp.where(accept, E_new, E), dE), x

    @jax.jit
    def sample(x: Any, keys: Any, counts: Any) -> Any:
        return jax.lax.scan(trajectory, (x, *density(x)), (keys, counts))[1]

    keys = jax.random.split(jax.random.key(0), STEPS)
    inputs = jnp.asarray(start), keys, jnp.asarray(trajectory_lengths(leapfrog))
    return lambda: jax.block_until_ready(sample(*inputs))


if __name__ == "__main__":
    sys.exit(main(chains_table))
