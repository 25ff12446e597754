"""The Gaussian of full covariance: whitening, array libraries, invalid covariances."""

import math
import pickle

import numpy as np
import pytest
from scipy import stats

from figures.mnist.gaussian import Gaussian
from refnce.array import make_rng, to_numpy
from refnce.distributions import DiagonalGaussian, common
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


def terms(x):
    """Size of the terms of a log-density, times the condition number of either way."""
    centred = (x - MEAN)[..., None]
    squares = np.sum(centred * np.linalg.solve(COVARIANCE, centred), axis=(-2, -1))
    return CONDITION * (squares + D)


def test_diagonal_covariance_is_the_diagonal_gaussian():
    variance, x = make_rng(3).uniform(0.5, 2.0, D), points(20)
    full, diagonal = Gaussian(MEAN, np.diag(variance)), DiagonalGaussian(MEAN, variance)
    assert_close(full.log_density(x), diagonal.log_density(x), scale=100.0)
    assert np.array_equal(full.sample(make_rng(4), 1), diagonal.sample(make_rng(4), 1))


def test_whiten_and_unwhiten():
    """log q(x) = log N(z; 0, I) - log det L, x = mean + L z, and draws are of z."""
    x, L = points(3, 4), LAW.factor
    z = LAW.whiten(x)
    assert_close(LAW.unwhiten(z), x, scale=CONDITION * 10)
    assert_close(L @ L.T, COVARIANCE, scale=10.0)
    assert np.array_equal(L, np.tril(L))
    log_density = stats.norm.logpdf(z).sum(axis=-1) - np.log(np.diag(L)).sum()
    assert_close(LAW.log_density(x), log_density, scale=terms(x))
    normal = make_rng(9).standard_normal((4, D))
    assert np.array_equal(LAW.sample(make_rng(9), 4), LAW.unwhiten(normal))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_array_libraries_agree(name, dtype):
    library, x = or_skip(name), points(2, 9).astype(dtype)
    exact, moved = x.astype(float), library(x, dtype)
    # z is a sum of D products of size |L^-1| |x - mean|, and mean is rounded to dtype.
    inverse = np.linalg.inv(np.linalg.cholesky(COVARIANCE))
    z = (exact - MEAN) @ inverse.T
    z_terms = (np.abs(exact) + np.abs(MEAN)) @ np.abs(inverse).T
    scales = {
        "log_density": np.sum(np.abs(z) * z_terms, axis=-1) + D,
        "whiten": z_terms,
        "unwhiten": np.abs(exact) @ np.abs(LAW.factor).T + np.abs(MEAN),
    }
    ulps = 2 * D * float(np.finfo(dtype).eps) / EPS
    for function, scale in scales.items():
        value, expected = getattr(LAW, function)(moved), getattr(LAW, function)(exact)
        assert value.device == moved.device and value.dtype == moved.dtype
        assert_close(to_numpy(value).astype(float), expected, scale=scale, ulps=ulps)


def test_constants_are_converted_once_for_each_kind_of_array(monkeypatch):
    law, library = Gaussian(MEAN, COVARIANCE), or_skip("array_api_strict")
    asarray, converted = common.asarray, []

    def counted(x, *args, **options):
        converted.append(x)
        return asarray(x, *args, **options)

    monkeypatch.setattr(common, "asarray", counted)
    for dtype in 3 * ("float32", "float64"):
        law.log_density(library(points(2), dtype))
        law.unwhiten(library(points(3), dtype))
    assert [x.shape for x in converted] == 2 * [(D,), (D, D), (D, D)]


def test_gaussian_is_frozen_and_pickles():
    with pytest.raises(AttributeError):
        LAW.mean = MEAN
    again = pickle.loads(pickle.dumps(LAW))
    assert np.array_equal(again.log_density(points(3)), LAW.log_density(points(3)))
    assert repr(LAW).count("=") == 2


def test_asymmetry_of_rounding_is_averaged_out():
    rounding, x = 1e-12 * np.triu(np.ones((D, D)), 1), points(5)
    a, b = (Gaussian(MEAN, COVARIANCE + r) for r in (rounding, rounding.T))
    assert_close(a.log_density(x), b.log_density(x), scale=terms(x))


def test_ill_conditioned_covariance_keeps_its_smallest_variance():
    law = Gaussian(np.zeros(2), np.diag([1.0, 1e-12]))
    expected = np.asarray(-0.5 - math.log(2 * math.pi) + 6 * math.log(10))
    assert_close(law.log_density(np.asarray([0.0, 1e-6])), expected, scale=15.0)


ONES = np.ones((2, 2))
NOT_POSITIVE = r"positive definite; got the smallest eigenvalue {}: add a small number"


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (ONES, NOT_POSITIVE.format(".*")),
        (np.diag([1.0, 0.0]), NOT_POSITIVE.format("0")),
        (np.diag([1.0, -1.0]), NOT_POSITIVE.format("-1")),
        # LAPACK factors this one, with a pivot that is rounding.
        (ONES + np.diag([0.0, 2.0**-52]), "positive definite"),
        (np.asarray([[2.0, 1.0], [0.5, 2.0]]), r"symmetric; .* pass \(C \+ C.T\)/2"),
        (np.asarray([[1.0, np.nan], [np.nan, 1.0]]), "covariance .* of finite numbers"),
        (np.diag([1.0, np.inf]), "covariance must be a NumPy array .* finite numbers"),
        (np.eye(3), r"mean must be \(d,\) and covariance \(d, d\); .* \(3, 3\)"),
        (np.ones(2), r"covariance \(d, d\); got shapes \(2,\) and \(2,\)"),
    ],
)
def test_invalid_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(np.zeros(2), covariance)


def test_invalid_mean_or_library_is_refused():
    with pytest.raises(ValueError, match=r"got shapes \(1, 2\) and \(2, 2\)"):
        Gaussian(np.zeros((1, 2)), np.eye(2))
    with pytest.raises(TypeError, match="mean is a list; pass numpy.asarray"):
        Gaussian([0.0, 0.0], np.eye(2))
    with pytest.raises(TypeError, match="covariance must hold float64 .*; got int64"):
        Gaussian(np.zeros(2), np.eye(2, dtype=np.int64))
    library = or_skip("array_api_strict")
    with pytest.raises(ValueError, match="mean must be a NumPy array .*; got Array"):
        Gaussian(library(np.zeros(2)), library(np.eye(2)))


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (D, 5)])
def test_whitening_refuses_another_dimension(shape):
    for function in (LAW.whiten, LAW.unwhiten):
        with pytest.raises(ValueError, match=r"x must be \(\.\.\., 6\), its coord"):
            function(np.ones(shape))
