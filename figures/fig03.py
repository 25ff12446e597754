"""Figure 3: parameter distance for Gaussians in 16 dimensions, over 5 runs.

Both means 0, noise covariance I, data variances uniform in [6, 12] for each run; T(x) =
[x^2, x], rate 0.1. The paper leaves the start, the batch, NCE's higher rate and the
optimizer's rate on F open: theta and F start at the noise's own parameters, fresh
batches of 1024, F rate 10 and 100 times theta's, and rate 1 for BAR. Two more panels
change one of these each: theta and F drawn from N(0, 1), and rate 1.
"""

from typing import Any

import numpy as np

from figures import recording, style
from figures.settings import Settings
from refnce import distributions, train
from refnce.train import Method, models

DIMENSION = 16
BATCH = 1024
RUNS = 5
STEPS = 2000
XTOL = 1e-6


def methods(rate: float) -> dict[str, Method]:
    return {
        "NCE": Method("gradient", rate=rate),
        "NCE, F rate 10x": Method("gradient", rate=10.0 * rate),
        "NCE, F rate 100x": Method("gradient", rate=100.0 * rate),
        "BAR": Method("bar", rate=1.0),
        "BAR, half step": Method("bar", rate=0.5),
        "binary search": Method("newton", F_first=True),
    }


def compute(settings: Settings) -> dict[str, Any]:
    runs = settings.runs or RUNS
    steps = 120 if settings.quick else STEPS
    numbers: dict[str, Any] = {
        "setting": {
            "data": "N(0, diag(v)), v uniform in [6, 12]",
            "noise": "N(0, I)",
            "dimension": DIMENSION,
            "batch": BATCH,
            "steps": steps,
            "runs": runs,
        }
    }
    numbers["rate 0.1"] = curves(settings, runs, steps, 0.1, "noise", stream=0)
    numbers["rate 0.1, random start"] = curves(
        settings, runs, steps // 2, 0.1, "random", stream=1
    )
    numbers["rate 1"] = curves(settings, runs, steps // 2, 1.0, "noise", stream=2)
    return numbers


def curves(
    settings: Settings, runs: int, steps: int, rate: float, start: str, *, stream: int
) -> dict[str, Any]:
    """Distances to [theta*, F*] (K, runs) by method, and of theta alone."""
    streams = settings.generators(3, 9)[3 * stream : 3 * stream + 3]
    zeros, ones = np.zeros((runs, 1, DIMENSION)), np.ones((runs, 1, DIMENSION))
    variance = streams[0].uniform(6.0, 12.0, ones.shape)
    data = distributions.DiagonalGaussian(zeros, variance)
    noise = distributions.UnitGaussian(np.zeros(DIMENSION))
    if start == "noise":
        first = distributions.DiagonalGaussian(zeros[:, 0], ones[:, 0])
        theta0, F0 = first.theta, first.log_z
    else:
        theta0 = streams[0].standard_normal((runs, 2 * DIMENSION))
        F0 = streams[0].standard_normal(runs)
    theta0, F0 = settings.array(theta0), settings.array(F0)
    model = models.exponential_family(distributions.DiagonalGaussian, noise)
    states = {
        name: train.start(train.Training(model, way, rate=rate, xtol=XTOL), theta0, F0)
        for name, way in methods(rate).items()
    }
    batches = recording.fresh(settings, data, noise, streams[1:], runs, BATCH)
    keep, label = recording.kept(steps, 60), f"fig03 rate {rate:g}, {start} start"
    paths = recording.record(settings, label, states, batches, keep)
    result: dict[str, Any] = {"step": np.asarray(keep)}
    for name, path in paths.items():
        off_theta = np.linalg.norm(path["theta"] - data.theta[:, 0], axis=-1)
        distance = np.hypot(off_theta, path["F"] - data.log_z[:, 0])
        result[name] = {"distance": distance, "theta_distance": off_theta.mean(axis=1)}
    return result


def draw(numbers: dict[str, Any]) -> Any:
    title = "Figure 3: Gaussians in 16 dimensions, distance to the true parameters"
    figure, axes = style.canvas((1, 3), 13.5, 4.6, title)
    panels = "rate 0.1", "rate 0.1, random start", "rate 1"
    for axis, name in zip(axes[0], panels, strict=True):
        step = numbers[name]["step"]
        for method in methods(1.0):
            style.band(axis, step, numbers[name][method]["distance"], method)
        axis.set(xlabel="training step", ylabel=r"$\|\theta - \theta_*\|_2$")
        axis.set_xlim(0, step[-1])
        axis.set_title(name + (" (the paper's)" if name == "rate 0.1" else ""))
    for axis in axes[0, :2]:
        axis.set_ylim(bottom=0)
    axes[0, 2].set(yscale="log")
    style.legend_below(figure, axes[0, 0])
    return figure
