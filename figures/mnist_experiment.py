"""The experiment behind Figures 6 and 13: ResNet-18 with a quadratic head learns MNIST against a Gaussian (Section 4.3).

Data: digits, dequantised anew at every draw, (pixel + U[0, 1))/256, without a logit transform. Noise: the Gaussian with their
mean and covariance. The paper gives no more than that. Here the head has the sign of Rhodes et al. 2020 (a density that can be
normalised), theta moves by Adam at their rate 1e-4, batches are 64 + 64, F0 = 0; vanilla NCE moves F with theta's optimizer and
rate, "F rate 10x" at ten times that (as their code does with its bias), BAR is Equation 11 by plain descent at rate 1, binary
search the root of the batch before theta's gradient.

The loss of a batch that the model separates can be as small as one likes, so that each method is judged on held-out digits and
noise too: with its own F, and with F at their root, which tells what a wrong F costs from what the network does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from figures import methods
from figures.methods import ROOT_START
from figures.mnist import dequantize
from figures.mnist import files as mnist_files
from figures.settings import Settings
from figures.parallel import keep_freed_memory, side_by_side
from refnce import files, logz, nce, optim, train
from refnce.train import models
from refnce.array.backend import Array, array_namespace, make_rng, to_numpy
from refnce.train.fit import Batches, Record, fit
from refnce.distributions import Gaussian
from refnce.nn import resnet
from refnce.nn.params import Flat
from refnce.train.algorithm1 import State, Training

WIDTHS = {"narrow": resnet.NARROW, "full": resnet.FULL}
STEPS = {"narrow": 240, "full": 4000}
RUNS = 2
BATCH = 64
RATE = 1e-4
METHODS = tuple(methods.methods(RATE))
# What the ranking depends on: one thing changed, half the steps, the first seed.
VARIANTS: dict[str, dict[str, Any]] = {
    "as above": {},
    "rate 1e-3": {"rate": 1e-3},
    "batch 16": {"batch": 16},
    "F0 = 20": {"F0": 20.0},
    "F0 = -20": {"F0": -20.0},
}
VARIED = ("NCE", "BAR", "binary search")
EVERY = 5
STOPS = 12  # looks at held-out digits, evenly in the logarithm of the step
HELD = 512
INTERVAL = 50  # steps between checkpoints: what a kill loses at most


@dataclass(frozen=True)
class Dequantised:
    """The law of dequantised images: rows drawn with replacement, their noise anew each time."""

    images: Any

    def sample(self, rng: Any, *shape: int) -> Any:
        """Draw (*shape, 784)."""
        rows = rng.integers(len(self.images), size=shape)
        return dequantize.dequantize(self.images[rows], rng)


@dataclass(frozen=True)
class Job:
    """One method and seed: what a process of its own can do, and goes on with from its checkpoint."""

    method: str
    seed: int
    settings: Settings
    steps: int
    place: int  # of its progress bar
    variant: str = "as above"


@lru_cache(maxsize=1)
def experiment(settings: Settings) -> dict[str, Any]:
    """Return the numbers of Figure 6 and the trained parameters; computed once for as many figures of a command as ask for it."""
    steps = settings.steps or (8 if settings.quick else STEPS[settings.width])
    runs = settings.runs or (1 if settings.quick else RUNS)
    seeds = [1000 * settings.seed + k for k in range(runs)]
    until = max(1, steps // 2)
    variants = list(VARIANTS)[: 2 if settings.quick else None]
    main = [(name, seed, steps, "as above") for seed in seeds for name in METHODS]
    side = [
        (name, seeds[0], until, variant)
        for variant in variants
        if VARIANTS[variant]
        for name in VARIED
    ]
    jobs = [
        Job(name, seed, settings, length, k, variant)
        for k, (name, seed, length, variant) in enumerate(main + side)
    ]
    if not settings.resume:
        for job in jobs:
            for path in _paths(job):
                path.unlink(missing_ok=True)
    found = list(side_by_side(work, jobs, settings.backend))
    curves: dict[str, Any] = {"step": found[0]["step"], "stops": stops_of(steps)}
    for name in METHODS:
        mine = [
            one
            for job, one in zip(jobs, found, strict=True)
            if job.method == name and job.variant == "as above"
        ]
        keys = ("loss", "F", "held_loss", "held_best", "held_root", "held_overlap")
        curves[name] = {
            key: np.stack([one[key] for one in mine], axis=-1) for key in keys
        }
        curves[name]["seconds"] = np.asarray([one["seconds"] for one in mine])
    first = {
        (job.method, job.variant): one
        for job, one in zip(jobs, found, strict=True)
        if job.seed == seeds[0]
    }
    varied = {
        variant: {name: _ending(first[name, variant], until) for name in VARIED}
        for variant in variants
    }
    thetas = {
        name: (first[name, "as above"]["theta"], first[name, "as above"]["F"][-1])
        for name in METHODS
    }
    setting = {
        "network": f"ResNet-18, widths {WIDTHS[settings.width]}, 128 features, quadratic head with the negative sign",
        "data": "MNIST, (pixel + U[0, 1))/256",
        "noise": "Gaussian with the data's mean and covariance",
        "batch": BATCH,
        "steps": steps,
        "runs": runs,
        "optimizer": f"Adam, rate {RATE:g}",
        "F0": 0.0,
        "held_out": HELD,
        "dtype": "float32",
    }
    return {"setting": setting, "curves": curves, "varied": varied, "thetas": thetas}


def _ending(one: dict[str, Any], until: int) -> dict[str, float]:
    """The losses towards step ``until``: the median of batches over its last quarter, and the last look at held-out samples."""
    late = (one["step"] >= 0.75 * until) & (one["step"] < until)
    late = late if late.any() else one["step"] >= 0
    look = max(k for k, stop in enumerate(one["stops"]) if stop <= until)
    return {
        "loss": float(np.median(one["loss"][late])),
        "held_loss": float(one["held_loss"][look]),
    }


def stops_of(steps: int) -> list[int]:
    """After which steps held-out digits are looked at."""
    return sorted({round(steps ** (k / (STOPS - 1))) for k in range(STOPS)} | {steps})


def sources(settings: Settings) -> tuple[Dequantised, Dequantised, Gaussian]:
    """The training digits, the held-out ones, and the noise."""
    return _sources(settings.mnist, settings.quick)


@lru_cache(maxsize=1)
def _sources(
    folder: Path | None, quick: bool
) -> tuple[Dequantised, Dequantised, Gaussian]:
    assert (
        folder is not None
    ), "figures.__main__ makes these figures with a folder alone"
    digits = mnist_files.read(folder)
    images = digits.train_images[:2000] if quick else digits.train_images
    return (
        Dequantised(images),
        Dequantised(digits.test_images),
        Gaussian(*dequantize.moments(images)),
    )


def model_of(width: str) -> tuple[models.Model, Flat]:
    """The log-ratio of the network and the layout of its parameters."""
    shapes = resnet.log_ratio_shapes(WIDTHS[width])
    return models.network(resnet.log_ratio(WIDTHS[width]), shapes, None), Flat(shapes)


def work(job: Job) -> dict[str, Any]:
    """Train one method, from its checkpoint where there is one, and look at held-out digits on the way; host arrays."""
    settings = job.settings
    if settings.backend == "numpy":
        keep_freed_memory()
    data, held, noise = sources(settings)
    model, flat = model_of(settings.width)
    change = VARIANTS[job.variant]
    count, rate, F0 = (
        change.get("batch", BATCH),
        change.get("rate", RATE),
        change.get("F0", 0.0),
    )
    batches = Batches(data, noise, job.seed, (), count, count)
    looked = _held_out(settings, held, noise, job)
    training = Training(
        model, (methods.methods(rate)[job.method],), optim.adam, rate, xtol=1e-6
    )
    theta = flat.ravel(
        resnet.log_ratio_init_params(flat.shapes, make_rng(job.seed, 0, 3), 1)
    )
    state = train.start(
        training,
        settings.array(theta, "float32"),
        settings.array(np.full(1, F0), "float32"),
    )
    if job.method == ROOT_START:
        x, y = (settings.array(z, "float32") for z in batches(0))
        r_data, r_noise, _ = model(state.theta, x, y)
        state = replace(state, F=logz.newton(r_data, r_noise).F)
    checkpoint, notes = _paths(job)
    rows = json.loads(notes.read_text()) if notes.exists() else {}
    label = f"{job.method}, seed {job.seed}, {job.variant}"
    bar = tqdm(
        total=job.steps,
        desc=label,
        position=job.place % 2,
        leave=False,
        ncols=120,
        disable=None if settings.progress else True,
    )
    for stop in stops_of(job.steps):
        if str(stop) in rows:
            continue
        state, _ = fit(
            state,
            batches,
            stop,
            every=EVERY,
            track=partial(_counted, bar),
            path=checkpoint,
            interval=INTERVAL,
        )
        rows[str(stop)] = looked(model, state)
        files.write(notes, json.dumps(rows).encode())
        bar.set_postfix(
            {
                "log10 held-out loss": f"{np.log10(rows[str(stop)]['held_loss']):.1f}",
                "F": f"{float(state.F[0]):.1f}",
            }
        )
    # All steps are made: this reads the whole record, that of an interrupted command included.
    state, record = fit(state, batches, job.steps, every=EVERY, path=checkpoint)
    bar.close()
    return _numbers(state, record, rows)


def _numbers(
    state: State, record: Record, rows: dict[str, dict[str, float]]
) -> dict[str, Any]:
    looks = {
        key: np.asarray([row[key] for row in rows.values()])
        for key in next(iter(rows.values()))
    }
    looks["stops"] = np.asarray([int(stop) for stop in rows])
    theta = to_numpy(state.theta)[0]
    mean = float(np.average(record.seconds, weights=np.diff(record.step, prepend=-1)))
    return {
        "step": record.step,
        "loss": record.loss[:, 0],
        "F": record.F[:, 0],
        "theta": theta,
        "seconds": mean,
        **looks,
    }


def _counted(bar: Any, steps: Iterable[int]) -> Iterable[int]:
    for k in steps:
        bar.n = k
        bar.refresh()
        yield k


def _paths(job: Job) -> tuple[Path, Path]:
    """The checkpoint and what was seen of held-out digits so far."""
    assert job.settings.work is not None
    job.settings.work.mkdir(parents=True, exist_ok=True)
    name = f"{job.settings.width}-{job.method.replace(', ', '-').replace(' ', '-')}-{job.seed}-{job.variant.replace(' ', '')}"
    return job.settings.work / f"{name}.npz", job.settings.work / f"{name}.json"


def _held_out(settings: Settings, held: Dequantised, noise: Gaussian, job: Job) -> Any:
    """The function (model, state) -> the losses of held-out samples, the same for all methods of a seed."""
    count = 64 if settings.quick else HELD
    laws = ((held, make_rng(job.seed, 1, 0)), (noise, make_rng(job.seed, 1, 1)))
    x, y = (settings.array(law.sample(rng, count), "float32") for law, rng in laws)

    def look(model: models.Model, state: State) -> dict[str, float]:
        r_data, r_noise = log_ratios(model, state.theta, x), log_ratios(
            model, state.theta, y
        )
        found = logz.newton(r_data, r_noise)
        own = array_namespace(state.F).astype(state.F, r_data.dtype)
        losses = (nce.loss(r_data, r_noise, F) for F in (own, found.F))
        values = (*losses, found.F, found.overlap)
        names = ("held_loss", "held_best", "held_root", "held_overlap")
        return {
            name: float(value[0]) for name, value in zip(names, values, strict=True)
        }

    return look


def log_ratios(model: models.Model, theta: Array, x: Array) -> Array:
    """r (1, n) of many samples, a batch at a time; float64, since the losses of a chasm are far under float32's digits."""
    xp = array_namespace(theta)
    parts = [
        model(theta, x[k : k + BATCH], x[:1])[0] for k in range(0, x.shape[0], BATCH)
    ]
    return xp.astype(xp.concat(parts, axis=-1), xp.float64)
