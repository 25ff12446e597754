"""The picture of Figures 5 and 12: learnt densities beside the truth at the same numbers of steps, and samples of one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style, toy2d
from figures.settings import Settings


def compute(settings: Settings, system: str) -> dict[str, Any]:
    """The numbers of ``toy2d.experiment`` that this picture shows."""
    numbers = toy2d.experiment(settings, system)
    kl = {name: numbers["main"][name]["kl"] for name in toy2d.METHODS}
    parts = ("setting", "pixels", "truth", "densities", "samples")
    return {"system": system, "kl": kl, **{name: numbers[name] for name in parts}}


def draw(numbers: dict[str, Any], title: str) -> Any:
    stops = [
        stop for stop in numbers["setting"]["stops"] if stop in toy2d.SHOWN
    ] or numbers["setting"]["stops"]
    names = list(toy2d.METHODS)
    figure, axes = style.canvas(
        len(stops), len(names) + 2, 2.1 * (len(names) + 2), 2.35 * len(stops) + 0.5
    )
    figure.suptitle(title, fontsize=11)
    top, truth = max(numbers["truth"]), numbers["truth"]
    for row, stop in zip(axes, stops, strict=True):
        _image(row[0], numbers, truth, top, "truth" if stop == stops[0] else "")
        row[0].set_ylabel(f"after {stop} steps")
        for axis, name in zip(row[1:], names, strict=False):
            kl = np.mean(numbers["kl"][name][numbers["setting"]["stops"].index(stop)])
            _image(
                axis,
                numbers,
                numbers["densities"][name][str(stop)],
                top,
                f"{name}\nKL {kl:.3f}",
            )
    _scatter(axes[:, -1], numbers["samples"])
    for axis in axes.ravel():
        axis.set(
            xticks=[],
            yticks=[],
            aspect="equal",
            xlim=(-toy2d.HALF, toy2d.HALF),
            ylim=(-toy2d.HALF, toy2d.HALF),
        )
        axis.grid(False)
    return figure


def _image(
    axis: Any, numbers: dict[str, Any], values: Any, top: float, title: str
) -> None:
    image = np.asarray(values).reshape(numbers["pixels"], numbers["pixels"])
    box = (-toy2d.HALF, toy2d.HALF, -toy2d.HALF, toy2d.HALF)
    axis.imshow(
        image,
        origin="lower",
        extent=box,
        cmap="magma",
        vmin=0.0,
        vmax=top,
        interpolation="bilinear",
    )
    axis.set_title(title, fontsize=8)


def _scatter(axes: Any, samples: dict[str, Any]) -> None:
    shown = [
        ("data", "data"),
        ("model", f"HMC on binary search's\nenergy, R-hat {max(samples['r_hat']):.3f}"),
    ]
    for axis, (name, title) in zip(axes, shown, strict=False):
        x = np.asarray(samples[name])
        axis.plot(
            x[:, 0],
            x[:, 1],
            ".",
            ms=1.6,
            color=style.COLOURS["binary search"] if name == "model" else "black",
            alpha=0.6,
        )
        axis.set_title(title, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.axis("off")
