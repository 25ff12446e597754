"""Layers: each pullback is the derivative along random directions, at kinks between the one-sided ones, and PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from refnce import distributions, nce, nn
from refnce.array import backend
from refnce.train import models
from refnce.nn.params import Flat
from refnce.nn.layer import match
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip
from tests.strategies import seeds

EPS = np.finfo(np.float64).eps
SHAPES = nn.mlp_shapes(2, 128, 64, 1)
# A central difference with step h misses h^2/6 of the third derivative and eps/h of the values: h = eps^(1/3) balances them. A
# network of leaky rectifiers is linear in each single argument between kinks; a product of L layers has degree L along a line.
STEP = EPS ** (1 / 3)


def rng(seed: int) -> Generator:
    return Generator(PCG64(seed))


def drawn(
    seed: int, *widths: int, runs: tuple[int, ...] = (), n: int = 7
) -> tuple[nn.Params, np.ndarray]:
    g = rng(seed)
    return nn.initial(nn.mlp_shapes(*widths), g, *runs), g.normal(
        size=(*runs, n, widths[0])
    )


LAYERS = {
    "linear": (
        nn.linear,
        lambda g: {"weight": g.normal(size=(3, 4)), "bias": g.normal(size=3)},
    ),
    "leaky_relu": (nn.leaky_relu, lambda g: {}),
    "chain": (
        nn.chain(nn.linear, nn.leaky_relu, nn.linear),
        lambda g: nn.initial(nn.mlp_shapes(4, 5, 2), g),
    ),
    "mlp": (nn.mlp, lambda g: nn.initial(nn.mlp_shapes(4, 6, 5, 1), g)),
}


@pytest.mark.parametrize("name", LAYERS)
@given(seed=seeds)
def test_pullback_along_a_random_direction(name, seed):
    """<dy, J v> by a central difference against <J^T dy, v>, for params and x at once."""
    g = rng(seed)
    layer, draw = LAYERS[name]
    params, x = draw(g), g.normal(size=(6, 4))
    v_params, v_x = {k: g.normal(size=p.shape) for k, p in params.items()}, g.normal(
        size=x.shape
    )

    def at(t):
        return layer({k: p + t * v_params[k] for k, p in params.items()}, x + t * v_x)

    y, pullback = at(0.0)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    assert dx.shape == x.shape and {k: p.shape for k, p in dparams.items()} == {
        k: p.shape for k, p in params.items()
    }
    assert list(dparams) == list(params)
    slope = np.sum(dx * v_x) + sum(np.sum(dparams[k] * v_params[k]) for k in params)
    # A kink between -h and h would make the difference a mean of two slopes: then halve h, at the price of rounding.
    h = STEP
    while h > 1e-9 and not same_side(layer, params, x, v_params, v_x, h):
        h /= 2
    up, down = at(h)[0], at(-h)[0]
    difference = np.sum(dy * (up - down)) / (2 * h)
    size = np.sum(np.abs(dy) * (np.abs(up) + np.abs(down))) + 1.0
    third = (
        1e3 * size
    )  # |d^3/dt^3| of a product of at most three layers and their input, all of size 1 to 10
    assert abs(slope - difference) <= 64 * EPS * size / h + h * h * third


def same_side(layer, params, x, v_params, v_x, h):
    """Whether no rectifier changes sign between -h and h: its inputs are those of the layers before it."""
    if layer is nn.linear:
        return True
    patterns = []
    for t in (-h, 0.0, h):
        z, signs = x + t * v_x, []
        for k in range(len(params) + 1 if params else 1):
            own = {
                key.split(".")[1]: params[key] + t * v_params[key]
                for key in params
                if key.startswith(f"{k}.")
            }
            if own:
                z, _ = nn.linear(own, z)
            elif not params or k < len(params) - 1:
                signs.append(z > 0)
                z, _ = nn.leaky_relu({}, z)
        patterns.append(np.concatenate([s.ravel() for s in signs]))
    return np.array_equal(patterns[0], patterns[1]) and np.array_equal(
        patterns[1], patterns[2]
    )


def test_a_chain_asks_for_no_gradient_that_nobody_takes():
    """Without dx the pullback ends at the first layer that has parameters."""

    def blind(params, x):
        def pullback(dy, *, dx=True, dparams=True):
            assert dx, "a layer below all parameters has been pulled back in vain"
            return 2.0 * dy, {} if dparams else None

        return 2.0 * x, pullback

    g = Generator(PCG64(1))
    params = {"1.weight": g.normal(size=(3, 2)), "1.bias": g.normal(size=3)}
    y, pullback = nn.chain(blind, nn.linear, nn.leaky_relu)(
        params, g.normal(size=(4, 2))
    )
    dx, gradients = pullback(y, dx=False)
    down, same = pullback(y)
    assert dx is None and down.shape == (4, 2)
    assert all(np.array_equal(gradients[name], same[name]) for name in params)
    assert nn.chain(blind)({}, y)[1](y, dx=False) == (None, {})


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), seeds)
def test_the_perceptron_is_its_chain(widths, seed):
    """Written out it is the chain of its layers, to the bit, with runs and without."""
    layers = [
        nn.linear if k % 2 == 0 else nn.leaky_relu for k in range(2 * len(widths) - 3)
    ]
    for runs in ((), (2,)):
        params, x = drawn(seed, *widths, runs=runs)
        (y, pullback), (z, back) = nn.mlp(params, x), nn.chain(*layers)(params, x)
        dy = rng(seed).normal(size=y.shape)
        (dx, dparams), (du, dothers) = pullback(dy), back(dy)
        assert (
            np.array_equal(y, z)
            and np.array_equal(dx, du)
            and list(dparams) == list(dothers) == list(params)
        )
        assert all(np.array_equal(dparams[name], dothers[name]) for name in params)


@pytest.mark.parametrize("width", [0, 1, 128, 10**6])
def test_chunks_of_samples_do_not_show(width):
    """Samples go through a network a few at a time; in any chunks the log-ratios are the same and the gradient is their sum."""
    params, x = drawn(8, 2, 16, 8, 1, runs=(1,), n=300)
    shapes = nn.mlp_shapes(2, 16, 8, 1)
    theta, y = Flat(shapes).pack(params), NOISE.sample(rng(9), 150)
    r_data, r_noise, pullback = models.network(nn.mlp, shapes, NOISE)(theta, x[0], y)
    w = rng(10).normal(size=r_data.shape), rng(11).normal(size=r_noise.shape)
    chunked = models.network(nn.mlp, shapes, NOISE, width)(theta, x[0], y)
    assert_close(chunked[0], r_data, scale=10.0)
    assert_close(chunked[1], r_noise, scale=10.0)
    assert_close(chunked[2](*w), pullback(*w), scale=450.0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_pullback_leaves_out_what_is_not_wanted_and_can_be_called_again(name):
    layer, draw = LAYERS[name]
    params, x = draw(rng(1)), rng(2).normal(size=(6, 4))
    y, pullback = layer(params, x)
    dx, dparams = pullback(np.ones_like(y))
    for _ in range(2):
        down, none = pullback(np.ones_like(y), dparams=False)
        assert none is None and np.array_equal(down, dx)
        none, again = pullback(np.ones_like(y), dx=False)
        assert none is None and all(
            np.array_equal(again[k], dparams[k]) for k in params
        )
    for k, p in params.items():  # and nothing was changed
        assert np.array_equal(p, draw(rng(1))[k])


def test_initial_parameters_fill_their_interval():
    """Uniform within +-1/sqrt(fan-in), images included; each of the 12 bounds is missed with probability 1e-9."""
    shapes = {
        "0.weight": (50, 4),
        "0.bias": (2000,),
        "2.weight": (40, 4, 3, 3),
        "2.bias": (2000,),
    }
    for name, p in nn.initial(shapes, rng(0)).items():
        unit = p * np.sqrt(4.0 if name.startswith("0") else 36.0)
        assert p.shape == shapes[name] and np.all(np.abs(unit) <= 1.0)
        # of N uniform numbers all miss an end of length d with probability (1 - d/2)^N
        assert (
            np.min(unit) < -1.0 + 42.0 / p.size and np.max(unit) > 1.0 - 42.0 / p.size
        )
        assert abs(np.mean(unit)) < 6.2 / np.sqrt(3 * p.size)


def test_slopes_at_the_kink():
    """At x = 0 the slope is SLOPE, as PyTorch's; beside it, on whichever side, the one-sided derivative."""
    x = np.asarray([[-1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0]])
    y, pullback = nn.leaky_relu({}, x)
    assert pullback(np.ones_like(x))[0].tolist() == [[0.01, 0.01, 0.01, 0.01, 1.0, 1.0]]
    assert y.tolist() == [[-0.01, -0.0, -0.0, 0.0, 5e-324, 1.0]]


@given(seed=seeds)
def test_at_a_kink_the_slope_lies_between_the_one_sided_ones(seed):
    """A first layer that is 0 at its first sample: along any direction the pullback is a subgradient of each rectifier there."""
    g = rng(seed)
    params, x = drawn(seed, 2, 4, 1)
    params["0.bias"] = -params["0.weight"] @ x[0]
    v = g.normal(size=2)
    y, pullback = nn.mlp(params, x[:1])
    slope = float(np.sum(pullback(np.ones_like(y))[0] * v))
    h = 1e-6
    sides = [
        (float(nn.mlp(params, x[:1] + s * h * v)[0].item()) - float(y.item())) / (s * h)
        for s in (1.0, -1.0)
    ]
    turn = (
        params["0.weight"] @ v
    )  # each rectifier's own rate: its slopes SLOPE and 1 weigh it, on one side or the other
    spread = 0.99 * np.sum(np.abs(params["2.weight"][0] * turn)) + 1e-7
    assert min(sides) - spread <= slope <= max(sides) + spread


def test_the_paper_s_network_has_8705_parameters():
    assert Flat(SHAPES).count == 2 * 128 + 128 + 128 * 64 + 64 + 64 + 1
    assert list(SHAPES) == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
        "4.weight",
        "4.bias",
    ]
    params = nn.initial(SHAPES, rng(0))
    for name, bound in (("0", 2**-0.5), ("2", 128**-0.5), ("4", 64**-0.5)):
        for kind in ("weight", "bias"):
            p = params[f"{name}.{kind}"]
            assert p.shape == SHAPES[f"{name}.{kind}"] and np.max(np.abs(p)) <= bound
    # 128 * 64 uniform draws: the largest misses the bound by 1% with chance (1 - 0.01)^8192 = 1e-36.
    assert np.max(np.abs(params["2.weight"])) >= 0.99 * 128**-0.5


def test_runs_are_one_array_program():
    """A leading axis of runs, of params, of x or of both, is each run by itself; gradients of what is shared add up."""
    runs, n = 3, 5
    params, x = drawn(2, 2, 6, 4, 1, runs=(runs,), n=n)
    one = {k: p[0] for k, p in params.items()}
    dy = rng(3).normal(size=(runs, n, 1))
    for own_params, own_x in ((True, True), (True, False), (False, True)):
        P, X = (params if own_params else one), (x if own_x else x[0])
        y, pullback = nn.mlp(P, X)
        dx, dparams = pullback(dy)
        assert y.shape == (runs, n, 1)
        alone = []
        for k in range(runs):
            out, back = nn.mlp(
                {name: p[k] for name, p in params.items()} if own_params else one,
                x[k] if own_x else x[0],
            )
            assert_close(y[k], out, scale=1.0)
            alone.append(back(dy[k]))
        expected = (
            np.stack([a[0] for a in alone]) if own_x else sum(a[0] for a in alone)
        )
        assert_close(dx, expected, scale=1.0)
        for name in params:
            parts = [a[1][name] for a in alone]
            assert_close(
                dparams[name], np.stack(parts) if own_params else sum(parts), scale=5.0
            )


@pytest.mark.parametrize(
    "like, gradient",
    [
        ((3,), (3,)),
        ((1, 3), (4, 3)),
        ((3,), (2, 4, 3)),
        ((2, 1, 3), (5, 2, 4, 3)),
        ((1,), (7,)),
    ],
)
def test_broadcast_axes_are_summed(like, gradient):
    g = rng(0).normal(size=gradient)
    summed = match(g, like)
    assert summed.shape == like
    v = rng(1).normal(size=like)
    assert_close(np.sum(summed * v), np.sum(g * v), scale=np.sum(np.abs(g * v)))


def test_flat_parameters_round_trip():
    params = nn.initial(SHAPES, rng(0), 2, 3)
    flat = Flat(SHAPES)
    theta = flat.pack(params)
    assert theta.shape == (2, 3, 8705)
    back = flat.unpack(theta)
    assert list(back) == list(params) and all(
        np.array_equal(back[k], params[k]) for k in params
    )
    # Layer after layer, in the order of the shapes.
    assert (
        np.array_equal(theta[0, 0, :256], params["0.weight"][0, 0].ravel())
        and theta[1, 2, -1] == params["4.bias"][1, 2, 0]
    )
    with pytest.raises(
        ValueError, match=r"theta must be \(..., 8705\) .* got shape \(8706,\)"
    ):
        flat.unpack(np.zeros(8706))


NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))


def network_loss(theta, F, x, y, nu=1.0):
    """The NCE loss of the paper's network, and its gradient in theta through the pullback of the log-ratios."""
    model = models.network(nn.mlp, SHAPES, NOISE)
    r_data, r_noise, pullback = model(theta, x, y)
    return nce.loss(r_data, r_noise, F, nu=nu), pullback(
        *nce.grad_r(r_data, r_noise, F, nu=nu)
    )


@pytest.mark.parametrize("nu", [1.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_whole_loss_along_a_random_direction(seed, nu):
    g = rng(seed)
    theta, v = (
        Flat(SHAPES).pack(nn.initial(SHAPES, g, 1)),
        g.normal(size=(1, 8705)) / 8705**0.5,
    )
    x, y, F = g.normal(size=(40, 2)), NOISE.sample(g, 50), np.asarray([0.3])
    loss, gradient = network_loss(theta, F, x, y, nu)
    assert loss.shape == (1,) and gradient.shape == (1, 8705)
    h = 1e-5  # no kink nearer than that on 90 samples is likely; each that is crossed moves the slope by less than 1e-2 h
    up, down = (network_loss(theta + t * v, F, x, y, nu)[0] for t in (h, -h))
    assert (
        abs(float((up - down)[0]) / (2 * h) - float(np.sum(gradient * v)))
        <= 8 * EPS / h + 1e-2 * h + h * h
    )


def test_energy_and_its_slope_are_for_sampling():
    params, x = drawn(5, 2, 128, 64, 1, n=30)
    E, slope = models.energy(nn.mlp, SHAPES, Flat(SHAPES).pack(params))(x)
    y, pullback = nn.mlp(params, x)
    assert np.array_equal(E, y[:, 0]) and np.array_equal(
        slope, pullback(np.ones_like(y))[0]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_agree(name, dtype):
    library = or_skip(name)
    params, x = drawn(6, 2, 16, 8, 1, runs=(2,))
    params, x = {k: p.astype(dtype) for k, p in params.items()}, x.astype(dtype)
    y, pullback = nn.mlp(params, x)
    dx, dparams = pullback(np.ones_like(y))
    theirs, back = nn.mlp(
        {k: library(p, dtype) for k, p in params.items()}, library(x, dtype)
    )
    their_dx, their_dparams = back(library(np.ones_like(y), dtype))
    eps = float(np.finfo(dtype).eps)
    for a, b in [
        (y, theirs),
        (dx, their_dx),
        *((dparams[k], their_dparams[k]) for k in params),
    ]:
        b = backend.to_numpy(b)
        assert b.dtype == dtype
        # Some ulps of sums of at most 16 terms, three layers deep.
        assert np.max(np.abs(a - b)) <= 64 * eps * (1 + np.max(np.abs(a)))


def test_pytorch_s_automatic_derivatives():
    """Values and both gradients within ulps times depth of PyTorch's autograd, on a network whose state_dict has our names."""
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: no autograd to compare with"
    )
    params, x = drawn(7, 2, 128, 64, 1, n=200)
    linear, relu = torch.nn.Linear, torch.nn.LeakyReLU
    net = torch.nn.Sequential(
        linear(2, 128), relu(), linear(128, 64), relu(), linear(64, 1)
    ).double()
    net.load_state_dict({k: torch.from_numpy(p) for k, p in params.items()})
    inputs = torch.from_numpy(x).requires_grad_()
    out = net(inputs)
    out.sum().backward()
    y, pullback = nn.mlp(params, x)
    dx, dparams = pullback(np.ones_like(y))
    # Three products of at most 128 terms each; a gradient in the weights adds 200 more.
    assert_close(y, out.detach().numpy(), scale=1.0, ulps=3 * math.sqrt(128))
    assert_close(dx, inputs.grad.numpy(), scale=1.0, ulps=3 * math.sqrt(128))
    for name, p in net.named_parameters():
        assert_close(
            dparams[name],
            p.grad.numpy(),
            scale=np.maximum(1.0, np.abs(p.grad.numpy())),
            ulps=3 * math.sqrt(128 * 200),
        )


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), seeds)
def test_any_widths(widths, seed):
    params, x = drawn(seed, *widths, n=3)
    y, pullback = nn.mlp(params, x)
    dx, dparams = pullback(np.ones_like(y))
    assert y.shape == (3, widths[-1]) and dx.shape == x.shape
    assert {k: p.shape for k, p in dparams.items()} == nn.mlp_shapes(*widths)


def test_names_and_shapes_of_parameters_are_checked():
    params, x = drawn(12, 2, 4, 1)
    extra = params | {"7.weight": np.zeros((1, 1)), "7.bias": np.zeros(1)}
    with pytest.raises(
        ValueError,
        match="params must be named 0.weight, 0.bias, 2.weight, .*; got .*7.weight, 7.bias",
    ):
        nn.mlp(extra, x)
    for layers, names in (
        ((nn.linear, nn.leaky_relu), params),
        ((nn.linear,), {"weight": params["0.weight"]}),
    ):
        says = f"params of a chain of {len(layers)} layers must be named 0.NAME to {len(layers) - 1}.NAME; got"
        with pytest.raises(ValueError, match=says):
            nn.chain(*layers)(names, x)
    shapes = nn.mlp_shapes(2, 4, 1)
    with pytest.raises(
        ValueError, match=r"0.weight must be \(..., 4, 2\); got shape \(2, 4\)"
    ):
        Flat(shapes).pack(params | {"0.weight": np.zeros((2, 4))})


def test_energy_takes_the_runs_of_theta():
    """Each run's slope is its own; theta's runs beside an x without them, whose slope would be their sum, are refused."""
    shapes = nn.mlp_shapes(2, 4, 1)
    theta, x = Flat(shapes).pack(nn.initial(shapes, rng(13), 3)), rng(14).normal(
        size=(3, 5, 2)
    )
    E, slope = models.energy(nn.mlp, shapes, theta)(x)
    for k in range(3):
        one, own = models.energy(nn.mlp, shapes, theta[k])(x[k])
        assert_close(E[k], one, scale=10.0)
        assert_close(slope[k], own, scale=10.0)
    with pytest.raises(
        ValueError,
        match=r"x must be \(\*runs, n, d\) with theta's runs \(3,\); got shape \(5, 2\)",
    ):
        models.energy(nn.mlp, shapes, theta)(x[0])
