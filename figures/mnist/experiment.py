"""Figure 6: ResNet-18 with a quadratic head learns MNIST (Section 4.3).

Data: digits, dequantized anew at every draw, without a logit transform. Noise: the
Gaussian with their mean and covariance. The paper gives no more than that. Here the
head has the sign of Rhodes et al. 2020 (a density that can be normalised), theta moves
by Adam at their rate 1e-4, batches are 64 + 64, F0 = 0; vanilla NCE moves F with
theta's optimizer and rate, "F rate 10x" at ten times that (as their code does with its
bias), BAR is Equation 11 by plain descent at rate 1, binary search the root of the
batch before theta's gradient.

The loss of a batch that the model separates can be as small as one likes. So each
method is judged on held-out digits and noise too: with its own F, and with F at their
root, which tells what a wrong F costs from what the network does not know.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from figures import checkpoint
from figures.methods import ROOT_START, methods
from figures.mnist import dequantize, files, network
from figures.mnist.gaussian import Gaussian
from figures.parallel import keep_freed_memory, parallel_map
from figures.settings import Settings
from refnce import logz, nce, optim, train
from refnce.array import Array, array_namespace, make_rng, to_numpy
from refnce.nn.params import Flat
from refnce.nn.resnet import FULL
from refnce.train import models
from refnce.train.fit import Batches, fit

WIDTHS = {"narrow": network.NARROW, "full": FULL}
STEPS = {"narrow": 240, "full": 4000}
RUNS = 2
BATCH = 64
RATE = 1e-4
METHODS = tuple(methods(RATE))
HEAD = "128 features, quadratic head with the negative sign"
# What the ranking depends on: one thing changed, half the steps, the first seed.
AS_ABOVE = "as above"
VARIANTS: dict[str, dict[str, Any]] = {
    AS_ABOVE: {},
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
CURVES = ("loss", "F", "held_loss", "held_best", "held_root", "held_overlap")


@dataclass(frozen=True)
class Dequantized:
    """The law of dequantized images: rows with replacement, each with new noise."""

    images: Any

    def sample(self, rng: Any, *shape: int) -> Any:
        """Draw (*shape, 784)."""
        rows = rng.integers(len(self.images), size=shape)
        return dequantize.dequantize(self.images[rows], rng)


@dataclass(frozen=True)
class Job:
    """The training of one method from one seed."""

    method: str
    seed: int
    settings: Settings
    steps: int
    place: int = 0  # of its progress bar
    variant: str = AS_ABOVE


def experiment(settings: Settings) -> dict[str, Any]:
    """The numbers of Figure 6."""
    quick, width = settings.quick, settings.width
    steps = settings.steps or (8 if quick else STEPS[width])
    runs = settings.runs or (1 if quick else RUNS)
    seeds = [1000 * settings.seed + k for k in range(runs)]
    until = max(1, steps // 2)
    variants = list(VARIANTS)[: 2 if quick else None]
    main = [(name, seed, steps, AS_ABOVE) for seed in seeds for name in METHODS]
    side = [(name, seeds[0], until, v) for v in variants[1:] for name in VARIED]
    jobs = [
        Job(name, seed, settings, length, k, variant)
        for k, (name, seed, length, variant) in enumerate(main + side)
    ]
    for job in jobs:
        if settings.resume:
            Trainer(job).resume()  # refuse a damaged or foreign file before any work
        else:
            path_of(job).unlink(missing_ok=True)
    done = list(parallel_map(work, jobs, settings.backend))
    found = {(j.method, j.seed, j.variant): d for j, d in zip(jobs, done, strict=True)}
    curves: dict[str, Any] = {"step": done[0]["step"], "stops": stops_of(steps)}
    for name in METHODS:
        own = [found[name, seed, AS_ABOVE] for seed in seeds]
        curves[name] = {key: np.stack([one[key] for one in own], -1) for key in CURVES}
        curves[name]["seconds"] = np.asarray([one["seconds"] for one in own])
    setting = {
        "network": f"ResNet-18, widths {WIDTHS[width]}, {HEAD}",
        "data": "MNIST, (pixel + U[0, 1))/256",
        "noise": "Gaussian with the data's mean and covariance",
        "batch": BATCH,
        "steps": steps,
        "runs": runs,
        "optimizer": f"Adam, rate {RATE:g}",
        "F0": 0.0,
        "held_out": held_count(settings),
        "dtype": "float32",
    }
    return {
        "setting": setting,
        "curves": curves,
        "varied": {
            v: {name: ending(found[name, seeds[0], v], until) for name in VARIED}
            for v in variants
        },
    }


def ending(one: dict[str, Any], until: int) -> dict[str, float]:
    """The losses towards step ``until``.

    The median of the batches over the last quarter, and the last look at held-out
    samples.
    """
    late = (one["step"] >= 0.75 * until) & (one["step"] < until)
    late = late if late.any() else one["step"] >= 0
    look = np.flatnonzero(one["stops"] <= until)[-1]
    loss = float(np.median(one["loss"][late]))
    return {"loss": loss, "held_loss": float(one["held_loss"][look])}


def stops_of(steps: int) -> list[int]:
    """After which steps held-out digits are looked at."""
    return sorted({round(steps ** (k / (STOPS - 1))) for k in range(STOPS)} | {steps})


@lru_cache(maxsize=1)
def _sources(folder: Path, quick: bool) -> tuple[Dequantized, Dequantized, Gaussian]:
    digits = files.read(folder)
    images = digits.train_images[:2000] if quick else digits.train_images
    noise = Gaussian(*dequantize.moments(images))
    return Dequantized(images), Dequantized(digits.test_images), noise


def sources(settings: Settings) -> tuple[Dequantized, Dequantized, Gaussian]:
    """The training digits, the held-out ones, and the noise."""
    assert settings.mnist is not None, "figures.__main__ gives a folder"
    return _sources(settings.mnist, settings.quick)


def held_count(settings: Settings) -> int:
    """How many held-out digits, and as much noise, are looked at."""
    return 64 if settings.quick else HELD


def path_of(job: Job) -> Path:
    """The checkpoint of a job."""
    assert job.settings.work is not None, "figures.__main__ gives a folder"
    job.settings.work.mkdir(parents=True, exist_ok=True)
    parts = job.settings.width, job.method, str(job.seed), job.variant
    name = "-".join(part.replace(", ", "-").replace(" ", "-") for part in parts)
    return job.settings.work / f"{name}.safetensors"


class Trainer:
    """The training of a job, with what was recorded of it so far."""

    def __init__(self, job: Job) -> None:
        settings, change = job.settings, VARIANTS[job.variant]
        data, held, noise = sources(settings)
        count, rate = change.get("batch", BATCH), change.get("rate", RATE)
        widths = WIDTHS[settings.width]
        shapes = network.log_ratio_shapes(widths)
        self.job, self.path, self.stops = job, path_of(job), stops_of(job.steps)
        self.batches = Batches(data, noise, job.seed, (), count, count)
        model = models.network(network.log_ratio(widths), shapes, None)
        method = methods(rate)[job.method]
        training = train.Training(model, method, optim.adam, rate, xtol=1e-6)
        initial = network.log_ratio_init_params(shapes, make_rng(job.seed, 0, 3), 1)
        theta = settings.array(Flat(shapes).ravel(initial), "float32")
        F = change.get("F0", 0.0)
        if job.method == ROOT_START:
            x, y = (settings.array(z, "float32") for z in self.batches(0))
            F = logz.newton(*model(theta, x, y)[:2]).F
        self.state = train.start(training, theta, F)
        count = held_count(settings)
        laws = ((held, make_rng(job.seed, 1, 0)), (noise, make_rng(job.seed, 1, 1)))
        draws = (law.sample(rng, count) for law, rng in laws)
        self.held = [settings.array(x, "float32") for x in draws]
        self.rows: dict[str, Any] = {}
        record = {"held_out": self.held, "stops": self.stops, "record_every": EVERY}
        self.identity = checkpoint.identity(
            training=training, theta0=theta, F0=F, batches=self.batches, **record
        )

    def resume(self) -> None:
        """Go on from the checkpoint if there is one; FileError if it is bad."""
        if self.path.exists():
            found = checkpoint.load(self.path, self.state, self.identity)
            self.state, self.rows = found

    def advance(self, stop: int, bar: Any) -> None:
        """Train until step ``stop``, look at held-out samples if due, and save."""
        wanted = {*range(0, stop, EVERY), *(look - 1 for look in self.stops)}
        options: Any = {"callback": lambda *_: bar.update(), "record_every": wanted}
        begin = perf_counter()
        self.state, record = fit(self.state, self.batches, stop, **options)
        rows = {"seconds": np.asarray([perf_counter() - begin]), "step": record.step}
        rows |= {"loss": record.loss[:, 0], "F": record.F[:, 0]}
        if stop in self.stops:
            rows |= {"stops": np.asarray([stop]), **self.look()}
        for name, values in rows.items():
            before = self.rows.get(name, values[:0])
            self.rows[name] = np.concatenate([before, values])
        checkpoint.save(self.path, self.state, self.rows, self.identity)

    def look(self) -> dict[str, Any]:
        """The losses of held-out samples, the same for all methods of a seed."""
        r_data, r_noise = (log_ratios(self.state, x) for x in self.held)
        solution = logz.newton(r_data, r_noise)
        own_F = array_namespace(r_data).astype(self.state.F, r_data.dtype)
        losses = (nce.loss(r_data, r_noise, F) for F in (own_F, solution.F))
        values = (*losses, solution.F, solution.overlap)
        return {k: to_numpy(v) for k, v in zip(CURVES[2:], values, strict=True)}


def work(job: Job) -> dict[str, Any]:
    """Train one method, from its checkpoint where there is one; host arrays."""
    if job.settings.backend == "numpy":
        keep_freed_memory()
    trainer = Trainer(job)
    trainer.resume()
    # Written before the first step, so that a path that cannot be written costs none.
    checkpoint.save(trainer.path, trainer.state, trainer.rows, trainer.identity)
    label = f"{job.method}, seed {job.seed}, {job.variant}"
    options: Any = {"position": job.place % 2, "leave": False, "ncols": 120}
    options |= {"disable": None if job.settings.progress else True}
    with tqdm(None, label, job.steps, initial=trainer.state.count, **options) as bar:
        for stop in sorted({*trainer.stops, *range(INTERVAL, job.steps, INTERVAL)}):
            if stop > trainer.state.count:
                trainer.advance(stop, bar)
    rows = trainer.rows
    seconds = float(rows["seconds"].sum() / trainer.state.count)  # of a step
    return {**rows, "theta": to_numpy(trainer.state.theta)[0], "seconds": seconds}


def log_ratios(state: train.State, x: Array) -> Array:
    """r (1, n) of many samples, a batch at a time.

    In float64, because the losses of a chasm are far under float32's digits.
    """
    xp, model = array_namespace(x), state.training.model
    blocks = (x[k : k + BATCH] for k in range(0, x.shape[0], BATCH))
    parts = [model(state.theta, block, x[:1])[0] for block in blocks]
    return xp.astype(xp.concat(parts, axis=-1), xp.float64)
