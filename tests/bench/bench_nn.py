"""The paper's network against PyTorch and JAX: ``python -m tests.bench.bench_nn``.

One step of Algorithm 1 on the MLP 2-128-64-1 with 512 data and 512 noise samples:
forward, BAR update of F, gradient, Adam; PyTorch does it eagerly with its autograd,
JAX as one jitted function. Then a step of each of 20 trainings (5 seeds x 4 methods),
against 20 PyTorch models and a vmapped JAX step. All use the same samples, parameters
and formulas, and their F are compared. One thread on one processor; ratios are medians over interleaved rounds.

The flop limit is the time that the step's matrix products would take at the speed of
the largest of them, which is measured beside it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tests.bench.timing import ratios, row

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
# forward, gradient of the weights, gradient of all activations but the first
FLOPS = 2 * 2 * BATCH * (3 * (2 * 128 + 128 * 64 + 64) - 2 * 128)
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
