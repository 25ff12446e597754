"""Figure 7: BAR oscillates where data and noise overlap little.

On the line, data N(d, 1), noise N(0, 1), theta~ = d (so the model is right and only F
is sought), 512 + 512 samples, F0 = 0; d runs from 4 to 16. Near the root an update
multiplies the error by 1 - h'(root), with h' = 2 d2L/dF2/A at the root.
"""

from typing import Any

import numpy as np

from figures import style
from figures.fig01 import first, histogram, iterates
from figures.settings import Settings
from refnce import distributions, logz, nce
from refnce.array import to_numpy

DISTANCES = tuple(range(4, 17))
SHOWN = (4, 8, 12, 16)
BATCH = 512
RUNS = 10
UPDATES = 40
TOLERANCE = 1e-6


def log_ratios(settings: Settings, runs: int) -> tuple[Any, Any]:
    """r = theta~ x + log(2 pi)/2 of data and noise, (distances, runs, n) each."""
    d = np.asarray(DISTANCES, dtype=float)[:, None, None]
    rng_data, rng_noise = settings.generators(7, 2)
    shape, offset = (len(DISTANCES), runs, BATCH), 0.5 * distributions.LOG_2PI
    x, y = d + rng_data.standard_normal(shape), rng_noise.standard_normal(shape)
    return settings.array(d * x + offset), settings.array(d * y + offset)


def compute(settings: Settings) -> dict[str, Any]:
    runs = settings.runs or RUNS
    ratios = r_data, r_noise = log_ratios(settings, runs)
    root = logz.newton(r_data, r_noise).F
    F_root = to_numpy(root)
    path = iterates(settings, logz.bar_update, ratios, UPDATES)
    error = path - F_root
    A = -2.0 * settings.xp.sum(nce.grad_r(r_data, r_noise, root)[0], axis=-1)
    slope = to_numpy(2.0 * nce.hess_F(r_data, r_noise, root) / A)
    status = to_numpy(logz.bar(r_data, r_noise, F0=0.0, xtol=TOLERANCE).status)
    growth = np.abs(error[1:]) - np.abs(error[:-1])
    ulp = np.spacing(np.maximum(np.abs(path[1:]), np.abs(F_root)))
    place = {str(d): DISTANCES.index(d) for d in SHOWN}
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
        "paths": {d: path[:31, k, 0] for d, k in place.items()},
        "roots": {d: F_root[k, 0] for d, k in place.items()},
        "F_star": {str(d): d * d / 2 + 0.5 * distributions.LOG_2PI for d in SHOWN},
        "slope": slope,
        "last_error": np.abs(error[-1]),
        "updates": [histogram(row) for row in first(np.abs(error) <= TOLERANCE)],
        "status": [histogram(row) for row in status],
        "worst_growth_in_ulps": np.max(growth / ulp),
    }


def draw(numbers: dict[str, Any]) -> Any:
    title = "Figure 7: BAR updates where data and noise overlap less and less"
    figure, axes = style.canvas((2, 3), 13.0, 7.2, title)
    blue, red = style.COLOURS["BAR"], style.COLOURS["binary search"]
    for axis, d in zip(axes.ravel()[:4], SHOWN, strict=True):
        path, look = numbers["paths"][str(d)], {"color": blue, "ms": 3, "lw": 1.2}
        axis.plot(range(len(path)), path, "o-", label="BAR", **look)
        root, F_star = numbers["roots"][str(d)], numbers["F_star"][str(d)]
        axis.axhline(root, color=red, lw=1.2, label="root of the batch")
        axis.axhline(F_star, color="black", ls=":", lw=1.0, label="true log Z")
        axis.set(xlabel="updates", ylabel="F", xlim=(0, len(path) - 1))
        axis.set_title(f"means at a distance of {d}")
        axis.legend(loc="lower right")
    distances, slope = (np.asarray(numbers[k]) for k in ("distance", "slope"))
    last = np.maximum(numbers["last_error"], 1e-16)
    after = f"|F - root| after {numbers['setting']['updates']} updates"
    left = "|1 - h'(root)|: what is left of the error after one update"
    panels = (axes[1, 1], np.abs(1.0 - slope), left), (axes[1, 2], last, after)
    for axis, values, label in panels:
        x = np.repeat(distances, values.shape[1])
        axis.plot(x, values.ravel(), ".", color=blue, ms=4, alpha=0.6)
        color = style.COLOURS["BAR, mean of 2 steps"]
        median = np.median(values, axis=1)
        axis.plot(distances, median, color=color, label="median of the runs")
        axis.set(xlabel="distance of the means", title=label)
        axis.legend(loc="lower right")
    axes[1, 1].set_ylim(0, 1.02)
    axes[1, 2].set_yscale("log")
    return figure
