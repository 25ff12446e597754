"""Free energies of physical systems with exact answers, by `refnce.freeenergy.chain`.

The 2-d Ising model against Kaufman's partition function, a quantum double well against
its transfer matrix, the coverage of the errors over many chains, and benzene in water
beside BAR and MBAR of other packages.
"""

from typing import Any

import numpy as np

from figures import benzene, coverage, exact_answers, style
from figures.settings import Settings
from refnce.array import make_rng
from refnce.logz.result import TRUSTED_OVERLAP

ON_HOST = True  # the samplers are NumPy's, whatever the backend
BETA = r"inverse temperature $\beta$"
NORMAL = 0.6827, 0.9545  # shares of a normal variable within 1 and 2 errors
COLOURS = "C0", "C3", "C2"


def compute(settings: Settings) -> dict[str, Any]:
    quick = settings.quick
    ising_size = (16, 100, 100) if quick else (64, 500, 300)
    quantum_size = (8, 100, 50) if quick else (16, 400, 200)
    lattices = (20, 8, 100) if quick else (200, 8, 200)
    harmonic = (200, 100) if quick else (2000, 100)
    bar = settings.track
    jobs = {
        "ising": lambda: exact_answers.spins(*ising_size, make_rng(settings.seed, 31)),
        "quantum": lambda: exact_answers.quantum(
            *quantum_size, make_rng(settings.seed, 32)
        ),
        "harmonic": lambda: coverage.harmonic(*harmonic, make_rng(settings.seed, 33)),
        "lattices": lambda: coverage.lattices(*lattices, make_rng(settings.seed, 34)),
        "benzene": lambda: benzene.compare(quick),
    }
    return {name: jobs[name]() for name in bar(list(jobs), "beyond02")}


def draw(numbers: dict[str, Any]) -> Any:
    title = "Beyond the paper: free energies of physical systems with exact answers"
    figure, axes = style.canvas((2, 4), 18.0, 8.6, title)
    _draw_spins(axes[0], numbers["ising"])
    _draw_quantum(axes[1, :2], numbers["quantum"])
    systems = {
        "harmonic": "oscillators,\nindependent",
        "lattices": "Ising 8 x 8,\ncorrelated",
    }
    _draw_coverage(axes[1, 2], {label: numbers[k] for k, label in systems.items()})
    _draw_benzene(axes[1, 3], numbers["benzene"])
    return figure


def _draw_spins(axes: Any, numbers: dict[str, Any]) -> None:
    beta, spins = np.asarray(numbers["beta"]), numbers["setting"]["L"] ** 2
    values, scores, errors, overlaps = axes
    labels = {"log_z": "log Z", "energy": "energy", "entropy": "entropy"}
    for (name, label), colour in zip(labels.items(), COLOURS, strict=True):
        of = _arrays(numbers[name])
        values.plot(beta, of["exact"] / spins, color=colour, lw=1.2)
        values.plot(beta, of["found"] / spins, "o", ms=4, color=colour, label=label)
        scores.plot(beta, of["z"], "o", ms=4, color=colour, label=label)
    values.set(title="A. Ising 16 x 16, per spin; lines: Kaufman", xlabel=BETA)
    values.legend(loc="lower left")
    _draw_band(scores)
    scores.set(title="A. (estimate - exact)/standard error", xlabel=BETA)
    scores.legend(loc="upper left", ncols=3)
    of, jump = _arrays(numbers["log_z"]), numbers["jump"]
    off = of["found"] - of["exact"]
    errors.errorbar(beta, off, of["error"], fmt="o", ms=4, label="chain")
    trusted, of = np.asarray(jump["trusted"]), _arrays(jump)
    off = of["found"] - of["exact"]
    for these, fill, label in (
        (trusted, None, "one jump, trusted"),
        (~trusted, "white", "one jump, not trusted"),
    ):
        look: Any = {"fmt": "s", "ms": 4.5, "color": "C1", "mfc": fill, "label": label}
        errors.errorbar(beta[1:][these], off[these], of["error"][these], **look)
    off = of["exponential"] - of["exact"]
    errors.plot(beta[1:], off, "v", ms=4.5, color="C2", label="exponential average")
    errors.set_yscale("symlog", linthresh=1.0)
    errors.set(title="A. log Z - exact, with standard errors", xlabel=BETA)
    errors.legend(loc="lower left")
    overlaps.plot(beta[1:], numbers["overlap"], "o", ms=4, label="chain, neighbours")
    overlaps.plot(beta[1:], jump["overlap"], "s", ms=4, label="one jump")
    look = {"color": "black", "lw": 0.8, "ls": ":"}
    overlaps.axhline(TRUSTED_OVERLAP, label="trusted above this line", **look)
    overlaps.set(title="A. overlap of the samples", xlabel=BETA, yscale="log")
    overlaps.legend(loc="lower left")


def _draw_quantum(axes: Any, numbers: dict[str, Any]) -> None:
    values, scores = axes
    beta, of = np.asarray(numbers["beta"]), _arrays(numbers["log_z"])
    exact, found, error = (of[name][:, -1] for name in ("exact", "found", "error"))
    values.plot(beta, exact, color="black", lw=1.2, label="transfer matrix")
    values.errorbar(beta, found, error, fmt="o", ms=5, label="chain from the harmonic")
    values.plot(beta, numbers["classical"], "--", color="C7", lw=1.2, label="classical")
    values.set(title="B. log Z of a quantum double well, 32 beads", xlabel=BETA)
    values.legend(loc="lower left")
    for k, lam in enumerate(numbers["lambda"][1:], start=1):
        look = {"ms": 4, "color": f"C{k}", "label": rf"$\lambda$ = {lam:.2g}"}
        scores.plot(beta, of["z"][:, k], "o", **look)
    _draw_band(scores)
    scores.set(title="B. (log Z - exact)/standard error", xlabel=BETA)
    scores.legend(loc="upper center", ncols=3)


def _arrays(of: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a file, whose null is nan."""
    return {name: np.asarray(value, dtype=float) for name, value in of.items()}


def _draw_band(axis: Any) -> None:
    """Two standard errors about 0."""
    axis.axhspan(-2.0, 2.0, color="#eeeeee", lw=0)
    axis.axhline(0.0, color="black", lw=0.8)
    axis.set_ylim(-5.0, 5.0)


def _draw_coverage(axis: Any, systems: dict[str, Any]) -> None:
    ways = {"chain": "errors of chain", "squares": "squares of the pairs added"}
    at = {"chain": -0.18, "squares": 0.18}
    ticks = []
    for k, (name, numbers) in enumerate(systems.items()):
        for m in (0, 1):
            ticks.append(f"{name},\n{m + 1} error{'s' if m else ''}")
            place = 2 * k + m
            axis.plot([place - 0.4, place + 0.4], [NORMAL[m]] * 2, "k-", lw=1.2)
            for way, label in ways.items():
                share = numbers["shares"][way][m]
                first = label if place == 0 else None
                colour = "C0" if way == "chain" else "C3"
                axis.bar(place + at[way], share, 0.34, color=colour, label=first)
                text = f"{100.0 * share:.1f}"
                axis.text(place + at[way], 0.02, text, ha="center", color="white")
    axis.set_xticks(range(len(ticks)), ticks, fontsize=8)
    axis.set(title="C. share of exact values within the errors", ylim=(0.0, 1.25))
    axis.legend(loc="upper left", title="black lines: a normal variable")


def _draw_benzene(axis: Any, numbers: dict[str, Any]) -> None:
    axis.set_title("D. benzene in water, less the total of chain (kT)")
    if numbers["absent"]:
        axis.text(0.5, 0.5, numbers["absent"], ha="center", wrap=True)
        axis.set_axis_off()
        return
    ticks = []
    for k, (leg, of) in enumerate(numbers["legs"].items()):
        centre, error = of["total"]["chain"]
        ticks.append(f"{leg}\n{centre:.4f} ± {error:.4f} kT")
        for j, (name, (total, error)) in enumerate(of["total"].items()):
            label = {"BAR": "BAR, squares added (alchemlyb)", "MBAR": "MBAR (pymbar)"}
            look: Any = {"fmt": "o", "ms": 5, "capsize": 3, "color": f"C{j}"}
            look["label"] = None if k else label.get(name, name)
            axis.errorbar(k + 0.2 * (j - 1), total - centre, error, **look)
    axis.axhline(0.0, color="black", lw=0.8)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set(xlim=(-0.6, len(ticks) - 0.4), ylim=(-0.07, 0.12))
    axis.legend(loc="upper left")
