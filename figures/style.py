"""How the figures look: a colour for each method, means with a band, quiet axes."""

import os
from typing import Any

os.environ["MPLBACKEND"] = "Agg"  # not that of a notebook, which may be missing here
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

COLOURS = {
    "NCE": "#7f7f7f",
    "NCE, F rate 10x": "#b8860b",
    "NCE, F rate 100x": "#8c564b",
    "BAR": "#1f77b4",
    "BAR, half step": "#17a2a2",
    "BAR, mean of 2 steps": "#0b3c6f",
    "binary search": "#c8372d",
    "Newton": "#6a3d9a",
    "NCE, F by descent, rate 1": "#5b8c3a",
    "NCE, F0 the first root": "#222222",
    "BAR, 2 updates": "#74a9cf",
    "BAR, 5 updates": "#a6cee3",
    "BAR, by Adam": "#e377c2",
    "BAR, by Adam 10x": "#9467bd",
}
OPTIMUM = "#ff8c00"
WINDOW = 5  # recorded losses, each of one batch, are averaged over so many
SMALLEST = 1e-300  # a loss of exactly 0 is drawn here on a logarithmic axis

RC = {
    "figure.dpi": 100,
    "savefig.dpi": 130,
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
}


def canvas(
    shape: tuple[int, int], width: float, height: float, title: str
) -> tuple[Any, Any]:
    """A figure and its axes of this shape; it is drawn by Agg and shown nowhere."""
    matplotlib.rcParams.update(RC)  # type: ignore[arg-type]
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, fontsize=11)
    return figure, figure.subplots(*shape, squeeze=False)


def smooth(values: Any) -> Any:
    """Means over WINDOW neighbours along the first axis."""
    values = np.asarray(values, dtype=float)
    window = min(WINDOW, len(values))
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=0).mean(-1)


def draw_F(axis: Any, curve: Any, log_z: Any, colour: str, label: str) -> None:
    """F of batches, smoothed, and a band of two errors about the annealed log Z."""
    axis.plot(
        *(smooth(curve[name]) for name in ("step", "F")), color=colour, label=label
    )
    value, error = np.asarray(log_z, dtype=float)
    axis.axhspan(value - 2 * error, value + 2 * error, color=colour, alpha=0.3)
    axis.set(xlabel="training step", title="F of batches; bands: annealed log Z")
    axis.legend()


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (titles, *rows)]
    lines.insert(1, "|---" * len(titles) + "|")
    return "\n".join(lines)


def legend_below(figure: Any, axis: Any, columns: int | None = None) -> None:
    """One legend for the whole figure, of the curves of one axis."""
    handles, labels = axis.get_legend_handles_labels()
    columns = columns or len(labels)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def band(
    axis: Any,
    x: Any,
    values: Any,
    method: str,
    *,
    log: bool = False,
    zigzag: bool = True,
    **line: Any,
) -> None:
    """Plot the mean over runs of values (K, runs), with one standard deviation shaded.

    With ``log`` both are of the logarithm. BAR as printed may swing between two
    branches from step to step: with ``zigzag`` even and odd steps are a line each.
    """
    values = np.asarray(values, dtype=float)
    values = np.log(np.maximum(values, SMALLEST)) if log else values
    mean, spread = values.mean(axis=1), values.std(axis=1)
    middle, low, high = (
        np.exp(v) if log else v for v in (mean, mean - spread, mean + spread)
    )
    x, color = np.asarray(x), COLOURS[method]
    branches = [np.full(x.shape, True)]
    if zigzag and method == "BAR":
        branches = [x % 2 == 0, x % 2 == 1]
    for k, branch in enumerate(branches):
        look = {"color": color, "label": method if k == 0 else None, "lw": 1.6, **line}
        axis.plot(x[branch], middle[branch], **look)
        shade = {"color": color, "alpha": 0.18, "lw": 0}
        axis.fill_between(x[branch], low[branch], high[branch], **shade)
