"""The 3x3 convolution: Winograd's is the definition's, SciPy's and PyTorch's, and its pullback the adjoint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator
from scipy.signal import correlate

from refnce import nn
from refnce.array.backend import to_numpy
from refnce.nn import images, tiles, winograd
from refnce.nn.conv3x3 import average_pool, convolution, pointwise
from refnce.nn.images import images_first, images_last, spread, thinned
from tests import plain_conv
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.strategies import seeds

SIZES = st.integers(1, 13)


def drawn(seed, n, C, O, H, W, runs=()):
    g = Generator(PCG64(seed))
    params = {
        "weight": g.normal(size=(*runs, O, C, 3, 3)),
        "bias": g.normal(size=(*runs, O)),
    }
    return params, g.normal(size=(*runs, n, C, H, W)), g


def size_of_terms(weight, x):
    """Winograd's arithmetic with all signs taken away: a bound, over its longest sum, of what its roundings are relative to."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BT", "G", "AT"):
            patch.setattr(
                winograd,
                name,
                tuple(tuple(abs(c) for c in row) for row in getattr(winograd, name)),
            )
        y, _ = winograd.correlate(
            images_last(np.abs(x)), np.abs(weight), np.zeros(weight.shape[-4])
        )
    return images_first(y)


def roundings(C):
    """Sums of 3 (twice), 6 (twice), C and 6 (twice) terms, and as many products: no term of the result is rounded more often."""
    return 2 * (6 + 12 + C + 12)


@pytest.mark.parametrize("stride", [1, 2])
@given(
    n=st.integers(1, 4),
    C=st.integers(1, 5),
    O=st.integers(1, 5),
    H=SIZES,
    W=SIZES,
    seed=seeds,
)
def test_winograd_is_the_definition(stride, n, C, O, H, W, seed):
    """Forward and both gradients against im2col; the forward error within the a-priori bound of the transforms."""
    params, x, g = drawn(seed, n, C, O, H, W)
    y, pullback = nn.conv3x3(params, x, stride=stride)
    expected = plain_conv.forward(params["weight"], params["bias"], x, stride)
    bound = (
        size_of_terms(params["weight"], x)[..., ::stride, ::stride]
        + np.abs(params["bias"])[:, None, None]
    )
    assert y.shape == expected.shape == (n, O, -(-H // stride), -(-W // stride))
    assert np.all(np.abs(y - expected) <= roundings(C) * np.finfo(float).eps * bound)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    plain = plain_conv.pullback(params["weight"], x, stride, dy)
    for got, right in zip((dx, dparams["weight"], dparams["bias"]), plain, strict=True):
        # Terms of size up to 40, and up to 600 after the transforms, of which |B|, |G| and |A| enlarge each by their row sums.
        assert_close(got, right, scale=40.0 * n * max(C, O) * 25.0)


@given(
    n=st.integers(1, 3),
    C=st.integers(1, 3),
    O=st.integers(1, 3),
    H=SIZES,
    W=SIZES,
    seed=seeds,
)
def test_against_scipy_s_direct_correlation(n, C, O, H, W, seed):
    params, x, _ = drawn(seed, n, C, O, H, W)
    y, _ = nn.conv3x3(params, x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    one = [
        [
            correlate(image, w, mode="valid", method="direct")[0]
            for w in params["weight"]
        ]
        for image in padded
    ]
    expected = np.asarray(one)
    bound = size_of_terms(params["weight"], x)
    assert np.all(
        np.abs(y - params["bias"][:, None, None] - expected)
        <= roundings(C) * np.finfo(float).eps * (bound + 10.0)
    )


@pytest.mark.parametrize("stride", [1, 2])
@given(H=SIZES, W=SIZES, seed=seeds)
def test_the_pullback_is_the_adjoint(stride, H, W, seed):
    """The layer is linear in x and in its parameters: <dy, J v> = <J^T dy, v> holds to rounding, with no step to choose."""
    params, x, g = drawn(seed, 3, 2, 4, H, W)
    y, pullback = nn.conv3x3(params, x, stride=stride)
    dy, v_x = g.normal(size=y.shape), g.normal(size=x.shape)
    v = {k: g.normal(size=p.shape) for k, p in params.items()}
    dx, dparams = pullback(dy)
    none = {"weight": params["weight"], "bias": np.zeros(4)}
    along_x, _ = nn.conv3x3(none, v_x, stride=stride)
    along_params, _ = nn.conv3x3(v, x, stride=stride)
    assert_close(np.sum(dx * v_x), np.sum(dy * along_x), scale=1e3 * y.size)
    assert_close(
        sum(np.sum(dparams[k] * v[k]) for k in v),
        np.sum(dy * along_params),
        scale=1e3 * y.size,
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_of_images_do_not_show(monkeypatch, stride):
    """Images go through the transforms a few at a time; each image alone gives the same output and the gradients add up."""
    params, x, g = drawn(3, 7, 3, 2, 9, 6)
    whole, pullback = nn.conv3x3(params, x, stride=stride)
    dy = g.normal(size=whole.shape)
    dx, dparams = pullback(dy)
    monkeypatch.setattr(images, "TOGETHER", 1)
    blocked, back = nn.conv3x3(params, x, stride=stride)
    du, dothers = back(dy)
    assert_close(blocked, whole, scale=1e3)
    assert_close(du, dx, scale=1e3)
    for name in params:
        assert_close(dothers[name], dparams[name], scale=1e4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("own", ["both", "params", "x"])
def test_runs_are_one_array_program(stride, own):
    runs = 3
    params, x, g = drawn(5, 2, 2, 3, 5, 7, runs=(runs,))
    P = params if own != "x" else {k: p[0] for k, p in params.items()}
    X = x if own != "params" else x[0]
    y, pullback = nn.conv3x3(P, X, stride=stride)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    assert dx.shape == X.shape and {k: p.shape for k, p in dparams.items()} == {
        k: p.shape for k, p in P.items()
    }
    alone = []
    for k in range(runs):
        mine = {name: p[k] for name, p in P.items()} if own != "x" else P
        out, back = nn.conv3x3(mine, X[k] if own != "params" else X, stride=stride)
        assert_close(y[k], out, scale=1e3)
        alone.append(back(dy[k]))
    down = (
        np.stack([a[0] for a in alone]) if own != "params" else sum(a[0] for a in alone)
    )
    assert_close(dx, down, scale=1e3)
    for name in P:
        expected = (
            np.stack([a[1][name] for a in alone])
            if own != "x"
            else sum(a[1][name] for a in alone)
        )
        assert_close(dparams[name], expected, scale=1e4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_bias_with_runs_of_its_own(stride):
    params, x, _ = drawn(12, 2, 2, 3, 5, 7)
    biases = np.stack([params["bias"], -params["bias"]])
    y, pullback = nn.conv3x3({**params, "bias": biases}, x, stride=stride)
    for k in range(2):
        assert_close(
            y[k],
            nn.conv3x3({**params, "bias": biases[k]}, x, stride=stride)[0],
            scale=1e3,
        )
    dx, dparams = pullback(np.ones(y.shape))
    assert dx.shape == x.shape and dparams["weight"].shape == params["weight"].shape
    assert np.array_equal(dparams["bias"], np.full((2, 3), y[0, :, 0].size))


@given(
    down=st.integers(1, 3),
    across=st.integers(1, 3),
    runs=st.sampled_from([(), (2,)]),
    seed=seeds,
)
def test_joins_are_the_adjoints_of_cuts(down, across, runs, seed):
    """<cut x, t> = <x, join t>, in integers, so exactly; and tiles cut from an image hold the pixels they are said to hold."""
    g = Generator(PCG64(seed))
    for cut, join, k, border in (
        (tiles.cut6, tiles.joined6, 6, 1),
        (tiles.cut4, tiles.joined4, 4, 0),
    ):
        x = g.integers(
            -9, 9, size=(*runs, 4 * down + 2 * border, 4 * across + 2 * border, 2, 3)
        )
        cuts = cut(cut(x, -4), -3)
        t = g.integers(-9, 9, size=cuts.shape)
        assert cuts.shape == (*runs, k, k, down, across, 2, 3)
        assert np.sum(cuts * t) == np.sum(x * join(join(t, -3), -4))
        assert np.array_equal(
            cuts[..., 2, 3, -1, 0, :, :], x[..., 4 * down - 2, 3, :, :]
        )


@given(
    H=SIZES,
    W=SIZES,
    step=st.integers(1, 4),
    few=st.integers(1, 3),
    border=st.sampled_from([0, 1]),
    seed=seeds,
)
def test_strips_make_an_image(H, W, step, few, border, seed):
    g = Generator(PCG64(seed))
    x = g.integers(-9, 9, size=(H, W, 3, 2))
    strips = [
        (slice(k, k + few), top, top + step)
        for k in range(0, 3, few)
        for top in range(0, -(-H // 4), step)
    ]
    cuts = [tiles.strip(x, place, border) for place in strips]
    t = [g.integers(-9, 9, size=cut.shape) for cut in cuts]
    whole = None
    for place, some in zip(strips, t, strict=True):
        whole = tiles.joined(whole, some, x.shape[:3], place, border)
    assert whole.shape == x.shape
    assert sum(np.sum(a * b) for a, b in zip(cuts, t, strict=True)) == np.sum(x * whole)


@given(stride=st.sampled_from([1, 2]), H=SIZES, W=SIZES, seed=seeds)
def test_spread_is_the_adjoint_of_thinned(stride, H, W, seed):
    g = Generator(PCG64(seed))
    x = g.integers(-9, 9, size=(H, W, 2, 3)).astype(float)
    thin = thinned(x, stride)
    y = g.integers(-9, 9, size=thin.shape).astype(float)
    assert np.sum(thin * y) == np.sum(x * spread(y, stride, H, W))


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_is_a_product_at_each_pixel(stride):
    g = Generator(PCG64(4))
    params = {"weight": g.normal(size=(3, 2)), "bias": g.normal(size=3)}
    x = g.normal(size=(5, 6, 4, 2))
    y, pullback = pointwise(stride)(params, x)
    assert_close(
        y,
        np.einsum("hwnc,oc->hwno", x[::stride, ::stride], params["weight"])
        + params["bias"],
        scale=8.0,
    )
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    expected = np.zeros_like(x)
    expected[::stride, ::stride] = np.einsum("hwno,oc->hwnc", dy, params["weight"])
    assert_close(dx, expected, scale=8.0)
    assert_close(
        dparams["weight"],
        np.einsum("hwno,hwnc->oc", dy, x[::stride, ::stride]),
        scale=120.0,
    )
    assert_close(dparams["bias"], dy.sum(axis=(0, 1, 2)), scale=120.0)


LAYERS = {
    "convolution": convolution(),
    "convolution, stride 2": convolution(2),
    "pointwise": pointwise(),
    "pointwise, stride 2": pointwise(2),
    "average_pool": average_pool,
    "chain": nn.chain(average_pool, nn.linear, nn.leaky_relu),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_halves_of_a_pullback(monkeypatch, name, dtype):
    """Each half is None where it is not asked for and the same bits where it is, in the dtype of its input, blocks or none."""
    monkeypatch.setattr(images, "TOGETHER", 1)
    g = Generator(PCG64(11))
    kernel = (3, 2, 3, 3) if name.startswith("conv") else (3, 2)
    params = {"weight": g.normal(size=kernel), "bias": g.normal(size=3)}
    params = {
        "average_pool": {},
        "chain": {f"1.{k}": p for k, p in params.items()},
    }.get(name, params)
    params = {k: p.astype(dtype) for k, p in params.items()}
    x = g.normal(size=(6, 5, 4, 2)).astype(dtype)
    y, pullback = LAYERS[name](params, x)
    dy = g.normal(size=y.shape).astype(dtype)
    dx, dparams = pullback(dy)
    down, none = pullback(dy, dparams=False)
    nothing, gradients = pullback(dy, dx=False)
    assert (
        none is None
        and nothing is None
        and gradients.keys() == dparams.keys() == params.keys()
    )
    assert np.array_equal(down, dx) and all(
        np.array_equal(gradients[k], dparams[k]) for k in params
    )
    assert {a.dtype.name for a in (y, dx, *dparams.values())} == {dtype}


@pytest.mark.parametrize("stride", [1, 2])
def test_no_images(stride):
    params, x, _ = drawn(10, 0, 3, 4, 7, 5)
    y, pullback = nn.conv3x3(params, x, stride=stride)
    dx, dparams = pullback(y)
    assert y.shape == (0, 4, -(-7 // stride), -(-5 // stride)) and dx.shape == x.shape
    assert {k: p.shape for k, p in dparams.items()} == {
        k: p.shape for k, p in params.items()
    }
    assert not any(p.any() for p in dparams.values())


def test_average_pool():
    g = Generator(PCG64(6))
    x = g.normal(size=(2, 3, 5, 4, 7))
    y, pullback = average_pool({}, x)
    dy = g.normal(size=y.shape)
    dx, none = pullback(dy)
    assert none == {} and y.shape == (2, 4, 7) and dx.shape == x.shape
    assert_close(y, x.sum(axis=(1, 2)) / 15, scale=4.0)
    assert_close(np.sum(dx * x), np.sum(dy * y), scale=400.0)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("stride", [1, 2])
def test_other_libraries(name, stride, dtype):
    """The same numbers on every array library, and in float32 within the bound of its own precision."""
    to = or_skip(name)
    params, x, g = drawn(7, 3, 4, 5, 6, 9)
    y, pullback = nn.conv3x3(params, x, stride=stride)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    there, back = nn.conv3x3(
        {k: to(p, dtype) for k, p in params.items()}, to(x, dtype), stride=stride
    )
    down, gradients = back(to(dy, dtype))
    ulps = 64.0 * float(np.finfo(dtype).eps / np.finfo(float).eps)
    pairs = [(there, y), (down, dx), *((gradients[k], dparams[k]) for k in params)]
    for got, expected in pairs:
        assert str(got.dtype).endswith(dtype)
        assert_close(
            np.asarray(to_numpy(got), dtype=float), expected, scale=1e3, ulps=ulps
        )


@pytest.mark.parametrize("stride", [1, 2])
def test_pytorch_agrees(stride):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed; pip install torch"
    )
    params, x, g = drawn(8, 3, 4, 5, 7, 10)
    y, pullback = nn.conv3x3(params, x, stride=stride)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    theirs = [
        torch.tensor(a, requires_grad=True)
        for a in (x, params["weight"], params["bias"])
    ]
    out = torch.nn.functional.conv2d(*theirs, stride=stride, padding=1)
    out.backward(torch.tensor(dy))
    assert_close(y, out.detach().numpy(), scale=1e3)
    for got, leaf in zip((dx, dparams["weight"], dparams["bias"]), theirs, strict=True):
        assert_close(got, leaf.grad.numpy(), scale=1e4)


def test_what_does_not_fit_is_said():
    params, x, _ = drawn(9, 2, 3, 4, 5, 5)
    with pytest.raises(
        ValueError, match=r"weight must be \(..., out, in, 3, 3\) and x"
    ):
        nn.conv3x3({**params, "weight": params["weight"][..., :2]}, x)
    with pytest.raises(ValueError, match="weight must be"):
        nn.conv3x3(params, x[:, :2])
    with pytest.raises(ValueError, match="bias must be"):
        nn.conv3x3({**params, "bias": params["bias"][:1]}, x)
    with pytest.raises(ValueError, match="stride must be 1 or 2; got 3"):
        convolution(3)
