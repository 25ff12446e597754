"""Figure 6: the NCE loss of all methods while training on MNIST, and what it means for held-out digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style
from figures.mnist import experiment
from figures.settings import Settings

WINDOW = 5  # recorded losses, each of one batch, of which the geometric mean is drawn
LOWEST = 1e-30


def compute(settings: Settings) -> dict[str, Any]:
    numbers = experiment.experiment(settings)
    return {
        "setting": numbers["setting"],
        "curves": numbers["curves"],
        "varied": numbers["varied"],
    }


def draw(numbers: dict[str, Any]) -> Any:
    curves = numbers["curves"]
    figure, axes = style.canvas(2, 3, 14.0, 8.0)
    network = numbers["setting"]["network"].split(",")[0]
    figure.suptitle(
        f"Figure 6: NCE loss on MNIST, {network}, widths up to {_widest(numbers)}",
        fontsize=11,
    )
    step, stops = np.asarray(curves["step"], dtype=float) + 1, curves["stops"]
    for name in experiment.METHODS:
        mine = curves[name]
        _band(
            axes[0, 0],
            _smooth(step),
            _smooth(np.log10(np.maximum(_array(mine["loss"]), LOWEST))),
            name,
        )
        _band(
            axes[0, 1],
            stops,
            np.log10(np.maximum(_array(mine["held_loss"]), LOWEST)),
            name,
        )
        _band(
            axes[0, 2],
            stops,
            np.log10(np.maximum(_array(mine["held_best"]), LOWEST)),
            name,
        )
        _band(axes[1, 0], step, _array(mine["F"]), name)
        _band(axes[1, 1], stops, _array(mine["held_root"]), name)
    titles = (
        ("log10 NCE loss", "loss of the batch at the method's own F"),
        (
            "log10 NCE loss",
            f"held-out digits and noise ({numbers['setting']['held_out']} each), own F",
        ),
        ("log10 NCE loss", "held-out, F at their root"),
        ("F", "F in training"),
        ("F", "root of the held-out samples"),
    )
    for axis, (label, title) in zip(axes.ravel(), titles, strict=False):
        axis.set(xlabel="training step", ylabel=label, title=title, xscale="log")
    for axis in (axes[1, 0], axes[1, 1]):
        axis.set_yscale("symlog", linthresh=1.0)
    _varied(axes[1, 2], numbers["varied"], max(1, numbers["setting"]["steps"] // 2))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def losses(numbers: dict[str, Any], name: str, start: int, stop: int) -> Any:
    """log10 of the losses (K, runs) of a method's recorded batches of the steps from start to stop; float32's 0 is -inf."""
    curves = numbers["curves"]
    step = np.asarray(curves["step"])
    with np.errstate(divide="ignore"):
        return np.log10(_array(curves[name]["loss"])[(step >= start) & (step < stop)])


def late(numbers: dict[str, Any], name: str) -> Any:
    """``losses`` of the second half of training."""
    steps = numbers["setting"]["steps"]
    return losses(numbers, name, steps // 2, steps)


def table(numbers: dict[str, Any]) -> str:
    """For every method and seed: batches of the second half of training, then held-out samples at its end, as Markdown."""
    titles = (
        "median batch",
        "worst batch",
        "held-out, own F",
        "held-out, F at their root",
        "F",
        "its held-out root",
    )
    rows = [
        "| log10 loss, by seed | " + " | ".join(titles) + " |",
        "|---" * (len(titles) + 1) + "|",
    ]
    for name in experiment.METHODS:
        batches, curve = late(numbers, name), numbers["curves"][name]
        ends = [
            _array(curve[what])[-1]
            for what in ("held_loss", "held_best", "F", "held_root")
        ]
        cells = [
            np.median(batches, axis=0),
            batches.max(axis=0),
            *np.log10(ends[:2]),
            *ends[2:],
        ]
        rows.append(
            f"| {name} | "
            + " | ".join(", ".join(f"{x:.1f}" for x in cell) for cell in cells)
            + " |"
        )
    return "\n".join(rows)


def _varied(axis: Any, varied: dict[str, Any], steps: int) -> None:
    """Full marks: batches of training; open ones: held-out samples; both at the method's own F."""
    for k, endings in enumerate(varied.values()):
        for j, (name, ending) in enumerate(endings.items()):
            for what, fill in (("loss", style.COLOURS[name]), ("held_loss", "none")):
                value = (
                    np.nan
                    if ending[what] is None
                    else np.log10(max(ending[what], LOWEST))
                )
                axis.plot(
                    k + 0.2 * (j - 1),
                    value,
                    "o",
                    color=style.COLOURS[name],
                    mfc=fill,
                    ms=7,
                )
    axis.set(
        xticks=range(len(varied)), xticklabels=list(varied), ylabel="log10 NCE loss"
    )
    axis.set_title(f"after {steps} steps, one thing changed (open: held-out)")


def _widest(numbers: dict[str, Any]) -> str:
    return str(
        numbers["setting"]["network"].split("(")[1].split(")")[0].split(", ")[-1]
    )


def _array(values: Any) -> Any:
    """Numbers (K, runs); what was not finite is null in the file and a gap in the picture."""
    return np.asarray(
        [[np.nan if v is None else v for v in row] for row in values], dtype=float
    )


def _smooth(values: Any) -> Any:
    values = np.asarray(values, dtype=float)
    width = min(WINDOW, len(values))
    return np.stack(
        [values[k : k + width].mean(axis=0) for k in range(len(values) - width + 1)]
    )


def _band(axis: Any, x: Any, values: Any, method: str) -> None:
    middle = values.mean(axis=-1)
    axis.plot(x, middle, color=style.COLOURS[method], label=method, lw=1.5)
    if values.shape[-1] > 1:
        axis.fill_between(
            x,
            values.min(axis=-1),
            values.max(axis=-1),
            color=style.COLOURS[method],
            alpha=0.18,
            lw=0,
        )
