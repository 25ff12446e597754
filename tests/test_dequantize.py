"""Dequantization and the moments, against exact arithmetic and draws."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from figures.mnist.dequantize import dequantize, moments
from refnce.array import make_rng
from tests.close import assert_close

EPS = float(np.finfo(float).eps)


def test_dequantized_image_is_the_pixel_plus_a_uniform_draw():
    """Kolmogorov and Smirnov's test fails once in a million seeds."""
    images = make_rng(1).integers(256, size=(40, 784), dtype=np.uint8)
    x = dequantize(images, make_rng(2))
    assert x.shape == images.shape and x.dtype == np.float64
    assert np.array_equal(np.floor(256 * x), images)
    assert stats.kstest((256 * x - images).ravel(), "uniform").pvalue > 1e-6
    assert np.array_equal(x, dequantize(images, make_rng(2)))
    assert not np.array_equal(x, dequantize(images, make_rng(3)))


def test_dequantized_image_stays_below_one():
    rng = SimpleNamespace(random=lambda shape: np.full(shape, math.nextafter(1.0, 0.0)))
    x = dequantize(np.full((1, 2), 255, dtype=np.uint8), rng)
    assert np.all(x < 1.0) and np.all(np.floor(256 * x) == 255)


@pytest.mark.parametrize("function", [moments, lambda x: dequantize(x, make_rng(0))])
def test_pixels_that_are_not_bytes_are_refused(function):
    with pytest.raises(TypeError, match="images must hold uint8 .*; got float64"):
        function(np.zeros((2, 784)))


def test_moments_are_exact_up_to_rounding():
    images = make_rng(7).integers(256, size=(23, 5), dtype=np.uint8)
    images[:, 2] = 0  # the noise of dequantization alone
    mean, covariance = moments(images)
    n, rows = len(images), [[Fraction(int(v)) for v in row] for row in images]
    centre = [sum(column) / n for column in zip(*rows, strict=True)]
    for i in range(5):
        assert mean[i] == float((centre[i] + Fraction(1, 2)) / 256)
        for j in range(5):
            products = [(row[i] - centre[i]) * (row[j] - centre[j]) for row in rows]
            exact = sum(products) / n / 256**2 + Fraction(i == j, 12 * 256**2)
            # Rounded are two quotients and a sum.
            assert abs(covariance[i, j] - float(exact)) <= 2 * EPS * abs(float(exact))


def test_moments_of_two_blocks_of_images():
    """The pixels' covariance, and the variance 1/12 of a uniform draw of a 256th."""
    images = make_rng(8).integers(256, size=(5000, 4), dtype=np.uint8)
    images[:, 1] //= 128
    images[:, 2] = images[:, 0] // 2
    _, covariance = moments(images)
    expected = np.cov(images.T, bias=True) / 256**2 + np.eye(4) / (12 * 256**2)
    assert_close(covariance, expected, scale=1.0)
