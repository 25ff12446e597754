"""Figure 1: trajectories of log Z for BAR, binary search and NCE, where F is the only parameter.

Data: ten standard Gaussians evenly on a circle of radius 4 in R^20; noise: a standard Gaussian; 100 runs of 512 samples
each. The paper gives neither F0, NCE's rate nor the kind of its tolerance: F0 = 0 and rate 1 (and 10) here, and the
counts of updates are given for absolute and relative tolerance, for several n and F0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import style
from figures.settings import Settings
from refnce import distributions, logz, nce
from refnce.array.backend import to_numpy

RUNS = 100
BATCH = 512
TOLERANCE = 1e-6
SIZES = (128, 512, 2048)
STARTS = (0.0, 40.0)
UPDATES = 16
SHOWN = {"BAR": 10, "binary search": 30, "NCE": 300, "NCE, F rate 10x": 300}
LAW = distributions.RingMixture(dimension=20, components=10, radius=4.0)
NOISE = distributions.UnitGaussian(np.zeros(20))


def log_ratios(settings: Settings, n: int, runs: int, stream: int) -> tuple[Any, Any]:
    """r_data and r_noise (runs, n): the unnormalised energy of the data's law against the noise."""
    rng_data, rng_noise = settings.generators(1, 2 * len(SIZES))[
        2 * stream : 2 * stream + 2
    ]
    x, y = settings.array(LAW.sample(rng_data, runs, n)), settings.array(
        NOISE.sample(rng_noise, runs, n)
    )
    return tuple(LAW.energy(z) - NOISE.log_density(z) for z in (x, y))


def compute(settings: Settings) -> dict[str, Any]:
    runs = settings.runs or (20 if settings.quick else RUNS)
    sizes = SIZES[:2] if settings.quick else SIZES
    numbers: dict[str, Any] = {
        "setting": {
            "data": "10 Gaussians on a circle of radius 4 in R^20",
            "noise": "N(0, I)",
            "batch": BATCH,
            "runs": runs,
            "F0": 0.0,
            "tolerance": TOLERANCE,
        },
        "log_z": LAW.log_z,
        "trajectories": {},
        "updates": [],
    }
    for stream, n in enumerate(settings.track(sizes, "fig01")):
        ratios = log_ratios(settings, n, runs, stream)
        root = logz.newton(*ratios)
        F_root = to_numpy(root.F)
        if n == BATCH:
            paths = {
                "BAR": bar_path(settings, *ratios, 0.0, UPDATES),
                "binary search": search_path(settings, *ratios, 60),
                "NCE": descent_path(settings, *ratios, 1.0, SHOWN["NCE"]),
                "NCE, F rate 10x": descent_path(
                    settings, *ratios, 10.0, SHOWN["NCE, F rate 10x"]
                ),
            }
            numbers["root"] = F_root
            numbers["newton_evaluations"] = to_numpy(
                logz.newton(*ratios, xtol=TOLERANCE).evaluations
            )
            for name, path in paths.items():
                every = max(1, SHOWN[name] // 60)
                shown = path[: SHOWN[name] + 1 : every]
                numbers["trajectories"][name] = {
                    "every": every,
                    "F": np.round(shown.T, 2),
                }
                numbers["trajectories"][name]["off_root"] = {
                    "median": np.median(np.abs(shown - F_root), axis=1),
                    "worst": np.max(np.abs(shown - F_root), axis=1),
                }
            for kind in ("absolute", "relative"):
                numbers["updates"] += [
                    counted(
                        "binary search", n, None, kind, paths["binary search"], F_root
                    ),
                    counted(
                        "NCE, F rate 10x",
                        n,
                        0.0,
                        kind,
                        paths["NCE, F rate 10x"],
                        F_root,
                    ),
                    counted("NCE", n, 0.0, kind, paths["NCE"], F_root),
                ]
        for F0 in STARTS:
            path = bar_path(settings, *ratios, F0, UPDATES)
            numbers["updates"] += [
                counted("BAR", n, F0, kind, path, F_root)
                for kind in ("absolute", "relative")
            ]
    return numbers


def counted(
    method: str, n: int, F0: float | None, kind: str, path: Any, root: Any
) -> dict[str, Any]:
    """How many updates until the next one moves F by less than the tolerance, and until F is that near the root.

    "steps" is the paper's rule for binary search ("the same value consecutively, within a threshold") and counts the
    updates that moved F by more; "off_root" counts updates until the error is under it. -1: not within the path.
    """
    scale = 1.0 if kind == "absolute" else np.abs(root)
    moves = np.abs(np.diff(path, axis=0)) <= TOLERANCE * scale
    near = np.abs(path - root) <= TOLERANCE * scale
    count = {"steps": _first(moves), "off_root": _first(near)}
    return {
        "method": method,
        "n": n,
        "F0": F0,
        "kind": kind,
        **{k: _histogram(v) for k, v in count.items()},
    }


def _first(true: Any) -> Any:
    return np.where(true.any(axis=0), true.argmax(axis=0), -1)


def _histogram(counts: Any) -> dict[int, int]:
    values, times = np.unique(counts, return_counts=True)
    return {int(v): int(t) for v, t in zip(values, times, strict=True)}


def bar_path(
    settings: Settings, r_data: Any, r_noise: Any, F0: float, updates: int
) -> Any:
    """F (updates + 1, runs) under repeated BAR updates, Equation 9."""
    F = settings.array(np.full(r_data.shape[:-1], F0))
    path = [F]
    for _ in range(updates):
        path.append(logz.bar_update(r_data, r_noise, path[-1]))
    return np.stack([to_numpy(F) for F in path])


def descent_path(
    settings: Settings, r_data: Any, r_noise: Any, rate: float, updates: int
) -> Any:
    """F under gradient descent on the NCE loss, Equation 3."""
    path = [settings.array(np.zeros(r_data.shape[:-1]))]
    for _ in range(updates):
        path.append(path[-1] - rate * nce.grad_F(r_data, r_noise, path[-1]))
    return np.stack([to_numpy(F) for F in path])


def search_path(settings: Settings, r_data: Any, r_noise: Any, halvings: int) -> Any:
    """The midpoints of binary search between the extremes of the pooled log-ratios, by the sign of Equation 3."""
    xp = settings.xp
    lo = xp.minimum(xp.min(r_data, axis=-1), xp.min(r_noise, axis=-1))
    hi = xp.maximum(xp.max(r_data, axis=-1), xp.max(r_noise, axis=-1))
    path = []
    for _ in range(halvings):
        middle = 0.5 * (lo + hi)
        path.append(middle)
        rising = nce.grad_F(r_data, r_noise, middle) > 0
        lo, hi = xp.where(rising, lo, middle), xp.where(rising, middle, hi)
    return np.stack([to_numpy(F) for F in path])


def draw(numbers: dict[str, Any]) -> Any:
    figure, axes = style.canvas(2, 3, 13.0, 7.2)
    setting = numbers["setting"]
    title = f"Figure 1: trajectories of log Z, mixture on a ring in R^20, n = {setting['batch']}, {setting['runs']} runs"
    figure.suptitle(title, fontsize=11)
    for axis, method in zip(axes[0], ("BAR", "binary search", "NCE"), strict=True):
        for name in (method,) if method != "NCE" else ("NCE", "NCE, F rate 10x"):
            path = np.asarray(numbers["trajectories"][name]["F"])
            x = np.arange(path.shape[1]) * numbers["trajectories"][name]["every"]
            axis.plot(x, path.T, color=style.COLOURS[name], lw=0.6, alpha=0.2)
            axis.plot([], [], color=style.COLOURS[name], label=name)
        axis.axhline(
            numbers["log_z"], color="black", lw=1.0, ls=":", label="true log Z"
        )
        axis.set(xlabel="iterations", ylabel="predicted log Z", title=method)
        axis.legend(loc="lower right")
        axis.set_xlim(0, x[-1])
    for name, curves in numbers["trajectories"].items():
        x = np.arange(len(curves["off_root"]["median"])) * curves["every"]
        axes[1, 0].plot(
            x,
            curves["off_root"]["median"],
            color=style.COLOURS[name],
            label=name,
            lw=1.6,
        )
        axes[1, 0].plot(
            x, curves["off_root"]["worst"], color=style.COLOURS[name], lw=0.8, ls="--"
        )
    axes[1, 0].axhline(setting["tolerance"], color="black", lw=0.8, ls=":")
    axes[1, 0].set(
        xlabel="iterations",
        ylabel="|F - root of the batch|",
        yscale="log",
        xlim=(0, 40),
        ylim=(1e-12, 1e2),
    )
    axes[1, 0].set_title("error (median; dashed: worst run)")
    axes[1, 0].legend(loc="upper right")
    _share_under_six(axes[1, 1], numbers)
    _histograms(axes[1, 2], numbers)
    return figure


def _share_under_six(axis: Any, numbers: dict[str, Any]) -> None:
    """How often BAR needs fewer than 6 updates, by n, for each reading of "a precision of 1e-6"."""
    looks = {"absolute": "-", "relative": "--"}
    for kind, dash in looks.items():
        for rule, marker in (("steps", "o"), ("off_root", "s")):
            rows = [
                row
                for row in numbers["updates"]
                if row["method"] == "BAR" and row["F0"] == 0.0 and row["kind"] == kind
            ]
            share = [100 * under(row[rule], 6) for row in rows]
            reading = "update under" if rule == "steps" else "error under"
            label = f"{reading} 1e-6{'' if kind == 'absolute' else ' |F|'}"
            axis.plot(
                [row["n"] for row in rows],
                share,
                dash,
                marker=marker,
                ms=5,
                lw=1.3,
                label=label,
            )
    sizes = sorted({row["n"] for row in numbers["updates"]})
    axis.set(xscale="log", xlabel="samples n", ylabel="% of runs", ylim=(-3, 103))
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.set_xticks([], minor=True)
    axis.set_title("runs in which BAR needs fewer than 6 updates")
    axis.legend(loc="lower right")


def under(histogram: dict[Any, int], limit: int) -> float:
    """The share of runs whose count is at least 0 and below ``limit``."""
    total = sum(histogram.values())
    return (
        sum(times for count, times in histogram.items() if 0 <= int(count) < limit)
        / total
    )


def _histograms(axis: Any, numbers: dict[str, Any]) -> None:
    batch = numbers["setting"]["batch"]
    for method in ("BAR", "binary search"):
        for kind, alpha in (("absolute", 0.85), ("relative", 0.35)):
            rows = [
                r
                for r in numbers["updates"]
                if (r["method"], r["n"], r["kind"]) == (method, batch, kind)
            ]
            histogram = next(r for r in rows if r["F0"] in (0.0, None))["off_root"]
            x, heights = [int(k) for k in histogram], list(histogram.values())
            axis.bar(
                x,
                heights,
                width=0.8,
                color=style.COLOURS[method],
                alpha=alpha,
                label=f"{method}, {kind}",
            )
    evaluations, times = np.unique(numbers["newton_evaluations"], return_counts=True)
    axis.bar(
        evaluations,
        times,
        width=0.3,
        color=style.COLOURS["Newton"],
        label="Newton (evaluations)",
    )
    axis.set(
        xlabel="updates until the error is under 1e-6",
        ylabel="runs",
        title="distribution of the number of updates",
    )
    axis.legend(loc="upper right")
