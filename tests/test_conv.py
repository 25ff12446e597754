"""The convolution is the definition's; test_resnet.py compares it with PyTorch."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from refnce import nn
from refnce.array import make_rng
from refnce.nn import conv
from refnce.nn.conv import average_pool, convolution
from tests import plain_conv
from tests.close import assert_close
from tests.strategies import seeds
from tests.test_layers import EPS, assert_all_close, evaluated

SIZES, FEW = st.integers(1, 17), st.integers(1, 5)
strides = pytest.mark.parametrize("stride", [1, 2])


def drawn(seed, n, channels, out, height, width):
    g = make_rng(seed)
    weight, bias = g.normal(size=(out, channels, 3, 3)), g.normal(size=out)
    x = g.normal(size=(n, channels, height, width))
    return {"weight": weight, "bias": bias}, x, g


def assert_agrees(got, right, terms, summands):
    """Within the a-priori bound of a sum: eps / 2 for each of ``summands`` roundings.

    ``terms`` is the sum of the terms' absolute values. Both sides are rounded.
    """
    assert got.shape == right.shape
    assert np.all(np.abs(got - right) <= (summands + 2) * EPS * terms)


@strides
@given(n=st.integers(1, 9), C=FEW, O=FEW, H=SIZES, W=SIZES, seed=seeds)
def test_conv3x3_is_the_definition(stride, n, C, O, H, W, seed):
    """y, dx, dweight and dbias against sums as written, within the bound of a sum."""
    params, x, g = drawn(seed, n, C, O, H, W)
    weight, bias = params["weight"], params["bias"]
    y, pullback = nn.conv3x3(params, x, stride=stride)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    assert y.shape == (n, O, -(-H // stride), -(-W // stride))
    right = plain_conv.forward(weight, bias, x, stride)
    terms = plain_conv.forward(np.abs(weight), np.abs(bias), np.abs(x), stride)
    assert_agrees(y, right, terms, 9 * C + 1)
    results = dx, dparams["weight"], dparams["bias"]
    right = plain_conv.pullback(weight, x, stride, dy)
    terms = plain_conv.pullback(np.abs(weight), np.abs(x), stride, np.abs(dy))
    pixels = y[:, 0].size
    for each in zip(results, right, terms, (9 * O, pixels, pixels), strict=True):
        assert_agrees(*each)


@strides
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("height, width", [(9, 6), (4, 5), (1, 2), (2, 1)])
def test_rows_of_the_kernel_and_all_at_once_agree(
    monkeypatch, height, width, k, stride
):
    """The CPU's views and the other devices' copy: the same output and gradients."""
    g, channels = make_rng(3), conv.FEW
    weight = g.normal(size=(2, 1, 5, channels, k, k))
    arrays = {"weight": weight, "bias": g.normal(size=(4, 5))}
    arrays["x"] = g.normal(size=(4, height, width, channels, 7))
    layer = convolution(stride)
    dy = g.normal(size=layer(arrays, arrays["x"])[0].shape)
    by_rows = evaluated(layer, arrays, dy)
    monkeypatch.setattr(conv, "is_numpy", lambda x: False)
    monkeypatch.setattr(conv, "device", lambda x: "cpu")
    assert_all_close(by_rows, evaluated(layer, arrays, dy), EPS)


@strides
def test_conv1x1_is_a_matrix_product_at_each_pixel(stride):
    g = make_rng(4)
    params = {"weight": g.normal(size=(3, 2, 1, 1)), "bias": g.normal(size=3)}
    weight, x = params["weight"][:, :, 0, 0], g.normal(size=(5, 6, 2, 4))
    y, pullback = convolution(stride)(params, x)
    seen = x[::stride, ::stride]
    right = np.einsum("hwcn,oc->hwon", seen, weight) + params["bias"][:, None]
    assert_close(y, right, scale=8.0)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    right = np.zeros_like(x)
    right[::stride, ::stride] = np.einsum("hwon,oc->hwcn", dy, weight)
    assert_close(dx, right, scale=8.0)
    right = np.einsum("hwon,hwcn->oc", dy, seen)
    assert_close(dparams["weight"][:, :, 0, 0], right, scale=120.0)
    assert_close(dparams["bias"], dy.sum(axis=(0, 1, 3)), scale=120.0)


def test_average_pool():
    g = make_rng(6)
    x = g.normal(size=(2, 3, 5, 7, 4))
    y, pullback = average_pool({}, x)
    dy = g.normal(size=y.shape)
    dx, none = pullback(dy)
    assert none == {} and y.shape == (2, 4, 7) and dx.shape == x.shape
    assert_close(y, x.sum(axis=(1, 2)).swapaxes(-1, -2) / 15, scale=4.0)
    assert_close(np.sum(dx * x), np.sum(dy * y), scale=400.0)


def test_shape_mismatch_raises():
    params, x, _ = drawn(9, 2, 3, 4, 5, 5)
    says = r"\(..., out, in, 3, 3\), bias \(..., out\) and x \(..., n, in"
    changes = [{"weight": params["weight"][..., :2]}, {"weight": np.ones((3, 3))}]
    changes += [{"x": x[:, :2]}, {"x": x[0]}]
    changes += [{"bias": params["bias"][:1]}, {"bias": np.asarray(0.0)}]
    for change in changes:
        given = params | {"x": x} | change
        x_given = given.pop("x")
        with pytest.raises(ValueError, match=f"weight must be {says}"):
            nn.conv3x3(given, x_given)
    for stride in (0, 3):
        with pytest.raises(ValueError, match=f"stride must be 1 or 2; got {stride}"):
            nn.conv3x3(params, x, stride=stride)
