"""Figures 2, 8, 9, 10: Gaussians on the line, data N(d, 1), noise N(0, 1).

T(x) = x, theta* = d, F* = d^2/2 + log(2 pi)/2; every rate 1, theta0 = F0 = 0, batches
of 512, 1000 steps, 5 runs. Half of the runs see fresh batches, half one fixed batch:
the paper does not say which it used.
"""

from typing import Any

import numpy as np

from figures import recording
from figures.settings import Settings
from refnce import distributions, train
from refnce.train import Method, models

METHODS = {
    "NCE": Method("gradient", rate=1.0),
    "NCE, F rate 10x": Method("gradient", rate=10.0),
    "BAR": Method("bar", rate=1.0),
    "BAR, half step": Method("bar", rate=0.5),
    "binary search": Method("newton", F_first=True),
}
BATCH = 512
RUNS = 5
STEPS = 1000
XTOL = 1e-9  # of the root; the paper's own threshold for binary search is not given


def laws(distance: float) -> tuple[Any, Any]:
    """Data and noise."""
    mean, zero = np.asarray([distance]), np.asarray([0.0])
    return distributions.UnitGaussian(mean), distributions.UnitGaussian(zero)


def start(settings: Settings, distance: float, method: Method, runs: int) -> Any:
    model = models.exponential_family(*laws(distance))
    training = train.Training(model, method, rate=1.0, xtol=XTOL)
    return train.start(training, settings.array(np.zeros((runs, 1))), 0.0)


def setting(
    settings: Settings, distance: float, *, steps: int | None = None, count: int = 50
) -> dict[str, Any]:
    """What Figures 2, 8, 9, 10 plot for one distance, for "fresh" and "fixed" data.

    Host arrays by step: theta and F of one run, the loss (K, runs) and the distance to
    [theta*, F*] (K, runs), by method. BAR has one more curve, the distance of the mean
    of two consecutive steps.
    """
    runs = settings.runs or RUNS
    steps = steps or (200 if settings.quick else STEPS)
    data, noise = laws(distance)
    streams = settings.generators(int(100 + distance), 4)
    batches = recording.concatenate_runs(
        recording.fresh(settings, data, noise, streams[:2], runs, BATCH),
        recording.fixed(settings, data, noise, streams[2:], runs, BATCH),
    )
    states = {
        name: start(settings, distance, method, 2 * runs)
        for name, method in METHODS.items()
    }
    keep, label = recording.kept(steps, count), f"distance {distance:g}"
    paths = recording.record(settings, label, states, batches, keep)
    optimum = float(data.theta[0]), float(data.log_z)
    result: dict[str, Any] = {
        "setting": {
            "data": f"N({distance:g}, 1)",
            "noise": "N(0, 1)",
            "batch": BATCH,
            "steps": steps,
            "runs": runs,
            "rate": 1.0,
            "theta0": 0.0,
            "F0": 0.0,
        },
        "theta_star": optimum[0],
        "F_star": optimum[1],
        "step": np.asarray(keep),
    }

    bar = paths["BAR"]
    paths["BAR, mean of 2 steps"] = {
        name: (bar[name] + bar[f"{name}_next"]) / 2 for name in ("theta", "F")
    }

    def curves(path: dict[str, Any], rows: slice) -> dict[str, Any]:
        theta, F = path["theta"][:, rows], path["F"][:, rows]
        distance = np.hypot(theta[..., 0] - optimum[0], F - optimum[1])
        loss = {"loss": path["loss"][:, rows]} if "loss" in path else {}
        return {"distance": distance, "theta": theta[:, 0, 0], "F": F[:, 0]} | loss

    for name, rows in (("fresh", slice(0, runs)), ("fixed", slice(runs, None))):
        result[name] = {method: curves(path, rows) for method, path in paths.items()}
    return result


def longer(settings: Settings, distance: float, steps: int) -> dict[str, Any]:
    """theta (K, runs) under BAR as printed, on fresh batches for ``steps`` steps."""
    runs, label = settings.runs or RUNS, f"distance {distance:g}, BAR alone"
    streams = settings.generators(int(200 + distance), 2)
    batches = recording.fresh(settings, *laws(distance), streams, runs, BATCH)
    states = {"BAR": start(settings, distance, METHODS["BAR"], runs)}
    keep = recording.kept(steps, 60)
    paths = recording.record(settings, label, states, batches, keep)
    return {"step": np.asarray(keep), "theta": paths["BAR"]["theta"][..., 0]}
