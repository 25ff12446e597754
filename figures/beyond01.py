"""What the paper left as future work: F solved for, joined with normalised gradient descent and with the exponential loss.

Two convex problems, distance 16 on the line (Figure 2) and 16 dimensions (Figure 3), on fresh batches and, on the line, in the
population limit by quadrature. Each way is a loss (NCE or the exponential loss of Liu et al. 2021), a rule for F (joint descent
with theta, one BAR update, the root, or the closed form of the exponential loss) and a descent of theta (plain, normalised at a
constant or a decaying rate, or plain on the logarithm of the loss). Liu et al. normalise by the norm of the whole gradient, F
included; where F has a rule of its own, by that of theta's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from figures import style
from figures.settings import Settings
from refnce import distributions, ence, logz, nce, optim
from refnce.array.backend import make_rng

ON_HOST = True  # small arrays and quadrature: NumPy, whatever the backend
NEAR = 0.5  # theta has arrived when it is this near to theta*
STEPS = 2000
RUNS = 5
BATCH = {"line": 512, "16-d": 1024}


@dataclass(frozen=True)
class Way:
    """loss: "nce" or "ence". F: "joint", "bar", "root" or "closed". descent: "plain", "normalised" or "log". rate: of step k."""

    loss: str
    F: str
    descent: str
    rate: Callable[[int], float]


def constant(rate: float) -> Callable[[int], float]:
    return lambda k: rate


def decaying(rate: float) -> Callable[[int], float]:
    return lambda k: rate / (1.0 + k) ** 0.5


def ways(plain: float, step: float) -> dict[str, Way]:
    """The ways to go, with the rate of plain descent and the length of a normalised step."""
    return {
        "NCE": Way("nce", "joint", "plain", constant(plain)),
        "NCE, root": Way("nce", "root", "plain", constant(plain)),
        "NCE, normalised": Way("nce", "joint", "normalised", constant(step)),
        "NCE, BAR, normalised": Way("nce", "bar", "normalised", constant(step)),
        "NCE, root, normalised": Way("nce", "root", "normalised", constant(step)),
        "NCE, root, normalised, decaying": Way(
            "nce", "root", "normalised", decaying(5.0 * step)
        ),
        "eNCE, normalised": Way("ence", "joint", "normalised", constant(step)),
        "eNCE, closed F, normalised": Way(
            "ence", "closed", "normalised", constant(step)
        ),
        "eNCE, closed F, normalised, decaying": Way(
            "ence", "closed", "normalised", decaying(5.0 * step)
        ),
        "eNCE, closed F, log loss": Way("ence", "closed", "log", constant(LOG_RATE)),
    }


LOG_RATE = 4.0  # one step lands on Gaussian means, where the log of the profiled loss is theta's quadratic with curvature 1/4


class Batch:
    """Expectations over samples of equal weight: the oracle surface as it stands."""

    def __init__(self, T_data: Any, T_noise: Any) -> None:
        self.T_data, self.T_noise = T_data, T_noise

    def slopes(self, loss: str, r_data: Any, r_noise: Any, F: Any) -> tuple[Any, Any]:
        """dL/dr of each sample."""
        return (nce if loss == "nce" else ence).grad_r(r_data, r_noise, F)

    def value(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        """The exponential loss."""
        return ence.loss(r_data, r_noise, F)

    def bar(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        return logz.bar_update(r_data, r_noise, F)

    def root(self, r_data: Any, r_noise: Any) -> Any:
        return logz.newton(r_data, r_noise, xtol=1e-9).F

    def closed(self, r_data: Any, r_noise: Any) -> Any:
        return ence.log_z(r_data, r_noise)


class Quadrature:
    """Expectations in the population, on the line: midpoints of a grid weighted by the densities of data and noise."""

    def __init__(
        self, data: Any, noise: Any, low: float, high: float, points: int = 1200
    ) -> None:
        edge = np.linspace(low, high, points + 1)
        x = (0.5 * (edge[1:] + edge[:-1]))[:, None]
        self.T_data = self.T_noise = x
        log_cell = np.log(edge[1] - edge[0])
        self.log_data, self.log_noise = (
            data.log_density(x) + log_cell,
            noise.log_density(x) + log_cell,
        )

    def slopes(self, loss: str, r_data: Any, r_noise: Any, F: Any) -> tuple[Any, Any]:
        z = F[..., None] - r_data
        if loss == "nce":
            return -0.5 * np.exp(self.log_data - np.logaddexp(0.0, -z)), 0.5 * np.exp(
                self.log_noise - np.logaddexp(0.0, z)
            )
        return -0.25 * np.exp(self.log_data + 0.5 * z), 0.25 * np.exp(
            self.log_noise - 0.5 * z
        )

    def value(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        z = 0.5 * (F[..., None] - r_data)
        return 0.5 * (
            np.sum(np.exp(self.log_data + z), axis=-1)
            + np.sum(np.exp(self.log_noise - z), axis=-1)
        )

    def _h(self, r: Any, F: Any) -> Any:
        z = F[..., None] - r
        A = np.logaddexp.reduce(self.log_data - np.logaddexp(0.0, -z), axis=-1)
        return A - np.logaddexp.reduce(self.log_noise - np.logaddexp(0.0, z), axis=-1)

    def bar(self, r_data: Any, r_noise: Any, F: Any) -> Any:
        return F - self._h(r_data, F)

    def root(self, r_data: Any, r_noise: Any) -> Any:
        lo, hi = r_data.min(axis=-1), r_data.max(axis=-1)
        for _ in range(50):
            middle = 0.5 * (lo + hi)
            above = self._h(r_data, middle) > 0
            lo, hi = np.where(above, lo, middle), np.where(above, middle, hi)
        return 0.5 * (lo + hi)

    def closed(self, r_data: Any, r_noise: Any) -> Any:
        data = np.logaddexp.reduce(self.log_data - 0.5 * r_data, axis=-1)
        return np.logaddexp.reduce(self.log_noise + 0.5 * r_noise, axis=-1) - data


class Walk:
    """theta (runs, k) and F (runs) of one way, and where theta has been; a run that is no longer finite is nan from there on."""

    def __init__(self, way: Way, theta: Any, F: Any) -> None:
        self.way, self.theta, self.F = way, theta, F
        self.alive, self.path, self.count = np.full(F.shape, True), [theta], 0

    def step(self, over: Any, offset: Callable[[Any], Any]) -> None:
        """One step on the expectations ``over``; ``offset`` of T gives log h - log q."""
        way, theta, F, T_data, T_noise = (
            self.way,
            self.theta,
            self.F,
            over.T_data,
            over.T_noise,
        )
        r_data = np.matmul(T_data, theta[..., None])[..., 0] + offset(T_data)
        r_noise = np.matmul(T_noise, theta[..., None])[..., 0] + offset(T_noise)
        if way.F in ("root", "closed"):
            F = getattr(over, way.F)(r_data, r_noise)
        with np.errstate(all="ignore"):  # a way that leads nowhere may overflow
            dr_data, dr_noise = over.slopes(way.loss, r_data, r_noise, F)
            gradient = (
                np.matmul(dr_data[..., None, :], T_data)[..., 0, :]
                + np.matmul(dr_noise[..., None, :], T_noise)[..., 0, :]
            )
            descend, rate = (
                optim.ngd if way.descent == "normalised" else optim.sgd
            ), way.rate(self.count)
            if way.F == "joint":
                slope = -(dr_data.sum(axis=-1) + dr_noise.sum(axis=-1))
                _, step = descend(
                    None,
                    np.concatenate([gradient, slope[..., None]], axis=-1),
                    rate=rate,
                )
                theta, F = theta + step[..., :-1], F + step[..., -1]
            else:
                F = over.bar(r_data, r_noise, F) if way.F == "bar" else F
                gradient = (
                    gradient / over.value(r_data, r_noise, F)[..., None]
                    if way.descent == "log"
                    else gradient
                )
                theta = theta + descend(None, gradient, rate=rate)[1]
        self.alive = self.alive & np.isfinite(F) & np.all(np.abs(theta) < 1e6, axis=-1)
        self.theta, self.F = np.where(self.alive[..., None], theta, 0.0), np.where(
            self.alive, F, 0.0
        )
        self.path.append(np.where(self.alive[..., None], theta, np.nan))
        self.count += 1


def walked(
    settings: Settings,
    label: str,
    source: Iterator[Any],
    offset: Any,
    start: tuple[Any, Any],
    steps: int,
    which: dict[str, Way],
) -> dict[str, Walk]:
    """The walks of all ways on the same expectations."""
    walks = {name: Walk(way, *start) for name, way in which.items()}
    for _, over in zip(settings.track(range(steps), label), source, strict=False):
        for walk in walks.values():
            walk.step(over, offset)
    return walks


def line(settings: Settings, runs: int, steps: int) -> dict[str, Any]:
    data, noise = distributions.UnitGaussian(
        np.asarray([16.0])
    ), distributions.UnitGaussian(np.asarray([0.0]))
    constant_offset = 0.5 * distributions.LOG_2PI
    exact = Quadrature(data, noise, -14.0, 30.0)

    def batches() -> Iterator[Batch]:
        k = 0
        while True:
            yield Batch(
                data.sample(make_rng(settings.seed, 21, k), runs, BATCH["line"]),
                noise.sample(make_rng(settings.seed, 22, k), runs, BATCH["line"]),
            )
            k += 1

    def forever() -> Iterator[Quadrature]:
        while True:
            yield exact

    numbers: dict[str, Any] = {}
    for name, source, count in (("population", forever, 1), ("batches", batches, runs)):
        start = np.zeros((count, 1)), np.zeros(count)
        walks = walked(
            settings,
            f"line, {name}",
            source(),
            lambda T: constant_offset,
            start,
            steps,
            ways(1.0, 0.1),
        )
        numbers[name] = {
            label: judged(np.stack(walk.path), data.theta)
            for label, walk in walks.items()
        }
    return numbers


def sixteen(settings: Settings, runs: int, steps: int) -> dict[str, Any]:
    zeros = np.zeros((runs, 1, 16))
    data = distributions.DiagonalGaussian(
        zeros, make_rng(settings.seed, 23).uniform(6.0, 12.0, zeros.shape)
    )
    noise, first = distributions.UnitGaussian(
        np.zeros(16)
    ), distributions.DiagonalGaussian(zeros, zeros + 1.0)

    def batches() -> Iterator[Batch]:
        k = 0
        while True:
            x = data.sample(make_rng(settings.seed, 24, k), runs, BATCH["16-d"])
            y = noise.sample(make_rng(settings.seed, 25, k), runs, BATCH["16-d"])
            yield Batch(
                np.ascontiguousarray(data.statistics(x)),
                np.ascontiguousarray(data.statistics(y)),
            )
            k += 1

    def offset(T: Any) -> Any:  # log h = 0, and log q from the squares that T holds
        return 0.5 * T[..., :16].sum(axis=-1) + 8.0 * distributions.LOG_2PI

    start = first.theta[:, 0], first.log_z[:, 0]
    walks = walked(
        settings, "16 dimensions", batches(), offset, start, steps, ways(0.1, 0.03)
    )
    return {
        label: judged(np.stack(walk.path), data.theta[:, 0])
        for label, walk in walks.items()
    }


def judged(path: Any, optimum: Any) -> dict[str, Any]:
    """Distances to theta* by step, when it came near, and how far it was at most and at the end after that."""
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.sqrt(np.sum((path - optimum) ** 2, axis=-1))
    distance = np.where(np.isfinite(distance), distance, np.inf)
    inside = distance <= NEAR
    arrived = np.where(inside.any(axis=0), inside.argmax(axis=0), -1)
    after = [
        distance[k:, run].max() if k >= 0 else np.nan for run, k in enumerate(arrived)
    ]
    keep = sorted(
        {
            *range(0, 20),
            *np.unique(np.geomspace(1, len(path) - 1, 120).astype(int)).tolist(),
        }
    )
    return {
        "step": keep,
        "distance": distance[keep],
        "arrived": arrived,
        "furthest_after": after,
        "last": distance[-1],
    }


def compute(settings: Settings) -> dict[str, Any]:
    runs, steps = settings.runs or (2 if settings.quick else RUNS), (
        100 if settings.quick else STEPS
    )
    numbers: dict[str, Any] = {
        "setting": {"runs": runs, "steps": steps, "near": NEAR, "batch": BATCH}
    }
    numbers.update(line(settings, runs, steps))
    numbers["16-d"] = sixteen(settings, runs, steps // 2)
    return numbers


def draw(numbers: dict[str, Any]) -> Any:
    figure, axes = style.canvas(1, 3, 15.5, 5.6)
    figure.suptitle(
        "Beyond the paper: solved F with normalised descent and with the exponential loss",
        fontsize=11,
    )
    panels = (
        ("population", "N(16, 1) against N(0, 1), population"),
        ("batches", "the same, fresh batches of 512"),
        ("16-d", "16 dimensions, fresh batches of 1024"),
    )
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        for k, (label, curve) in enumerate(numbers[name].items()):
            step, distance = np.asarray(curve["step"]) + 1, np.asarray(
                curve["distance"], dtype=float
            )
            look = {
                "color": f"C{k}",
                "ls": (
                    "-"
                    if label.startswith("eNCE")
                    else ("--" if "root" in label else ":")
                ),
                "lw": 1.5,
            }
            middle = np.median(np.where(np.isfinite(distance), distance, 1e6), axis=1)
            axis.plot(step, np.maximum(middle, 1e-6), label=label, **look)
        axis.axhline(numbers["setting"]["near"], color="black", lw=0.8, ls=":")
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="training step",
            ylabel=r"$\|\theta - \theta_*\|_2$",
            title=title,
        )
    axes[0, 0].set_ylim(1e-3, 60)
    axes[0, 1].set_ylim(1e-3, 60)
    axes[0, 2].set_ylim(1e-2, 20)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
