"""The picture of Figures 8, 9, 10: NCE loss, parameter distance and trajectory.

Fresh batches above, one fixed batch below.
"""

from typing import Any

import numpy as np

from figures import style

# The curve that swings most comes first, so that it covers no other.
DRAWN = ("NCE, F rate 10x", "BAR", "NCE", "BAR, half step", "binary search")


def draw(numbers: dict[str, Any], title: str) -> Any:
    figure, axes = style.canvas((2, 3), 13.0, 7.4, title)
    step = np.asarray(numbers["step"]) + 1
    sources = ("fresh", "fresh batches"), ("fixed", "one fixed batch")
    for (losses, distances, paths), (name, data) in zip(axes, sources, strict=True):
        for method in DRAWN:
            curves, color = numbers[name][method], style.COLOURS[method]
            style.band(losses, step, curves["loss"], method, log=True)
            style.band(distances, step, curves["distance"], method, log=True)
            look = {"color": color, "lw": 1.1, "marker": "o", "ms": 2.0, "alpha": 0.85}
            paths.plot(curves["theta"], curves["F"], label=method, **look)
        losses.set(ylabel="NCE loss", title=f"NCE loss of the batch ({data})")
        distances.set(ylabel=r"$\|\theta - \theta_*\|_2$")
        distances.set_title(f"parameter distance ({data})")
        optimum = {"color": style.OPTIMUM, "ms": 9, "label": "optimum", "zorder": 5}
        paths.plot(numbers["theta_star"], numbers["F_star"], "o", **optimum)
        paths.set(xlabel=r"$\tilde\theta$", ylabel="F")
        paths.set_title(f"trajectory of one run ({data})")
        for axis in (losses, distances):
            axis.set(xlabel="training step", xscale="log", yscale="log")
            axis.set_xlim(1, step[-1])
    style.legend_below(figure, axes[0, 2])
    return figure
