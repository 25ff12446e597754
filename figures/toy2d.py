"""The experiment behind Figures 4, 5, 11, 12: a network learns the 8-Gaussians and the pinwheel (Section 4.3).

MLP 2-128-64-1, noise N(0, 2 I), Adam at 1e-3 for theta, fresh batches of 512 + 512, 5 seeds. The paper gives neither F0 nor the
rates of F nor the number of steps: F0 = 0; vanilla NCE moves F with theta's optimizer and rate, "F rate 10x" at ten times that;
BAR is Equation 11 by plain descent at rate 1; binary search the root of the batch before theta's gradient. One more method
decides what the gain is made of: NCE whose F starts at the first batch's root and moves like vanilla NCE's from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from figures import methods
from figures.diagnostics import diagnose
from figures.methods import ROOT_START
from figures.settings import Settings
from figures.parallel import keep_freed_memory, side_by_side
from refnce import distributions, logz, nce, nn, optim, sampling, train
from refnce.train import models
from refnce.array.backend import make_rng, to_numpy
from refnce.train.fit import Batches, fit
from refnce.nn.params import Flat
from refnce.train.algorithm1 import Method, Training

SYSTEMS: dict[str, Any] = {
    "8-Gaussians": distributions.RingMixture(2, 8, 4.0 / 2**0.5, sd=0.5 / 2**0.5),
    "pinwheel": distributions.Pinwheel(),
}
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
FLAT = Flat(SHAPES)
RATE = 1e-3
BATCH = 512
RUNS = 5
METHODS = methods.methods(RATE)
# How F moves beside that, for the statements of Section 3.5.
SIDE = {
    "BAR, 2 updates": Method("bar", times=2),
    "BAR, 5 updates": Method("bar", times=5),
    "BAR, half step": Method("bar", rate=0.5),
    "BAR, by Adam": Method("bar", rate=RATE, optimizer=optim.adam),
    "BAR, by Adam 10x": Method("bar", rate=10.0 * RATE, optimizer=optim.adam),
}
STOPS = (100, 300, 1000, 2000, 5000)
SHOWN = (300, 1000, 5000)
SIDE_STEPS = 1000
EVERY = 20
HALF = 4.5  # the grid is the square of this half width
GRID = 120
PIXELS = 40


@dataclass(frozen=True)
class Job:
    """One seed of one system, or all of them on an accelerator: what a process of its own can do."""

    system: str
    seeds: tuple[int, ...]
    backend: str
    stops: tuple[int, ...]
    side_steps: int


def experiment(settings: Settings, system: str) -> dict[str, Any]:
    """Return the numbers of both figures of a system; computed once for as many figures of a command as ask for it."""
    return _experiment(
        settings.backend,
        settings.seed,
        settings.runs,
        settings.quick,
        settings.progress,
        system,
    )


@lru_cache(maxsize=2)
def _experiment(
    backend: str, seed: int, runs: int | None, quick: bool, progress: bool, system: str
) -> dict[str, Any]:
    settings = Settings(backend, seed, runs, quick, progress)
    count = runs or (2 if quick else RUNS)
    stops, side = ((40, 120), 120) if quick else (STOPS, SIDE_STEPS)
    seeds = [1000 * seed + k for k in range(count)]
    together = backend != "numpy"
    batches = [tuple(seeds)] if together else [(s,) for s in seeds]
    jobs = [Job(system, batch, backend, stops, side) for batch in batches]
    parts = list(settings.track(side_by_side(work, jobs), system, len(jobs)))
    return {"setting": _setting(count, stops), **_merged(system, parts, stops)}


def work(job: Job) -> dict[str, Any]:
    """Train all methods of a job, and look at them where it says; host arrays, runs first."""
    if job.backend == "numpy":
        keep_freed_memory()
    settings = Settings(job.backend)
    main = _trained(job, settings, METHODS, job.stops)
    side = _trained(job, settings, SIDE, (job.side_steps,))
    return {"main": main, "side": side, "samples": _sampled(job, main["theta"][-1])}


def _trained(
    job: Job, settings: Settings, methods: dict[str, Method], stops: tuple[int, ...]
) -> dict[str, Any]:
    law, runs = SYSTEMS[job.system], len(job.seeds)
    draws = [Batches(law, NOISE, s, (), BATCH, BATCH) for s in job.seeds]

    def batches(k: int) -> tuple[Any, Any]:
        x, y = zip(*(draw(k) for draw in draws), strict=True)
        return np.stack(x), np.stack(y)

    network = models.network(nn.mlp, SHAPES, NOISE, width=128)
    training = Training(network, tuple(methods.values()), optim.adam, RATE, xtol=1e-6)
    theta = np.stack(
        [FLAT.ravel(nn.init_params(SHAPES, make_rng(s, 0, 3))) for s in job.seeds]
    )[:, None, :]
    theta = settings.array(np.repeat(theta, len(methods), axis=1), "float32")
    F = settings.array(np.zeros((runs, len(methods))), "float32")
    if ROOT_START in methods:
        F = _from_the_root(
            settings, network, theta, batches(0), F, list(methods).index(ROOT_START)
        )
    state, looks, rows = train.start(training, theta, F), [], []
    for stop in stops:
        state, record = fit(
            state, batches, stop, every=EVERY, apart=job.backend == "numpy"
        )
        rows.append(record)
        looks.append(
            (to_numpy(state.theta).astype(float), to_numpy(state.F).astype(float))
        )
    step = np.concatenate([row.step for row in rows])
    return {
        "step": step,
        "loss": np.concatenate([row.loss for row in rows]),
        "truth_loss": np.stack([_truth_loss(law, *batches(int(k))) for k in step]),
        "theta": np.stack([theta for theta, _ in looks]),
        "F": np.stack([F for _, F in looks]),
    }


def _truth_loss(law: Any, x: Any, y: Any) -> Any:
    """The loss of the truth on the same batch: what a model's loss is above it has far less noise than either."""
    r_data, r_noise = (law.log_density(z) - NOISE.log_density(z) for z in (x, y))
    return nce.loss(r_data, r_noise, 0.0)


def _from_the_root(
    settings: Settings, network: Any, theta: Any, pair: tuple[Any, Any], F: Any, k: int
) -> Any:
    x, y = (settings.array(z, "float32") for z in pair)
    r_data, r_noise, _ = network(theta, x, y)
    roots = logz.newton(r_data, r_noise).F
    ours = settings.array(np.arange(F.shape[-1]) == k, "float32")
    return F + ours * roots


def grid(points: int = GRID) -> tuple[Any, float]:
    """Midpoints (points^2, 2) of the cells of the square, and the area of a cell."""
    edge = HALF * ((2.0 * np.arange(points) + 1.0) / points - 1.0)
    return (
        np.stack(np.meshgrid(edge, edge, indexing="xy"), axis=-1).reshape(-1, 2),
        (2.0 * HALF / points) ** 2,
    )


def log_model(theta: Any, x: Any) -> Any:
    """E (..., points) of the networks theta (..., k)."""
    flat = theta.reshape(-1, theta.shape[-1])
    return np.stack([nn.mlp(FLAT.unravel(one), x)[0][:, 0] for one in flat]).reshape(
        *theta.shape[:-1], -1
    )


def _log_mass(E: Any, cell: float) -> Any:
    top = E.max(axis=-1)
    return top + np.log(np.exp(E - top[..., None]).sum(axis=-1)) + math.log(cell)


def qualities(system: str, theta: Any, F: Any) -> dict[str, Any]:
    """KL(truth || model) and total variation of the model, normalised on the square, and F - log Z; (stops, runs, methods)."""
    x, cell = grid()
    truth = np.exp(SYSTEMS[system].log_density(x))
    truth /= truth.sum() * cell
    found: dict[str, list[Any]] = {"kl": [], "tv": [], "log_z_error": []}
    for theta_k, F_k in zip(theta, F, strict=True):
        E = log_model(theta_k, x)
        log_z = _log_mass(E, cell)
        log_p = E - log_z[..., None]
        found["kl"].append(
            cell * np.sum(truth * (np.log(np.maximum(truth, 1e-300)) - log_p), axis=-1)
        )
        found["tv"].append(0.5 * cell * np.sum(np.abs(truth - np.exp(log_p)), axis=-1))
        found["log_z_error"].append(F_k - log_z)
    return {name: np.stack(values) for name, values in found.items()}


def floor(system: str) -> float:
    """The NCE loss of the truth itself, E = log p* and F = 0: the least in the population, which no model can undercut."""
    points, half = 1500, 10.0
    edge = half * ((2.0 * np.arange(points) + 1.0) / points - 1.0)
    total = 0.0
    for b in edge:  # a row at a time
        x = np.stack([edge, np.full(points, b)], axis=-1)
        log_p, log_q = SYSTEMS[system].log_density(x), NOISE.log_density(x)
        both = np.logaddexp(log_p, log_q)
        total += np.sum(np.exp(log_p) * (both - log_p) + np.exp(log_q) * (both - log_q))
    return float(0.5 * total * (2.0 * half / points) ** 2)


def _sampled(job: Job, theta: Any) -> dict[str, Any]:
    """Draws by HMC from the energy that binary search learnt with the first seed, kept in the square by a wall."""
    k = list(METHODS).index("binary search")
    energy = models.energy(nn.mlp, SHAPES, theta[0, k])

    def walled(x: Any) -> tuple[Any, Any]:
        E, slope = energy(x)
        return np.where(np.any(np.abs(x) > HALF, axis=-1), -np.inf, E), slope

    start = NOISE.sample(make_rng(job.seeds[0], 0, 4), 64)
    start = np.clip(start, -HALF, HALF)
    steps = 20 if job.side_steps < SIDE_STEPS else 400
    chains = sampling.hmc(
        walled, start, make_rng(job.seeds[0], 0, 5), steps=steps, warmup=steps // 2
    )
    r_hat, ess = diagnose(chains.samples)
    return {
        "x": chains.samples[-8:].reshape(-1, 2),
        "acceptance": chains.acceptance.mean(),
        "r_hat": r_hat,
        "ess": ess,
        "draws": steps * 64,
    }


def _setting(runs: int, stops: Iterable[int]) -> dict[str, Any]:
    return {
        "network": "MLP 2-128-64-1, leaky ReLU 0.01",
        "noise": "N(0, 2 I)",
        "batch": BATCH,
        "runs": runs,
        "F0": 0.0,
        "optimizer": f"Adam, rate {RATE:g}",
        "stops": list(stops),
        "dtype": "float32",
    }


def _merged(
    system: str, parts: list[dict[str, Any]], stops: tuple[int, ...]
) -> dict[str, Any]:
    numbers: dict[str, Any] = {"floor": floor(system), "main": {}, "side": {}}
    for kind, table in (("main", METHODS), ("side", SIDE)):
        theta, F = (
            np.concatenate([part[kind][name] for part in parts], axis=1)
            for name in ("theta", "F")
        )
        loss = np.concatenate([part[kind]["loss"] for part in parts], axis=1)
        excess = (
            loss
            - np.concatenate([part[kind]["truth_loss"] for part in parts], axis=1)[
                ..., None
            ]
        )
        quality = qualities(system, theta, F)
        numbers[kind]["step"] = parts[0][kind]["step"]
        for k, name in enumerate(table):
            losses = {
                "loss": np.round(loss[..., k], 5),
                "excess": np.round(excess[..., k], 5),
            }
            curves = {
                **losses,
                **{what: values[..., k] for what, values in quality.items()},
            }
            numbers[kind][name] = curves
    x, _ = grid(PIXELS)
    theta = parts[0]["main"]["theta"]
    numbers["pixels"] = PIXELS
    numbers["truth"] = np.round(np.exp(SYSTEMS[system].log_density(x)), 4)
    numbers["densities"] = {}
    for k, name in enumerate(METHODS):
        images = {}
        for stop, one in zip(stops, theta[:, 0, k], strict=True):
            E = log_model(one, x)
            images[str(stop)] = np.round(
                np.exp(E - _log_mass(E, (2.0 * HALF / PIXELS) ** 2)), 4
            )
        numbers["densities"][name] = images
    numbers["samples"] = {
        "model": np.round(parts[0]["samples"].pop("x"), 3),
        **parts[0]["samples"],
    }
    numbers["samples"]["data"] = np.round(
        SYSTEMS[system].sample(make_rng(7, 0, 6), 512), 3
    )
    return numbers
