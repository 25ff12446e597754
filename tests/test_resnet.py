"""ResNet-18 and its log-ratio: gradients by parameters and by images, shapes, names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from refnce import distributions, nce, nn
from refnce.train import models
from refnce.array.backend import to_numpy
from refnce.nn import resnet
from refnce.nn.params import Flat
from tests import torch_resnet
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip

WIDTHS = (3, 4, 5, 6)
SHAPES = resnet.log_ratio_shapes(WIDTHS, features=7)
EPS = np.finfo(float).eps


def drawn(seed, n=3, side=9, runs=()):
    """Parameters of which none is zero, and images."""
    g = Generator(PCG64(seed))
    params = {
        k: p + 0.1 * g.normal(size=p.shape)
        for k, p in resnet.log_ratio_initial(SHAPES, g, *runs).items()
    }
    return params, g.normal(size=(*runs, n, side * side)), g


def test_the_standard_network():
    """18 layers of weights, shortcuts apart, and the counts of parameters of both widths."""
    shapes = nn.resnet18_shapes()
    assert (
        sum("shortcut" not in name and name.endswith("weight") for name in shapes) == 18
    )
    assert [shapes[f"{k}.branch.3.weight"][0] for k in range(1, 9)] == [
        64,
        64,
        128,
        128,
        256,
        256,
        512,
        512,
    ]
    # conv3x3 of a stage: the sum of 9 in out; 128-d features
    convs = 9 * (
        1 * 64
        + 4 * 64**2
        + 64 * 128
        + 3 * 128**2
        + 128 * 256
        + 3 * 256**2
        + 256 * 512
        + 3 * 512**2
    )
    biases = 64 * 5 + 4 * (128 + 256 + 512)
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512 + 128 + 256 + 512
    assert (
        Flat(shapes).count == convs + biases + shortcuts + 512 * 128 + 128 == 11_228_544
    )
    assert resnet.log_ratio_shapes()["2.triangle"] == (128, 128)
    g = Generator(PCG64(0))
    params = {
        k: p.astype("float32") for k, p in resnet.log_ratio_initial(SHAPES, g).items()
    }
    y, _ = resnet.log_ratio(WIDTHS)(params, g.normal(size=(2, 784)).astype("float32"))
    assert y.shape == (2, 1) and y.dtype == np.float32


def test_a_block_starts_as_its_shortcut():
    """The last convolution of each branch is zero at first, the other weights have the variance 2/fan-in, W is I/features."""
    shapes = resnet.log_ratio_shapes((16, 32, 32, 32), features=9)
    params = resnet.log_ratio_initial(shapes, Generator(PCG64(1)), 2)
    for name, p in params.items():
        assert p.shape == (2, *shapes[name])
        if ".branch.3." in name or name.endswith("bias") or name == "2.b":
            assert np.all(p == 0.0)
        elif name.endswith("weight"):
            # The mean of N squares of unit normals is off by more than 6.2 sqrt(2/N) with probability 6e-10.
            assert abs(
                np.mean(p**2) * math.prod(shapes[name][1:]) / 2.0 - 1.0
            ) < 6.2 * math.sqrt(2.0 / p.size)
    L = np.tril(params["2.triangle"][0], -1) + np.diag(
        np.exp(np.diagonal(params["2.triangle"][0]))
    )
    assert_close(L @ L.T, np.eye(9) / 9, scale=1.0)


@pytest.mark.parametrize("sign", ["negative", "positive"])
def test_pytorch_s_autograd_agrees(sign):
    """r, its gradient by all parameters and by the image; off by rounding times depth."""
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed; pip install torch"
    )
    params, x, g = drawn(2)
    layer = resnet.log_ratio(WIDTHS, sign, side=9)
    r, pullback = layer(params, x)
    dr = g.normal(size=r.shape)
    dx, dparams = pullback(dr)
    assert list(dparams) == list(params) == list(SHAPES)
    leaves = {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    image = torch.tensor(x, requires_grad=True)
    out = torch_resnet.log_ratio(
        torch, leaves, image, WIDTHS, {"negative": -1.0, "positive": 1.0}[sign]
    )
    (out * torch.tensor(dr[:, 0])).sum().backward()
    pairs = [
        (r[:, 0], out.detach().numpy()),
        (dx, image.grad.numpy()),
        *((dparams[k], leaves[k].grad.numpy()) for k in params),
    ]
    for got, expected in pairs:
        # Winograd's transforms lose two digits a layer, 18 deep: 1e4 times the size of what is compared.
        assert_close(
            got, expected, scale=1e4 * np.max(np.abs(expected)) + 1e-12, ulps=1.0
        )


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_along_a_random_direction(seed):
    """dL/dtheta of the whole NCE loss against a central difference of it.

    Rectifiers make kinks; a step of eps^(1/2) crosses few, and each crossed bends the difference by at most its own step's share.
    """
    params, x, g = drawn(10 + seed, n=4)
    flat, layer = Flat(SHAPES), resnet.log_ratio(WIDTHS, side=9)
    theta, v = flat.pack(params), g.normal(size=flat.count)
    model = models.network(layer, SHAPES, None)

    def at(t):
        return model((theta + t * v)[None], x[:2], x[2:])

    r_data, r_noise, pullback = at(0.0)
    F = 0.3
    gradient = pullback(*nce.grad_r(r_data, r_noise, F))
    slope = float(np.sum(gradient * v))
    h = EPS**0.5 / 8
    up, down = (float(nce.loss(*at(s * h)[:2], F)[0]) for s in (1.0, -1.0))
    size = 1.0 + np.max(np.abs(r_data)) + np.max(np.abs(r_noise))
    assert abs(slope - (up - down) / (2 * h)) <= 64 * EPS * size / h + 1e-6 * abs(slope)


def test_without_a_noise_law_the_network_is_the_log_ratio():
    """The head gives log p - log q itself: with noise None nothing is taken off it."""
    params, x, _ = drawn(3, runs=(1,))
    theta, layer = Flat(SHAPES).pack(params), resnet.log_ratio(WIDTHS, side=9)
    r_data, r_noise, _ = models.network(layer, SHAPES, None)(theta, x[0, :1], x[0, 1:])
    law = distributions.DiagonalGaussian(np.zeros(81), np.ones(81))
    with_law, _, _ = models.network(layer, SHAPES, law)(theta, x[0, :1], x[0, 1:])
    whole = layer(params, x)[0][..., 0]
    assert_close(
        np.concatenate([r_data, r_noise], axis=-1),
        whole,
        scale=1e3 * np.max(np.abs(whole)),
    )
    assert_close(
        with_law, r_data - law.log_density(x[0, :1]), scale=1e3 * np.max(np.abs(whole))
    )


def test_runs_are_one_array_program():
    params, x, g = drawn(4, runs=(2,))
    layer = resnet.log_ratio(WIDTHS, side=9)
    y, pullback = layer(params, x)
    dy = g.normal(size=y.shape)
    dx, dparams = pullback(dy)
    for k in range(2):
        out, back = layer({name: p[k] for name, p in params.items()}, x[k])
        down, gradients = back(dy[k])
        assert_close(y[k], out, scale=1e3 * np.max(np.abs(out)))
        assert_close(dx[k], down, scale=1e3 * np.max(np.abs(down)))
        for name in SHAPES:
            assert_close(
                dparams[name][k],
                gradients[name],
                scale=1e3 * np.max(np.abs(gradients[name])) + 1e-12,
            )


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries(name):
    to = or_skip(name)
    params, x, g = drawn(5)
    layer = resnet.log_ratio(WIDTHS, side=9)
    y, pullback = layer(params, x)
    dx, dparams = pullback(np.ones_like(y))
    there, back = layer({k: to(p) for k, p in params.items()}, to(x))
    down, gradients = back(to(np.ones_like(y)))
    for got, expected in (
        (there, y),
        (down, dx),
        *((gradients[k], dparams[k]) for k in params),
    ):
        assert_close(
            to_numpy(got), expected, scale=1e3 * np.max(np.abs(expected)) + 1e-12
        )


def test_images_of_another_size_are_refused():
    params, x, _ = drawn(6)
    with pytest.raises(
        ValueError,
        match=r"x must be \(..., n, 784\), rows of images of 28 x 28; got shape \(3, 81\)",
    ):
        resnet.log_ratio(WIDTHS)(params, x)
