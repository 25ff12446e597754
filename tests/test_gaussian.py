"""The Gaussian of full covariance: density, score and draws, on every array library, and what is no covariance."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy import stats

from refnce.distributions import gaussian
from refnce.array.backend import make_rng, to_numpy
from refnce.train.fit import Batches
from refnce.distributions.gaussian import Gaussian
from refnce.distributions.laws import DiagonalGaussian
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip

D = 6
MIXING = make_rng(0).normal(size=(D, D))
MEAN, COVARIANCE = make_rng(1).normal(size=D), MIXING @ MIXING.T + 0.1 * np.eye(D)
LAW = Gaussian(MEAN, COVARIANCE)
CONDITION = float(np.linalg.cond(COVARIANCE))
EPS = float(np.finfo(float).eps)


def points(*shape):
    return MEAN + 2.0 * make_rng(2).normal(size=(*shape, D))


def square(x):
    """The squared Mahalanobis distance, which with d log(2 pi) and log det is all that a density adds up."""
    return np.sum(
        (x - MEAN) * np.linalg.solve(COVARIANCE, (x - MEAN)[..., None])[..., 0], axis=-1
    )


def test_density_against_scipy():
    x = points(3, 50)
    expected = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x)
    # Either inverts the covariance, which loses a factor of its condition number.
    assert_close(LAW.log_density(x), expected, scale=CONDITION * (square(x) + D))
    assert_close(LAW.energy(x), expected + LAW.log_z, scale=CONDITION * (square(x) + D))
    assert LAW.log_density(x[0, 0]).shape == ()


def test_a_diagonal_covariance_is_the_diagonal_law():
    variance = make_rng(3).uniform(0.5, 2.0, D)
    ours, theirs = Gaussian(MEAN, np.diag(variance)), DiagonalGaussian(MEAN, variance)
    x = points(20)
    assert_close(ours.log_density(x), theirs.log_density(x), scale=100.0)
    assert np.array_equal(ours.sample(make_rng(4), 1), theirs.sample(make_rng(4), 1))


def test_score_against_central_differences():
    x, rng = points(7), make_rng(5)
    for _ in range(10):
        v = rng.normal(size=x.shape)
        # log q is quadratic, of which a central difference is exact whatever its step: one about as large as x - mean has the
        # least rounding, which is that of the two densities.
        ahead, back = x + v, x - v
        numeric = 0.5 * (LAW.log_density(ahead) - LAW.log_density(back))
        scale = CONDITION * (square(ahead) + square(back) + D)
        assert_close(np.sum(v * LAW.score(x), axis=-1), numeric, scale=scale)
    assert_close(LAW.score(MEAN), np.zeros(D), scale=1.0)


def test_whitened_coordinates():
    """log q(x) = log N(z; 0, I) - log det L, and back."""
    x = points(3, 4)
    z = LAW.whitened(x)
    assert_close(LAW.coloured(z), x, scale=CONDITION * 10)
    assert_close(LAW.factor @ LAW.factor.T, COVARIANCE, scale=10.0)
    assert np.array_equal(LAW.factor, np.tril(LAW.factor))
    flat = stats.norm.logpdf(z).sum(axis=-1) - np.log(np.diag(LAW.factor)).sum()
    assert_close(LAW.log_density(x), flat, scale=CONDITION * (square(x) + D))
    assert np.array_equal(
        LAW.sample(make_rng(9), 4), LAW.coloured(make_rng(9).standard_normal((4, D)))
    )


def test_draws_have_the_moments():
    """Whitened by NumPy's factor they are N(0, I): two chi-squared statistics, each wrongly refused once in a million seeds."""
    n = 100_000
    z = np.linalg.solve(
        np.linalg.cholesky(COVARIANCE), (LAW.sample(make_rng(6), n) - MEAN).T
    )
    tails = (0.5e-6, 1 - 0.5e-6)
    low, high = stats.chi2(D).ppf(tails)
    assert low <= n * np.sum(z.mean(axis=1) ** 2) <= high
    # sqrt(n) times the entries of z z^T/n - I: variance 1 off the diagonal, 2 on it, and independent as n grows.
    off = math.sqrt(n) * (z @ z.T / n - np.eye(D))
    entries = np.concatenate([off[np.triu_indices(D, 1)], np.diag(off) / math.sqrt(2)])
    low, high = stats.chi2(entries.size).ppf(tails)
    assert low <= np.sum(entries**2) <= high


def test_draws_depend_on_the_seed_alone():
    whole = LAW.sample(make_rng(7), 4, 5)
    rng = make_rng(7)
    assert_close(
        np.concatenate([LAW.sample(rng, 3, 5), LAW.sample(rng, 1, 5)]),
        whole,
        scale=10.0,
    )
    assert whole.shape == (4, 5, D) and whole.flags.c_contiguous
    assert LAW.sample(make_rng(7)).shape == (D,)
    assert_close(LAW.sample(make_rng(7)), whole[0, 0], scale=10.0)
    assert np.array_equal(whole, LAW.sample(make_rng(7), 4, 5))
    assert not np.array_equal(whole, LAW.sample(make_rng(8), 4, 5))


def test_it_is_noise_for_batches():
    data, noise = Batches(LAW, LAW, 0, (2,), n=3, m=5)(0)
    assert data.shape == (2, 3, D) and noise.shape == (2, 5, D)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_array_libraries_agree(name, dtype):
    library, x = or_skip(name), points(2, 9).astype(dtype)
    exact = x.astype(float)
    eps, there = float(np.finfo(dtype).eps), library(x, dtype)
    # z is a sum of D products, of the size |L^-1| |x - mean|; x - mean is as wrong as mean is in that dtype.
    inverse = np.linalg.inv(np.linalg.cholesky(COVARIANCE))
    z, size = (exact - MEAN) @ inverse.T, (np.abs(exact) + np.abs(MEAN)) @ np.abs(
        inverse
    ).T
    sizes = {
        "energy": np.sum(np.abs(z) * size, axis=-1),
        "log_density": np.sum(np.abs(z) * size, axis=-1) + D,
        "score": size @ np.abs(inverse),
        "whitened": size,
        "coloured": np.abs(exact) @ np.abs(LAW.factor).T + np.abs(MEAN),
    }
    for function, scale in sizes.items():
        value = getattr(LAW, function)(there)
        assert value.device == there.device and value.dtype == there.dtype
        assert_close(
            to_numpy(value).astype(float),
            getattr(LAW, function)(exact),
            scale=scale,
            ulps=2 * D * eps / EPS,
        )


def test_constants_are_moved_once(monkeypatch):
    moved = []
    monkeypatch.setattr(
        gaussian,
        "asarray",
        lambda x, xp, **kind: moved.append(x.shape) or xp.asarray(x, **kind),
    )
    law, library = Gaussian(MEAN, COVARIANCE), or_skip("array_api_strict")
    for _ in range(3):
        for dtype in ("float32", "float64"):
            law.log_density(library(points(2), dtype))
            law.score(library(points(3), dtype))
            law.coloured(library(points(3), dtype))
    assert moved == 2 * [(D,), (D, D), (D, D)]


def test_it_is_a_value():
    with pytest.raises(AttributeError):
        LAW.mean = MEAN
    again = pickle.loads(pickle.dumps(LAW))
    assert np.array_equal(again.log_density(points(3)), LAW.log_density(points(3)))
    assert repr(LAW).count("=") == 2


def test_half_the_digits_may_be_asymmetric():
    """Rounding of sums in another order is averaged away."""
    rounding = 1e-12 * np.triu(np.ones((D, D)), 1)
    x = points(5)
    a, b = Gaussian(MEAN, COVARIANCE + rounding), Gaussian(
        MEAN, COVARIANCE + rounding.T
    )
    assert_close(a.log_density(x), b.log_density(x), scale=CONDITION * (square(x) + D))


def test_an_ill_conditioned_covariance_keeps_its_smallest_variance():
    found = Gaussian(np.zeros(2), np.diag([1.0, 1e-12])).log_density(
        np.asarray([0.0, 1e-6])
    )
    assert_close(
        found, np.asarray(-0.5 - math.log(2 * math.pi) + 6 * math.log(10)), scale=15.0
    )


ONE = np.ones((2, 2))


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (
            ONE,
            r"covariance must be positive definite; its eigenvalues are from .*: add a jitter to its diagonal",
        ),
        (
            np.diag([1.0, 0.0]),
            "positive definite; its eigenvalues are from 0 to 1: add a jitter",
        ),
        (
            np.diag([1.0, -1.0]),
            "positive definite; its eigenvalues are from -1 to 1: add a jitter",
        ),
        (
            ONE + np.diag([0.0, 2.0**-52]),
            "positive definite",
        ),  # LAPACK factors it: the pivot is rounding
        (
            np.asarray([[2.0, 1.0], [0.5, 2.0]]),
            r"symmetric; it differs by 0.5 from its transpose C.T: pass \(C \+ C.T\)/2",
        ),
        (
            np.asarray([[1.0, np.nan], [np.nan, 1.0]]),
            "must be finite; got NaN or an infinity",
        ),
        (np.diag([1.0, np.inf]), "must be finite"),
        (
            np.eye(3),
            r"mean must be \(d,\) and covariance \(d, d\); got shapes \(2,\) and \(3, 3\)",
        ),
        (np.ones(2), r"covariance \(d, d\); got shapes \(2,\) and \(2,\)"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(np.zeros(2), covariance)


def test_bad_means_are_named():
    with pytest.raises(ValueError, match="must be finite"):
        Gaussian(np.asarray([0.0, np.nan]), np.eye(2))
    with pytest.raises(ValueError, match=r"got shapes \(1, 2\) and \(2, 2\)"):
        Gaussian(np.zeros((1, 2)), np.eye(2))
    with pytest.raises(
        TypeError, match="mean must be a host array; got list: convert it"
    ):
        Gaussian([0.0, 0.0], np.eye(2))
    with pytest.raises(
        TypeError, match="covariance must hold float64 or float32 numbers; got int64"
    ):
        Gaussian(np.zeros(2), np.eye(2, dtype=np.int64))
    library = or_skip("array_api_strict")
    with pytest.raises(
        TypeError,
        match="covariance must be a host array; got Array: convert it with refnce.array.backend.to_numpy",
    ):
        Gaussian(np.zeros(2), library(np.eye(2)))


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (D, 5)])
def test_samples_of_another_dimension_are_refused(shape):
    """(4, 1) would broadcast."""
    for function in (
        LAW.log_density,
        LAW.energy,
        LAW.score,
        LAW.whitened,
        LAW.coloured,
    ):
        with pytest.raises(
            ValueError,
            match=r"x must be \(..., 6\), the Gaussian's dimension last; got shape",
        ):
            function(np.ones(shape))


def test_whole_numbers_are_refused():
    with pytest.raises(
        TypeError, match="x must hold float64 or float32 numbers; got int64"
    ):
        LAW.log_density(np.ones(D, dtype=np.int64))
