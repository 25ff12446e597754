"""A log-ratio between digits, smoothed or not, and noise, trained with any rule for F.

Smoothed data are x + sigma z of dequantized digits x, z ~ N(0, I). Their density
p_sigma is smooth, and the posterior mean of x is x + sigma z + sigma^2 d log p_sigma
(Tweedie; see Efron 2011): that of a model p_sigma denoises its samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from figures import checkpoint
from figures.mnist import network
from figures.settings import Settings
from refnce import optim, train
from refnce.array import make_rng, to_numpy
from refnce.nn.layer import Layer
from refnce.nn.params import Flat, Shapes
from refnce.train import models
from refnce.train.fit import Batches, fit

__all__ = ["EXACT", "Model", "Smoothed", "Task", "WarmupCosine", "learn", "log_ratios"]

EXACT = train.Method("newton", F_first=True)
INTERVAL = 50  # steps between checkpoints
EVERY = 10  # steps between records


@dataclass(frozen=True)
class Smoothed:
    """The law of x + sigma N(0, I), where ``law`` is that of x."""

    law: Any
    sigma: float

    def sample(self, rng: Any, *shape: int) -> Any:
        """Draw (*shape, d)."""
        x = self.law.sample(rng, *shape)
        return x + self.sigma * rng.standard_normal(x.shape) if self.sigma else x


@dataclass(frozen=True)
class Model:
    """The density q(x) exp(r(x) - F) of a noise q and a log-ratio r.

    Parameters
    ----------
    noise : object
        q, with ``log_density_and_score(x)``.
    sigma : float
        The smoothing of the data, for ``denoise``.
    ratio : callable or None
        x (n, d) -> (r (n,), dr/dx (n, d)); None stands for r = 0.
    """

    noise: Any
    sigma: float
    ratio: Callable[[Any], tuple[Any, Any]] | None = None

    def density(self, x: Any) -> tuple[Any, Any]:
        """Return log q + r (n,) and its gradient (n, d)."""
        value, score = self.noise.log_density_and_score(x)
        if self.ratio is None:
            return value, score
        r, dr = self.ratio(x)
        return value + r, score + dr

    def denoise(self, x: Any) -> Any:
        """Return x + sigma^2 d log p/dx, the mean of the image under x."""
        return x + self.sigma**2 * self.density(x)[1] if self.sigma else x


@dataclass(frozen=True)
class WarmupCosine:
    """Adam whose rate rises linearly, then falls to ``last`` of it by half a cosine."""

    steps: int
    warmup: int = 100
    last: float = 0.03

    def __call__(self, state: Any, gradient: Any, *, rate: float) -> tuple[Any, Any]:
        count = 0 if state is None else state[0]
        return optim.adam(state, gradient, rate=rate * self.factor(count))

    def factor(self, count: int) -> float:
        """What step ``count`` = 0, 1, ... multiplies the rate by."""
        if count < self.warmup:
            return (count + 1) / self.warmup
        way = min(1.0, (count - self.warmup) / max(1, self.steps - self.warmup))
        return self.last + (1.0 - self.last) * 0.5 * (1.0 + math.cos(math.pi * way))


@dataclass(frozen=True)
class Task:
    """One training.

    Parameters
    ----------
    label : str
        Of the progress bar and the checkpoint.
    layer, shapes
        The network of r, see ``figures.mnist.network``.
    data, noise : object
        Laws, with ``sample``.
    seed, steps, batch : int
    rate : float
    method : train.Method
        How F moves, from 0.
    optimizer : callable
        Moves theta.
    decay : float
        theta is averaged with weights decay^k, k steps back; 0 keeps the last theta.
    """

    label: str
    layer: Layer
    shapes: Shapes
    data: Any
    noise: Any
    seed: int
    steps: int
    batch: int
    rate: float
    method: train.Method = EXACT
    optimizer: Any = optim.adam
    decay: float = 0.0


def learn(task: Task, settings: Settings, place: int = 0) -> tuple[Any, dict[str, Any]]:
    """Train theta, from its checkpoint if asked to resume.

    Parameters
    ----------
    task : Task
    settings : Settings
    place : int
        Of the progress bar, from above.

    Returns
    -------
    theta : array (k,)
        In float32.
    rows : dict
        Host arrays: the steps recorded, loss and F of their batches. A training whose
        loss stops being finite ends with the theta before.
    """
    path = path_of(task, settings)
    state, batches = begin(task, settings)
    identity = checkpoint.identity(
        training=state.training,
        theta0=state.theta,
        batches=batches,
        decay=task.decay,
        every=EVERY,
    )
    rows: dict[str, Any] = {"average": to_numpy(state.theta)}
    if settings.resume and path.exists():
        state, rows = checkpoint.load(path, state, identity)
    # Written before the first step, so that a path that cannot be written costs none.
    checkpoint.save(path, state, rows, identity)
    options: Any = {"position": place, "leave": False, "ncols": 100}
    options |= {"disable": None if settings.progress else True}
    with tqdm(None, task.label, task.steps, initial=state.count, **options) as bar:
        while state.count < task.steps and int(state.stopped_at) < 0:
            state, rows = advance(task, state, rows, batches, bar)
            checkpoint.save(path, state, rows, identity)
    average = rows.pop("average")
    return (settings.array(average, "float32") if task.decay else state.theta), rows


def path_of(task: Task, settings: Settings) -> Path:
    """The checkpoint of a task."""
    assert settings.work is not None, "figures.__main__ gives a folder"
    settings.work.mkdir(parents=True, exist_ok=True)
    name = task.label.replace(", ", "-").replace(" ", "-")
    return settings.work / f"{name}.safetensors"


def begin(task: Task, settings: Settings) -> tuple[train.State, Batches]:
    """Return the state before the first step, and the batches."""
    model = models.network(task.layer, task.shapes, None)
    training = train.Training(model, task.method, task.optimizer, task.rate, xtol=1e-6)
    initial = network.log_ratio_init_params(task.shapes, make_rng(task.seed, 0, 3))
    theta = settings.array(Flat(task.shapes).ravel(initial), "float32")
    batches = Batches(task.data, task.noise, task.seed, (), task.batch, task.batch)
    return train.start(training, theta, 0.0), batches


def advance(
    task: Task, state: train.State, rows: dict[str, Any], batches: Batches, bar: Any
) -> tuple[train.State, dict[str, Any]]:
    """Train until the next checkpoint."""
    stop = min(task.steps, state.count + INTERVAL)
    average = rows["average"]

    def follow(before: train.State, after: train.State, *pair: Any) -> None:
        nonlocal average
        if task.decay:
            average = task.decay * average + (1.0 - task.decay) * to_numpy(after.theta)
        bar.update()

    wanted = set(range(0, stop, EVERY)) | {task.steps - 1}
    state, record = fit(state, batches, stop, record_every=wanted, callback=follow)
    new = {"step": record.step, "loss": record.loss, "F": record.F}
    joined = {k: np.concatenate([rows.get(k, v[:0]), v]) for k, v in new.items()}
    return state, joined | {"average": average.astype("float32")}


def log_ratios(ratio: Any, x: Any, rows: int = 128) -> Any:
    """r (n,) of samples x (n, d) on the host in float64, some rows at a time."""
    blocks = (x[k : k + rows, :] for k in range(0, x.shape[0], rows))
    return np.concatenate([to_numpy(ratio(block)[0]) for block in blocks]).astype(float)
