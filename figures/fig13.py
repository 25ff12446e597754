"""Figure 13: images sampled from the learnt energy, beside digits and noise.

Hamiltonian Monte Carlo in the noise's own coordinates, x = mean + L z: there the noise
is N(0, I), however thin its ellipsoid is in pixels, and log p(z) = r(x) - |z|^2/2. A
picture flatters: beside it stand acceptance, R-hat, and the leave-one-out error of a
nearest-neighbour classifier between samples and held-out digits, 1/2 for samples of the
same law, 0 for samples that are told at once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from figures import style
from figures.diagnostics import diagnose
from figures.mnist import experiment, network
from figures.mnist.nearest import nearest_error
from figures.parallel import parallel_map
from figures.settings import Settings
from refnce import sampling
from refnce.array import array_namespace, make_rng, to_numpy
from refnce.train import models

SAMPLED = ("BAR", "binary search")
CHAINS = 64
STEPS, WARMUP, LEAPFROG = 40, 60, 20
SHOWN = 8  # images across and down


@dataclass(frozen=True)
class Job:
    """One energy to sample from."""

    settings: Settings
    method: str
    learnt: Any  # theta and F
    start: Any
    place: int


def compute(settings: Settings) -> dict[str, Any]:
    numbers, seed = experiment.experiment(settings), settings.seed
    _, held, noise = experiment.sources(settings)
    real, again = (held.sample(make_rng(seed, 2, k), CHAINS) for k in range(2))
    start, learnt = noise.sample(make_rng(seed, 2, 2), CHAINS), numbers["thetas"]
    jobs = [Job(settings, x, learnt[x], start, k) for k, x in enumerate(SAMPLED)]
    found = parallel_map(sample, jobs, settings.backend)
    samplers = dict(zip(SAMPLED, found, strict=True))
    pictures = {"digits": real, "noise": start}
    pictures |= {name: own.pop("x") for name, own in samplers.items()}
    more = {"chains": CHAINS, "coordinates": "whitened by the noise"}
    return {
        "setting": numbers["setting"] | lengths(settings) | more,
        "samplers": samplers,
        "nearest_error": {k: nearest_error(x, again) for k, x in pictures.items()},
        "pictures": {
            name: [to_text(image) for image in x[: SHOWN**2]]
            for name, x in pictures.items()
        },
    }


def sample(job: Job) -> dict[str, Any]:
    """Run the chains of one energy; x (chains, 784) is where they end."""
    settings, (theta, F) = job.settings, job.learnt
    _, _, noise = experiment.sources(settings)
    log_density = density(settings, noise, settings.array(theta, "float32"))
    z = settings.array(noise.whiten(job.start), "float32")
    options: Any = lengths(settings)

    def progress(each: Any) -> Any:
        total = options["warmup"] + options["steps"]
        return settings.track(each, f"HMC, {job.method}", total)

    rng = make_rng(settings.seed, 3, job.place)
    options |= {"step_size": 0.01, "progress": progress}
    chains = sampling.hmc(log_density, z, rng, **options)
    r_hat, ess = diagnose(chains.samples)
    x = noise.unwhiten(to_numpy(chains.samples[-1, ...]).astype(float))
    z = settings.array(noise.whiten(x), "float32")
    half_square = 0.5 * np.sum(to_numpy(z) ** 2, axis=-1)
    return {
        "x": x,
        "F": float(F),
        "acceptance": float(np.mean(to_numpy(chains.acceptance))),
        "step_size": chains.step_size,
        "r_hat_max": float(np.max(r_hat)),
        "r_hat_median": float(np.median(r_hat)),
        "ess_min": float(np.min(ess)),
        "log_ratio": float(np.mean(to_numpy(log_density(z)[0]) + half_square)),
    }


def lengths(settings: Settings) -> dict[str, int]:
    """Steps, steps of warm-up, longest trajectory."""
    long = (4, 2, 3) if settings.quick else (STEPS, WARMUP, LEAPFROG)
    return dict(zip(("steps", "warmup", "leapfrog"), long, strict=True))


def density(settings: Settings, noise: Any, theta: Any) -> Any:
    """z -> (r(x) - |z|^2/2, its gradient) at x = mean + L z."""
    widths = experiment.WIDTHS[settings.width]
    layer, shapes = network.log_ratio(widths), network.log_ratio_shapes(widths)
    ratio = models.energy(layer, shapes, theta)
    mean, factor = (settings.array(x, "float32") for x in (noise.mean, noise.factor))

    def log_density(z: Any) -> tuple[Any, Any]:
        xp = array_namespace(z)
        r, dr = ratio(mean + z @ factor.mT)
        return r - 0.5 * xp.sum(z * z, axis=-1), dr @ factor - z

    return log_density


def to_text(image: Any) -> str:
    """An image as a hexadecimal digit for each pixel, 0 black and f white."""
    levels = np.round(np.clip(image, 0.0, 1.0) * 15).astype(int)
    return "".join(f"{level:x}" for level in levels)


def draw(numbers: dict[str, Any]) -> Any:
    pictures = numbers["pictures"]
    title = "Figure 13: images sampled from the learnt energy"
    figure, axes = style.canvas((1, len(pictures)), 3.4 * len(pictures), 4.3, title)
    for axis, (name, images) in zip(axes[0], pictures.items(), strict=True):
        show_digits(axis, images)
        lines = [name]
        if name in numbers["samplers"]:
            own = numbers["samplers"][name]
            median, largest = _number(own["r_hat_median"]), _number(own["r_hat_max"])
            hats = f"R-hat {median} (median), {largest} (largest)"
            lines = [f"HMC, energy of {name}"]
            lines.append(f"acceptance {own['acceptance']:.2f}, {hats}")
        lines.append(f"nearest-neighbour error {numbers['nearest_error'][name]:.2f}")
        axis.set_title("\n".join(lines), fontsize=8.5)
    return figure


def show_digits(axis: Any, images: list[str]) -> None:
    """Draw images of ``to_text`` as SHOWN rows of SHOWN."""
    pixels = np.asarray([[int(level, 16) for level in image] for image in images])
    tiles: Any = pixels.reshape(SHOWN, SHOWN, 28, 28).transpose(0, 2, 1, 3)
    tiles = tiles.reshape(28 * SHOWN, 28 * SHOWN)
    axis.imshow(tiles, cmap="gray", vmin=0, vmax=15, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)


def _number(x: float | None) -> str:
    return "not finite" if x is None else f"{x:.2f}"
