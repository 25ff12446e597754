"""Figure 2: parameter distance for Gaussians on the line 16 apart, mean and standard deviation over 5 runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import gaussian1d, style
from figures.settings import Settings

DISTANCE = 16.0
PANELS = {
    "as the paper compares them": ("NCE", "BAR", "binary search"),
    "what the ranking depends on": ("NCE", "NCE, F rate 10x", "BAR, half step", "BAR, mean of 2 steps", "binary search"),
}


def compute(settings: Settings) -> dict[str, Any]:
    numbers = gaussian1d.setting(settings, DISTANCE)
    for name in ("fresh", "fixed"):
        for curves in numbers[name].values():
            curves.pop("loss", None)
    return numbers


def draw(numbers: dict[str, Any]) -> Any:
    figure, axes = style.canvas(2, 2, 11.0, 7.4)
    figure.suptitle("Figure 2: distance to the true parameters, data N(16, 1), noise N(0, 1)", fontsize=11)
    step = np.asarray(numbers["step"])
    for row, name in zip(axes, ("fresh", "fixed"), strict=True):
        for axis, (title, methods) in zip(row, PANELS.items(), strict=True):
            for method in methods:
                style.band(axis, step, numbers[name][method]["distance"], method)
            axis.set(xlabel="training step", ylabel=r"$\|\theta - \theta_*\|_2$", xlim=(0, step[-1]), ylim=(0, 140))
            axis.set_title(f"{title} ({name} batches)")
            axis.legend(loc="lower left", ncols=2)
    return figure
