"""Figure 13: images sampled from the learnt energy, beside digits and noise.

Section 4.3 with a longer training than Figure 6's: one log-ratio to the Gaussian of
full covariance, with F by BAR or at the root of every batch. Adam's rate rises and then
falls by half a cosine, and theta is averaged. The second row is not the paper's: there
the digits are smoothed by noise of standard deviation 0.3, and samples are denoised.

Chains are annealed from the noise to the model by Hamiltonian Monte Carlo, without
resampling, in the noise's own coordinates, x = mean + L z: there the noise is N(0, I),
however thin its ellipsoid is in pixels. That gives log Z as well, beside F. Other
chains start at held-out digits, and tell whether the model keeps them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from figures import checkpoint, style
from figures.methods import methods
from figures.mnist import experiment, images, network
from figures.mnist.annealed import anneal
from figures.mnist.classifier import Classifier, train_classifier
from figures.mnist.experiment import Dequantized
from figures.mnist.gaussian import Whitened, fit_gaussian
from figures.mnist.log_ratio import Model, Smoothed, Task, WarmupCosine
from figures.mnist.log_ratio import learn, log_ratios, path_of
from figures.parallel import keep_freed_memory, parallel_map
from figures.settings import Settings
from refnce import logz, nce, sampling
from refnce.array import make_rng, to_numpy
from refnce.train import models

SIGMAS = {"digits": 0.0, "smoothed digits": 0.3}  # a row of the figure each
SHOWN_DIGITS = {"digits": "digits", "smoothed digits": "smoothed digits, denoised"}
SAMPLED = ("BAR", "binary search")
RUNS, STEPS = {"digits": 2, "smoothed digits": 1}, 3000
BATCH, RATE, DECAY = 64, 5e-4, 0.998
MOVES = 4  # of a chain at every beta


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Digits read; chains annealed for the first seed and for the others; chains started
    at digits; digits held out for F; the longest trajectory; the moves that find its
    step size.
    """

    images: int = 60_000
    chains: int = 512
    later_chains: int = 64
    from_digits: int = 64
    held: int = 2000
    leapfrog: int = 8
    settle: int = 30


QUICK = Sizes(600, 64, 64, 64, 64, 2, 8)


@dataclass(frozen=True)
class Job:
    """One training, and the sampling of its energy."""

    settings: Settings
    row: str
    method: str
    run: int
    steps: int
    sizes: Sizes
    classifier: Classifier
    place: int

    @property
    def seed(self) -> int:
        return 1000 * self.settings.seed + self.run


def compute(settings: Settings) -> dict[str, Any]:
    quick, digits = settings.quick, images.digits_of(settings)
    sizes, steps = (QUICK, 4) if quick else (Sizes(), STEPS)
    steps = settings.steps or steps
    runs = {row: settings.runs or (1 if quick else RUNS[row]) for row in SIGMAS}
    train_images, labels = (
        x[: sizes.images] for x in (digits.train_images, digits.train_labels)
    )
    classifier = train_classifier(train_images, labels, seed=settings.seed, batch=100)
    cases = [
        (row, method, run)
        for run in range(max(runs.values()))
        for row in SIGMAS
        for method in SAMPLED
        if run < runs[row]
    ]
    jobs = [
        Job(settings, *case, steps, sizes, classifier, place)
        for place, case in enumerate(cases)
    ]
    pictures: dict[str, Any] = {row: {} for row in SIGMAS}
    energies: dict[str, Any] = {row: {m: [] for m in SAMPLED} for row in SIGMAS}
    found = parallel_map(work, jobs, settings.backend)
    for job, one in zip(jobs, found, strict=True):
        own = one.pop("pictures")
        energies[job.row][job.method].append(one)
        if job.run == 0:
            for name in (SHOWN_DIGITS[job.row], "noise"):
                shown = own.pop(name)
                pictures[job.row].setdefault(name, shown)
            pictures[job.row] |= {_named(job.method, k): x for k, x in own.items()}
    return {
        "setting": _setting(settings, steps, runs, sizes),
        "energies": energies,
        "pictures": pictures,
    }


def _named(method: str, start: str) -> str:
    return f"{method}, {start}"


def _setting(
    settings: Settings, steps: int, runs: dict[str, int], sizes: Sizes
) -> dict[str, Any]:
    widths = experiment.WIDTHS[settings.width]
    return {
        "network": f"ResNet-18, widths {widths}, {experiment.HEAD}",
        "data": "MNIST, (pixel + U[0, 1))/256; in the second row plus N(0, 0.3^2)",
        "noise": "Gaussian with the data's mean and covariance",
        "batch": BATCH,
        "steps": steps,
        "runs": runs,
        "optimizer": f"Adam, rate {RATE:g}, 100 steps of warm-up, cosine to 3%",
        "average": f"of theta, weights {DECAY:g}^k",
        "F0": 0.0,
        "dtype": "float32",
        "moves": MOVES,
        "coordinates": "whitened by the noise",
        **vars(sizes),
    }


def work(job: Job) -> dict[str, Any]:
    """Train one energy and sample it."""
    settings, sigma, digits = (
        job.settings,
        SIGMAS[job.row],
        images.digits_of(job.settings),
    )
    if settings.backend == "numpy":
        keep_freed_memory()
    train_images = digits.train_images[: job.sizes.images]
    noise = fit_gaussian(train_images, sigma)
    widths = experiment.WIDTHS[settings.width]
    layer, shapes = network.log_ratio(widths), network.log_ratio_shapes(widths)
    task = Task(
        label=f"fig13, {settings.width}, {job.row}, {job.method}, seed {job.seed}",
        layer=layer,
        shapes=shapes,
        data=Smoothed(Dequantized(train_images), sigma),
        noise=noise,
        seed=job.seed,
        steps=job.steps,
        batch=BATCH,
        rate=RATE,
        method=methods(RATE)[job.method],
        optimizer=WarmupCosine(job.steps),
        decay=DECAY,
    )
    theta, rows = learn(task, settings, job.place % 2)
    ratio = models.energy(layer, shapes, theta, widths[0] * 28 * 28)

    def found() -> dict[str, Any]:
        model = Model(noise, sigma, ratio)
        return {"curve": rows, **sample(job, model, digits.test_images)}

    path = path_of(task, settings).with_suffix(".json")
    parts = {"theta": theta, "sizes": job.sizes, "classifier": job.classifier}
    own = checkpoint.identity(**parts)
    return checkpoint.numbers(path, own, settings.resume, found)


def sample(job: Job, model: Model, test: Any) -> dict[str, Any]:
    """Anneal chains to the model, start others at digits, and measure both."""
    settings, sizes, noise, sigma = job.settings, job.sizes, model.noise, model.sigma
    count = sizes.later_chains if job.run else sizes.chains

    def stream(k: int) -> Any:
        return make_rng(job.seed, 2, SAMPLED.index(job.method), k)

    def moved(x: Any) -> Any:
        return settings.array(x, "float32")

    own, other = images.held_out(test, count, job.seed)
    smoothed = moved(own + sigma * stream(0).standard_normal(own.shape))
    whitened = Whitened(noise, noise, model.ratio)
    annealed = anneal(
        whitened,
        whitened.ratio,
        stream(1),
        smoothed,
        chains=count,
        steps=1,
        warmup=MOVES - 1,
        settle=sizes.settle,
        leapfrog=sizes.leapfrog,
        progress=lambda each: settings.track(each, f"HMC, {job.row}, {job.method}"),
    )
    kept = sampling.hmc(
        whitened.density,
        noise.whiten(smoothed[: sizes.from_digits, :]),
        stream(2),
        steps=MOVES * (len(annealed.betas) - 1),
        warmup=sizes.settle,  # where digits are, the energy is steeper
        leapfrog=sizes.leapfrog,
        step_size=annealed.step_size,
    )
    drawn = {
        SHOWN_DIGITS[job.row]: smoothed,
        "noise": moved(noise.sample(stream(3), count)),
        "annealed from noise": noise.unwhiten(annealed.samples[-1, ...]),
        "started at digits": noise.unwhiten(kept.samples[-1, ...]),
    }
    laws = Smoothed(Dequantized(test), sigma), noise
    held = [moved(law.sample(stream(4 + k), sizes.held)) for k, law in enumerate(laws)]
    r_data, r_noise = (log_ratios(model.ratio, x) for x in held)
    at = logz.newton(r_data, r_noise)
    seen = {name: to_numpy(model.denoise(x)) for name, x in drawn.items()}
    return {
        "F": {
            "held-out root": [at.F, at.standard_error],
            "annealed log Z": [annealed.log_z, annealed.error],
            "annealed log Z, by states": list(annealed.by_states),
        },
        "held_loss": nce.loss(r_data, r_noise, at.F),
        "median log_ratio": {
            name: float(np.median(log_ratios(model.ratio, x)))
            for name, x in drawn.items()
        },
        "sampler": {
            "states": len(annealed.betas),
            "effective chains": annealed.effective,
            "acceptance": annealed.acceptance,
            "overlap": annealed.overlap,
            "step_size": annealed.step_size,
            "acceptance from digits": float(np.mean(to_numpy(kept.acceptance))),
        },
        "measures": {
            name: images.measures(job.classifier, x, other) for name, x in seen.items()
        },
        "pictures": {name: images.grid(x) for name, x in seen.items()},
    }


def draw(numbers: dict[str, Any]) -> Any:
    pictures, energies = numbers["pictures"], numbers["energies"]
    title = "Figure 13: images sampled from the learnt energy"
    columns = 1 + max(map(len, pictures.values()))
    shape = len(pictures), columns
    figure, axes = style.canvas(shape, 3.0 * columns, 4.2 * len(pictures), title)
    for line, (row, grids) in zip(axes, pictures.items(), strict=True):
        for axis, (name, own) in zip(line, grids.items(), strict=False):
            images.show(axis, own)
            axis.set_title("\n".join(_caption(energies[row], name)), fontsize=8.5)
        _curves(line[-1], energies[row])
    return figure


def _caption(energies: dict[str, Any], name: str) -> list[str]:
    """What is written above a grid; of the first seed."""
    known = {
        _named(method, k): (first, k)
        for method, (first, *_) in energies.items()
        for k in first["measures"]
    }
    first, key = known.get(name, (energies[SAMPLED[0]][0], name))
    own = first["measures"][key]
    lines = [name, f"nearest-neighbour error {own['nearest_error']:.2f}"]
    if key != "started at digits":  # these are too few
        lines[-1] += f", Frechet {own['frechet']:.0f}"
    return lines + [f"median r {first['median log_ratio'][key]:.1f}"] * (name in known)


def _curves(axis: Any, energies: dict[str, Any]) -> None:
    """F of batches, smoothed, and the annealed log Z of each energy, first seed."""
    for method, (first, *_) in energies.items():
        log_z, colour = first["F"]["annealed log Z"], style.COLOURS[method]
        style.draw_F(axis, first["curve"], log_z, colour, method)
    axis.set_yscale("symlog", linthresh=10)  # BAR may throw F away, and back


def table(numbers: dict[str, Any]) -> str:
    """F and log Z, r, and the nearest-neighbour errors, both seeds, as Markdown."""
    titles = ["data, rule for F, seed", "F of late batches", "F, held-out"]
    titles += ["log Z by weights (effective chains)", "by states", "median r of digits"]
    titles += ["of noise", "of annealed chains", "of chains from digits"]
    titles += ["nearest-neighbour error, chains / noise"]
    rows = []
    for row, energies in numbers["energies"].items():
        for method, runs in energies.items():
            for seed, one in enumerate(runs):
                rows.append([f"{row}, {method}, {seed}", *_cells(row, one)])
    return style.markdown(titles, rows)


def _cells(row: str, one: dict[str, Any]) -> list[str]:
    F, r, curve = one["F"], one["median log_ratio"], one["curve"]
    late = np.asarray(curve["F"], float)[np.asarray(curve["step"]) >= 0.8 * STEPS]
    effective = one["sampler"]["effective chains"]
    names = SHOWN_DIGITS[row], "noise", "annealed from noise", "started at digits"
    near = one["measures"]
    errors = near["annealed from noise"], near["noise"]
    return [
        f"{np.median(late):.1f}",
        _with_error(F["held-out root"]),
        f"{_with_error(F['annealed log Z'])} ({effective:.0f})",
        _with_error(F["annealed log Z, by states"]),
        *(f"{r[name]:.3g}" for name in names),
        " / ".join(f"{x['nearest_error']:.2f}" for x in errors),
    ]


def _with_error(pair: list[float | None]) -> str:
    value, error = np.asarray(pair, dtype=float)
    return f"{value:.1f} ± {error:.1f}"
