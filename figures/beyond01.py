"""The paper's future work: a solved F with normalised descent and the exponential loss.

Two convex problems, distance 16 on the line (Figure 2) and 16 dimensions (Figure 3), on
fresh batches and, on the line, in the population limit by quadrature. Each way is a
loss (NCE or the exponential loss of Liu et al. 2021), a rule for F (joint descent with
theta, one BAR update, the root, or the closed form of the exponential loss) and a
descent of theta (plain, normalised at a constant or a decaying rate, or plain on the
logarithm of the loss). Liu et al. normalise by the norm of the whole gradient, F
included; where F has a rule of its own, by that of theta's.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from figures import recording, style
from figures.quadrature import Quadrature, logarithm
from figures.settings import Settings
from refnce import distributions, ence, optim, train
from refnce.array import make_rng

ON_HOST = True  # small arrays and quadrature: NumPy, whatever the backend
NEAR = 0.5  # theta has arrived when it is this near to theta*
STEPS = 2000
RUNS = 5
BATCH = {"line": 512, "16-d": 1024}
# One step lands on Gaussian means: there the log of the profiled loss is theta's
# quadratic with curvature 1/4.
LOG_RATE = 4.0


def decaying_ngd(count: int | None, gradient: Any, *, rate: float) -> tuple[int, Any]:
    """Normalised descent whose rate decays like 1/sqrt(step)."""
    count = count or 0
    return count + 1, optim.ngd(None, gradient, rate=rate / (1.0 + count) ** 0.5)[1]


class Samples:
    """Losses and rules for F on samples of equal weight: refnce's own."""

    nce, ence = None, ence
    bar, root = "bar", "newton"

    @staticmethod
    def closed(r_data: Any, r_noise: Any, F: Any) -> Any:
        return ence.log_z(r_data, r_noise)


def model(offset: Callable[[Any], Any], joint: bool) -> Any:
    """The model r = <T, theta> + offset(T) of statistics T (..., n, k).

    If ``joint``, the last coordinate of theta is F: r = <T, theta> - F + offset(T), so
    that theta's optimizer moves both.
    """

    def log_ratios(theta: Any, T_data: Any, T_noise: Any) -> Any:
        weights = theta[..., :-1] if joint else theta
        r_data, r_noise = (
            np.matmul(T, weights[..., None])[..., 0] + offset(T)
            for T in (T_data, T_noise)
        )
        if joint:
            r_data, r_noise = r_data - theta[..., -1:], r_noise - theta[..., -1:]

        def pullback(dr_data: Any, dr_noise: Any) -> Any:
            gradient = (
                np.matmul(dr_data[..., None, :], T_data)[..., 0, :]
                + np.matmul(dr_noise[..., None, :], T_noise)[..., 0, :]
            )
            if not joint:
                return gradient
            slope = -(dr_data.sum(axis=-1) + dr_noise.sum(axis=-1))
            return np.concatenate([gradient, slope[..., None]], axis=-1)

        return r_data, r_noise, pullback

    return log_ratios


def ways(
    over: Any, offset: Any, theta: Any, F: Any, plain: float, step: float
) -> dict[str, train.State]:
    """The first state of each way; ``over`` gives losses and rules for F.

    plain is the rate of plain descent, step the length of a normalised step.
    """

    def begin(loss: Any, update: Any, optimizer: Any, rate: float) -> train.State:
        joint = update is None
        # In a joint descent the model holds F, and the F of the training stays 0.
        rule = (lambda r_data, r_noise, F: F) if joint else update
        first = update not in (None, over.bar)
        training = train.Training(
            model(offset, joint),
            train.Method(rule, F_first=first),
            optimizer,
            rate,
            xtol=1e-9,
            loss=loss,
        )
        if not joint:
            return train.start(training, theta, F)
        both = np.concatenate([theta, F[..., None]], axis=-1)
        return train.start(training, both, np.zeros_like(F))

    slow, ngd, name = 5.0 * step, optim.ngd, "NCE, root, normalised"
    closed = "eNCE, closed F, normalised"
    return {
        "NCE": begin(over.nce, None, optim.sgd, plain),
        "NCE, root": begin(over.nce, over.root, optim.sgd, plain),
        "NCE, normalised": begin(over.nce, None, ngd, step),
        "NCE, BAR, normalised": begin(over.nce, over.bar, ngd, step),
        name: begin(over.nce, over.root, ngd, step),
        f"{name}, decaying": begin(over.nce, over.root, decaying_ngd, slow),
        "eNCE, normalised": begin(over.ence, None, ngd, step),
        closed: begin(over.ence, over.closed, ngd, step),
        f"{closed}, decaying": begin(over.ence, over.closed, decaying_ngd, slow),
        "eNCE, closed F, log loss": begin(
            logarithm(over.ence), over.closed, optim.sgd, LOG_RATE
        ),
    }


def reached(before: Any, after: train.State, *batch: Any) -> dict[str, Any]:
    return {"theta": after.theta, "stopped_at": after.stopped_at}


def walked(
    settings: Settings,
    label: str,
    states: dict[str, train.State],
    batches: Iterator[tuple[Any, Any]],
    steps: int,
    optimum: Any,
) -> dict[str, Any]:
    """What ``judged`` says of the path of theta of each way, on the same batches."""
    keep = list(range(steps))
    paths = recording.record(settings, label, states, batches, keep, reached)
    found = {}
    for name, path in paths.items():
        lost = path["stopped_at"] >= 0
        lost |= ~np.all(np.abs(path["theta"]) < 1e6, axis=-1)
        lost = np.logical_or.accumulate(lost, axis=0)
        theta = np.where(lost[..., None], np.nan, path["theta"])
        theta = np.concatenate([states[name].theta[None], theta])
        found[name] = judged(theta[..., : optimum.shape[-1]], optimum)
    return found


def fresh(settings: Settings, laws: Any, stream: int, runs: int, n: int) -> Any:
    """Statistics of new batches of data and noise, functions of seed and step."""
    (data, noise), k = laws, 0
    while True:
        rng = make_rng(settings.seed, stream, k), make_rng(settings.seed, stream + 1, k)
        x, y = data.sample(rng[0], runs, n), noise.sample(rng[1], runs, n)
        yield tuple(np.ascontiguousarray(data.statistics(z)) for z in (x, y))
        k += 1


def line(settings: Settings, runs: int, steps: int) -> dict[str, Any]:
    data = distributions.UnitGaussian(np.asarray([16.0]))
    noise = distributions.UnitGaussian(np.asarray([0.0]))
    exact = Quadrature(data, noise, -14.0, 30.0)

    def grid() -> Iterator[tuple[Any, Any]]:
        while True:
            yield exact.x, exact.x

    samples = fresh(settings, (data, noise), 21, runs, BATCH["line"])
    found = {}
    for name, over, batches, count in (
        ("population", exact, grid(), 1),
        ("batches", Samples, samples, runs),
    ):
        start = np.zeros((count, 1)), np.zeros(count)
        states = ways(over, lambda T: 0.5 * distributions.LOG_2PI, *start, 1.0, 0.1)
        label = f"line, {name}"
        found[name] = walked(settings, label, states, batches, steps, data.theta)
    return found


def sixteen(settings: Settings, runs: int, steps: int) -> dict[str, Any]:
    zeros = np.zeros((runs, 1, 16))
    variance = make_rng(settings.seed, 23).uniform(6.0, 12.0, zeros.shape)
    data = distributions.DiagonalGaussian(zeros, variance)
    noise = distributions.UnitGaussian(np.zeros(16))
    first = distributions.DiagonalGaussian(zeros[:, 0], zeros[:, 0] + 1.0)
    batches = fresh(settings, (data, noise), 24, runs, BATCH["16-d"])

    def offset(T: Any) -> Any:  # log h = 0; log q from the squares that T holds
        return 0.5 * T[..., :16].sum(axis=-1) + 8.0 * distributions.LOG_2PI

    states = ways(Samples, offset, first.theta, first.log_z, 0.1, 0.03)
    optimum = data.theta[:, 0]
    return walked(settings, "16 dimensions", states, batches, steps, optimum)


def judged(path: Any, optimum: Any) -> dict[str, Any]:
    """Distances to theta* by step, and when and for how long theta came near.

    arrived is the first step within NEAR, or -1; furthest_after the largest distance
    from then on.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.sqrt(np.sum((path - optimum) ** 2, axis=-1))
    distance = np.where(np.isfinite(distance), distance, np.inf)
    inside = distance <= NEAR
    arrived = np.where(inside.any(axis=0), inside.argmax(axis=0), -1)
    after = [
        distance[k:, run].max() if k >= 0 else np.nan for run, k in enumerate(arrived)
    ]
    later = np.geomspace(1, len(path) - 1, 120).astype(int).tolist()
    keep = sorted({*range(20), *later})
    return {
        "step": keep,
        "distance": distance[keep],
        "arrived": arrived,
        "furthest_after": after,
        "last": distance[-1],
    }


def compute(settings: Settings) -> dict[str, Any]:
    runs = settings.runs or (2 if settings.quick else RUNS)
    steps = 100 if settings.quick else STEPS
    setting = {"runs": runs, "steps": steps, "near": NEAR, "batch": BATCH}
    numbers = {"setting": setting, **line(settings, runs, steps)}
    return {**numbers, "16-d": sixteen(settings, runs, steps // 2)}


def draw(numbers: dict[str, Any]) -> Any:
    title = (
        "Beyond the paper: solved F with normalised descent and with the exponential "
        "loss"
    )
    figure, axes = style.canvas((1, 3), 15.5, 5.6, title)
    panels = (
        ("population", "N(16, 1) against N(0, 1), population", (1e-3, 60)),
        ("batches", "the same, fresh batches of 512", (1e-3, 60)),
        ("16-d", "16 dimensions, fresh batches of 1024", (1e-2, 20)),
    )
    for axis, (name, title, limits) in zip(axes[0], panels, strict=True):
        for k, (label, curve) in enumerate(numbers[name].items()):
            step = np.asarray(curve["step"]) + 1
            distance = np.asarray(curve["distance"], dtype=float)
            middle = np.median(np.where(np.isfinite(distance), distance, 1e6), axis=1)
            dash = "-" if label.startswith("eNCE") else "--" if "root" in label else ":"
            look = {"color": f"C{k}", "ls": dash, "lw": 1.5}
            axis.plot(step, np.maximum(middle, 1e-6), label=label, **look)
        axis.axhline(numbers["setting"]["near"], color="black", lw=0.8, ls=":")
        axis.set(xscale="log", yscale="log", title=title, ylim=limits)
        axis.set(xlabel="training step", ylabel=r"$\|\theta - \theta_*\|_2$")
    style.legend_below(figure, axes[0, 0], columns=4)
    return figure
