"""Figure 13: images sampled from the energy learnt with BAR, beside digits and the noise that the chains start from.

Hamiltonian Monte Carlo in the noise's own coordinates, x = mean + L z: there the noise is N(0, I), however thin its ellipsoid
is in pixels, and log p(z) = r(x) - |z|^2/2. A picture flatters: beside it stand acceptance, R-hat, and the error of a
nearest-neighbour classifier between samples and held-out digits (leave one out), 1/2 for samples of the same law, 0 for samples
that are told at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from figures import style
from figures.mnist import experiment
from figures.diagnostics import diagnose
from figures.settings import Settings
from figures.parallel import parallel_map
from refnce import sampling
from refnce.train import models
from refnce.array.backend import array_namespace, make_rng, to_numpy, matrix_transpose
from refnce.nn import resnet

SAMPLED = ("BAR", "binary search")
CHAINS = 64
STEPS, WARMUP, LEAPFROG = 40, 60, 20
SHOWN = 8  # images across and down


def compute(settings: Settings) -> dict[str, Any]:
    numbers = experiment.experiment(settings)
    _, held, noise = experiment.sources(settings)
    seed, side = settings.seed, SHOWN**2
    real, again = (held.sample(make_rng(seed, 2, k), CHAINS) for k in range(2))
    start = noise.sample(make_rng(seed, 2, 2), CHAINS)
    pictures = {"digits": real, "noise": start}
    learnt = numbers["thetas"]
    jobs = [
        Job(settings, name, learnt[name][0], learnt[name][1], start, k)
        for k, name in enumerate(SAMPLED)
    ]
    found = dict(
        zip(SAMPLED, parallel_map(sample, jobs, settings.backend), strict=True)
    )
    pictures |= {name: own.pop("x") for name, own in found.items()}
    errors = {name: nearest_error(x, again) for name, x in pictures.items()}
    shown = {
        name: [_digits(image) for image in x[:side]] for name, x in pictures.items()
    }
    steps, warmup, leapfrog = _lengths(settings)
    sampling = {
        "chains": CHAINS,
        "steps": steps,
        "warmup": warmup,
        "leapfrog": leapfrog,
        "coordinates": "whitened by the noise",
    }
    return {
        "setting": numbers["setting"] | sampling,
        "samplers": found,
        "nearest_error": errors,
        "pictures": shown,
    }


@dataclass(frozen=True)
class Job:
    """One energy to sample from: what a process of its own can do."""

    settings: Settings
    method: str
    theta: Any
    F: Any
    start: Any
    place: int


def sample(job: Job) -> dict[str, Any]:
    """Run the chains of one energy; x (chains, 784), where they end, and what tells whether to trust them."""
    settings = job.settings
    _, _, noise = experiment.sources(settings)
    density = _density(settings, noise, settings.array(job.theta, "float32"))
    z = settings.array(noise.whiten(job.start), "float32")
    steps, warmup, leapfrog = _lengths(settings)
    chains = sampling.hmc(
        density,
        z,
        make_rng(settings.seed, 3, job.place),
        steps=steps,
        warmup=warmup,
        leapfrog=leapfrog,
        step_size=0.01,
        progress=lambda each: settings.track(
            each, f"HMC, {job.method}", warmup + steps
        ),
    )
    r_hat, ess = diagnose(chains.samples)
    x = noise.unwhiten(to_numpy(chains.samples[-1, ...]).astype(float))
    return {
        "x": x,
        "F": float(job.F),
        "acceptance": float(np.mean(to_numpy(chains.acceptance))),
        "step_size": chains.step_size,
        "r_hat_max": float(np.max(r_hat)),
        "r_hat_median": float(np.median(r_hat)),
        "ess_min": float(np.min(ess)),
        "log_ratio": _ratios(density, settings, noise, x),
    }


def _lengths(settings: Settings) -> tuple[int, int, int]:
    """Steps, steps of warm-up, longest trajectory."""
    return (4, 2, 3) if settings.quick else (STEPS, WARMUP, LEAPFROG)


def _density(settings: Settings, noise: Any, theta: Any) -> Any:
    """z -> (r(x) - |z|^2/2, its slope) at x = mean + L z."""
    widths = experiment.WIDTHS[settings.width]
    ratio = models.energy(
        resnet.log_ratio(widths), resnet.log_ratio_shapes(widths), theta
    )
    mean, factor = (settings.array(x, "float32") for x in (noise.mean, noise.factor))

    def density(z: Any) -> tuple[Any, Any]:
        xp = array_namespace(z)
        r, slope = ratio(mean + z @ matrix_transpose(factor))
        return r - 0.5 * xp.sum(z * z, axis=-1), slope @ factor - z

    return density


def _ratios(density: Any, settings: Settings, noise: Any, x: Any) -> float:
    """The mean log-ratio r of images."""
    z = settings.array(noise.whiten(x), "float32")
    E, _ = density(z)
    return float(np.mean(to_numpy(E) + 0.5 * np.sum(to_numpy(z) ** 2, axis=-1)))


def nearest_error(x: Any, y: Any) -> float:
    """The leave-one-out error of the nearest neighbour in telling x (n, d) from y (n, d) (Lopez-Paz and Oquab 2017)."""
    both = np.concatenate([x, y]).clip(0.0, 1.0)
    square = np.sum(both**2, axis=-1)
    distance = square[:, None] + square - 2.0 * both @ both.T
    np.fill_diagonal(distance, math.inf)
    own = np.arange(len(both)) < len(x)
    return float(np.mean(own[distance.argmin(axis=-1)] != own))


def _digits(image: Any) -> str:
    """An image as a hexadecimal digit for each pixel, 0 black and f white: what a picture of this size shows."""
    return "".join(
        f"{level:x}" for level in np.round(np.clip(image, 0.0, 1.0) * 15).astype(int)
    )


def draw(numbers: dict[str, Any]) -> Any:
    pictures = numbers["pictures"]
    figure, axes = style.canvas(1, len(pictures), 3.4 * len(pictures), 4.3)
    figure.suptitle("Figure 13: images sampled from the learnt energy", fontsize=11)
    for axis, (name, images) in zip(axes[0], pictures.items(), strict=True):
        pixels = np.asarray([[int(level, 16) for level in image] for image in images])
        tiles = (
            pixels.reshape(SHOWN, SHOWN, 28, 28)
            .transpose(0, 2, 1, 3)
            .reshape(28 * SHOWN, 28 * SHOWN)
        )
        axis.imshow(tiles, cmap="gray", vmin=0, vmax=15, interpolation="nearest")
        lines = [name if name in ("digits", "noise") else f"HMC, energy of {name}"]
        if name in numbers["samplers"]:
            own = numbers["samplers"][name]
            hats = f"R-hat {_number(own['r_hat_median'])} (median), {_number(own['r_hat_max'])} (largest)"
            lines.append(f"acceptance {own['acceptance']:.2f}, {hats}")
        lines.append(f"nearest-neighbour error {numbers['nearest_error'][name]:.2f}")
        axis.set_title("\n".join(lines), fontsize=8.5)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    return figure


def _number(x: float | None) -> str:
    return "not finite" if x is None else f"{x:.2f}"
