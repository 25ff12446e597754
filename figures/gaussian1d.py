"""The experiment behind Figures 2, 8, 9, 10: unit-variance Gaussians on the line, data N(d, 1), noise N(0, 1).

T(x) = x, theta* = d, F* = d^2/2 + log(2 pi)/2; every rate 1, theta0 = F0 = 0, batches of 512, 1000 steps, 5 runs.
Half of the runs see fresh batches, half one fixed batch: the paper does not say which it used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import recording
from figures.settings import Settings
from refnce import distributions, train
from refnce.train import models
from refnce.train.algorithm1 import Method

METHODS = {
    "NCE": Method("gradient", rate=1.0),
    "NCE, F rate 10x": Method("gradient", rate=10.0),
    "BAR": Method("bar", rate=1.0),
    "BAR, half step": Method("bar", rate=0.5),
    "binary search": Method("newton", order="first"),
}
BATCH = 512
RUNS = 5
STEPS = 1000
XTOL = 1e-9  # of the root; the paper's own threshold for binary search is not given


def setting(
    settings: Settings, distance: float, *, steps: int | None = None, count: int = 50
) -> dict[str, Any]:
    """Return what Figures 2, 8, 9, 10 plot for one distance: host arrays by step for "fresh" and "fixed" data.

    Each holds theta, F, loss (K, runs, methods) and the distance to [theta*, F*], (K, runs) by method; BAR has one more
    curve, the distance of the mean of two consecutive steps.
    """
    runs = settings.runs or RUNS
    steps = steps or (200 if settings.quick else STEPS)
    data, noise = distributions.UnitGaussian(
        np.asarray([distance])
    ), distributions.UnitGaussian(np.asarray([0.0]))
    streams = settings.generators(int(100 + distance), 4)
    batches = recording.beside(
        recording.fresh(settings, data, noise, streams[:2], runs, BATCH),
        recording.fixed(settings, data, noise, streams[2:], runs, BATCH),
    )
    training = train.Training(
        models.exponential_family(data, noise),
        tuple(METHODS.values()),
        rate=1.0,
        xtol=XTOL,
    )
    shape = (2 * runs, len(METHODS))
    state = train.start(
        training, settings.array(np.zeros((*shape, 1))), settings.array(np.zeros(shape))
    )
    keep = recording.kept(steps, count)
    path = recording.record(
        state, batches, keep, settings.track(range(steps), f"distance {distance:g}")
    )
    optimum = [float(data.theta[0]), float(data.log_z)]
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
        "step": path["step"],
    }
    for name, rows in (("fresh", slice(0, runs)), ("fixed", slice(runs, None))):
        result[name] = {}
        for k, method in enumerate(METHODS):
            theta, F = path["theta"][:, rows, k, 0], path["F"][:, rows, k]
            result[name][method] = {
                "distance": np.hypot(theta - optimum[0], F - optimum[1]),
                "theta": theta[:, 0],
                "F": F[:, 0],
                "loss": path["loss"][:, rows, k],
            }
        k = list(METHODS).index("BAR")
        middle = [
            (path[a][:, rows, k] + path[b][:, rows, k]) / 2
            for a, b in (("theta", "theta_next"), ("F", "F_next"))
        ]
        result[name]["BAR, mean of 2 steps"] = {
            "distance": np.hypot(
                middle[0][..., 0] - optimum[0], middle[1] - optimum[1]
            ),
            "theta": middle[0][:, 0, 0],
            "F": middle[1][:, 0],
        }
    return result


def longer(settings: Settings, distance: float, steps: int) -> dict[str, Any]:
    """theta (K, runs) under BAR as printed, on fresh batches for ``steps`` steps."""
    runs = settings.runs or RUNS
    data, noise = distributions.UnitGaussian(
        np.asarray([distance])
    ), distributions.UnitGaussian(np.asarray([0.0]))
    training = train.Training(
        models.exponential_family(data, noise), (METHODS["BAR"],), rate=1.0
    )
    state = train.start(
        training,
        settings.array(np.zeros((runs, 1, 1))),
        settings.array(np.zeros((runs, 1))),
    )
    batches = recording.fresh(
        settings, data, noise, settings.generators(int(200 + distance), 2), runs, BATCH
    )
    label = f"distance {distance:g}, BAR alone"
    path = recording.record(
        state, batches, recording.kept(steps, 60), settings.track(range(steps), label)
    )
    return {"step": path["step"], "theta": path["theta"][..., 0, 0]}
