"""Chains of free energies: the pairs, the standard errors, bad input.

Statistical tests have fixed seeds; each states how often a correct error would fail it
on a fresh seed.
"""

import math

import numpy as np
import pytest

from refnce import logz
from refnce.array import backend
from refnce.freeenergy import chain
from tests.libraries import OTHERS, or_skip
from tests.regimes import rng

ERROR = pytest.mark.claim(
    "Free energies",
    "the standard error of f_j - f_i covers the exact difference; adding the pairs' "
    "errors as squares is too small",
    kind="theorem",
    where="freeenergy.chain",
)
STIFF = np.asarray([1.0, 2.0, 4.0, 8.0, 16.0])
EXACT = 0.5 * np.log(STIFF / STIFF[0])
RAGGED = (40, 75, 1, 120, 33)


def oscillators(g, counts, runs=(), correlation=0.0, chains=1):
    """u of samples of u_k = a_k x^2/2; each series is an autoregression."""
    parts = []
    for a, n in zip(STIFF, counts, strict=True):
        x = g.standard_normal((*runs, chains, n // chains))
        for t in range(1, x.shape[-1] if correlation else 0):
            x[..., t] *= math.sqrt(1.0 - correlation**2)
            x[..., t] += correlation * x[..., t - 1]
        parts.append(x.reshape((*runs, n)) / math.sqrt(a))
    x = np.concatenate(parts, axis=-1)
    return 0.5 * STIFF[:, None] * x[..., None, :] ** 2


def pairs(u, counts):
    """(r_data, r_noise, nu) of every pair, as the module's docstring defines them."""
    ends = np.cumsum([0, *counts])
    for k, (start, middle, end) in enumerate(
        zip(ends, ends[1:], ends[2:])
    ):  # noqa: B905
        r = u[..., k, :] - u[..., k + 1, :]
        yield r[..., middle:end], r[..., start:middle], counts[k] / counts[k + 1]


def assert_units(got, exact, most):
    """At most so many ulp + eps off."""
    unit = np.spacing(np.abs(exact)) + np.finfo(float).eps
    assert np.max(np.abs(got - exact) / unit) <= most


def squares(z):
    """The errors of f_{K-1} - f_0 if the pairs' errors are added as squares."""
    k = np.arange(z.f.shape[-1] - 1)
    return np.sqrt(np.sum(z.error[..., k, k + 1] ** 2, axis=-1))


# --- the pairs


@pytest.mark.parametrize("counts", [RAGGED, (50,) * 5])
def test_pairs_are_those_of_newton(counts):
    u = oscillators(rng(1), counts)
    z = chain(u, counts, independent=True)
    for k, (r_data, r_noise, nu) in enumerate(pairs(u, counts)):
        alone = logz.newton(r_data, r_noise, nu=nu)
        assert_units(z.f[k + 1] - z.f[k], -alone.F, 8.0)  # two sums of f more
        assert z.status[k] == alone.status
        assert z.overlap[k] == pytest.approx(alone.overlap, rel=1e-13)
        error = alone.standard_error
        assert z.error[k, k + 1] == pytest.approx(error, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("counts", [(37, 37), (64, 41), (3, 500)])
def test_two_states_are_one_solve(counts):
    u = 3.0 * rng(2).standard_normal((30, 2, sum(counts))) + [[0.0], [1.0]]
    z = chain(u, counts, independent=True)
    (pair,) = pairs(u, counts)
    assert_units(z.f[:, 1], -logz.newton(*pair[:2], nu=pair[2]).F, 4.0)


def test_only_neighbours_are_read():
    counts = (30, 20, 40, 10, 25)
    u, state = oscillators(rng(3), counts), np.repeat(np.arange(5), counts)
    z, hidden = chain(u, counts), u.copy()
    hidden[abs(np.arange(5)[:, None] - state) > 1] = np.nan
    hidden = chain(hidden, counts)
    assert np.array_equal(z.f, hidden.f) and np.array_equal(z.error, hidden.error)


def test_impossible_samples_are_infinite_log_ratios():
    u = rng(4).standard_normal((2, 100))
    u[1, [3, 5]] = u[0, 60] = math.inf
    (pair,) = pairs(u, (50, 50))
    z = logz.newton(*pair[:2])
    f = chain(u, (50, 50), independent=True)
    assert_units(f.f[1], -z.F, 4.0)
    assert f.error[0, 1] == pytest.approx(z.standard_error, rel=1e-13)


def test_problems_are_independent():
    counts = (30, 20, 40, 10, 25)
    u = oscillators(rng(5), counts, runs=(2, 3))
    z = chain(u, counts)
    for run in np.ndindex(2, 3):
        alone = chain(u[run], counts)
        np.testing.assert_allclose(z.f[run], alone.f, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(z.error[run], alone.error, rtol=1e-12)


# --- the errors


def test_reversed_chain_has_the_same_errors():
    counts = (400, 260, 300, 640, 200)
    u, ends = oscillators(rng(6), counts), np.cumsum(counts)[:-1]
    mirrored = np.concatenate(np.split(u, ends, axis=-1)[::-1], axis=-1)[::-1]
    for options in ({"independent": True}, {}, {"chains": 4}):
        z, back = chain(u, counts, **options), chain(mirrored, counts[::-1], **options)
        f = z.f[-1] - z.f[::-1]
        np.testing.assert_allclose(-back.f, f, rtol=1e-12, atol=1e-14)
        # Geyer's sequence of a series that is b - a, or a - b, is the same.
        np.testing.assert_allclose(back.error[::-1, ::-1], z.error, rtol=1e-9)
        assert np.array_equal(z.error, z.error.T) and not np.diag(z.error).any()


def test_error_is_at_most_sqrt_2_times_the_squares():
    """a and b of a state are opposite in sign, and 2|cov| <= V(a) + V(b)."""
    z = chain(oscillators(rng(7), (60,) * 5, runs=(500,)), (60,) * 5, independent=True)
    ratio = z.error[:, 0, -1] / squares(z)
    assert np.max(ratio) <= math.sqrt(2.0) and np.min(ratio) > 1.0


@ERROR
def test_coverage_on_independent_samples(evidence):
    """2,000 chains: a share of 68.3 +- 5.1%, and SD/error of 1 +- 0.077.

    Both are 4.9 standard errors: a right error fails once in 500,000 seeds.
    """
    counts = (200,) * 5
    z = chain(oscillators(rng(8), counts, runs=(2000,)), counts, independent=True)
    off = z.f[:, -1] - EXACT[-1]

    def measured(error):
        share, ratio = np.mean(abs(off) < error), np.std(off) / np.mean(error)
        right = abs(share - 0.6827) < 0.051 and abs(ratio - 1.0) < 0.077
        return right, f"share {share:.3f} within 1 standard error, SD/error {ratio:.3f}"

    (right, ours), (wrong, theirs) = measured(z.error[:, 0, -1]), measured(squares(z))
    evidence(f"2,000 chains of 5 oscillators: {ours}; squares: {theirs}")
    assert right and not wrong and z.trusted.all()


def test_coverage_on_correlated_samples():
    """Series of correlation 0.8 in 4 chains. 5.5 standard errors of 600 chains.

    The estimated effective sample sizes scatter by 10%, which widens the tails.
    """
    counts, g = (2000,) * 5, rng(9)
    u = oscillators(g, counts, runs=(600,), correlation=0.8, chains=4)
    off = {}
    for independent in (False, True):
        z = chain(u, counts, chains=4, independent=independent)
        off[independent] = (z.f[:, -1] - EXACT[-1]) / z.error[:, 0, -1]
    assert abs(np.mean(abs(off[False]) < 1.0) - 0.6827) < 0.105
    assert np.std(off[True]) > 1.5  # that they are not independent is seen
    assert np.all(z.ess == 2000.0)


def test_error_of_constant_work_is_zero_and_of_one_sample_is_nan():
    z = chain(np.asarray([[1.0] * 120, [3.5] * 120]), (60, 60))
    assert z.f[1] == 2.5 and z.error[0, 1] == 0.0 and z.trusted
    z = chain(rng(10).standard_normal((3, 121)), (60, 1, 60))
    assert math.isnan(z.error[0, 2]) and not z.trusted


def test_without_overlap_nothing_is_trusted():
    u = rng(11).standard_normal((2, 200)) + [
        [0.0] * 100 + [60.0] * 100,
        [60.0] * 100 + [0.0] * 100,
    ]
    z = chain(u, (100, 100), independent=True)
    assert z.overlap[0] < 1e-8 and not z.trusted
    u[1, :100] = math.inf
    u[0, 100:] = math.inf
    z = chain(u, (100, 100))
    assert z.status[0] == logz.Status.NO_ROOT and not z.trusted


def test_few_effective_samples_are_not_trusted():
    u = oscillators(rng(12), (100,) * 5, correlation=0.9)
    assert chain(u, (100,) * 5, independent=True).trusted
    assert not chain(u, (100,) * 5).trusted


# --- libraries and bad input


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy", *OTHERS])
def test_libraries(name, dtype):
    library, counts = or_skip(name), (30, 20, 40, 10, 25)
    u = oscillators(rng(13), counts, runs=(3,)).astype(dtype)
    exact, z = chain(u.astype(float), counts), chain(library(u, dtype), counts)
    for field in z.__dataclass_fields__:
        x = getattr(z, field)
        assert backend.device(x) == backend.device(library(u, dtype)), field
        x, y = backend.to_numpy(x), getattr(exact, field)
        kinds = {"status": "int64", "trusted": "bool"}
        assert x.dtype == kinds.get(field, dtype), field
        np.testing.assert_allclose(x, y, rtol=4 * np.finfo(dtype).eps, err_msg=field)
    assert backend.to_numpy(z.trusted).shape == (3,)


def test_on_tensors(torch):
    u = oscillators(rng(14), (30, 20, 40, 10, 25))
    z = chain(torch.from_numpy(u), [30, 20, 40, 10, 25])
    assert isinstance(z.error, torch.Tensor) and z.error.dtype == torch.float64
    assert np.array_equal(z.f.numpy(), chain(u, (30, 20, 40, 10, 25)).f)
    assert isinstance(z.trusted, torch.Tensor)


GOOD = np.zeros((2, 6))


@pytest.mark.parametrize(
    "u, counts, options, words",
    [
        (GOOD, (3, 4), {}, r"u must be .* N = 7 samples.*got shape \(2, 6\)"),
        (GOOD, (2, 2, 2), {}, "K = 3"),
        (GOOD[:1], (6,), {}, "K = 1 >= 2 states"),
        (GOOD[0], (3, 3), {}, r"shape \(6,\)"),
        (GOOD, (6, 0), {}, r"counts\[1\] must be a whole number >= 1; got 0"),
        (GOOD, (2.5, 3.5), {}, r"counts\[0\] must be a whole number"),
        (GOOD, (3, 3), {"chains": 2}, r"counts\[0\] must be a multiple of chains = 2"),
        (GOOD, (3, 3), {"chains": 0}, "chains must be a whole number >= 1"),
        (
            GOOD * np.nan,
            (3, 3),
            {},
            "got 3 samples of state 1 that are not, at 0 and 1",
        ),
        (GOOD - math.inf, (3, 3), {}, "got 3 samples of state 1"),
        (GOOD + [[math.inf], [0.0]], (3, 3), {}, "got 3 samples of state 0"),
    ],
)
def test_bad_input(u, counts, options, words):
    with pytest.raises(ValueError, match=words):
        chain(u, counts, **options)


@pytest.mark.parametrize("u", [GOOD.astype(int), GOOD.tolist(), GOOD.astype(str)])
def test_bad_types(u):
    with pytest.raises(TypeError, match="^u "):
        chain(u, (3, 3))
