"""The picture of Figures 8, 9, 10: NCE loss, parameter distance, trajectory; fresh batches above, one fixed batch below."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style


def draw(numbers: dict[str, Any], title: str) -> Any:
    figure, axes = style.canvas(2, 3, 13.0, 7.4)
    figure.suptitle(title, fontsize=11)
    step = np.asarray(numbers["step"]) + 1
    for row, name in zip(axes, ("fresh", "fixed"), strict=True):
        for method in DRAWN:
            curves = numbers[name][method]
            style.band(row[0], step, curves["loss"], method, log=True)
            style.band(row[1], step, curves["distance"], method, log=True)
            line = {
                "color": style.COLOURS[method],
                "lw": 1.1,
                "marker": "o",
                "ms": 2.0,
                "alpha": 0.85,
            }
            row[2].plot(curves["theta"], curves["F"], label=method, **line)
        data = {"fresh": "fresh batches", "fixed": "one fixed batch"}[name]
        row[0].set(
            xlabel="training step", ylabel="NCE loss", yscale="log", xscale="log"
        )
        row[0].set_title(f"NCE loss of the batch ({data})")
        row[1].set(
            xlabel="training step",
            ylabel=r"$\|\theta - \theta_*\|_2$",
            xscale="log",
            yscale="log",
        )
        row[1].set_title(f"parameter distance ({data})")
        optimum = {"color": style.OPTIMUM, "ms": 9, "label": "optimum", "zorder": 5}
        row[2].plot(numbers["theta_star"], numbers["F_star"], "o", **optimum)
        row[2].set(xlabel=r"$\tilde\theta$", ylabel="F")
        row[2].set_title(f"trajectory of one run ({data})")
        for axis in row[:2]:
            axis.set_xlim(1, step[-1])
    handles, labels = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


# The curve that swings most comes first, so that it covers no other.
DRAWN = ("NCE, F rate 10x", "BAR", "NCE", "BAR, half step", "binary search")
