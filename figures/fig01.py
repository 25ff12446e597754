"""Figure 1: trajectories of log Z for BAR, binary search and NCE, with F alone unknown.

Data: ten standard Gaussians evenly on a circle of radius 4 in R^20; noise: a standard
Gaussian; 100 runs of 512 samples each. The paper gives neither F0, NCE's rate nor the
kind of its tolerance: F0 = 0 and rate 1 (and 10) here, and the counts of updates are
given for absolute and relative tolerance, for several n and F0.
"""

from typing import Any

import numpy as np

from figures import style
from figures.settings import Settings
from refnce import distributions, logz, nce
from refnce.array import to_numpy

RUNS = 100
BATCH = 512
TOLERANCE = 1e-6
SIZES = (128, 512, 2048)
STARTS = (0.0, 40.0)
KINDS = ("absolute", "relative")
UPDATES = 16
SHOWN = {"BAR": 10, "binary search": 30, "NCE": 300, "NCE, F rate 10x": 300}
LAW = distributions.RingMixture(dimension=20, components=10, radius=4.0)
NOISE = distributions.UnitGaussian(np.zeros(20))


def log_ratios(settings: Settings, n: int, runs: int, stream: int) -> tuple[Any, Any]:
    """r_data and r_noise (runs, n): the data's unnormalised energy over the noise."""
    streams = settings.generators(1, 2 * len(SIZES))[2 * stream : 2 * stream + 2]
    x = settings.array(LAW.sample(streams[0], runs, n))
    y = settings.array(NOISE.sample(streams[1], runs, n))
    return tuple(LAW.log_density(z) + LAW.log_z - NOISE.log_density(z) for z in (x, y))


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
        root = to_numpy(logz.newton(*ratios).F)
        if n == BATCH:
            counted = logz.newton(*ratios, xtol=TOLERANCE).evaluations
            numbers |= {"root": root, "newton_evaluations": to_numpy(counted)}
            slow, fast = "NCE", "NCE, F rate 10x"
            paths = {
                "BAR": iterates(settings, logz.bar_update, ratios, UPDATES),
                "binary search": search_path(settings, *ratios, 60),
                slow: iterates(settings, descent(1.0), ratios, SHOWN[slow]),
                fast: iterates(settings, descent(10.0), ratios, SHOWN[fast]),
            }
            for name, path in paths.items():
                numbers["trajectories"][name] = shown(path, SHOWN[name], root)
            for kind in KINDS:
                for name, F0 in (("binary search", None), (fast, 0.0), (slow, 0.0)):
                    row = count(name, n, F0, kind, paths[name], root)
                    numbers["updates"].append(row)
        for F0 in STARTS:
            path = iterates(settings, logz.bar_update, ratios, UPDATES, F0)
            rows = [count("BAR", n, F0, kind, path, root) for kind in KINDS]
            numbers["updates"] += rows
    return numbers


def shown(path: Any, length: int, root: Any) -> dict[str, Any]:
    """Some 60 points of the path of each run, and their distance to the root."""
    every = max(1, length // 60)
    path = path[: length + 1 : every]
    off = np.abs(path - root)
    off_root = {"median": np.median(off, axis=1), "worst": np.max(off, axis=1)}
    return {"every": every, "F": np.round(path.T, 2), "off_root": off_root}


def count(
    method: str, n: int, F0: float | None, kind: str, path: Any, root: Any
) -> dict[str, Any]:
    """How many updates until one moves F by less than the tolerance, or F is that near.

    "steps" is the paper's rule for binary search ("the same value consecutively, within
    a threshold") and counts the updates that moved F by more; "off_root" counts updates
    until the error is under it. -1: not within the path.
    """
    scale = 1.0 if kind == "absolute" else np.abs(root)
    still = np.abs(np.diff(path, axis=0)) <= TOLERANCE * scale
    near = np.abs(path - root) <= TOLERANCE * scale
    row = {"method": method, "n": n, "F0": F0, "kind": kind}
    return row | {"steps": histogram(first(still)), "off_root": histogram(first(near))}


def first(true: Any) -> Any:
    """The first index along axis 0 that is true, or -1."""
    return np.where(true.any(axis=0), true.argmax(axis=0), -1)


def histogram(counts: Any) -> dict[int, int]:
    values, times = np.unique(counts, return_counts=True)
    return {int(v): int(t) for v, t in zip(values, times, strict=True)}


def under(histogram: dict[Any, int], limit: int) -> float:
    """The share of runs whose count is at least 0 and below ``limit``."""
    few = sum(times for number, times in histogram.items() if 0 <= int(number) < limit)
    return few / sum(histogram.values())


def iterates(
    settings: Settings, update: Any, ratios: Any, updates: int, F0: float = 0.0
) -> Any:
    """F (updates + 1, runs) from F0 on under F <- update(r_data, r_noise, F)."""
    path = [settings.array(np.full(ratios[0].shape[:-1], F0))]
    for _ in range(updates):
        path.append(update(*ratios, path[-1]))
    return np.stack([to_numpy(F) for F in path])


def descent(rate: float) -> Any:
    """The update of gradient descent on the NCE loss, Equation 3."""
    return lambda r_data, r_noise, F: F - rate * nce.grad_F(r_data, r_noise, F)


def search_path(settings: Settings, r_data: Any, r_noise: Any, halvings: int) -> Any:
    """The midpoints of binary search by the sign of Equation 3.

    The first bracket is between the extremes of the pooled log-ratios.
    """
    xp, path = settings.xp, []
    lo = xp.minimum(xp.min(r_data, axis=-1), xp.min(r_noise, axis=-1))
    hi = xp.maximum(xp.max(r_data, axis=-1), xp.max(r_noise, axis=-1))
    for _ in range(halvings):
        middle = 0.5 * (lo + hi)
        path.append(to_numpy(middle))
        rising = nce.grad_F(r_data, r_noise, middle) > 0
        lo, hi = xp.where(rising, lo, middle), xp.where(rising, middle, hi)
    return np.stack(path)


def draw(numbers: dict[str, Any]) -> Any:
    setting, paths = numbers["setting"], numbers["trajectories"]
    title = (
        f"Figure 1: trajectories of log Z, mixture on a ring in R^20, "
        f"n = {setting['batch']}, {setting['runs']} runs"
    )
    figure, axes = style.canvas((2, 3), 13.0, 7.2, title)
    panels = ("BAR",), ("binary search",), ("NCE", "NCE, F rate 10x")
    for axis, names in zip(axes[0], panels, strict=True):
        for name in names:
            path, color = np.asarray(paths[name]["F"]), style.COLOURS[name]
            x = np.arange(path.shape[1]) * paths[name]["every"]
            axis.plot(x, path.T, color=color, lw=0.6, alpha=0.2)
            axis.plot([], [], color=color, label=name)
        look = {"color": "black", "ls": ":", "lw": 1.0, "label": "true log Z"}
        axis.axhline(numbers["log_z"], **look)
        axis.set(xlabel="iterations", ylabel="predicted log Z", title=names[0])
        axis.legend(loc="lower right")
        axis.set_xlim(0, x[-1])
    errors = axes[1, 0]
    for name, curves in paths.items():
        color, off = style.COLOURS[name], curves["off_root"]
        x = np.arange(len(off["median"])) * curves["every"]
        errors.plot(x, off["median"], color=color, label=name, lw=1.6)
        errors.plot(x, off["worst"], color=color, lw=0.8, ls="--")
    errors.axhline(setting["tolerance"], color="black", lw=0.8, ls=":")
    errors.set(xlabel="iterations", ylabel="|F - root of the batch|", yscale="log")
    errors.set(xlim=(0, 40), ylim=(1e-12, 1e2))
    errors.set_title("error (median; dashed: worst run)")
    errors.legend(loc="upper right")
    _share_under_six(axes[1, 1], numbers)
    _histograms(axes[1, 2], numbers)
    return figure


def _rows(numbers: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [r for r in numbers["updates"] if all(r[k] == v for k, v in wanted.items())]


def _share_under_six(axis: Any, numbers: dict[str, Any]) -> None:
    """How often BAR needs fewer than 6 updates, by n, for each reading of "1e-6"."""
    rules = ("steps", "o", "update under"), ("off_root", "s", "error under")
    for kind, dash, size in (("absolute", "-", ""), ("relative", "--", " |F|")):
        for rule, marker, reading in rules:
            rows = _rows(numbers, method="BAR", F0=0.0, kind=kind)
            share = [100 * under(row[rule], 6) for row in rows]
            look = {"ls": dash, "marker": marker, "ms": 5, "lw": 1.3}
            label = f"{reading} 1e-6{size}"
            axis.plot([row["n"] for row in rows], share, label=label, **look)
    sizes = sorted({row["n"] for row in numbers["updates"]})
    axis.set(xscale="log", xlabel="samples n", ylabel="% of runs", ylim=(-3, 103))
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.set_xticks([], minor=True)
    axis.set_title("runs in which BAR needs fewer than 6 updates")
    axis.legend(loc="lower right")


def _histograms(axis: Any, numbers: dict[str, Any]) -> None:
    for method, F0 in (("BAR", 0.0), ("binary search", None)):
        for kind, alpha in (("absolute", 0.85), ("relative", 0.35)):
            wanted = {"method": method, "kind": kind, "F0": F0}
            (row,) = _rows(numbers, n=numbers["setting"]["batch"], **wanted)
            x = [int(k) for k in row["off_root"]]
            look = {"color": style.COLOURS[method], "alpha": alpha, "width": 0.8}
            label = f"{method}, {kind}"
            axis.bar(x, list(row["off_root"].values()), label=label, **look)
    evaluations = histogram(numbers["newton_evaluations"])
    look = {"color": style.COLOURS["Newton"], "width": 0.3}
    label = "Newton (evaluations)"
    axis.bar(list(evaluations), list(evaluations.values()), label=label, **look)
    axis.set(xlabel="updates until the error is under 1e-6", ylabel="runs")
    axis.set_title("distribution of the number of updates")
    axis.legend(loc="upper right")
