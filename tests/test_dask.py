"""Log-ratios in Dask arrays: the answers in memory, from few reads of a chunk."""

import math
from collections import Counter
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from refnce import ence, expfam, logz, nce
from refnce.freeenergy import chain
from tests import strategies
from tests.regimes import gaussian_1d, rng
from tests.test_runs import find

da = pytest.importorskip("dask.array", reason="dask is not installed")
config = pytest.importorskip("dask").config

INF, EPS = math.inf, np.finfo(float).eps
FORMULAS = ["nce.loss", "nce.grad_F", "nce.hess_F", "nce.grad_r", "logz.bar_update"]
few = settings(max_examples=25)  # a pass takes milliseconds
REFNCE = type("refnce", (), {"nce": nce, "logz": logz})


@pytest.fixture(autouse=True)
def synchronous():
    with config.set(scheduler="synchronous"):
        yield


def cut(n, g):
    """Sizes of chunks, from 0 to 7, of n samples."""
    parts: list[int] = []
    while (left := n - sum(parts)) > 0:
        parts.append(min(int(g.integers(8)), left))
    return (*parts, 0) if g.random() < 0.3 else tuple(parts)


def counted(r, sizes):
    """The array r in chunks of these sizes, and the list of the chunks read."""
    reads: list[int] = []

    def read(chunk, block_id):
        reads.append(block_id[-1])
        return chunk

    runs = ((k,) for k in r.shape[:-1])
    x = da.from_array(r, chunks=(*runs, sizes), name=False)
    return x.map_blocks(read, dtype=r.dtype, meta=r.ravel()[:0]), reads


def lazy(r, sizes):
    return counted(r, sizes)[0]


def in_memory(x):
    return x.compute() if hasattr(x, "compute") else x


def assert_same(got, expected, scale, ulps=16.0):
    """The same dtype, and numbers to so many ulps of max(scale, |expected|).

    The sums of chunks are added up in another order.
    """
    assert got.dtype == expected.dtype and got.shape == expected.shape
    eps = np.finfo(got.dtype).eps
    got, expected = (np.asarray(x, float) for x in (got, expected))
    finite = np.isfinite(expected)
    assert np.array_equal(got[~finite], expected[~finite], equal_nan=True)
    got, expected = got[finite], expected[finite]
    unit = eps * np.maximum(scale, np.maximum(abs(expected), np.finfo(float).tiny))
    assert np.all(abs(got - expected) <= ulps * unit)


def assert_same_root(z, expected):
    """Each is right to 4 units."""
    assert np.array_equal(z.status, expected.status) and z.F.dtype == expected.F.dtype
    F, exact = (np.asarray(x.F, float) for x in (z, expected))
    done = np.isfinite(exact)
    assert np.array_equal(F[~done], exact[~done], equal_nan=True)
    eps = np.finfo(z.F.dtype).eps
    unit = abs(np.spacing(np.asarray(expected.F)[done])) + eps
    assert np.all(abs(F[done] - exact[done]) <= 8.0 * unit)
    lo, hi = z.bracket
    assert np.all((lo <= expected.F) & (expected.F <= hi))


@st.composite
def problems(draw):
    """(r_data, r_noise, nu) in memory, and the same of which one or both are lazy."""
    kinds = strategies.samples(24), strategies.infinite_samples()
    dtype = draw(st.sampled_from(["float64", "float64", "float32"]))
    kind = strategies.moderate() if dtype == "float32" else st.one_of(*kinds)
    g = rng(draw(strategies.seeds))
    pair = [draw(kind).astype(dtype) for _ in range(2)]
    for k, runs in enumerate(draw(st.sampled_from([("", ""), (3, ""), (3, 3)]))):
        if runs:
            r = np.stack([np.roll(pair[k], j) + np.float32(j / 3) for j in range(runs)])
            pair[k] = r.astype(dtype)
    which = draw(st.sampled_from([(0, 1), (0, 1), (0,), (1,)]))
    made = [
        lazy(r, cut(r.shape[-1], g)) if k in which else r for k, r in enumerate(pair)
    ]
    return pair, made, draw(strategies.nus)


@few
@given(problems(), st.floats(-10.0, 10.0))
def test_formulas_are_those_in_memory(problem, F):
    pair, made, nu = problem
    F = np.asarray(F, pair[0].dtype)
    for name in FORMULAS:
        function = find(REFNCE, name)
        found, expected = (function(*x, F, nu=nu) for x in (made, pair))
        if name != "nce.grad_r":
            assert isinstance(found, (np.ndarray, np.generic))
            found, expected = [found], [expected]
        for x, y in zip(found, expected, strict=True):
            cancels = name.endswith(("grad_F", "bar_update"))
            assert_same(in_memory(x), y, scale=float(cancels))


@few
@given(problems())
def test_newton_is_that_in_memory(problem):
    pair, made, nu = problem
    z, expected = (logz.newton(*x, nu=nu) for x in (made, pair))
    assert_same_root(z, expected)
    # A variance is right to eps of its terms: its root to sqrt(eps) where it vanishes.
    eps = np.finfo(z.F.dtype).eps
    near = partial(np.isclose, rtol=1e3 * eps, atol=eps**0.5, equal_nan=True)
    assert np.all(near(z.overlap, expected.overlap) | ~expected.converged)
    assert np.all(near(z.standard_error, expected.standard_error) | ~expected.trusted)


@settings(max_examples=4)  # some 100 passes each
@given(problems())
def test_bar_and_bisect_are_those_in_memory(problem):
    pair, made, nu = problem
    for solve in (logz.bisect, partial(logz.bar, max_updates=20)):
        z, expected = (solve(*x, nu=nu) for x in (made, pair))
        ended = expected.converged | (expected.status == logz.Status.NO_ROOT)
        if np.all(ended):  # an iterate is no root
            assert_same_root(z, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("runs", [(), (3,), (2, 3)])
def test_grad_r_is_lazy(runs, dtype):
    """It reads nothing until it is computed, and keeps chunks and dtype."""
    g = rng(40)
    pair = [g.normal(size=(*runs, n)).astype(dtype) for n in (23, 17)]
    sizes = (7, 1, 0, 8, 7), (5, 5, 0, 7)
    made, reads = zip(*map(counted, pair, sizes), strict=True)
    F = np.zeros(runs, dtype)
    weights = nce.grad_r(*made, F)
    assert reads == ([], [])
    for k, x in enumerate(weights):
        assert isinstance(x, da.Array) and x.dtype == made[k].dtype
        assert x.chunks == made[k].chunks
        assert_same(x.compute(), nce.grad_r(*pair, F)[k], scale=0.0)
        assert sorted(reads[k]) == list(range(len(sizes[k])))


def test_grad_r_over_runs_that_F_brings():
    r_data, r_noise = gaussian_1d(1.0, 1.0, 9, 6, 3)
    F = np.asarray([0.0, 1.0, 50.0])
    made = lazy(r_data, (4, 5)), r_noise
    data, noise = nce.grad_r(*made, F)
    assert data.chunks == ((3,), (4, 5)) and isinstance(noise, np.ndarray)
    for x, y in zip((data, noise), nce.grad_r(r_data, r_noise, F), strict=True):
        assert_same(in_memory(x), y, scale=0.0)


@pytest.mark.parametrize("sizes", [(1, 0), (0, 1), (0, 1, 0)])
def test_one_sample_beside_empty_chunks(sizes):
    """Dask takes an axis of one number for one to be broadcast."""
    g = rng(41)
    r_data, r_noise = g.normal(size=(4, 1)), g.normal(size=(4, 17))
    r_data[1] += 1e7  # far from 0, so that samples are shifted
    made = lazy(r_data, sizes), lazy(r_noise, (2, 5, 10))
    assert_same_root(logz.newton(*made), logz.newton(r_data, r_noise))
    data, _ = nce.grad_r(made[0][0], made[1], np.zeros(4))
    assert data.compute().shape == (4, 1)


@pytest.mark.parametrize("solver", ["newton", "bisect", "bar"])
def test_no_runs(solver):
    made = da.zeros((0, 5), chunks=(1, 2)), da.zeros((0, 4), chunks=(1, 3))
    assert getattr(logz, solver)(*made).F.shape == nce.loss(*made, 0.0).shape == (0,)


# Long samples: how often a chunk is read


def well_overlapping():
    return gaussian_1d(1.0, 1.0, 40_000, 30_000, 50)


def with_infinities():
    r_data, r_noise = well_overlapping()
    r_data[::1000], r_data[1::1000], r_noise[::500] = INF, -INF, -INF
    return r_data, r_noise


def heavy_tail():
    g = rng(51)
    return 1.0 + g.standard_cauchy(40_000), g.standard_cauchy(30_000)


def two_scales():
    g = rng(52)
    scale = np.where(g.random(40_000) < 0.5, 1e-3, 30.0)
    return scale * g.normal(size=40_000), g.normal(size=30_000)


def constant():
    return np.full(40_000, 2.5), np.full(30_000, -1.25)


EASY = {
    "well overlapping": (well_overlapping, 1.0),
    "well overlapping, nu": (well_overlapping, 0.75),
    "infinite": (with_infinities, 1.0),
    "far from 0": (lambda: [r + 500.0 for r in well_overlapping()], 1.0),
}
HARD = {
    "chasm": (lambda: gaussian_1d(16.0, 16.0, 40_000, 30_000, 53), 1.0),
    "plateau": (lambda: gaussian_1d(16.0, -16.0, 40_000, 30_000, 54), 1.0),
    "heavy tail": (heavy_tail, 1.0),
    "below": (lambda: gaussian_1d(1.0, -1.0, 40_000, 30_000, 55), 1.0),
    "below, nu": (lambda: gaussian_1d(6.0, -6.0, 40_000, 30_000, 56), 5.0),
    "constant": (constant, 1.0),
    "two scales": (two_scales, 1.0),
}


def most(reads):
    return max(max(Counter(x).values()) for x in reads)


@pytest.mark.parametrize("name", EASY | HARD)
def test_reads_of_a_chunk(name):
    """At most 2 where samples overlap, 7 elsewhere; from the root 1 and 5."""
    make, nu = (EASY | HARD)[name]
    pair = make()
    exact, here = (solve(*pair, nu=nu) for solve in (logz.bisect, logz.newton))
    unit = np.spacing(abs(exact.F)) + EPS
    for width in (2500, 9999, 40_000):
        sizes = [(*[width] * (r.size // width), r.size % width) for r in pair]
        made, reads = zip(*map(counted, pair, sizes), strict=True)
        z = logz.newton(*made, nu=nu)
        assert z.converged and abs(z.F - exact.F) <= 4.0 * unit
        assert most(reads) <= (2 if name in EASY else 7)
        lo, hi = z.bracket
        assert lo <= exact.F <= hi
        # A variance of equal numbers is a residue of rounding.
        atol = EPS**0.5
        for field in ("overlap", "standard_error"):
            got, expected = getattr(z, field), getattr(here, field)
            assert np.isclose(got, expected, rtol=1e-9, atol=atol)
        for x in reads:
            x.clear()
        warm = logz.newton(*made, nu=nu, F0=z.F)
        assert abs(warm.F - exact.F) <= 4.0 * unit
        assert most(reads) <= (1 if name in EASY else 5)


def test_evaluations_count_full_passes_and_a_tolerance_saves_them():
    made, reads = zip(*map(counted, well_overlapping(), [(5000,) * 8, (5000,) * 6]))
    assert logz.newton(*made, F0=0.9, xtol=1e-6).evaluations == most(reads)


def test_no_finite_root():
    r = well_overlapping()[1]
    above, made = lazy(np.full(9, INF), (4, 5)), lazy(r, (30_000,))
    z = logz.newton(above, made)
    assert z.F == INF and z.status == logz.Status.NO_ROOT
    assert np.isnan(z.standard_error) and z.bracket == (-INF, INF)


# Other sources


def test_zarr_store_on_disk(tmp_path):
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    pair = well_overlapping()
    for name, r in zip(("data", "noise"), pair, strict=True):
        store = zarr.create_array(
            tmp_path / name, shape=r.shape, chunks=(8192,), dtype=r.dtype
        )
        store[:] = r
    made = [da.from_zarr(str(tmp_path / name)) for name in ("data", "noise")]
    assert made[0].numblocks == (5,)
    assert_same_root(logz.newton(*made), logz.newton(*pair))


def table(K=4, n=300):
    """Harmonic oscillators, as in the example of `chain`, with unequal counts."""
    a, counts = 2.0 ** np.arange(K), [n + 7 * k for k in range(K)]
    x = rng(60).normal(size=sum(counts)) / np.repeat(a, counts) ** 0.5
    return 0.5 * a[:, None] * x**2, counts


@pytest.mark.parametrize("chunks", [(4, 1242), (4, 100), (1, 500), (3, 7), (2, -1)])
def test_chain_of_a_table(chunks):
    u, counts = table()
    u[3, 5], u[0, -1] = INF, np.nan  # never read: of states that are no neighbours
    z = chain(da.from_array(u, chunks=chunks), counts)
    expected = chain(u, counts)
    assert_same(z.f, expected.f, scale=1.0, ulps=64.0)
    assert_same(z.error, expected.error, scale=0.0, ulps=1e4)
    assert_same(z.ess, expected.ess, scale=0.0, ulps=1e6)
    assert np.array_equal(z.status, expected.status)
    assert np.array_equal(z.trusted, expected.trusted)
    assert np.allclose(z.overlap, expected.overlap, rtol=1e-10, atol=0.0)


def test_tables_that_are_refused():
    u, counts = table()
    whole = da.from_array(u, chunks=(2, 100))
    with pytest.raises(ValueError, match=r"u must be .* K = 4 .*; got shape \(3, 1242"):
        chain(whole[:3], counts)
    with pytest.raises(ValueError, match=r"u must be .*; got shape \(4, nan\)"):
        chain(whole[:, whole[0] >= 0], counts)
    with pytest.raises(TypeError, match="u must hold float64 .* got int64"):
        chain(whole.astype(int), counts)
    u[1, 310] = np.nan
    with pytest.raises(ValueError, match="1 samples of state 1 that are not, at 0 and"):
        chain(da.from_array(u, chunks=(2, 100)), counts)


# What is refused


def numbers(n=20):
    return lazy(rng(70).normal(size=n), cut(n, rng(71)))


def as_declared(f):
    """Chunks f(chunk) that are declared as they were before."""
    return da.from_array(rng(72).normal(size=20), chunks=5).map_blocks(
        f, dtype=float, meta=np.empty(0)
    )


def with_nan():
    r = rng(73).normal(size=20)
    r[[12, 13]] = np.nan
    return da.from_array(r, chunks=5)


NAN = r"r_data, chunk 2, holds 2 NaN in shape \(5,\); drop or repair those samples$"
UNKNOWN = "r_data must have chunks of known sizes; got unknown sizes: call "
UNKNOWN += r"r_data.compute_chunk_sizes\(\)$"
RUNS = r"r_data must have its runs in one chunk; got chunks \(2, 4\): call "
RUNS += r"r_data.rechunk\(\{0: -1\}\)$"
FLOATS = "r_data must hold float64 or float32 numbers; got {}: convert it first$"
SHAPE = r"chunk 0 of a Dask array has shape {}, not \(5,\) as its .chunks say: "
SHAPE += "pass chunks= to map_blocks$"
ONE_DTYPE = "r_data and r_noise must have one dtype; got float32 and float64"
REFUSED = {
    "unknown sizes": (lambda: numbers()[numbers() > 0], ValueError, UNKNOWN),
    "runs in chunks": (lambda: da.zeros((2, 20), chunks=(1, 5)), ValueError, RUNS),
    "runs": (
        lambda: da.zeros((2, 20), chunks=(2, 5)),
        ValueError,
        r"leading shapes do not broadcast: r_data \(2, 20\), r_noise \(3, 20\)",
    ),
    "nan": (with_nan, ValueError, NAN),
    "integers": (lambda: numbers().astype(int), TypeError, FLOATS.format("int64")),
    "integer chunks": (
        lambda: as_declared(lambda chunk: chunk.astype(int)),
        TypeError,
        FLOATS.format("int64"),
    ),
    "lists": (
        lambda: as_declared(lambda chunk: chunk.tolist()),
        TypeError,
        r"r_data is a list; pass numpy.asarray\(r_data\)$",
    ),
    "filtered chunks": (
        lambda: as_declared(lambda chunk: chunk[1:]),
        ValueError,
        SHAPE.format(r"\(4,\)"),
    ),
    "one axis more": (
        lambda: as_declared(lambda chunk: chunk[None]),
        ValueError,
        SHAPE.format(r"\(1, 5\)"),
    ),
    "dtypes": (lambda: numbers().astype("float32"), TypeError, ONE_DTYPE),
    "no samples": (
        lambda: numbers()[:0],
        ValueError,
        r"r_data must have at least one sample .*; got shape \(0,\)$",
    ),
    "no axis": (
        lambda: numbers()[0],
        ValueError,
        r"r_data must have at least one sample .*; got shape \(\)$",
    ),
}


@pytest.mark.parametrize("solve", [logz.newton, logz.bisect, partial(nce.loss, F=0.0)])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, solve):
    make, error, message = REFUSED[name]
    r_noise = da.zeros((3, 20), chunks=(3, 7)) if name == "runs" else numbers()
    with pytest.raises(error, match=message):
        solve(make(), r_noise)


def test_nan_is_found_when_grad_r_is_computed():
    weights = nce.grad_r(with_nan(), numbers(), 0.0)
    with pytest.raises(ValueError, match=NAN):
        weights[0].compute()


def test_tensors_beside_dask_arrays(torch):
    x = torch.zeros(20, dtype=torch.float64)
    message = "{} must be arrays of one library; got torch and dask"
    for pair in ((numbers(), x), (x, numbers())):
        with pytest.raises(TypeError, match=message.format("r_.* and r_.*")):
            logz.newton(*pair)
    with pytest.raises(TypeError, match=message.format("F and r_data")):
        nce.loss(numbers(), numbers(), x[0])
    with pytest.raises(TypeError, match=message.format("F0 and r_data")):
        logz.newton(numbers(), numbers(), F0=x[0])


def test_what_must_be_in_memory():
    x, r = numbers(), np.zeros(20)
    message = "{} must be in memory here; got a Dask array"
    for name, call in {
        "F": lambda: nce.loss(x, x, x[0]),
        "F0": lambda: logz.newton(x, x, F0=x[0]),
        "r_data": lambda: ence.loss(x, x, 0.0),
        "r_noise": lambda: ence.grad_r(r, x, 0.0),
        "T_data": lambda: expfam.profile_gradient(x[:, None], x[:, None], r[:1], x, x),
        "offset_data": lambda: expfam.profile_gradient(
            r[:, None], r[:, None], r[:1], x, r
        ),
    }.items():
        with pytest.raises(TypeError, match=message.format(name)):
            call()
