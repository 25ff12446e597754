"""Figure 6: the NCE loss of all methods on MNIST, and of held-out digits."""

from typing import Any

import numpy as np

from figures import style
from figures.mnist import experiment
from figures.settings import Settings

LOWEST = 1e-30
LOSSES = ("loss", "held_loss", "held_best")


def compute(settings: Settings) -> dict[str, Any]:
    numbers = experiment.experiment(settings)
    return {name: numbers[name] for name in ("setting", "curves", "varied")}


def draw(numbers: dict[str, Any]) -> Any:
    curves, setting = numbers["curves"], numbers["setting"]
    network, widths = setting["network"].split("(")[0], setting["network"].split(")")[0]
    title = f"Figure 6: NCE loss on MNIST, {network.split(',')[0]}, widths up to "
    title += widths.split(", ")[-1]
    figure, axes = style.canvas((2, 3), 14.0, 8.0, title)
    step, stops = np.asarray(curves["step"], dtype=float) + 1, curves["stops"]
    for name in experiment.METHODS:
        own = {what: _array(values) for what, values in curves[name].items()}
        log = {what: np.log10(np.maximum(own[what], LOWEST)) for what in LOSSES}
        _band(axes[0, 0], style.smooth(step), style.smooth(log["loss"]), name)
        _band(axes[0, 1], stops, log["held_loss"], name)
        _band(axes[0, 2], stops, log["held_best"], name)
        _band(axes[1, 0], step, own["F"], name)
        _band(axes[1, 1], stops, own["held_root"], name)
    held = f"held-out digits and noise ({setting['held_out']} each), own F"
    titles = (
        ("log10 NCE loss", "loss of the batch at the method's own F"),
        ("log10 NCE loss", held),
        ("log10 NCE loss", "held-out, F at their root"),
        ("F", "F in training"),
        ("F", "root of the held-out samples"),
    )
    for axis, (label, title) in zip(axes.ravel(), titles, strict=False):
        axis.set(xlabel="training step", ylabel=label, title=title, xscale="log")
    for axis in (axes[1, 0], axes[1, 1]):
        axis.set_yscale("symlog", linthresh=1.0)
    _varied(axes[1, 2], numbers["varied"], max(1, setting["steps"] // 2))
    style.legend_below(figure, axes[0, 0])
    return figure


def losses(numbers: dict[str, Any], name: str, start: int, stop: int) -> Any:
    """log10 of the losses (K, runs) of the recorded batches from start to stop.

    A loss of 0 in float32 is -inf.
    """
    curves = numbers["curves"]
    step = np.asarray(curves["step"])
    with np.errstate(divide="ignore"):
        return np.log10(_array(curves[name]["loss"])[(step >= start) & (step < stop)])


def late(numbers: dict[str, Any], name: str) -> Any:
    """``losses`` of the second half of training."""
    steps = numbers["setting"]["steps"]
    return losses(numbers, name, steps // 2, steps)


def table(numbers: dict[str, Any]) -> str:
    """Batches of the second half, then held-out samples at the end, as Markdown."""
    rows, titles = [], [
        "log10 loss, by seed",
        "median batch",
        "worst batch",
        "held-out, own F",
        "held-out, F at their root",
        "F",
        "its held-out root",
    ]
    for name in experiment.METHODS:
        batches, curve = late(numbers, name), numbers["curves"][name]
        ends = {
            what: _array(curve[what])[-1] for what in (*LOSSES[1:], "F", "held_root")
        }
        cells = [np.median(batches, axis=0), batches.max(axis=0)]
        cells += [np.log10(ends["held_loss"]), np.log10(ends["held_best"])]
        cells += [ends["F"], ends["held_root"]]
        texts = [", ".join(f"{x:.1f}" for x in cell) for cell in cells]
        rows.append([name, *texts])
    return style.markdown(titles, rows)


def _varied(axis: Any, varied: dict[str, Any], steps: int) -> None:
    """Full marks: batches of training; open ones: held-out samples; at the own F."""
    for k, endings in enumerate(varied.values()):
        for j, (name, ending) in enumerate(endings.items()):
            color, x = style.COLOURS[name], k + 0.2 * (j - 1)
            for what, fill in (("loss", color), ("held_loss", "none")):
                loss = np.nan if ending[what] is None else max(ending[what], LOWEST)
                axis.plot(x, np.log10(loss), "o", color=color, mfc=fill, ms=7)
    axis.set(xticks=range(len(varied)), xticklabels=list(varied))
    axis.set_ylabel("log10 NCE loss")
    axis.set_title(f"after {steps} steps, one thing changed (open: held-out)")


def _array(values: Any) -> Any:
    """Numbers (K, runs); null in the file, for a number not finite, becomes nan."""
    return np.asarray(values, dtype=float)


def _band(axis: Any, x: Any, values: Any, method: str) -> None:
    color = style.COLOURS[method]
    axis.plot(x, values.mean(axis=-1), color=color, label=method, lw=1.5)
    if values.shape[-1] > 1:
        ends = values.min(axis=-1), values.max(axis=-1)
        axis.fill_between(x, *ends, color=color, alpha=0.18, lw=0)
