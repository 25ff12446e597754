"""The picture of Figures 4 and 11: log loss of the network's trainings, and what the loss does not show."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style, toy2d
from figures.settings import Settings

WINDOW = 5  # recorded losses, each of one batch, are averaged over so many


def compute(settings: Settings, system: str) -> dict[str, Any]:
    """The numbers of ``toy2d.experiment`` that this picture shows."""
    numbers = toy2d.experiment(settings, system)
    return {
        "system": system,
        **{name: numbers[name] for name in ("setting", "floor", "main", "side")},
    }


def draw(numbers: dict[str, Any], heading: str) -> Any:
    figure, axes = style.canvas(2, 3, 14.0, 8.0)
    figure.suptitle(heading, fontsize=11)
    floor, stops = numbers["floor"], numbers["setting"]["stops"]
    _losses(axes[0, 0], numbers["main"], toy2d.METHODS)
    axes[0, 0].axhline(
        np.log(floor), color="black", ls=":", lw=1.0, label="loss of the truth"
    )
    axes[0, 0].set(ylabel="log NCE loss", title="log of the NCE loss")
    axes[0, 0].set_ylim(np.log(floor) - 0.03, np.log(0.72))
    _losses(axes[0, 1], numbers["main"], toy2d.METHODS, "excess")
    axes[0, 1].set(
        ylabel="loss - loss of the truth",
        yscale="log",
        title="loss above the truth's on the same batches",
    )
    axes[0, 1].set_ylim(5e-4, 0.6)
    for axis, what, label in (
        (axes[0, 2], "kl", "KL(truth || model), nats"),
        (axes[1, 0], "tv", "total variation"),
        (axes[1, 1], "log_z_error", "F - log Z of the model"),
    ):
        for name in toy2d.METHODS:
            style.band(
                axis,
                stops,
                numbers["main"][name][what],
                name,
                zigzag=False,
                marker="o",
                ms=3,
            )
        axis.set(xlabel="training step", ylabel=label, xscale="log", title=label)
    for axis in (axes[0, 2], axes[1, 0]):
        axis.set_yscale("log")
    axes[1, 1].axhline(0.0, color="black", ls=":", lw=1.0)
    axes[1, 1].set_yscale("symlog", linthresh=0.1)
    _losses(axes[1, 2], numbers["side"], toy2d.SIDE, "excess")
    until = numbers["side"]["step"][-1]
    main = {name: numbers["main"][name] for name in ("BAR", "NCE")}
    _losses(axes[1, 2], {"step": numbers["main"]["step"], **main}, main, "excess")
    axes[1, 2].set(
        yscale="log",
        ylabel="loss - loss of the truth",
        title="how F moves (Section 3.5)",
    )
    axes[1, 2].set(xlim=(10, until), ylim=(5e-3, 0.6))
    axes[1, 2].legend(loc="lower left", ncols=2, fontsize=7.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def table(numbers: dict[str, Any]) -> str:
    """KL(truth || model), total variation and |F - log Z|, means over the seeds, as rows of Markdown."""

    def cell(curve: dict[str, Any], k: int) -> str:
        kl, tv, off = (
            float(np.mean(np.abs(curve[what][k])))
            for what in ("kl", "tv", "log_z_error")
        )
        return f"{kl:.3f} / {tv:.3f} / {off:.2f}"

    stops = numbers["setting"]["stops"]
    rows = [
        f"| {numbers['system']} | "
        + " | ".join(f"{stop} steps" for stop in stops)
        + " |",
        "|---" * (len(stops) + 1) + "|",
    ]
    for name in toy2d.METHODS:
        rows.append(
            f"| {name} | "
            + " | ".join(cell(numbers["main"][name], k) for k in range(len(stops)))
            + " |"
        )
    return "\n".join(rows)


def smooth(values: Any) -> Any:
    """Means over WINDOW neighbours along the first axis."""
    values = np.asarray(values, dtype=float)
    total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    return (total[WINDOW:] - total[:-WINDOW]) / WINDOW


def _losses(axis: Any, curves: dict[str, Any], names: Any, what: str = "loss") -> None:
    step = np.asarray(curves["step"], dtype=float)
    step = smooth(step[:, None])[:, 0] + 1
    for name in names:
        loss = smooth(curves[name][what])
        if what == "excess":
            style.band(axis, step, np.maximum(loss, 1e-5), name, log=True, zigzag=False)
        else:
            style.band(axis, step, np.log(loss), name, zigzag=False)
    axis.set(xlabel="training step", xscale="log", xlim=(step[0], step[-1]))
