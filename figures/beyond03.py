"""Digits from a mixture of Gaussians alone, and with one log-ratio and an exact F.

Digits are smoothed by noise of standard deviation 0.3. The mixture, fitted by EM, is a
model of its own and the noise of NCE: a small residual network learns the log-ratio
between the two with F at the root of every batch. Both models are sampled, and each
denoises its samples by the gradient of its own density. Beside the images stand the
nearest-neighbour error, the Frechet distance of a classifier's features, its
confidence, the entropy of its classes, and the nats per held-out image, whose log Z is
found by Hamiltonian Monte Carlo.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from figures import style
from figures.fig13 import SHOWN, show_digits, to_text
from figures.mnist import dequantize, files
from figures.mnist.annealed import Annealed, anneal, nats
from figures.mnist.classifier import judge, train_classifier
from figures.mnist.experiment import Dequantized
from figures.mnist.mixture import fit_mixture, smooth
from figures.mnist.nearest import nearest_error
from figures.mnist.smoothed import BATCH, RATE, Model, Smoothed, learn
from figures.parallel import keep_freed_memory
from figures.settings import Settings
from refnce.array import make_rng, to_numpy

SIGMA = 0.3
HELD = "held-out digits"
MIXTURE, RATIO = "mixture alone", "mixture and ratio"
DIGITS, DENOISED = "digits", "digits, smoothed, denoised"


@dataclass(frozen=True)
class Sizes:
    """How much of everything; ``betas`` counts the states from mixture to model."""

    images: int = 60_000
    components: int = 50
    directions: int = 100
    iterations: int = 6
    steps: int = 1700
    count: int = 512
    held: int = 2000
    betas: int = 5
    hmc_steps: int = 8
    warmup: int = 40  # with 12 log Z was 0.3 lower: the chains lagged behind beta


QUICK = Sizes(600, 4, 20, 2, 4, 64, 64, 3, 8, 8)


def compute(settings: Settings) -> dict[str, Any]:
    assert settings.mnist is not None, "figures.__main__ gives a folder"
    keep_freed_memory()
    sizes, digits = QUICK if settings.quick else Sizes(), files.read(settings.mnist)
    sizes = replace(sizes, steps=settings.steps or sizes.steps)
    images = digits.train_images[: sizes.images]
    x = dequantize.dequantize(images, _stream(settings, 0))
    shape = sizes.components, sizes.directions, sizes.iterations
    noise = smooth(fit_mixture(x, *shape, seed=settings.seed), SIGMA)
    data, held = Dequantized(images), Dequantized(digits.test_images)
    model, rows = learn(settings, data, noise, SIGMA, sizes.steps)
    annealed = sample(settings, model, sizes)
    models = {MIXTURE: Model(noise, SIGMA), RATIO: model}
    pictures, other = _pictures(settings, models, annealed, digits.test_images, sizes)
    labels = digits.train_labels[: sizes.images]
    classifier = train_classifier(images, labels, seed=settings.seed, batch=100)
    return {
        "setting": _setting(sizes),
        "curve": rows,
        "measures": {
            name: {"nearest_error": nearest_error(x, other)}
            | vars(judge(classifier, x, other))
            for name, x in pictures.items()
        },
        "nats": {
            "training digits": _nats(settings, models, data, annealed, sizes),
            HELD: _nats(settings, models, held, annealed, sizes),
        },
        "F": _log_z(settings, model, held, annealed, sizes)
        | {"last batch": rows["F"][-1]},
        "sampler": {
            "acceptance": annealed.acceptance,
            "overlap": annealed.overlap,
            "trusted": annealed.trusted,
        },
        "pictures": {
            name: [to_text(image) for image in x[: SHOWN**2]]
            for name, x in pictures.items()
        },
    }


def _stream(settings: Settings, k: int) -> Any:
    return make_rng(settings.seed, 4, 0, k)  # batches have keys of two numbers


def _pictures(
    settings: Settings, models: Any, annealed: Annealed, images: Any, sizes: Sizes
) -> tuple[dict[str, Any], Any]:
    """Images by name, and other held-out digits to compare them with.

    MNIST's test digits come from two sources, one after the other, so they are
    shuffled.
    """
    count, order = sizes.count, _stream(settings, 1).permutation(len(images))
    rows = order[:count], order[count : 2 * count]
    own, other = (
        dequantize.dequantize(images[k], _stream(settings, 2 + j))
        for j, k in enumerate(rows)
    )
    z = _stream(settings, 4).standard_normal(own.shape)
    drawn = models[MIXTURE].noise.sample(_stream(settings, 5), count)
    noisy, drawn = (settings.array(x, "float32") for x in (own + SIGMA * z, drawn))
    found = {DENOISED: models[RATIO].denoise(noisy)}
    found |= {MIXTURE: models[MIXTURE].denoise(drawn)}
    found |= {RATIO: models[RATIO].denoise(annealed.samples[-1, ...])}
    return {DIGITS: own} | {name: to_numpy(x) for name, x in found.items()}, other


def sample(settings: Settings, model: Model, sizes: Sizes) -> Annealed:
    """Anneal from the mixture to the model."""
    betas = np.linspace(0.0, 1.0, sizes.betas).tolist()
    like = settings.array(np.zeros(1), "float32")
    return anneal(
        model.noise,
        model.ratio,
        betas,
        _stream(settings, 6),
        like,
        chains=sizes.count,
        steps=sizes.hmc_steps,
        warmup=sizes.warmup,
        progress=lambda each: settings.track(each, "HMC", len(each)),
    )


def _nats(
    settings: Settings, models: Any, law: Any, annealed: Annealed, sizes: Sizes
) -> dict[str, tuple[float, float]]:
    """Nats per smoothed image of the law and what the ratio gains, with their errors.

    The gain has a smaller error than the nats, because both models see the same images.
    """
    x = Smoothed(law, SIGMA).sample(_stream(settings, 7), sizes.held)
    x = settings.array(x, "float32")
    log_q, both = (
        to_numpy(model.density(x)[0]).astype(float) for model in models.values()
    )
    lost, error = nats(both - log_q, annealed)
    alone = Annealed(0.0, 0.0, True, 1.0, 1.0, None)
    found = {MIXTURE: nats(log_q, alone), RATIO: nats(both, annealed)}
    return found | {"gain": (-lost, error)}


def _log_z(
    settings: Settings, model: Model, law: Any, annealed: Annealed, sizes: Sizes
) -> dict[str, Any]:
    """log Z with standard errors: the root of held-out samples, and annealing."""
    laws: Any = (Smoothed(law, SIGMA), model.noise)
    pair = [
        law.sample(_stream(settings, 8 + k), sizes.held) for k, law in enumerate(laws)
    ]
    root = model.root(*(settings.array(x, "float32") for x in pair))
    return {
        "held-out root": [root.F, root.standard_error],
        "held-out overlap": root.overlap,
        "annealed": [annealed.log_z, annealed.error],
    }


def _setting(sizes: Sizes) -> dict[str, Any]:
    return {
        **vars(sizes),
        "smoothing": SIGMA,
        "batch": BATCH,
        "optimizer": f"Adam, rate {RATE:g}",
        "network": "stem of stride 2, widths 24, 48, 96, one block each, 64 features",
        "dtype": "float32",
    }


def draw(numbers: dict[str, Any]) -> Any:
    pictures, curve = numbers["pictures"], numbers["curve"]
    title = (
        "Beyond the paper: digits from a mixture of Gaussians and one exact log-ratio"
    )
    figure, axes = style.canvas((1, len(pictures) + 1), 17.5, 4.6, title)
    for axis, (name, images) in zip(axes[0], pictures.items(), strict=False):
        show_digits(axis, images)
        axis.set_title("\n".join(_caption(numbers, name)), fontsize=8.5)
    axis, step = axes[0, -1], np.asarray(curve["step"])
    axis.plot(
        step, curve["F"], color=style.COLOURS["binary search"], label="of a batch"
    )
    value, error = _floats(numbers["F"]["annealed"])
    axis.axhspan(
        value - 2 * error, value + 2 * error, color="#bbbbbb", label="annealed"
    )
    axis.set(xlabel="training step", title="F, and log Z by annealing (2 errors)")
    axis.legend()
    return figure


def _caption(numbers: dict[str, Any], name: str) -> list[str]:
    own = numbers["measures"][name]
    lines = [
        name,
        f"nearest-neighbour error {own['nearest_error']:.2f}, "
        f"Frechet {own['frechet']:.1f}",
        f"confidence {own['confidence']:.3f}, class entropy {own['class_entropy']:.2f}",
    ]
    found = numbers["nats"][HELD]
    if name in found:
        lines.append(
            "{:.1f} ± {:.1f} nats per held-out image".format(*_floats(found[name]))
        )
    return lines


def _floats(values: Any) -> Any:
    """Numbers of a file, whose null is nan."""
    return np.asarray(values, dtype=float)
