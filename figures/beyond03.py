"""Beyond the paper: digits from energies that NCE with an exact F learns.

Digits are smoothed by noise of standard deviation 0.3, samples are denoised by the
gradient of the log-density that the model gives them. Two ways around the one
log-ratio of Figure 13, which separates digits from the Gaussian at sight:

- noise that is nearer to digits: a mixture of Gaussians fitted by EM, a model of its
  own, and one log-ratio between the two. F is at the root of every batch, or moves by
  one BAR update a step, or with theta's optimizer as in vanilla NCE, three seeds each;
- six bridges between the Gaussian and digits, whose F are solved in one call (Rhodes
  et al. 2020).

Chains are annealed from the noise to each model by Hamiltonian Monte Carlo, which gives
log Z. Beside the images stand the nearest-neighbour error, the Frechet distance of a
classifier's features, its confidence, the entropy of its classes, and the nats per
held-out image.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from figures import checkpoint, style
from figures.methods import methods
from figures.mnist import bridges, dequantize, files, images, network
from figures.mnist.annealed import anneal, nats
from figures.mnist.classifier import Classifier, train_classifier
from figures.mnist.experiment import Dequantized
from figures.mnist.gaussian import Gaussian, Whitened, fit_gaussian
from figures.mnist.log_ratio import Model, Smoothed, Task, WarmupCosine
from figures.mnist.log_ratio import learn, log_ratios, path_of
from figures.mnist.mixture import fit_mixture, smooth
from figures.parallel import keep_freed_memory, parallel_map
from figures.settings import Settings
from refnce import logz, nce
from refnce.array import make_rng, to_numpy
from refnce.distributions import GaussianMixture
from refnce.train import models

SIGMA = 0.3
BATCH, RATE, DECAY = 96, 1e-3, 0.998
RULES = {"binary search": "exact F", "BAR": "F by BAR", "NCE": "F by vanilla NCE"}
EXACT = "binary search"
BRIDGES = "six bridges"
DIGITS, DENOISED = "digits", "smoothed digits, denoised"
GAUSSIAN, MIXTURE = "Gaussian", "mixture of Gaussians"
WIDTH = bridges.WIDTH


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    ``chains`` are those of the first seed, of which ``compared`` are compared with
    those of the others. ``moves`` at every beta are those of the first seed and the
    exact F, and of the bridges; ``fewer_moves`` those of the others.
    """

    images: int = 60_000
    components: int = 50
    directions: int = 100
    iterations: int = 6
    steps: int = 1700
    bridge_steps: int = 1900
    runs: int = 3
    chains: int = 512
    compared: int = 256
    held: int = 2000
    keep: float = 0.95
    moves: int = 16
    fewer_moves: int = 6
    leapfrog: int = 8
    settle: int = 30


QUICK = Sizes(600, 4, 20, 2, 4, 4, 1, 64, 64, 64, 0.5, 2, 2, 2, 8)


@dataclass(frozen=True)
class Job:
    """One training and the sampling of its model."""

    settings: Settings
    name: str  # a rule for F, or the bridges
    run: int
    sizes: Sizes
    mixture: GaussianMixture
    classifier: Classifier
    place: int

    @property
    def seed(self) -> int:
        return 1000 * self.settings.seed + self.run


def compute(settings: Settings) -> dict[str, Any]:
    keep_freed_memory()
    sizes = QUICK if settings.quick else Sizes()
    if settings.steps:
        sizes = replace(sizes, steps=settings.steps, bridge_steps=settings.steps)
    if settings.runs:
        sizes = replace(sizes, runs=settings.runs)
    digits, seed = images.digits_of(settings), settings.seed
    train_images = digits.train_images[: sizes.images]
    x = dequantize.dequantize(train_images, make_rng(seed, 4, 0))
    shape = sizes.components, sizes.directions, sizes.iterations
    mixture = smooth(fit_mixture(x, *shape, seed=seed), SIGMA)
    labels = digits.train_labels[: sizes.images]
    classifier = train_classifier(train_images, labels, seed=seed, batch=100)
    cases = [(BRIDGES, 0)] + [(rule, k) for k in range(sizes.runs) for rule in RULES]
    jobs = [
        Job(settings, *case, sizes, mixture, classifier, place)
        for place, case in enumerate(cases)
    ]
    found = dict(zip(cases, parallel_map(work, jobs, settings.backend), strict=True))
    own, other = images.held_out(digits.test_images, sizes.chains, seed)
    seen = baselines(jobs[0])
    measures = {k: images.measures(classifier, x, other) for k, x in seen.items()}
    pictures = {k: images.grid(x) for k, x in seen.items()}
    for name in (*RULES, BRIDGES):
        measures |= found[name, 0].pop("measures")
        pictures |= found[name, 0].pop("pictures")
    return {
        "setting": _setting(sizes),
        "accuracy": accuracy(classifier, digits),
        "measures": measures | {DIGITS: images.measures(classifier, own, other)},
        "rules": {rule: [found[rule, k] for k in range(sizes.runs)] for rule in RULES},
        BRIDGES: found[BRIDGES, 0],
        "pictures": pictures | {DIGITS: images.grid(own)},
    }


def shown(label: str) -> str:
    """The name of a model's samples."""
    return label if label == BRIDGES else f"mixture and ratio, {label}"


def accuracy(classifier: Classifier, digits: files.Digits) -> float:
    """The share of held-out digits that the classifier names."""
    x = dequantize.dequantize(digits.test_images, make_rng(0))
    found = classifier.probabilities(x).argmax(axis=-1)
    return float(np.mean(found == digits.test_labels))


def baselines(job: Job) -> dict[str, Any]:
    """Denoised samples of the two noises alone."""
    laws: dict[str, Any] = {GAUSSIAN: _gaussian(job), MIXTURE: job.mixture}
    seen = {}
    for k, (name, law) in enumerate(laws.items()):
        x = law.sample(make_rng(job.settings.seed, 4, 1, k), job.sizes.chains)
        seen[name] = to_numpy(Model(law, SIGMA).denoise(_moved(job, x)))
    return seen


def work(job: Job) -> dict[str, Any]:
    """Train one model, sample and measure it."""
    if job.settings.backend == "numpy":
        keep_freed_memory()
    digits, sizes = images.digits_of(job.settings), job.sizes
    law = Smoothed(Dequantized(digits.train_images[: sizes.images]), SIGMA)
    held = Smoothed(Dequantized(digits.test_images), SIGMA)
    gaussian = _gaussian(job)
    if job.name == BRIDGES:
        theta, rows = bridges.learn(
            job.settings,
            law,
            gaussian,
            gaussian.mean,
            steps=sizes.bridge_steps,
            seed=job.seed,
            optimizer=WarmupCosine(sizes.bridge_steps),
        )
        path = bridges.path_of(job.settings, job.seed)
        model = Model(gaussian, SIGMA, bridges.ratio(theta))
    else:
        task = Task(
            label=f"beyond03, {job.name}, seed {job.seed}",
            layer=network.small_log_ratio(),
            shapes=network.small_log_ratio_shapes(),
            data=law,
            noise=job.mixture,
            seed=job.seed,
            steps=sizes.steps,
            batch=BATCH,
            rate=RATE,
            method=methods(RATE)[job.name],
            optimizer=WarmupCosine(sizes.steps),
            decay=DECAY,
        )
        theta, rows = learn(task, job.settings, job.place % 2)
        ratio = models.energy(task.layer, task.shapes, theta, WIDTH)
        path, model = path_of(task, job.settings), Model(job.mixture, SIGMA, ratio)

    def found() -> dict[str, Any]:
        if job.name == BRIDGES:
            at = _bridge_roots(job, theta, held, gaussian)
        else:
            at = _roots(job, model, held, float(rows["F"][-1]))
        return {"curve": rows, "F": at, **sample(job, model, gaussian, held, digits)}

    parts = {"theta": theta, "sizes": sizes, "classifier": job.classifier}
    own = checkpoint.identity(**parts)
    return checkpoint.numbers(
        path.with_suffix(".json"), own, job.settings.resume, found
    )


def sample(
    job: Job, model: Model, gaussian: Gaussian, held: Smoothed, digits: files.Digits
) -> dict[str, Any]:
    """Anneal chains from the noise to the model, and measure where they end."""
    sizes, first = job.sizes, job.run == 0
    whitened = Whitened(gaussian, model.noise, model.ratio)
    long = first and job.name in (EXACT, BRIDGES)
    annealed = anneal(
        whitened,
        whitened.ratio,
        _stream(job, 0),
        _moved(job, np.zeros(1)),
        chains=sizes.chains if first else sizes.compared,
        steps=1,
        warmup=(sizes.moves if long else sizes.fewer_moves) - 1,
        settle=sizes.settle,
        leapfrog=sizes.leapfrog,
        keep=sizes.keep,
        progress=lambda each: job.settings.track(each, f"HMC, {job.name}"),
    )
    pixels = gaussian.unwhiten(annealed.samples[-1, ...])
    x = to_numpy(model.denoise(pixels))
    own, other = images.held_out(digits.test_images, sizes.chains, job.settings.seed)
    y = _moved(job, held.sample(_stream(job, 1), sizes.held))
    log_q = to_numpy(model.noise.log_density(y)).astype(float)
    both = log_q + log_ratios(model.ratio, y)
    lost, error = nats(both - log_q, annealed)
    found = {
        "annealed": {
            "log Z": [annealed.log_z, annealed.error],
            "log Z, by states": list(annealed.by_states),
            "effective chains": annealed.effective,
            "states": len(annealed.betas),
            "acceptance": annealed.acceptance,
            "overlap": annealed.overlap,
        },
        "log_ratio": {
            "of samples": float(log_ratios(model.ratio, pixels).mean()),
            "of held-out digits": float(np.mean(both - log_q)),
        },
        "nats": {
            "noise alone": [-log_q.mean(), log_q.std() / log_q.size**0.5],
            "model": list(nats(both, annealed)),
            "gain": [-lost, error],
        },
        "compared": images.measures(job.classifier, x[: sizes.compared], other),
    }
    seen = {shown(RULES.get(job.name, BRIDGES)): x} if first else {}
    if first and job.name == EXACT:
        noisy = own + SIGMA * _stream(job, 2).standard_normal(own.shape)
        seen[DENOISED] = to_numpy(model.denoise(_moved(job, noisy)))
    if first:
        judged = {k: images.measures(job.classifier, v, other) for k, v in seen.items()}
        pictures = {k: images.grid(v) for k, v in seen.items()}
        found |= {"measures": judged, "pictures": pictures}
    return found


def _roots(job: Job, model: Model, held: Smoothed, own_F: float) -> dict[str, Any]:
    """F of the last batch, F at the root of held-out samples, the loss at either."""
    laws: Any = (held, model.noise)
    x = [law.sample(_stream(job, 3 + k), job.sizes.held) for k, law in enumerate(laws)]
    r_data, r_noise = (log_ratios(model.ratio, _moved(job, z)) for z in x)
    root = logz.newton(r_data, r_noise)
    return {
        "last batch": own_F,
        "held-out root": [root.F, root.standard_error],
        "held-out overlap": root.overlap,
        "held-out loss": nce.loss(r_data, r_noise, root.F),
        "held-out loss, own F": nce.loss(r_data, r_noise, np.asarray(own_F)),
    }


def _bridge_roots(
    job: Job, theta: Any, held: Smoothed, gaussian: Gaussian
) -> dict[str, Any]:
    """F, overlap and loss of every bridge, on held-out samples, in one solve."""
    laws: Any = (held, gaussian)
    y, x = (
        _moved(job, law.sample(_stream(job, 3 + k), job.sizes.held))
        for k, law in enumerate(laws)
    )
    marks = bridges.waymarks(x, y, _moved(job, gaussian.mean), bridges.BRIDGES)
    pair = bridges.log_ratios(theta, marks)[:2]
    r_data, r_noise = (to_numpy(z).astype(float) for z in pair)
    root = logz.newton(r_data, r_noise)
    total = float(np.sum(root.F)), float(np.sum(root.standard_error**2) ** 0.5)
    return {
        "held-out root": list(total),
        "of bridges": root.F,
        "held-out overlap": root.overlap,
        "held-out loss": nce.loss(r_data, r_noise, root.F),
    }


def _gaussian(job: Job) -> Gaussian:
    """The Gaussian with the moments of smoothed digits."""
    digits = images.digits_of(job.settings).train_images[: job.sizes.images]
    return fit_gaussian(digits, SIGMA)


def _stream(job: Job, k: int) -> Any:
    return make_rng(job.seed, 6, [*RULES, BRIDGES].index(job.name), k)


def _moved(job: Job, x: Any) -> Any:
    return job.settings.array(x, "float32")


def _setting(sizes: Sizes) -> dict[str, Any]:
    return {
        **vars(sizes),
        "smoothing": SIGMA,
        "batch": BATCH,
        "bridge_batch": bridges.BATCH,
        "optimizer": f"Adam, rate {RATE:g}, 100 steps of warm-up, cosine to 3%",
        "average": f"of theta, weights {DECAY:g}^k; not of the bridges'",
        "network": "stem of stride 2, widths 24, 48, 96, one block each, 64 features",
        "dtype": "float32",
    }


def draw(numbers: dict[str, Any]) -> Any:
    pictures, exact = numbers["pictures"], shown(RULES[EXACT])
    title = "Beyond the paper: digits from energies that NCE with an exact F learns"
    figure, axes = style.canvas((2, 5), 17.5, 8.6, title)
    grids = [DIGITS, GAUSSIAN, MIXTURE, exact, None]
    grids += [DENOISED, BRIDGES, *(shown(x) for x in list(RULES.values())[1:]), None]
    for axis, name in zip(axes.flat, grids, strict=True):
        if name:
            images.show(axis, pictures[name])
            axis.set_title("\n".join(_caption(numbers["measures"], name)), fontsize=8.5)
    _draw_F(axes[0, -1], numbers["rules"])
    _draw_seeds(axes[1, -1], numbers["rules"])
    return figure


def _caption(measures: dict[str, Any], name: str) -> list[str]:
    own = measures[name]
    return [
        name,
        f"nearest-neighbour error {own['nearest_error']:.2f}, "
        f"Frechet {own['frechet']:.1f}",
        f"confidence {own['confidence']:.3f}, class entropy {own['class_entropy']:.2f}",
    ]


def _draw_F(axis: Any, rules: dict[str, Any]) -> None:
    """F in training, and the annealed log Z, of the first seed."""
    for rule, (first, *_) in rules.items():
        log_z, colour = first["annealed"]["log Z"], style.COLOURS[rule]
        style.draw_F(axis, first["curve"], log_z, colour, RULES[rule])


def _draw_seeds(axis: Any, rules: dict[str, Any]) -> None:
    """The Frechet distance of every seed's samples."""
    for k, (rule, runs) in enumerate(rules.items()):
        values = [run["compared"]["frechet"] for run in runs]
        axis.plot([k] * len(values), values, "o", color=style.COLOURS[rule])
    axis.set(title="Frechet distance, one point for each seed")
    axis.set_xticks(range(len(rules)), list(RULES.values()))


def table(numbers: dict[str, Any]) -> str:
    """The measures of every grid, as Markdown."""
    titles = ["images", "nearest-neighbour error", "Frechet", "confidence"]
    titles += ["class entropy"]
    rows = [
        [name, f"{x['nearest_error']:.2f}", f"{x['frechet']:.1f}"]
        + [f"{x['confidence']:.3f}", f"{x['class_entropy']:.2f}"]
        for name, x in numbers["measures"].items()
    ]
    return style.markdown(titles, rows)


def rules_table(numbers: dict[str, Any]) -> str:
    """Every rule for F, its seeds one after another, as Markdown."""
    titles = ["rule for F", "F of the last batch", "F, held-out", "log Z by annealing"]
    titles += ["held-out loss, own F", "at their root", "gain in nats per image"]
    titles += ["Frechet, 256 images", "confidence"]
    rows = []
    for rule, runs in numbers["rules"].items():
        at, found = [run["F"] for run in runs], [run["annealed"] for run in runs]
        cells = [
            [f"{x['last batch']:.1f}" for x in at],
            [f"{x['held-out root'][0]:.1f}" for x in at],
            ["{:.1f} ± {:.1f}".format(*_floats(x["log Z"])) for x in found],
            [f"{x['held-out loss, own F']:.3f}" for x in at],
            [f"{x['held-out loss']:.3f}" for x in at],
            ["{:.1f} ± {:.1f}".format(*_floats(run["nats"]["gain"])) for run in runs],
            [f"{run['compared']['frechet']:.1f}" for run in runs],
            [f"{run['compared']['confidence']:.3f}" for run in runs],
        ]
        rows.append([RULES[rule], *map(", ".join, cells)])
    return style.markdown(titles, rows)


def _floats(pair: list[float | None]) -> Any:
    """Numbers of a file, whose null is nan."""
    return np.asarray(pair, dtype=float)
