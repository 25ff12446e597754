"""Dequantisation, the logit and the moments, against exact arithmetic and draws."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from scipy import integrate, special, stats

from refnce import pixels
from refnce.array.backend import make_rng, to_numpy
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip

EPS = float(np.finfo(float).eps)


# --- dequantisation


def test_dequantised_is_the_pixel_and_a_uniform_draw():
    images = make_rng(1).integers(256, size=(40, 784), dtype=np.uint8)
    x = pixels.dequantised(images, make_rng(2))
    assert x.shape == images.shape and x.dtype == np.float64
    assert np.array_equal(np.floor(256 * x), images)
    # A right implementation fails with probability 1e-6.
    assert stats.kstest((256 * x - images).ravel(), "uniform").pvalue > 1e-6
    assert np.array_equal(x, pixels.dequantised(images, make_rng(2)))
    assert not np.array_equal(x, pixels.dequantised(images, make_rng(3)))


def test_dequantised_stays_below_one():
    largest = SimpleNamespace(
        random=lambda shape: np.full(shape, math.nextafter(1.0, 0.0))
    )
    x = pixels.dequantised(np.full((1, 2), 255, dtype=np.uint8), largest)
    assert np.all(x < 1.0) and np.all(np.floor(256 * x) == 255)


def test_logit_is_an_option():
    images = make_rng(1).integers(256, size=(3, 5), dtype=np.uint8)
    y = pixels.dequantised(images, make_rng(2), logit=True)
    assert np.array_equal(y, pixels.logit_of(pixels.dequantised(images, make_rng(2))))


@pytest.mark.parametrize(
    "function", [pixels.moments, lambda x: pixels.dequantised(x, make_rng(0))]
)
def test_pixels_that_are_no_bytes_are_refused(function):
    with pytest.raises(
        TypeError, match="images must hold uint8 pixels, as read; got float64"
    ):
        function(np.zeros((2, 784)))


EDGES = [0.0, 1e-12, 1e-6, 0.03, 0.5, 0.8, 1.0 - 1e-6, 1.0 - 2.0**-53, 1.0]


def test_logit_and_its_slope_against_mpmath():
    """At the ends too, to the rounding of some operations on terms of at most 14, against a derivative taken in 60 digits."""
    with mpmath.workdps(60):
        alpha = mpmath.mpf("1e-6")

        def exact(x):
            s = alpha + (1 - 2 * alpha) * x
            return mpmath.log(s / (1 - s))

        y = [float(exact(mpmath.mpf(x))) for x in EDGES]
        slopes = [float(mpmath.log(mpmath.diff(exact, mpmath.mpf(x)))) for x in EDGES]
    assert_close(
        pixels.logit_of(np.asarray(EDGES)), np.asarray(y), scale=14.0, ulps=4.0
    )
    assert_close(
        pixels.log_jacobian(np.asarray(EDGES)[:, None]),
        np.asarray(slopes),
        scale=14.0,
        ulps=4.0,
    )


def test_log_jacobian_against_finite_differences():
    x = make_rng(4).uniform(0.05, 0.95, size=(3, 784))
    # h balances the central difference's truncation, (h/x)^2/3 < 1.4e-8 of each slope, and its rounding, 4 eps |y|/(h dy/dx).
    h = 1e-5
    slopes = (pixels.logit_of(x + h) - pixels.logit_of(x - h)) / (2 * h)
    assert_close(
        pixels.log_jacobian(x),
        np.sum(np.log(slopes), axis=-1),
        scale=784 * 1.4e-8 / EPS,
        ulps=1.0,
    )


def test_densities_change_variables_by_log_jacobian():
    """x ~ U[0, 1)^2 has the density exp(-log_jacobian(x(y))) in y: its mass is 1, its mean of y^2 that of the draws."""

    def density(y):
        x = (special.expit(y) - pixels.ALPHA) / (1 - 2 * pixels.ALPHA)
        return math.exp(-float(pixels.log_jacobian(np.asarray([x]))))

    end = -math.log(pixels.ALPHA / (1 - pixels.ALPHA))
    mass, error = integrate.quad(density, -end, end, epsabs=1e-11, limit=200)
    assert abs(mass - 1.0) <= 1e-9 and error <= 1e-9
    second, _ = integrate.quad(lambda y: y * y * density(y), -end, end, limit=200)
    y2 = pixels.logit_of(make_rng(5).random(100_000)) ** 2
    assert abs(y2.mean() - second) <= 5 * y2.std() / math.sqrt(
        y2.size
    )  # fails by chance once in 1.7 million seeds
    x = make_rng(6).random((2, 3, 4))
    each = [
        [sum(float(pixels.log_jacobian(p[None])) for p in row) for row in run]
        for run in x
    ]
    assert_close(pixels.log_jacobian(x), np.asarray(each), scale=50.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_logit_on_other_libraries(name, dtype):
    library, x = or_skip(name), np.asarray([EDGES, EDGES[::-1]]).astype(dtype)
    ulps = 8 * float(np.finfo(dtype).eps) / EPS
    for function, scale in (
        (pixels.logit_of, 14.0),
        (pixels.log_jacobian, 14.0 * len(EDGES)),
    ):
        found = to_numpy(function(library(x, dtype)))
        assert found.dtype == dtype
        assert_close(
            found.astype(float), function(x.astype(float)), scale=scale, ulps=ulps
        )


def test_the_logit_refuses_pixels():
    with pytest.raises(
        TypeError, match="x must hold float64 or float32 numbers; got uint8"
    ):
        pixels.logit_of(np.zeros(3, dtype=np.uint8))


# --- moments


def test_moments_are_the_exact_ones_rounded():
    images = make_rng(7).integers(256, size=(23, 5), dtype=np.uint8)
    images[:, 2] = 0
    mean, covariance = pixels.moments(images)
    n, rows = len(images), [[Fraction(int(v)) for v in row] for row in images]
    centre = [sum(column) / n for column in zip(*rows, strict=True)]
    for i in range(5):
        assert mean[i] == float((centre[i] + Fraction(1, 2)) / 256)
        for j in range(5):
            scatter = (
                sum((row[i] - centre[i]) * (row[j] - centre[j]) for row in rows) / n
            )
            exact = float(scatter / 256**2 + Fraction(i == j, 12 * 256**2))
            assert abs(covariance[i, j] - exact) <= 2 * EPS * abs(
                exact
            )  # a quotient, a quotient, a sum of what is positive


def test_moments_are_those_of_the_draws():
    images = make_rng(8).integers(
        256, size=(5000, 4), dtype=np.uint8
    )  # more than one block
    images[:, 1] //= 128
    images[:, 2] = images[:, 0] // 2
    mean, covariance = pixels.moments(images)
    assert_close(
        covariance,
        np.cov(images.T, bias=True) / 256**2 + np.eye(4) / (12 * 256**2),
        scale=1.0,
    )
    x = pixels.dequantised(
        images[make_rng(9).integers(5000, size=200_000)], make_rng(10)
    )
    white = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    # 14 means, each normal to a good approximation: one of them is 6 standard errors off once in 36 million seeds.
    for i in range(4):
        for sample in (
            white[i],
            *(white[i] * white[j] - (i == j) for j in range(i + 1)),
        ):
            assert abs(sample.mean()) <= 6 * sample.std() / math.sqrt(sample.size)


def test_pixels_that_never_change_keep_the_variance_of_the_dequantisation():
    mean, covariance = pixels.moments(np.zeros((10, 3), dtype=np.uint8))
    assert np.array_equal(mean, np.full(3, 0.5 / 256)) and np.array_equal(
        covariance, np.eye(3) / (12 * 256**2)
    )
