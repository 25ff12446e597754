"""Figures 4, 5, 11, 12: a network learns the 8-Gaussians and the pinwheel.

MLP 2-128-64-1, noise N(0, 2 I), Adam at 1e-3 for theta, fresh batches of 512 + 512,
5 seeds (Section 4.3). The paper gives neither F0 nor the rates of F nor the number of
steps: F0 = 0; vanilla NCE moves F with theta's optimizer and rate, "F rate 10x" at ten
times that; BAR is Equation 11 by plain descent at rate 1; binary search the root of the
batch before theta's gradient. One more method shows what the gain is made of: NCE whose
F starts at the first batch's root and then moves like vanilla NCE's.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from figures.diagnostics import diagnose
from figures.methods import ROOT_START, methods
from figures.parallel import keep_freed_memory, parallel_map
from figures.quality2d import FLAT, HALF, NOISE, SHAPES, SYSTEMS
from figures.quality2d import floor, grid, log_mass, log_model, qualities, truth_loss
from figures.settings import Settings
from refnce import logz, nn, optim, sampling, train
from refnce.array import make_rng, to_numpy
from refnce.train import Method, models
from refnce.train.fit import Batches, fit

RATE = 1e-3
BATCH = 512
RUNS = 5
METHODS = methods(RATE)
# How F moves beside that, for the statements of Section 3.5.
SIDE = {
    "BAR, 2 updates": Method("bar", repeats=2),
    "BAR, 5 updates": Method("bar", repeats=5),
    "BAR, half step": Method("bar", rate=0.5),
    "BAR, by Adam": Method("bar", rate=RATE, optimizer=optim.adam),
    "BAR, by Adam 10x": Method("bar", rate=10.0 * RATE, optimizer=optim.adam),
}
STOPS = (100, 300, 1000, 2000, 5000)
SHOWN = (300, 1000, 5000)
SIDE_STEPS = 1000
EVERY = 20
PIXELS = 40
CHAINS = 64


@dataclass(frozen=True)
class Job:
    """The training of one method from one seed, or from all on an accelerator.

    draws: by each chain of HMC from the energy that the first seed learnt.
    """

    system: str
    method: str
    seeds: tuple[int, ...]
    backend: str
    stops: tuple[int, ...]
    draws: int = 0


@lru_cache(maxsize=2)
def experiment(settings: Settings, system: str) -> dict[str, Any]:
    """The numbers of both figures of a system, computed once for a command."""
    count = settings.runs or (2 if settings.quick else RUNS)
    stops, side = ((40, 120), 120) if settings.quick else (STOPS, SIDE_STEPS)
    seeds = tuple(1000 * settings.seed + k for k in range(count))
    together = settings.backend != "numpy"
    jobs = []
    for own in [seeds] if together else [(seed,) for seed in seeds]:
        for name in (*METHODS, *SIDE):
            sampled = name == "binary search" and own[0] == seeds[0]
            draws = (20 if settings.quick else 400) if sampled else 0
            until = stops if name in METHODS else (side,)
            jobs.append(Job(system, name, own, settings.backend, until, draws))
    results = parallel_map(work, jobs, settings.backend)
    parts = list(settings.track(results, system, len(jobs)))
    found = {}
    for name in (*METHODS, *SIDE):
        mine = [p for job, p in zip(jobs, parts, strict=True) if job.method == name]
        found[name] = {"step": mine[0]["step"]} | {
            field: np.concatenate([part[field] for part in mine], axis=1)
            for field in ("loss", "theta", "F")
        }
    samples = next(part["samples"] for part in parts if "samples" in part)
    setting = {
        "network": "MLP 2-128-64-1, leaky ReLU 0.01",
        "noise": "N(0, 2 I)",
        "batch": BATCH,
        "runs": count,
        "F0": 0.0,
        "optimizer": f"Adam, rate {RATE:g}",
        "stops": list(stops),
        "dtype": "float32",
    }
    densities = {name: pictures(found[name]["theta"][:, 0], stops) for name in METHODS}
    data = SYSTEMS[system].sample(make_rng(7, 0, 6), 512)
    return {
        "setting": setting,
        "floor": floor(system),
        "main": curves(system, seeds, {name: found[name] for name in METHODS}),
        "side": curves(system, seeds, {name: found[name] for name in SIDE}),
        "pixels": PIXELS,
        "truth": np.round(np.exp(SYSTEMS[system].log_density(grid(PIXELS)[0])), 4),
        "densities": densities,
        "samples": {**samples, "data": np.round(data, 3)},
    }


def work(job: Job) -> dict[str, Any]:
    """Train, and sample if asked to; host arrays, loss (K, runs), F (stops, runs)."""
    if job.backend == "numpy":
        keep_freed_memory()
    settings, draw = Settings(job.backend), batches(job.system, job.seeds)
    model = models.network(nn.mlp, SHAPES, NOISE, width=128)
    method = (METHODS | SIDE)[job.method]
    training = train.Training(model, method, optim.adam, RATE, xtol=1e-6)
    initial = [FLAT.ravel(nn.init_params(SHAPES, make_rng(s, 0, 3))) for s in job.seeds]
    theta = settings.array(np.stack(initial), "float32")
    F: Any = 0.0
    if job.method == ROOT_START:
        r_data, r_noise, _ = model(
            theta, *(settings.array(z, "float32") for z in draw(0))
        )
        F = logz.newton(r_data, r_noise).F
    state, looks, rows = train.start(training, theta, F), [], []
    for stop in job.stops:
        state, record = fit(state, draw, stop, record_every=EVERY)
        rows.append(record)
        looks.append([to_numpy(x).astype(float) for x in (state.theta, state.F)])
    found: dict[str, Any] = {
        "step": np.concatenate([row.step for row in rows]),
        "loss": np.concatenate([row.loss for row in rows]),
        "theta": np.stack([theta for theta, _ in looks]),
        "F": np.stack([F for _, F in looks]),
    }
    if job.draws:
        found["samples"] = sample(found["theta"][-1, 0], job.seeds[0], job.draws)
    return found


def batches(system: str, seeds: tuple[int, ...]) -> Any:
    """k -> (x_data, x_noise) (seeds, BATCH, 2), those of each seed its own."""
    draws = [Batches(SYSTEMS[system], NOISE, seed, (), BATCH, BATCH) for seed in seeds]

    def draw(k: int) -> tuple[Any, Any]:
        x, y = zip(*(draw(k) for draw in draws), strict=True)
        return np.stack(x), np.stack(y)

    return draw


def curves(system: str, seeds: tuple[int, ...], found: Any) -> dict[str, Any]:
    """Losses, also above the truth's on the same batches, and qualities by method."""
    step, draw = next(iter(found.values()))["step"], batches(system, seeds)
    truth = np.stack([truth_loss(SYSTEMS[system], *draw(int(k))) for k in step])
    numbers: dict[str, Any] = {"step": step}
    for name, own in found.items():
        loss = {"loss": own["loss"], "excess": own["loss"] - truth}
        numbers[name] = {what: np.round(values, 5) for what, values in loss.items()}
        numbers[name] |= qualities(system, own["theta"], own["F"])
    return numbers


def pictures(theta: Any, stops: tuple[int, ...]) -> dict[str, Any]:
    """The densities (PIXELS^2,) of the networks theta (stops, k)."""
    x, cell = grid(PIXELS)
    E = log_model(theta, x)
    density = np.round(np.exp(E - log_mass(E, cell)[:, None]), 4)
    return {str(stop): values for stop, values in zip(stops, density, strict=True)}


def sample(theta: Any, seed: int, steps: int) -> dict[str, Any]:
    """Draws by HMC from the energy of a network, kept in the square by a wall."""
    energy = models.energy(nn.mlp, SHAPES, theta)

    def walled(x: Any) -> tuple[Any, Any]:
        E, dE = energy(x)
        return np.where(np.any(np.abs(x) > HALF, axis=-1), -np.inf, E), dE

    start = np.clip(NOISE.sample(make_rng(seed, 0, 4), CHAINS), -HALF, HALF)
    rng, warmup = make_rng(seed, 0, 5), steps // 2
    chains = sampling.hmc(walled, start, rng, steps=steps, warmup=warmup)
    r_hat, ess = diagnose(chains.samples)
    return {
        "model": np.round(chains.samples[-8:].reshape(-1, 2), 3),
        "acceptance": chains.acceptance.mean(),
        "r_hat": r_hat,
        "ess": ess,
        "draws": steps * CHAINS,
    }
