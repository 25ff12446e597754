"""The training of the paper's network 2-128-64-1: by refnce, by PyTorch, by JAX."""

from __future__ import annotations

import os
from typing import Any

import tests.bench.timing  # noqa: F401, it sets the number of threads

import numpy as np

from refnce import distributions, nn, optim, train
from refnce.nn.params import Flat
from refnce.train import Method, Training, models

if hasattr(os, "sched_setaffinity"):  # JAX uses all processors that it finds
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

BATCH, RATE, XTOL = 512, 1e-3, 1e-6
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
FLAT = Flat(SHAPES)
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
DATA = distributions.RingMixture(2, 8, 4.0 / 2**0.5, sd=0.5 / 2**0.5)
LOG_Q0 = np.log(2.0) + distributions.LOG_2PI  # log q(x) = -|x|^2 / 4 - LOG_Q0
BAR = (Method("bar"),)
METHODS = (
    Method("gradient", rate=RATE, optimizer=optim.adam),
    Method("gradient", rate=10 * RATE, optimizer=optim.adam),
    Method("bar"),
    Method("newton", F_first=True),
)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def first_theta(dtype: str, runs: int) -> np.ndarray:
    return FLAT.ravel(nn.init_params(SHAPES, rng(0), runs)).astype(dtype)


def batches(dtype: str, runs: int) -> list[np.ndarray]:
    x, y = DATA.sample(rng(1), runs, BATCH), NOISE.sample(rng(2), runs, BATCH)
    return [z.astype(dtype) for z in (x, y)]  # laid out as drawn


class Refnce:
    """Each run and method by itself."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        model, F = models.network(nn.mlp, SHAPES, NOISE), np.zeros(1, dtype)
        self.states = []
        for theta, *batch in zip(first_theta(dtype, runs), *batches(dtype, runs)):
            for method in methods:
                training = Training(model, method, optim.adam, RATE, xtol=XTOL)
                self.states.append((train.start(training, theta[None], F), batch))

    def step(self) -> None:
        self.states = [(train.step(s, *batch), batch) for s, batch in self.states]

    def F(self) -> np.ndarray:
        return np.asarray([state.F[0] for state, _ in self.states])


def torch_net(theta: np.ndarray) -> Any:
    import torch

    linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
    layers = linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
    net = torch.nn.Sequential(*layers).to(getattr(torch, theta.dtype.name))
    params = {k: torch.from_numpy(p.copy()) for k, p in FLAT.unravel(theta).items()}
    net.load_state_dict(params)
    return net


class Torch:
    """One PyTorch model for each run and method."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.models = torch, []
        for theta, *batch in zip(first_theta(dtype, runs), *batches(dtype, runs)):
            pair = [torch.from_numpy(np.ascontiguousarray(z)) for z in batch]
            for method in methods:
                learns, net = method.update == "gradient", torch_net(theta)
                F = torch.zeros((), dtype=pair[0].dtype, requires_grad=learns)
                groups: list[Any] = [{"params": list(net.parameters())}]
                if learns:
                    groups.append({"params": [F], "lr": method.rate})
                adam = torch.optim.Adam(groups, lr=RATE)
                self.models.append((pair, method, net, F, adam))

    def step(self) -> None:
        torch = self.torch
        softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
        for pair, method, net, F, adam in self.models:
            z = torch.cat(pair)
            r = net(z)[:, 0] + 0.25 * (z * z).sum(-1) + LOG_Q0
            r_data, r_noise = r[:BATCH], r[BATCH:]
            if method.update == "newton":
                with torch.no_grad():
                    F.copy_(bisected(r_data, r_noise))
            adam.zero_grad()
            loss = 0.5 * (softplus(F - r_data).mean() + softplus(r_noise - F).mean())
            loss.backward()
            adam.step()
            if method.update == "bar":
                with torch.no_grad():
                    A, B = sigmoid(F - r_data).mean(), sigmoid(r_noise - F).mean()
                    F.sub_(A.log() - B.log())

    def F(self) -> np.ndarray:
        return np.asarray([F.item() for _, _, _, F, _ in self.models])


def bisected(r_data: Any, r_noise: Any) -> Any:
    lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
    while hi - lo > XTOL:
        F = 0.5 * (lo + hi)
        if F in (lo, hi):
            break
        above = (F - r_data).sigmoid().mean() > (r_noise - F).sigmoid().mean()
        lo, hi = (lo, F) if above else (F, hi)
    return 0.5 * (lo + hi)


def jax_energy(params: Any, x: Any) -> Any:
    import jax

    for k in (0, 2):
        x = jax.nn.leaky_relu(x @ params[f"{k}.weight"].T + params[f"{k}.bias"])
    return (x @ params["4.weight"].T + params["4.bias"])[:, 0]


class Jax:
    """One jitted step; several runs of a method are vmapped."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        sigmoid, softplus = jax.nn.sigmoid, jax.nn.softplus

        def ratio(params: Any, x: Any) -> Any:
            return jax_energy(params, x) + 0.25 * jnp.sum(x * x, axis=-1) + LOG_Q0

        def loss(params: Any, F: Any, x: Any, y: Any) -> Any:
            r = ratio(params, x), ratio(params, y)
            return 0.5 * (softplus(F - r[0]).mean() + softplus(r[1] - F).mean()), r

        def adam(g: Any, m: Any, v: Any, t: Any, rate: float) -> Any:
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)

            def change(m: Any, v: Any) -> Any:
                root = jnp.sqrt(v / (1 - 0.999**t)) + 1e-8
                return -rate * (m / (1 - 0.9**t)) / root

            return jax.tree.map(change, m, v), m, v

        def root(r_data: Any, r_noise: Any) -> Any:
            def halve(_: Any, ends: Any) -> Any:
                F = 0.5 * (ends[0] + ends[1])
                above = sigmoid(F - r_data).mean() > sigmoid(r_noise - F).mean()
                return jnp.where(above, ends[0], F), jnp.where(above, F, ends[1])

            lo = jnp.minimum(r_data.min(), r_noise.min())
            hi = jnp.maximum(r_data.max(), r_noise.max())
            return 0.5 * sum(jax.lax.fori_loop(0, 25, halve, (lo, hi)))

        def step(method: Method, state: Any, x: Any, y: Any) -> Any:
            params, F, m, v, mF, vF, t = state
            if method.update == "newton":
                F = root(ratio(params, x), ratio(params, y))
            value_and_grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
            (_, r), (g, gF) = value_and_grad(params, F, x, y)
            change, m, v = adam(g, m, v, t, RATE)
            params = jax.tree.map(jnp.add, params, change)
            if method.update == "bar":
                A, B = sigmoid(F - r[0]).mean(), sigmoid(r[1] - F).mean()
                F = F - jnp.log(A) + jnp.log(B)
            elif method.update == "gradient":
                change, mF, vF = adam(gF, mF, vF, t, method.rate)
                F = F + change
            return params, F, m, v, mF, vF, t + 1

        def all_steps(states: Any, x: Any, y: Any) -> Any:
            one = [jax.tree_util.Partial(step, method) for method in methods]
            steps = one if runs == 1 else [jax.vmap(f) for f in one]
            return [f(state, x, y) for f, state in zip(steps, states)]

        theta, x, y = first_theta(dtype, runs), *batches(dtype, runs)
        if runs == 1:
            theta, x, y = theta[0], x[0], y[0]
        params = jax.tree.map(jnp.asarray, FLAT.unravel(theta))
        zeros, F = jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(theta[..., 0])
        self.states = [(params, F, zeros, zeros, F, F, F + 1) for _ in methods]
        self.jax, self.batch = jax, (jnp.asarray(x), jnp.asarray(y))
        self.program = jax.jit(all_steps)

    def step(self) -> None:
        states = self.program(self.states, *self.batch)
        self.states = self.jax.block_until_ready(states)

    def F(self) -> np.ndarray:
        F = [np.atleast_1d(np.asarray(state[1])) for state in self.states]
        return np.stack(F, axis=-1).ravel()
