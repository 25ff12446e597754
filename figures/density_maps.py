"""The picture of Figures 5 and 12: learnt densities beside the truth, and samples."""

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
    stops, names = numbers["setting"]["stops"], list(toy2d.METHODS)
    shown = [stop for stop in stops if stop in toy2d.SHOWN] or stops
    shape = len(shown), len(names) + 2
    figure, axes = style.canvas(shape, 2.1 * shape[1], 2.35 * shape[0] + 0.5, title)
    for row, stop in zip(axes, shown, strict=True):
        _image(row[0], numbers, numbers["truth"], "truth" if stop == shown[0] else "")
        row[0].set_ylabel(f"after {stop} steps")
        for axis, name in zip(row[1:], names, strict=False):
            kl = np.mean(numbers["kl"][name][stops.index(stop)])
            density = numbers["densities"][name][str(stop)]
            _image(axis, numbers, density, f"{name}\nKL {kl:.3f}")
    _scatter(axes[:, -1], numbers["samples"])
    limits = (-toy2d.HALF, toy2d.HALF)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[], aspect="equal", xlim=limits, ylim=limits)
        axis.grid(False)
    return figure


def _image(axis: Any, numbers: dict[str, Any], values: Any, title: str) -> None:
    image = np.asarray(values).reshape(numbers["pixels"], numbers["pixels"])
    box = (-toy2d.HALF, toy2d.HALF) * 2
    look = {"cmap": "magma", "vmin": 0.0, "vmax": max(numbers["truth"])}
    axis.imshow(image, origin="lower", extent=box, interpolation="bilinear", **look)
    axis.set_title(title, fontsize=8)


def _scatter(axes: Any, samples: dict[str, Any]) -> None:
    learnt = f"HMC on binary search's\nenergy, R-hat {max(samples['r_hat']):.3f}"
    color = style.COLOURS["binary search"]
    shown = ("data", "data", "black"), ("model", learnt, color)
    for axis, (name, title, color) in zip(axes, shown, strict=False):
        x = np.asarray(samples[name])
        axis.plot(x[:, 0], x[:, 1], ".", ms=1.6, color=color, alpha=0.6)
        axis.set_title(title, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.axis("off")
