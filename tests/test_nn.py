"""What holds for every layer, and the perceptron: gradients, runs, libraries."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from refnce import distributions, nce, nn
from refnce.array import backend
from refnce.nn.conv import average_pool, convolution
from refnce.nn.layer import unbroadcast
from refnce.nn.params import Flat
from refnce.nn.resnet import residual
from refnce.train import models
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.strategies import seeds

EPS = np.finfo(np.float64).eps
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))


def rng(seed):
    return Generator(PCG64(seed))


def conv_shapes(out, channels, k=3):
    return {"weight": (out, channels, k, k), "bias": (out,)}


def named(prefix, shapes):
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


LINEAR = {"weight": (3, 4), "bias": (3,)}
CONV, CONV1 = conv_shapes(3, 5), conv_shapes(3, 5, 1)
HEAD = {"triangle": (4, 4), "b": (4,)}
HALVED = named("branch", CONV) | named("shortcut", CONV1)
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


def signs(params, x):
    """The side of its kink on which each rectifier of a perceptron is."""
    patterns = []
    for k in range(0, len(params) - 2, 2):
        layer = {kind: params[f"{k}.{kind}"] for kind in ("weight", "bias")}
        x, _ = nn.leaky_relu({}, nn.linear(layer, x)[0])
        patterns.append((x > 0).ravel())
    return np.concatenate(patterns) if patterns else np.zeros(0)


@every_layer
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
    for key in arrays:
        with_runs |= {frozenset({key}), frozenset(arrays) - {key}}
    for keys in with_runs - {frozenset()}:
        inputs = {k: a if k in keys else a[0] for k, a in arrays.items()}
        y, pullback = layer({k: inputs[k] for k in params}, inputs["x"])
        dy = g.normal(size=y.shape)
        dx, dparams = pullback(dy)
        totals = {k: np.zeros_like(a) for k, a in inputs.items()}
        for run in range(3):
            one = {k: a[run] if k in keys else a for k, a in inputs.items()}
            y_one, back = layer({k: one[k] for k in params}, one["x"])
            assert_close(y[run], y_one, scale=1e3)
            dx_one, dparams_one = back(dy[run])
            for k, gradient in (dparams_one | {"x": dx_one}).items():
                totals[k][run if k in keys else ...] += gradient
        for k, gradient in (dparams | {"x": dx}).items():
            assert_close(gradient, totals[k], scale=1e4)


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
@pytest.mark.parametrize("library", OTHERS)
def test_array_libraries_agree(library, dtype, name):
    """Within 64 units of that dtype; results are of the dtype of the input."""
    to = or_skip(library)
    layer, params, x, g = drawn(name, 4)
    y, pullback = layer(params, x)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    there, back = layer({k: to(p, dtype) for k, p in params.items()}, to(x, dtype))
    dx_there, dparams_there = back(to(dy, dtype))
    ulps = 64.0 * float(np.finfo(dtype).eps) / EPS
    pairs = [(there, y), (dx_there, dx)]
    for got, right in pairs + [(dparams_there[k], dparams[k]) for k in params]:
        got = backend.to_numpy(got)
        assert got.dtype == dtype
        assert_close(got.astype(float), right, scale=1e2, ulps=ulps)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=9), seeds)
def test_mlp_is_its_chain(widths, seed):
    """To the bit, with any widths and any order of the names, with runs and without."""
    layers = [nn.linear, nn.leaky_relu] * (len(widths) - 1)
    shapes, g = nn.mlp_shapes(*widths), rng(seed)
    for runs in ((), (2,)):
        params = nn.init_params(shapes, g, *runs)
        params = {k: params[k] for k in sorted(params)}
        x = g.normal(size=(*runs, 7, widths[0]))
        (y, pullback), (z, back) = nn.mlp(params, x), nn.chain(*layers[:-1])(params, x)
        assert np.array_equal(y, z) and y.shape == (*runs, 7, widths[-1])
        dy = g.normal(size=y.shape)
        assert_same(pullback(dy), back(dy))


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


def test_leaky_relu_at_the_kink():
    """At 0 the slope is 0.01, as PyTorch's; beside it the one-sided derivative."""
    x = np.asarray([[-1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0]])
    y, pullback = nn.leaky_relu({}, x)
    assert pullback(np.ones_like(x))[0].tolist() == [[0.01, 0.01, 0.01, 0.01, 1.0, 1.0]]
    assert y.tolist() == [[-0.01, -0.0, -0.0, 0.0, 5e-324, 1.0]]


@given(seed=seeds)
def test_mlp_pullback_at_a_kink_is_a_subgradient(seed):
    """A hidden layer that is 0 at its sample: the slope lies between the one-sided."""
    g = rng(seed)
    params, x = nn.init_params(nn.mlp_shapes(2, 4, 1), g), g.normal(size=(1, 2))
    params["0.bias"], v = -params["0.weight"] @ x[0], g.normal(size=2)
    y, pullback = nn.mlp(params, x)
    slope = np.sum(pullback(np.ones_like(y))[0] * v)
    h = 1e-6
    sides = [((nn.mlp(params, x + s * v)[0] - y) / s).item() for s in (h, -h)]
    # each rectifier's slopes 0.01 and 1 multiply its own rate, on either side
    rates = np.abs(params["2.weight"][0] * (params["0.weight"] @ v))
    spread = 0.99 * np.sum(rates) + 1e-7
    assert min(sides) - spread <= slope <= max(sides) + spread


def test_mlp_agrees_with_pytorch():
    """Values and gradients of PyTorch's network, whose state_dict has our names."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    params, x = nn.init_params(SHAPES, rng(7)), rng(8).normal(size=(200, 2))
    linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
    layers = linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
    net = torch.nn.Sequential(*layers).double()
    net.load_state_dict({k: torch.from_numpy(p) for k, p in params.items()})
    inputs = torch.from_numpy(x).requires_grad_()
    out = net(inputs)
    out.sum().backward()
    y, pullback = nn.mlp(params, x)
    dx, dparams = pullback(np.ones_like(y))
    # three products of at most 128 terms; a weight's gradient adds 200 samples
    ulps = 3 * math.sqrt(128)
    assert_close(y, out.detach().numpy(), scale=1.0, ulps=ulps)
    assert_close(dx, inputs.grad.numpy(), scale=1.0, ulps=ulps)
    for name, p in net.named_parameters():
        right = p.grad.numpy()
        scale = np.maximum(1.0, np.abs(right))
        assert_close(dparams[name], right, scale=scale, ulps=ulps * math.sqrt(200))


@pytest.mark.parametrize(
    "shape, gradient",
    [
        ((3,), (3,)),
        ((1, 3), (4, 3)),
        ((3,), (2, 4, 3)),
        ((2, 1, 3), (5, 2, 4, 3)),
        ((1,), (7,)),
        ((1, 2), (0, 2)),
    ],
)
def test_unbroadcast_is_the_adjoint_of_broadcasting(shape, gradient):
    dy, v = rng(0).normal(size=gradient), rng(1).normal(size=shape)
    summed = unbroadcast(dy, shape)
    assert summed.shape == shape
    assert_close(np.sum(summed * v), np.sum(dy * v), scale=np.sum(np.abs(dy * v)))


def test_init_params_fill_their_interval():
    """Uniform in +-1/sqrt(fan-in); each bound is missed with probability 1e-9."""
    shapes = {
        "0.weight": (50, 4),
        "0.bias": (2000,),
        "2.weight": (40, 4, 3, 3),
        "2.bias": (2000,),
    }
    for name, p in nn.init_params(shapes, rng(0)).items():
        unit = p * np.sqrt(4.0 if name.startswith("0") else 36.0)
        assert p.shape == shapes[name] and np.all(np.abs(unit) <= 1.0)
        # N uniform numbers all miss an end of length d with probability (1 - d/2)^N
        assert np.min(unit) < -1 + 42 / p.size and np.max(unit) > 1 - 42 / p.size
        assert abs(np.mean(unit)) < 6.2 / np.sqrt(3 * p.size)


def test_section_4_3_network_has_8705_parameters():
    assert Flat(SHAPES).count == 2 * 128 + 128 + 128 * 64 + 64 + 64 + 1 == 8705
    assert list(SHAPES) == [f"{k}.{kind}" for k in (0, 2, 4) for kind in LINEAR]


def test_flat_parameters_round_trip():
    """In the order of the shapes, whatever the order of the parameters."""
    shapes = MANY
    params, flat = nn.init_params(shapes, rng(0), 2, 3), Flat(shapes)
    theta = flat.ravel({k: params[k] for k in sorted(params)})
    assert theta.shape == (2, 3, flat.count)
    assert np.array_equal(theta[0, 0, :12], params["0.weight"][0, 0].ravel())
    assert theta[1, 2, -1] == params["10.bias"][1, 2, -1]
    back = flat.unravel(theta)
    assert list(back) == list(shapes)
    assert all(np.array_equal(back[k], params[k]) for k in params)


def test_flat_refuses_what_does_not_fit():
    flat, params = Flat(SHAPES), nn.init_params(SHAPES, rng(0))
    says = r"theta must be \(..., 8705\) .* got shape \(8706,\)"
    with pytest.raises(ValueError, match=says):
        flat.unravel(np.zeros(8706))
    says = r"0.weight must be \(..., 128, 2\); got shape \(2, 128\)"
    with pytest.raises(ValueError, match=says):
        flat.ravel(params | {"0.weight": np.zeros((2, 128))})
    with pytest.raises(ValueError, match=r"4.bias must be \(..., 1\); got shape \(\)"):
        flat.ravel(params | {"4.bias": np.asarray(0.0)})
    with pytest.raises(ValueError, match="params must be named 0.weight, .*; got none"):
        flat.ravel({})
    with pytest.raises(ValueError, match="params must be named .*; got .*, more"):
        flat.ravel(params | {"more": np.zeros(1)})
    with pytest.raises(ValueError, match="shapes must name at least one parameter"):
        Flat({})


def test_names_of_parameters_are_checked():
    params, x = nn.init_params(nn.mlp_shapes(2, 4, 1), rng(12)), np.zeros((3, 2))
    says = "params must be named 0.weight, 0.bias, 2.weight, .*; got "
    for names in ({}, params | {"7.weight": x, "7.bias": x}, {"0.weight": x}):
        with pytest.raises(ValueError, match=says + (", ".join(names) or "none")):
            nn.mlp(names, x)
    for layers, names in (
        ((nn.linear, nn.leaky_relu), params),
        ((nn.linear,), {"weight": params["0.weight"]}),
    ):
        count = len(layers)
        says = f"chain of {count} layers must be named 0.NAME to {count - 1}.NAME; got"
        with pytest.raises(ValueError, match=says):
            nn.chain(*layers)(names, x)


@pytest.mark.parametrize("nu", [1.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_nce_loss_of_the_mlp_along_a_random_direction(seed, nu):
    g, model = rng(seed), models.network(nn.mlp, SHAPES, NOISE)
    theta = Flat(SHAPES).ravel(nn.init_params(SHAPES, g, 1))
    v = g.normal(size=(1, 8705)) / 8705**0.5
    x, y, F = g.normal(size=(40, 2)), NOISE.sample(g, 50), np.asarray([0.3])

    def loss(t):
        return nce.loss(*model(theta + t * v, x, y)[:2], F, nu=nu)

    r_data, r_noise, pullback = model(theta, x, y)
    gradient = pullback(*nce.grad_r(r_data, r_noise, F, nu=nu))
    assert loss(0.0).shape == (1,) and gradient.shape == (1, 8705)
    # No kink nearer than h on 90 samples is likely; one moves the slope by < 1e-2 h.
    h = 1e-5
    difference = (loss(h) - loss(-h))[0] / (2 * h)
    assert abs(difference - np.sum(gradient * v)) <= 8 * EPS / h + 1e-2 * h + h * h


@pytest.mark.parametrize("width", [0, 1, 128, 10**6])
def test_network_in_chunks(width):
    """In any chunks of samples the same log-ratios, and the gradient is their sum."""
    shapes = nn.mlp_shapes(2, 16, 8, 1)
    theta = Flat(shapes).ravel(nn.init_params(shapes, rng(8), 1))
    x, y = rng(9).normal(size=(300, 2)), NOISE.sample(rng(9), 150)
    r_data, r_noise, pullback = models.network(nn.mlp, shapes, NOISE)(theta, x, y)
    w = rng(10).normal(size=r_data.shape), rng(11).normal(size=r_noise.shape)
    chunked = models.network(nn.mlp, shapes, NOISE, width)(theta, x, y)
    assert_close(chunked[0], r_data, scale=10.0)
    assert_close(chunked[1], r_noise, scale=10.0)
    assert_close(chunked[2](*w), pullback(*w), scale=450.0)


def test_energy_takes_the_runs_of_theta():
    """Each run has its own gradient. Other runs, which would sum it, raise."""
    shapes, x = nn.mlp_shapes(2, 4, 1), rng(14).normal(size=(3, 5, 2))
    params = nn.init_params(shapes, rng(13), 3)
    theta = Flat(shapes).ravel(params)
    E, dE = models.energy(nn.mlp, shapes, theta)(x)
    y, pullback = nn.mlp(params, x)
    assert np.array_equal(E, y[..., 0])
    assert np.array_equal(dE, pullback(np.ones_like(y))[0])
    for k in range(3):
        E_k, dE_k = models.energy(nn.mlp, shapes, theta[k])(x[k])
        assert_close(E[k], E_k, scale=10.0)
        assert_close(dE[k], dE_k, scale=10.0)
    says = r"x must be \(\*runs, n, d\) with theta's runs \(3,\); got shape \(5, 2\)"
    with pytest.raises(ValueError, match=says):
        models.energy(nn.mlp, shapes, theta)(x[0])
