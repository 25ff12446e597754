"""Figure 2: parameter distance for Gaussians on the line 16 apart, over 5 runs."""

from typing import Any

import numpy as np

from figures import gaussian1d, style
from figures.settings import Settings

DISTANCE = 16.0
LONG = 20_000
PANELS = {
    "as the paper compares them": ("NCE", "BAR", "binary search"),
    "what the ranking depends on": (
        "NCE",
        "NCE, F rate 10x",
        "BAR, half step",
        "BAR, mean of 2 steps",
        "binary search",
    ),
}


def compute(settings: Settings) -> dict[str, Any]:
    numbers = gaussian1d.setting(settings, DISTANCE)
    for name in ("fresh", "fixed"):
        for curves in numbers[name].values():
            curves.pop("loss", None)
    numbers["longer"] = gaussian1d.longer(
        settings, DISTANCE, 1000 if settings.quick else LONG
    )
    return numbers


def draw(numbers: dict[str, Any]) -> Any:
    title = "Figure 2: distance to the true parameters, data N(16, 1), noise N(0, 1)"
    figure, axes = style.canvas((2, 3), 14.5, 7.4, title)
    step = np.asarray(numbers["step"])
    sources = ("fresh", "fresh batches"), ("fixed", "one fixed batch")
    for row, (name, data) in zip(axes, sources, strict=True):
        for axis, (title, methods) in zip(row[:2], PANELS.items(), strict=True):
            for method in methods:
                style.band(axis, step, numbers[name][method]["distance"], method)
            axis.set(xlabel="training step", ylabel=r"$\|\theta - \theta_*\|_2$")
            axis.set(xlim=(0, step[-1]), ylim=(0, 140), title=f"{title} ({data})")
            axis.legend(loc="lower left", ncols=2)
    spread, longer = axes[0, 2], axes[1, 2]
    for method in ("NCE", "BAR", "BAR, half step", "binary search"):
        values = np.asarray(numbers["fresh"][method]["distance"]).std(axis=1)
        look = {"color": style.COLOURS[method], "label": method, "lw": 1.4}
        spread.plot(step[1:], values[1:], **look)
    spread.set(xlabel="training step", ylabel="standard deviation of the distance")
    spread.set(yscale="log", xlim=(0, step[-1]), ylim=(1e-4, 1e3))
    spread.set_title("spread over runs (fresh batches)")
    spread.legend(loc="upper right", ncols=2)
    long, look = numbers["longer"], {"color": style.OPTIMUM, "lw": 1.4}
    style.band(longer, long["step"], long["theta"], "BAR")
    longer.axhline(numbers["theta_star"], label=r"$\theta_*$", **look)
    longer.set(xlabel="training step", ylabel=r"$\tilde\theta$")
    longer.set_xlim(0, long["step"][-1])
    longer.set_title("BAR run longer passes the optimum (fresh batches)")
    longer.legend(loc="upper left")
    return figure
