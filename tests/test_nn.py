"""The perceptron, its parameters, and the models of log-ratios made of it.

Gradients, runs and array libraries are tested with every layer in test_layers.py.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from refnce import distributions, nce, nn
from refnce.array import make_rng as rng
from refnce.nn.params import Flat
from refnce.train import models
from tests.close import assert_close
from tests.strategies import seeds
from tests.test_layers import EPS, assert_same

SHAPES = nn.mlp_shapes(2, 128, 64, 1)
NOISE = distributions.DiagonalGaussian(np.zeros(2), np.full(2, 2.0))


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


def test_leaky_relu_at_the_kink():
    """At 0 the slope is 0.01, as PyTorch's; beside it the one-sided derivative."""
    x = np.asarray([[-1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0]])
    y, pullback = nn.leaky_relu({}, x)
    assert pullback(np.ones_like(x))[0].tolist() == [[0.01, 0.01, 0.01, 0.01, 1.0, 1.0]]
    assert y.tolist() == [[-0.01, -0.0, -0.0, 0.0, 5e-324, 1.0]]


def test_init_params_fill_their_interval():
    """Uniform in +-1/sqrt(fan-in); each bound is missed with probability 1e-9."""
    shapes = {"0.weight": (50, 4), "0.bias": (2000,)}
    shapes |= {"2.weight": (40, 4, 3, 3), "2.bias": (2000,)}
    for name, p in nn.init_params(shapes, rng(0)).items():
        unit = p * np.sqrt(4.0 if name.startswith("0") else 36.0)
        assert p.shape == shapes[name] and np.all(np.abs(unit) <= 1.0)
        # N uniform numbers all miss an end of length d with probability (1 - d/2)^N
        assert np.min(unit) < -1 + 42 / p.size and np.max(unit) > 1 - 42 / p.size
        assert abs(np.mean(unit)) < 6.2 / np.sqrt(3 * p.size)


def test_section_4_3_network_has_8705_parameters():
    assert Flat(SHAPES).count == 2 * 128 + 128 + 128 * 64 + 64 + 64 + 1 == 8705
    names = [f"{k}.{kind}" for k in (0, 2, 4) for kind in ("weight", "bias")]
    assert list(SHAPES) == names


def test_flat_parameters_round_trip():
    """In the order of the shapes, whatever the order of the parameters."""
    shapes = nn.mlp_shapes(4, 3, 3, 3, 3, 3, 2)  # "10.weight" sorts before "2."
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
    alone = {"weight": params["0.weight"]}
    for layers, names in (([nn.linear, nn.leaky_relu], params), ([nn.linear], alone)):
        prefixes = ", ".join(str(k) for k in range(len(layers)))
        says = f"params must be named PREFIX.NAME, PREFIX one of {prefixes}; got '"
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


LAYERS = [(nn.linear, {"weight": (3, 2), "bias": (3,)}, (4, 2))]
LAYERS += [(nn.mlp, {"0.weight": (3, 2), "0.bias": (3,)}, (4, 2))]
LAYERS += [(nn.conv3x3, {"weight": (3, 2, 3, 3), "bias": (3,)}, (4, 2, 5, 5))]
LAYERS += [(nn.quadratic_head, {"triangle": (2, 2), "b": (2,)}, (4, 2))]
LAYERS += [(nn.leaky_relu, {}, (4, 2))]


@pytest.mark.parametrize("layer, shapes, shape", LAYERS)
def test_layers_take_plain_arrays_of_fitting_shapes(layer, shapes, shape):
    """A6, A7, B5: the filler of a mask counted, and a bias of one number broadcast."""
    params = {name: np.ones(own) for name, own in shapes.items()}
    x = np.ones(shape)
    for bad in (np.ma.masked_array(x, x > 0), x.tolist(), x.astype(int), None):
        with pytest.raises(TypeError, match="[xf] (is a|must hold|must be a)"):
            layer(params, bad)
    for name, own in shapes.items():
        with pytest.raises(TypeError, match=f"{name.split('.')[-1]} is a MaskedArray"):
            layer(params | {name: np.ma.masked_array(params[name])}, x)
        if len(own) == 1:
            with pytest.raises(ValueError, match="weight must|triangle must"):
                layer(params | {name: np.ones(1)}, x)


@pytest.mark.parametrize("width", [0, 64])
def test_network_of_no_samples(width):
    """B5: it gives no log-ratios, and the gradient 0."""
    model = models.network(nn.mlp, nn.mlp_shapes(2, 4, 1), None, width)
    r_data, r_noise, pullback = model(np.ones(17), np.ones((0, 2)), np.ones((0, 2)))
    assert r_data.shape == r_noise.shape == (0,)
    assert np.array_equal(pullback(r_data, r_noise), np.zeros(17))


def test_energy_of_several_outputs_is_refused():
    """Its gradient would be that of their sum."""
    energy = models.energy(nn.mlp, nn.mlp_shapes(2, 4, 2), np.zeros(22))
    with pytest.raises(ValueError, match=r"layer must give one number .* \(3, 2\)"):
        energy(np.ones((3, 2)))
