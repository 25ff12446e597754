"""What holds for every layer: gradients, no state, runs, libraries."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given

from figures.mnist import network
from refnce import nn
from refnce.array import backend, make_rng as rng
from refnce.nn.conv import average_pool, convolution
from refnce.nn.resnet import residual
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.strategies import seeds

EPS = np.finfo(np.float64).eps


def conv_shapes(out, channels, k=3):
    return {"weight": (out, channels, k, k), "bias": (out,)}


def named(prefix, shapes):
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


LINEAR = {"weight": (3, 4), "bias": (3,)}
CONV, CONV1 = conv_shapes(3, 5), conv_shapes(3, 5, 1)
HEAD = {"triangle": (4, 4), "b": (4,)}
HALVED = named("branch", CONV) | named("shortcut", CONV1)
RESNET = network.log_ratio_shapes((1, 2, 2, 2), features=3)
MANY = nn.mlp_shapes(4, 3, 3, 3, 3, 3, 2)  # ten names: "10.weight" sorts before "2."
CHAIN = nn.chain(nn.linear, nn.leaky_relu, nn.linear)
POSITIVE = partial(nn.quadratic_head, sign="positive")
CONV_STRIDE_2 = partial(nn.conv3x3, stride=2)
ROWS, IMAGES = (6, 4), (6, 7, 5, 2)
# name: layer, shapes of its parameters, shape of x
LAYERS = {
    "linear": (nn.linear, LINEAR, ROWS),
    "linear, one output": (nn.linear, {"weight": (1, 4), "bias": (1,)}, ROWS),
    "leaky_relu": (nn.leaky_relu, {}, ROWS),
    "chain": (CHAIN, nn.mlp_shapes(4, 5, 2), ROWS),
    "mlp": (nn.mlp, nn.mlp_shapes(4, 6, 5, 1), ROWS),
    "mlp, one layer": (nn.mlp, nn.mlp_shapes(4, 2), ROWS),
    "mlp, one sample": (nn.mlp, nn.mlp_shapes(17, 33, 1), (1, 17)),
    "mlp, ten names": (nn.mlp, MANY, (33, 4)),
    "conv3x3": (nn.conv3x3, CONV, (9, 5, 6, 7)),
    "conv3x3, stride 2": (CONV_STRIDE_2, CONV, (2, 5, 6, 7)),
    "conv3x3, side 17": (CONV_STRIDE_2, CONV, (2, 5, 17, 17)),
    "convolution": (convolution(), CONV, IMAGES),
    "conv1x1": (convolution(), CONV1, IMAGES),
    "conv1x1, stride 2": (convolution(2), CONV1, IMAGES),
    "average_pool": (average_pool, {}, IMAGES),
    "head": (nn.quadratic_head, HEAD, ROWS),
    "head, positive": (POSITIVE, HEAD, ROWS),
    "residual": (residual(convolution()), named("branch", conv_shapes(5, 5)), IMAGES),
    "residual, stride 2": (residual(convolution(2), convolution(2)), HALVED, IMAGES),
    "ResNet": (network.log_ratio((1, 2, 2, 2), side=5), RESNET, (6, 25)),
}
# A bound on |d^3/dt^3| along a line, relative to the values; 0 for all other layers,
# which are linear in x and in params.
THIRD = {"mlp, ten names": 1e4, "mlp": 1e3, "chain": 1e3}
THIRD |= {"mlp, one sample": 1e3, "head": 3e4, "head, positive": 3e4}
every_layer = pytest.mark.parametrize("name", LAYERS)


def drawn(name, seed, runs=()):
    """(layer, params, x, generator), x at least 0.1 away from the kink at 0."""
    layer, shapes, x_shape = LAYERS[name]
    g = rng(seed)
    params = {k: 0.5 * g.normal(size=(*runs, *shape)) for k, shape in shapes.items()}
    x = g.normal(size=(*runs, *x_shape))
    return layer, params, x + 0.1 * np.sign(x), g


def assert_same(got, expected):
    """Two results of a pullback, to the bit."""
    assert np.array_equal(got[0], expected[0])
    assert list(got[1]) == list(expected[1])
    assert all(np.array_equal(got[1][k], expected[1][k]) for k in got[1])


def evaluated(layer, arrays, dy):
    """y, and the gradients of ``arrays``: the parameters and "x"."""
    y, pullback = layer({k: a for k, a in arrays.items() if k != "x"}, arrays["x"])
    dx, dparams = pullback(dy)
    return y, dparams | {"x": dx}


def assert_all_close(got, right, unit=EPS):
    """y and every gradient to 1000 ``unit`` of the largest number of each."""
    for a, b in [(got[0], right[0]), *((got[1][k], right[1][k]) for k in right[1])]:
        scale = np.max(np.abs(b), initial=1e-12)
        assert_close(backend.to_numpy(a), b, scale=scale, ulps=1e3 * unit / EPS)


def signs(params, x):
    """The side of its kink on which each rectifier of a perceptron is."""
    patterns = []
    for k in range(0, len(params) - 2, 2):
        layer = {kind: params[f"{k}.{kind}"] for kind in ("weight", "bias")}
        x, _ = nn.leaky_relu({}, nn.linear(layer, x)[0])
        patterns.append((x > 0).ravel())
    return np.concatenate(patterns) if patterns else np.zeros(0)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"ResNet"}))  # it has kinks
@given(seed=seeds)
def test_pullback_along_a_random_direction(name, seed):
    """<v, J^T dy> against a central difference of <dy, layer> along v.

    A step h misses h^2/6 of the third derivative and adds eps/h of the values:
    h = eps^(1/3) balances the two.
    """
    layer, params, x, g = drawn(name, seed)
    v = {k: g.normal(size=p.shape) for k, p in params.items()}
    v_x = g.normal(size=x.shape)

    def at(t):
        return {k: p + t * v[k] for k, p in params.items()}, x + t * v_x

    y, pullback = layer(params, x)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    assert dx.shape == x.shape and list(dparams) == list(params)
    assert all(dparams[k].shape == params[k].shape for k in params)
    slope = np.sum(dx * v_x) + sum(np.sum(dparams[k] * v[k]) for k in params)
    h = EPS ** (1 / 3)
    if "0.weight" in params:  # no kink may lie between -h and h
        while not np.array_equal(signs(*at(-h)), signs(*at(h))):
            h /= 2
    up, down = layer(*at(h))[0], layer(*at(-h))[0]
    size = 1.0 + np.sum(np.abs(dy) * (np.abs(up) + np.abs(down)))
    error = slope - np.sum(dy * (up - down)) / (2 * h)
    assert abs(error) <= 64 * EPS * size / h + h * h * THIRD.get(name, 0.0) * size


@every_layer
def test_pullback_has_no_state(name):
    """Called again, after another forward pass, or for one half: the same bits."""
    layer, params, x, g = drawn(name, 1)
    copies = {k: p.copy() for k, p in params.items()}, x.copy()
    y, pullback = layer(params, x)
    dy = g.normal(size=y.shape)
    dy_copy = dy.copy()
    first = pullback(dy)
    expected = first[0].copy(), {k: p.copy() for k, p in first[1].items()}
    _, other = layer({k: -p for k, p in params.items()}, 2.0 * x)
    other(dy)
    assert_same(pullback(dy), expected)
    dx, none = pullback(dy, dparams=False)
    nothing, dparams = pullback(dy, dx=False)
    assert none is None and nothing is None
    assert_same((dx, dparams), expected)
    assert_same(first, expected)
    assert_same((x, params), copies[::-1])
    assert np.array_equal(dy, dy_copy)


@every_layer
def test_runs_broadcast(name):
    """Runs on any of params and x: each run by itself; shared gradients add up."""
    layer, params, x, g = drawn(name, 2, runs=(3,))
    arrays = params | {"x": x}
    with_runs = {frozenset(arrays)}
    for key in (*list(params)[:10], "x"):
        with_runs |= {frozenset({key}), frozenset(arrays) - {key}}
    dy = g.normal(size=layer(params, x)[0].shape)
    for keys in with_runs - {frozenset()}:
        inputs = {k: a if k in keys else a[0] for k, a in arrays.items()}
        totals, ys = {k: np.zeros_like(a) for k, a in inputs.items()}, []
        for run in range(3):
            one = {k: a[run] if k in keys else a for k, a in inputs.items()}
            y, gradients = evaluated(layer, one, dy[run])
            ys.append(y)
            for k, gradient in gradients.items():
                totals[k][run if k in keys else ...] += gradient
        assert_all_close(evaluated(layer, inputs, dy), (np.stack(ys), totals))


@every_layer
def test_no_samples(name):
    """An empty batch gives an empty y, and gradients of the parameters that are 0."""
    layer, params, x, _ = drawn(name, 3)
    axis = -1 if layer is average_pool or x.shape[0] == 6 and x.ndim == 4 else 0
    x = np.take(x, [], axis=axis)
    y, pullback = layer(params, x)
    dx, dparams = pullback(y)
    assert y.size == 0 and dx.shape == x.shape
    assert {k: p.shape for k, p in dparams.items()} == LAYERS[name][1]
    assert not any(p.any() for p in dparams.values())


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", *OTHERS])
def test_array_libraries_agree(library, dtype, name):
    """Results are of the dtype of the input, and right to rounding in it."""
    to = or_skip(library)
    layer, params, x, g = drawn(name, 4)
    arrays, dy = params | {"x": x}, g.normal(size=layer(params, x)[0].shape)
    there = {k: to(a, dtype) for k, a in arrays.items()}
    y, gradients = evaluated(layer, there, to(dy, dtype))
    for result in (y, *gradients.values()):
        assert backend.to_numpy(result).dtype == dtype
    right = evaluated(layer, arrays, dy)
    assert_all_close((y, gradients), right, float(np.finfo(dtype).eps))


def test_chain_skips_gradients_that_nobody_takes():
    """Without dx the pullback ends at the first layer that has parameters."""
    asked = []

    def recorded(layer):
        def recording(params, x):
            y, inner = layer(params, x)

            def pullback(dy, *, dx=True, dparams=True):
                asked.append((layer, dx))
                return inner(dy, dx=dx, dparams=dparams)

            return y, pullback

        return recording

    layers = [recorded(layer) for layer in (nn.leaky_relu, nn.linear, average_pool)]
    params = {"1.weight": rng(1).normal(size=(3, 2)), "1.bias": np.ones(3)}
    y, pullback = nn.chain(*layers)(params, rng(2).normal(size=(4, 5, 6, 2)))
    expected = pullback(y)
    asked.clear()
    assert_same((expected[0], pullback(y, dx=False)[1]), expected)
    assert asked == [(average_pool, True), (nn.linear, False)]
    asked.clear()
    assert nn.chain(layers[0])({}, y)[1](y, dx=False) == (None, {}) and not asked
