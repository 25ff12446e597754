"""One log-ratio between smoothed digits and a mixture, trained with an exact F.

The data are x + sigma z of dequantized digits x, z ~ N(0, I). Their density p_sigma is
smooth, and the posterior mean of x is x + sigma z + sigma^2 d log p_sigma (Tweedie; see
Efron 2011): that of a model p_sigma denoises its samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from figures import checkpoint
from figures.mnist import network
from figures.settings import Settings
from refnce import logz, optim, train
from refnce.array import make_rng, to_numpy
from refnce.distributions import GaussianMixture
from refnce.nn.params import Flat
from refnce.train import models
from refnce.train.fit import Batches, fit

__all__ = ["BATCH", "RATE", "Model", "Smoothed", "learn"]

BATCH = 96
RATE = 1e-3
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
        return x + self.sigma * rng.standard_normal(x.shape)


@dataclass(frozen=True)
class Model:
    """The density q(x) exp(r(x) - F) of a mixture q and a log-ratio r.

    Parameters
    ----------
    noise : GaussianMixture
        q.
    sigma : float
        The smoothing, for ``denoise``.
    theta : array or None
        Parameters of ``network.small_log_ratio``; None stands for r = 0.
    """

    noise: GaussianMixture
    sigma: float
    theta: Any = None

    def ratio(self, x: Any) -> tuple[Any, Any]:
        """Return r (n,) and dr/dx (n, d) of x (n, d)."""
        layer, shapes = network.small_log_ratio(), network.small_log_ratio_shapes()
        return models.energy(layer, shapes, self.theta)(x)

    def density(self, x: Any) -> tuple[Any, Any]:
        """Return log q + r (n,) and its gradient (n, d)."""
        value, score = self.noise.log_density_and_score(x)
        if self.theta is None:
            return value, score
        r, dr = self.ratio(x)
        return value + r, score + dr

    def denoise(self, x: Any) -> Any:
        """Return x + sigma^2 d log p/dx, the mean of the image under x."""
        return x + self.sigma**2 * self.density(x)[1]

    def root(self, x_data: Any, x_noise: Any) -> logz.LogZ:
        """Return F at the root of the samples, in float64."""
        values = (self.ratio(x)[0] for x in (x_data, x_noise))
        r = [np.asarray(to_numpy(value), dtype=float) for value in values]
        return logz.newton(*r)


def learn(
    settings: Settings, data: Any, noise: GaussianMixture, sigma: float, steps: int
) -> tuple[Model, dict[str, Any]]:
    """Train theta by Adam, with F at the root of every batch; resume if asked to.

    Returns
    -------
    Model
    rows : dict
        Host arrays: the steps recorded, loss and F of their batches.
    """
    assert settings.work is not None, "figures.__main__ gives a folder"
    settings.work.mkdir(parents=True, exist_ok=True)
    path = settings.work / "beyond03.safetensors"
    state, batches = begin(settings, Smoothed(data, sigma), noise)
    identity = checkpoint.identity(
        training=state.training, theta0=state.theta, batches=batches, every=EVERY
    )
    rows: dict[str, Any] = {}
    if settings.resume and path.exists():
        state, rows = checkpoint.load(path, state, identity)
    label, hidden = "ratio", None if settings.progress else True
    with tqdm(None, label, steps, initial=state.count, disable=hidden) as bar:
        while state.count < steps:
            state, rows = advance(state, rows, batches, steps, bar)
            checkpoint.save(path, state, rows, identity)
    return Model(noise, sigma, state.theta), rows


def begin(settings: Settings, data: Any, noise: Any) -> tuple[train.State, Batches]:
    """Return the state before the first step, and the batches."""
    layer, shapes = network.small_log_ratio(), network.small_log_ratio_shapes()
    model = models.network(layer, shapes, None)
    exact = train.Method("newton", F_first=True)
    training = train.Training(model, exact, optim.adam, RATE, xtol=1e-6)
    initial = network.log_ratio_init_params(shapes, make_rng(settings.seed, 0, 3))
    theta = settings.array(Flat(shapes).ravel(initial), "float32")
    batches = Batches(data, noise, settings.seed, (), BATCH, BATCH)
    return train.start(training, theta, 0.0), batches


def advance(
    state: train.State, rows: dict[str, Any], batches: Batches, steps: int, bar: Any
) -> tuple[train.State, dict[str, Any]]:
    """Train until the next checkpoint; RuntimeError if the training stopped."""
    stop = min(steps, state.count + INTERVAL)
    wanted = set(range(0, stop, EVERY)) | {steps - 1}
    options: Any = {"callback": lambda *_: bar.update(), "record_every": wanted}
    state, record = fit(state, batches, stop, **options)
    if state.count < stop or int(state.stopped_at) >= 0:
        raise RuntimeError(f"the training stopped at step {int(state.stopped_at)}")
    new = {"step": record.step, "loss": record.loss, "F": record.F}
    joined = {k: np.concatenate([rows.get(k, v[:0]), v]) for k, v in new.items()}
    return state, joined
