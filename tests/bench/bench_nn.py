"""The paper's network against PyTorch and JAX: ``python -m tests.bench.bench_nn`` prints the table of ratios.

One step of Algorithm 1 on the MLP 2-128-64-1 with 512 data and 512 noise samples: forward, BAR update of F, gradient, Adam;
PyTorch does it eagerly with its autograd, JAX as one jitted function. Then 20 such trainings (5 seeds x 4 methods) a step each,
against 20 PyTorch models and a vmapped JAX step; and 64 chains of MALA and HMC on the network's energy. The same samples,
parameters and formulas for all, checked against each other; one thread on one processor; ratios are medians over interleaved
rounds.

The flop limit is the time that the step's products would take at the speed of the largest of them, measured beside it.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

if hasattr(os, "sched_setaffinity"):  # JAX spreads over all processors that it finds
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from refnce import distributions, nn, optim, sampling, train  # noqa: E402
from refnce.train import models  # noqa: E402
from refnce.nn.params import Flat  # noqa: E402
from refnce.train import Method, Training  # noqa: E402
from tests.bench.timing import ratios, row  # noqa: E402

BATCH = 512
RATE = 1e-3
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
FLAT = Flat(SHAPES)
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
DATA = distributions.RingMixture(2, 8, 4.0 / 2**0.5, sd=0.5 / 2**0.5)
# forward, gradient in the weights, gradient in the activations of all but the first layer
FLOPS = 2 * 2 * BATCH * (3 * (2 * 128 + 128 * 64 + 64) - 2 * 128)
METHODS = (
    Method("gradient", rate=RATE, optimizer=optim.adam),
    Method("gradient", rate=10 * RATE, optimizer=optim.adam),
    Method("bar"),
    Method("newton", F_first=True),
)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def initial(dtype: str, runs: int) -> np.ndarray:
    return FLAT.pack(nn.initial(SHAPES, rng(0), runs)).astype(dtype)


def begin(dtype: str, method: Method, theta: np.ndarray) -> train.State:
    model = models.network(nn.mlp, SHAPES, NOISE)
    training = Training(model, method, optim.adam, RATE, xtol=1e-6)
    return train.start(training, theta, np.zeros(theta.shape[:-1], dtype))


def drawn(dtype: str, runs: int) -> tuple[np.ndarray, np.ndarray]:
    return DATA.sample(rng(1), runs, BATCH).astype(dtype), NOISE.sample(
        rng(2), runs, BATCH
    ).astype(
        dtype
    )  # laid out as drawn


class Ours:
    """Each run and method by itself."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        theta, self.pair = initial(dtype, runs), drawn(dtype, runs)
        self.parts = [
            (run, begin(dtype, method, theta[run : run + 1]))
            for run in range(runs)
            for method in methods
        ]

    def step(self) -> None:
        x, y = self.pair
        self.parts = [
            (run, train.step(part, x[run], y[run])) for run, part in self.parts
        ]

    def F(self) -> np.ndarray:
        return np.asarray([part.F[0] for _, part in self.parts])


class Torch:
    """One PyTorch model for each run and method."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.methods = torch, methods
        self.x, self.y = (
            torch.from_numpy(np.ascontiguousarray(z)) for z in drawn(dtype, runs)
        )
        linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
        theta = initial(dtype, runs)
        self.models = []
        for run in range(runs):
            for method in methods:
                net = torch.nn.Sequential(
                    linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
                )
                net = net.to(getattr(torch, dtype))
                net.load_state_dict(
                    {
                        name: torch.from_numpy(p.copy())
                        for name, p in FLAT.unpack(theta[run]).items()
                    }
                )
                F = torch.zeros(
                    (),
                    dtype=getattr(torch, dtype),
                    requires_grad=method.update == "gradient",
                )
                groups = [{"params": list(net.parameters())}]
                if method.update == "gradient":
                    groups.append({"params": [F], "lr": method.rate})
                self.models.append(
                    (run, method, net, F, torch.optim.Adam(groups, lr=RATE))
                )

    def log_q(self, x: Any) -> Any:
        return -0.25 * (x * x).sum(-1) - (np.log(2.0) + distributions.LOG_2PI)

    def step(self) -> None:
        torch = self.torch
        softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
        for run, method, net, F, optimizer in self.models:
            z = torch.cat([self.x[run], self.y[run]])
            r = net(z)[:, 0] - self.log_q(z)
            r_data, r_noise = r[:BATCH], r[BATCH:]
            if method.update == "newton":
                with torch.no_grad():
                    F.copy_(self.search(r_data, r_noise))
            optimizer.zero_grad()
            loss = 0.5 * (softplus(F - r_data).mean() + softplus(r_noise - F).mean())
            loss.backward()
            optimizer.step()
            if method.update == "bar":
                with torch.no_grad():
                    F.sub_(
                        sigmoid(F - r_data).mean().log()
                        - sigmoid(r_noise - F).mean().log()
                    )

    def search(self, r_data: Any, r_noise: Any) -> Any:
        lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
        while hi - lo > 1e-6:
            middle = 0.5 * (lo + hi)
            if middle == lo or middle == hi:
                break
            if (middle - r_data).sigmoid().mean() > (r_noise - middle).sigmoid().mean():
                hi = middle
            else:
                lo = middle
        return 0.5 * (lo + hi)

    def F(self) -> np.ndarray:
        return np.asarray([F.item() for _, _, _, F, _ in self.models])


class Jax:
    """One jitted step, vmapped over runs and methods where there are several; each method its own branch of it."""

    def __init__(self, dtype: str, methods: tuple[Method, ...], runs: int) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        self.jax, self.methods = jax, methods
        x, y = drawn(dtype, runs)
        theta = initial(dtype, runs)
        theta, F = (
            (theta[0], np.zeros((), dtype))
            if runs == 1
            else (theta, np.zeros(runs, dtype))
        )

        def energy(params: Any, x: Any) -> Any:
            for k in (0, 2):
                x = jax.nn.leaky_relu(x @ params[f"{k}.weight"].T + params[f"{k}.bias"])
            return (x @ params["4.weight"].T + params["4.bias"])[:, 0]

        def ratio(params: Any, x: Any) -> Any:
            return (
                energy(params, x)
                + 0.25 * jnp.sum(x * x, axis=-1)
                + (np.log(2.0) + distributions.LOG_2PI)
            )

        def loss(params: Any, F: Any, x: Any, y: Any) -> Any:
            r_data, r_noise = ratio(params, x), ratio(params, y)
            value = 0.5 * (
                jax.nn.softplus(F - r_data).mean() + jax.nn.softplus(r_noise - F).mean()
            )
            return value, (r_data, r_noise)

        def adam(g: Any, m: Any, v: Any, t: Any, rate: float) -> Any:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            return (
                -rate * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8),
                m,
                v,
            )

        def one(method: Method) -> Any:
            def step(
                params: Any,
                F: Any,
                m: Any,
                v: Any,
                mF: Any,
                vF: Any,
                t: Any,
                x: Any,
                y: Any,
            ) -> Any:
                if method.update == "newton":
                    r_data, r_noise = ratio(params, x), ratio(params, y)
                    lo = jnp.minimum(r_data.min(), r_noise.min())
                    hi = jnp.maximum(r_data.max(), r_noise.max())

                    def halve(_: Any, ends: Any) -> Any:
                        middle = 0.5 * (ends[0] + ends[1])
                        above = (
                            jax.nn.sigmoid(middle - r_data).mean()
                            > jax.nn.sigmoid(r_noise - middle).mean()
                        )
                        return jnp.where(above, ends[0], middle), jnp.where(
                            above, middle, ends[1]
                        )

                    lo, hi = jax.lax.fori_loop(0, 25, halve, (lo, hi))
                    F = 0.5 * (lo + hi)
                (_, (r_data, r_noise)), (g, gF) = jax.value_and_grad(
                    loss, argnums=(0, 1), has_aux=True
                )(params, F, x, y)
                moved = {k: adam(g[k], m[k], v[k], t, RATE) for k in g}
                params = {k: params[k] + moved[k][0] for k in g}
                if method.update == "bar":
                    F = (
                        F
                        - jnp.log(jax.nn.sigmoid(F - r_data).mean())
                        + jnp.log(jax.nn.sigmoid(r_noise - F).mean())
                    )
                elif method.update == "gradient":
                    change, mF, vF = adam(gF, mF, vF, t, method.rate)
                    F = F + change
                return (
                    params,
                    F,
                    {k: moved[k][1] for k in g},
                    {k: moved[k][2] for k in g},
                    mF,
                    vF,
                    t + 1,
                )

            return step

        def every(states: Any, x: Any, y: Any) -> Any:
            if runs == 1:
                return [
                    one(method)(*state, x[0], y[0])
                    for method, state in zip(methods, states, strict=True)
                ]
            # A method's five seeds are one batched program.
            over = (0, 0, 0, 0, 0, 0, None, 0, 0)
            new = []
            for method, state in zip(methods, states, strict=True):
                *moved, _ = jax.vmap(one(method), in_axes=over)(*state, x, y)
                new.append((*moved, state[6] + 1))
            return new

        self.state = []
        for _ in methods:
            params = {name: jnp.asarray(p) for name, p in FLAT.unpack(theta).items()}
            zeros, none = {
                name: jnp.zeros_like(p) for name, p in params.items()
            }, jnp.asarray(F)
            self.state.append(
                (params, none, zeros, zeros, none, none, jnp.asarray(1.0, dtype))
            )
        self.x, self.y, self.program = jnp.asarray(x), jnp.asarray(y), jax.jit(every)
        self.energy = energy

    def step(self) -> None:
        self.state = self.jax.block_until_ready(
            self.program(self.state, self.x, self.y)
        )

    def F(self) -> np.ndarray:
        return np.stack(
            [np.atleast_1d(np.asarray(state[1])) for state in self.state], axis=-1
        ).ravel()


def check(contestants: dict[str, Any], dtype: str, steps: int = 5) -> None:
    """Raise unless all have the same F after some steps of all methods (to the rounding that Adam magnifies)."""
    for _ in range(steps):
        for each in contestants.values():
            each.step()
    F = {name: each.F() for name, each in contestants.items()}
    bound = 2e-2 if dtype == "float32" else 1e-5
    for name, values in F.items():
        off = float(np.max(np.abs(values - F["refnce"])))
        if not off <= bound:
            raise AssertionError(f"{dtype}: F of {name} is off by {off:.1e}")


def product(dtype: str) -> Any:
    A, B = rng(3).normal(size=(2 * BATCH, 128)).astype(dtype), rng(4).normal(
        size=(128, 64)
    ).astype(dtype)
    return lambda: A @ B


def steps_table(peers: dict[str, Any]) -> list[str]:
    rows = []
    for dtype in ("float32", "float64"):
        one = {name: peer(dtype, (Method("bar"),), 1) for name, peer in peers.items()}
        check(one, dtype)
        works = {name: each.step for name, each in one.items()} | {
            "product": product(dtype)
        }
        times = ratios(works, "refnce", rounds=31, calls=10)
        limit = times["product"] * FLOPS / (2 * 2 * BATCH * 128 * 64)
        work = f"MLP step, 512 + 512, BAR, Adam, {dtype}"
        for name, must, aim in (("PyTorch eager", 1.5, 2.2), ("JAX jit", 1.0, 1.2)):
            if name in times:
                rows.append(row(work, name, times[name], must, aim))
        rows.append(
            row(work, "its flop limit", 1.0 / limit, 1.8, 1.4, less_is_better=True)
        )
    many = {name: peer("float32", METHODS, 5) for name, peer in peers.items()}
    check(many, "float32", steps=2)
    times = ratios(
        {name: each.step for name, each in many.items()}, "refnce", rounds=9, calls=3
    )
    for name, label, must, aim in (
        ("PyTorch eager", "20 PyTorch trainings", 1.5, 2.0),
        ("JAX jit", "JAX vmap", 1.8, 2.4),
    ):
        if name in times:
            rows.append(
                row(
                    "20 runs, 5 seeds x 4 methods, float32",
                    label,
                    times[name],
                    must,
                    aim,
                )
            )
    return rows


def chains_table(peers: dict[str, Any]) -> list[str]:
    """64 chains at a fixed step size: the same trajectories for all in length, each with random numbers of its own."""
    rows, steps = [], 50
    theta = initial("float32", 1)[0]
    x = NOISE.sample(rng(5), 64).astype("float32")
    density = models.energy(nn.mlp, SHAPES, theta)
    for sampler, length, must in (
        ("MALA", 1, (4.0, 7.0, 0.7, 1.0)),
        ("HMC, 10 leapfrog steps", 10, (4.0, 7.0, 0.7, 1.0)),
    ):
        works: dict[str, Any] = {
            "refnce": lambda length=length: _trajectories(density, x, steps, length)
        }
        if "PyTorch eager" in peers:
            works["PyTorch eager"] = _torch_chains(theta, x, steps, length)
        if "JAX jit" in peers:
            works["JAX jit"] = _jax_chains(theta, x, steps, length)
        times = ratios(works, "refnce", rounds=9)
        for name, label, least, aim in (
            ("PyTorch eager", "PyTorch eager", *must[:2]),
            ("JAX jit", "JAX scan", *must[2:]),
        ):
            if name in times:
                rows.append(
                    row(f"64 chains, {sampler}", label, times[name], least, aim)
                )
    return rows


def _trajectories(
    density: Any, x: np.ndarray, steps: int, length: int
) -> sampling.Chains:
    return sampling.hmc(
        density, x, rng(6), steps=steps, warmup=0, leapfrog=length, step_size=0.1
    )


def _lengths(steps: int, length: int) -> np.ndarray:
    """Those that ``sampling.hmc`` draws from this seed."""
    return rng(6).spawn(3)[2].integers(1, length + 1, size=steps)


def _torch_chains(theta: np.ndarray, start: np.ndarray, steps: int, length: int) -> Any:
    import torch

    linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
    net = torch.nn.Sequential(
        linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
    )
    net.load_state_dict(
        {name: torch.from_numpy(p.copy()) for name, p in FLAT.unpack(theta).items()}
    )
    for p in net.parameters():
        p.requires_grad_(False)

    def density(x: Any) -> Any:
        x = x.detach().requires_grad_()
        E = net(x)[:, 0]
        return E.detach(), torch.autograd.grad(E.sum(), x)[0]

    def sample() -> Any:
        generator = torch.Generator().manual_seed(0)
        x, kept = torch.from_numpy(start), []
        E, slope = density(x)
        for count in _lengths(steps, length).tolist():
            p = torch.randn(x.shape, generator=generator)
            q, momentum, energy, gradient = x, p, E, slope
            for _ in range(count):
                momentum = momentum + 0.05 * gradient
                q = q + 0.1 * momentum
                energy, gradient = density(q)
                momentum = momentum + 0.05 * gradient
            gain = (energy - E) + 0.5 * (
                (p * p).sum(-1) - (momentum * momentum).sum(-1)
            )
            accept = torch.rand(gain.shape, generator=generator) < gain.exp()
            x, slope = torch.where(accept[:, None], q, x), torch.where(
                accept[:, None], gradient, slope
            )
            E = torch.where(accept, energy, E)
            kept.append(x)
        return torch.stack(kept)

    return sample


def _jax_chains(theta: np.ndarray, start: np.ndarray, steps: int, length: int) -> Any:
    import jax
    import jax.numpy as jnp

    params = {name: jnp.asarray(p) for name, p in FLAT.unpack(theta).items()}

    def energy(x: Any) -> Any:
        for k in (0, 2):
            x = jax.nn.leaky_relu(x @ params[f"{k}.weight"].T + params[f"{k}.bias"])
        return (x @ params["4.weight"].T + params["4.bias"])[:, 0]

    def density(x: Any) -> Any:
        E, pull = jax.vjp(energy, x)
        return E, pull(jnp.ones_like(E))[0]

    def trajectory(carry: Any, chance: Any) -> Any:
        (x, E, slope), (key, count) = carry, chance
        one, two = jax.random.split(key)
        p = jax.random.normal(one, x.shape, x.dtype)

        def leap(_: Any, z: Any) -> Any:
            q, momentum, _, gradient = z
            momentum = momentum + 0.05 * gradient
            q = q + 0.1 * momentum
            energy, gradient = density(q)
            return q, momentum + 0.05 * gradient, energy, gradient

        q, momentum, energy, gradient = jax.lax.fori_loop(
            0, count, leap, (x, p, E, slope)
        )
        gain = (energy - E) + 0.5 * ((p * p).sum(-1) - (momentum * momentum).sum(-1))
        accept = jax.random.uniform(two, gain.shape, gain.dtype) < jnp.exp(gain)
        x = jnp.where(accept[:, None], q, x)
        return (
            x,
            jnp.where(accept, energy, E),
            jnp.where(accept[:, None], gradient, slope),
        ), x

    @jax.jit
    def sample(x: Any, keys: Any, counts: Any) -> Any:
        return jax.lax.scan(trajectory, (x, *density(x)), (keys, counts))[1]

    x, keys, counts = (
        jnp.asarray(start),
        jax.random.split(jax.random.key(0), steps),
        jnp.asarray(_lengths(steps, length)),
    )
    return lambda: jax.block_until_ready(sample(x, keys, counts))


def main() -> int:
    peers: dict[str, Any] = {"refnce": Ours}
    for name, module, peer in (
        ("PyTorch eager", "torch", Torch),
        ("JAX jit", "jax", Jax),
    ):
        try:
            __import__(module)
        except ImportError:
            print(f"{name} is not installed: its rows are left out")
        else:
            peers[name] = peer
    # glibc hands freed memory back to the system, to fault it in again page by page, until a large array has been freed once.
    large = np.ones(4_000_000)
    del large
    table = [*steps_table(peers), *chains_table(peers)]
    print(*table, sep="\n")
    return int(any("MISSED" in line for line in table))


if __name__ == "__main__":
    sys.exit(main())
