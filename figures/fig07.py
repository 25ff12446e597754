"""Figure 7: BAR oscillates where data and noise overlap little.

On the line, data N(d, 1), noise N(0, 1), theta~ = d (so the model is right and only F is sought), 512 + 512 samples, F0 = 0; d
runs from 4 to 16. Near the root an update multiplies the error by 1 - h'(root), with h' = 2 d2L/dF2/A at the root.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style
from figures.fig01 import _histogram, bar_path
from figures.settings import Settings
from refnce import distributions, logz, nce
from refnce.array.backend import to_numpy

DISTANCES = tuple(range(4, 17))
SHOWN = (4, 8, 12, 16)
BATCH = 512
RUNS = 10
UPDATES = 40
TOLERANCE = 1e-6


def log_ratios(settings: Settings, runs: int) -> tuple[Any, Any]:
    """r_data and r_noise (distances, runs, n) of the right model: theta~ x + log(2 pi)/2."""
    d = np.asarray(DISTANCES, dtype=float)[:, None, None]
    rng_data, rng_noise = settings.generators(7, 2)
    x = d + rng_data.standard_normal((len(DISTANCES), runs, BATCH))
    y = rng_noise.standard_normal((len(DISTANCES), runs, BATCH))
    return settings.array(d * x + 0.5 * distributions.LOG_2PI), settings.array(
        d * y + 0.5 * distributions.LOG_2PI
    )


def compute(settings: Settings) -> dict[str, Any]:
    runs = settings.runs or RUNS
    r_data, r_noise = log_ratios(settings, runs)
    root = logz.newton(r_data, r_noise).F
    F_root = to_numpy(root)
    path = np.empty((0,))
    for _ in settings.track(range(1), "fig07"):
        path = bar_path(settings, r_data, r_noise, 0.0, UPDATES)
    error = path - F_root
    A = -2.0 * settings.xp.sum(nce.grad_r(r_data, r_noise, root)[0], axis=-1)
    slope = to_numpy(2.0 * nce.hess_F(r_data, r_noise, root) / A)
    within = np.abs(error) <= TOLERANCE
    updates = np.where(within.any(axis=0), within.argmax(axis=0), -1)
    status = to_numpy(logz.bar(r_data, r_noise, F0=0.0, xtol=TOLERANCE).status)
    growth = np.abs(error[1:]) - np.abs(error[:-1])
    return {
        "setting": {
            "data": "N(d, 1)",
            "noise": "N(0, 1)",
            "batch": BATCH,
            "runs": runs,
            "F0": 0.0,
            "updates": UPDATES,
        },
        "distance": DISTANCES,
        "paths": {str(d): path[:31, DISTANCES.index(d), 0] for d in SHOWN},
        "roots": {str(d): F_root[DISTANCES.index(d), 0] for d in SHOWN},
        "F_star": {str(d): d * d / 2 + 0.5 * distributions.LOG_2PI for d in SHOWN},
        "slope": slope,
        "last_error": np.abs(error[-1]),
        "updates": [_histogram(row) for row in updates],
        "status": [_histogram(row) for row in status],
        "worst_growth_in_ulps": np.max(
            growth / np.spacing(np.maximum(np.abs(path[1:]), np.abs(F_root)))
        ),
    }


def draw(numbers: dict[str, Any]) -> Any:
    figure, axes = style.canvas(2, 3, 13.0, 7.2)
    figure.suptitle(
        "Figure 7: BAR updates where data and noise overlap less and less", fontsize=11
    )
    for axis, d in zip(axes.ravel()[:4], SHOWN, strict=True):
        path = numbers["paths"][str(d)]
        axis.plot(
            range(len(path)),
            path,
            "o-",
            ms=3,
            lw=1.2,
            color=style.COLOURS["BAR"],
            label="BAR",
        )
        axis.axhline(
            numbers["roots"][str(d)],
            color=style.COLOURS["binary search"],
            lw=1.2,
            label="root of the batch",
        )
        axis.axhline(
            numbers["F_star"][str(d)], color="black", ls=":", lw=1.0, label="true log Z"
        )
        axis.set(
            xlabel="updates",
            ylabel="F",
            title=f"means at a distance of {d}",
            xlim=(0, len(path) - 1),
        )
        axis.legend(loc="lower right")
    distances = np.asarray(numbers["distance"])
    slope, last = np.asarray(numbers["slope"]), np.asarray(numbers["last_error"])
    for axis, values, label in (
        (
            axes[1, 1],
            np.abs(1.0 - slope),
            "|1 - h'(root)|: what is left of the error after one update",
        ),
        (
            axes[1, 2],
            np.maximum(last, 1e-16),
            f"|F - root| after {numbers['setting']['updates']} updates",
        ),
    ):
        axis.plot(
            np.repeat(distances, values.shape[1]),
            values.ravel(),
            ".",
            color=style.COLOURS["BAR"],
            ms=4,
            alpha=0.6,
        )
        axis.plot(
            distances,
            np.median(values, axis=1),
            color=style.COLOURS["BAR, mean of 2 steps"],
            label="median of the runs",
        )
        axis.set(xlabel="distance of the means", title=label)
        axis.legend(loc="lower right")
    axes[1, 1].set_ylim(0, 1.02)
    axes[1, 2].set_yscale("log")
    return figure
