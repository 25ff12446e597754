"""Samples of images: held-out digits to compare with, measures, grids."""

from typing import Any

import numpy as np

from figures.mnist import dequantize, files
from figures.mnist.classifier import Classifier, judge
from figures.mnist.nearest import nearest_error
from figures.settings import Settings
from refnce.array import make_rng

SHOWN = 8  # images across and down


def digits_of(settings: Settings) -> files.Digits:
    """The digits that a figure is made from."""
    assert settings.mnist is not None, "figures.__main__ gives a folder"
    return files.read(settings.mnist)


def held_out(images: Any, count: int, seed: int) -> tuple[Any, Any]:
    """``count`` of the images and all others, dequantized, in a random order.

    MNIST's test digits come from two sources, one after the other.
    """
    rng = make_rng(seed, 5)
    x = dequantize.dequantize(images[rng.permutation(len(images))], rng)
    return x[:count], x[count:]


def measures(classifier: Classifier, x: Any, digits: Any) -> dict[str, float]:
    """How images x (n, 784) differ from digits (m, 784), m > n.

    The nearest neighbours are those of x and as many digits; the Frechet distance,
    which few samples make too large, is to all of them.
    """
    near = nearest_error(x, digits[: len(x)])
    return {"nearest_error": near} | vars(judge(classifier, x, digits))


def to_text(image: Any) -> str:
    """An image as a hexadecimal digit for each pixel, 0 black and f white."""
    levels = np.round(np.clip(image, 0.0, 1.0) * 15).astype(int)
    return "".join(f"{level:x}" for level in levels)


def grid(x: Any) -> list[str]:
    """The first images as text, for ``show``."""
    return [to_text(image) for image in x[: SHOWN**2]]


def show(axis: Any, images: list[str]) -> None:
    """Draw images of ``grid`` as SHOWN rows of SHOWN."""
    pixels = np.asarray([[int(level, 16) for level in image] for image in images])
    tiles: Any = pixels.reshape(SHOWN, SHOWN, 28, 28).transpose(0, 2, 1, 3)
    tiles = tiles.reshape(28 * SHOWN, 28 * SHOWN)
    axis.imshow(tiles, cmap="gray", vmin=0, vmax=15, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
