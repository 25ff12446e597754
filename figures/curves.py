"""The picture of Figures 4 and 11: log loss, and what the loss does not show."""

from typing import Any

import numpy as np

from figures import style, toy2d
from figures.settings import Settings


def compute(settings: Settings, system: str) -> dict[str, Any]:
    """The numbers of ``toy2d.experiment`` that this picture shows."""
    numbers = toy2d.experiment(settings, system)
    return {
        "system": system,
        **{name: numbers[name] for name in ("setting", "floor", "main", "side")},
    }


def draw(numbers: dict[str, Any], heading: str) -> Any:
    figure, axes = style.canvas((2, 3), 14.0, 8.0, heading)
    main, side, floor = numbers["main"], numbers["side"], np.log(numbers["floor"])
    losses, excess, how = axes[0, 0], axes[0, 1], axes[1, 2]
    above = "loss - loss of the truth"
    _losses(losses, main, toy2d.METHODS)
    losses.axhline(floor, color="black", ls=":", lw=1.0, label="loss of the truth")
    losses.set(ylabel="log NCE loss", title="log of the NCE loss")
    losses.set_ylim(floor - 0.03, np.log(0.72))
    _losses(excess, main, toy2d.METHODS, "excess")
    excess.set(ylabel=above, yscale="log", ylim=(5e-4, 0.6))
    excess.set_title("loss above the truth's on the same batches")
    for axis, what, label in (
        (axes[0, 2], "kl", "KL(truth || model), nats"),
        (axes[1, 0], "tv", "total variation"),
        (axes[1, 1], "log_z_error", "F - log Z of the model"),
    ):
        stops = numbers["setting"]["stops"]
        look: dict[str, Any] = {"zigzag": False, "marker": "o", "ms": 3}
        for name in toy2d.METHODS:
            style.band(axis, stops, main[name][what], name, **look)
        axis.set(xlabel="training step", ylabel=label, xscale="log", title=label)
    for axis in (axes[0, 2], axes[1, 0]):
        axis.set_yscale("log")
    axes[1, 1].axhline(0.0, color="black", ls=":", lw=1.0)
    axes[1, 1].set_yscale("symlog", linthresh=0.1)
    _losses(how, side, toy2d.SIDE, "excess")
    _losses(how, main, ("BAR", "NCE"), "excess")
    how.set(ylabel=above, yscale="log", title="how F moves (Section 3.5)")
    how.set(xlim=(10, side["step"][-1]), ylim=(5e-3, 0.6))
    how.legend(loc="lower left", ncols=2, fontsize=7.5)
    style.legend_below(figure, losses)
    return figure


def table(numbers: dict[str, Any]) -> str:
    """KL(truth || model), total variation and |F - log Z| as rows of Markdown.

    Means over the seeds.
    """

    def cell(curve: dict[str, Any], k: int) -> str:
        means = [
            np.mean(np.abs(curve[what][k])) for what in ("kl", "tv", "log_z_error")
        ]
        return "{:.3f} / {:.3f} / {:.2f}".format(*means)

    stops = numbers["setting"]["stops"]
    titles, rows = [numbers["system"], *(f"{stop} steps" for stop in stops)], []
    for name in toy2d.METHODS:
        curve = numbers["main"][name]
        rows.append([name, *(cell(curve, k) for k in range(len(stops)))])
    return style.markdown(titles, rows)


def _losses(axis: Any, curves: dict[str, Any], names: Any, what: str = "loss") -> None:
    step = style.smooth(curves["step"]) + 1
    for name in names:
        loss = style.smooth(curves[name][what])
        if what == "excess":
            style.band(axis, step, np.maximum(loss, 1e-5), name, log=True, zigzag=False)
        else:
            style.band(axis, step, np.log(loss), name, zigzag=False)
    axis.set(xlabel="training step", xscale="log", xlim=(step[0], step[-1]))
