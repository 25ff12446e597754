"""ResNet-18 and its log-ratio: shapes, first values, gradients, array libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refnce import distributions, nn
from refnce.array.backend import make_rng, to_numpy
from refnce.nn import resnet
from refnce.nn.params import Flat
from refnce.train import models
from tests import torch_resnet
from tests.close import assert_close
from tests.libraries import OTHERS, or_skip

WIDTHS = (3, 4, 5, 6)
SHAPES = resnet.log_ratio_shapes(WIDTHS, features=7)


def drawn(seed, n=3, runs=()):
    """Parameters of which none is zero, and images of side 9."""
    g = make_rng(seed)
    params = resnet.log_ratio_init_params(SHAPES, g, *runs)
    params = {k: p + 0.1 * g.normal(size=p.shape) for k, p in params.items()}
    return params, g.normal(size=(*runs, n, 81)), g


def assert_all_close(got, right, ulps=1e3):
    """(y, dx, dparams) within ``ulps`` of the largest number of each."""
    pairs = [*zip(got[:2], right[:2], strict=True)]
    for a, b in pairs + [(got[2][k], right[2][k]) for k in right[2]]:
        assert_close(to_numpy(a), b, scale=np.max(np.abs(b)) + 1e-12, ulps=ulps)


def evaluated(layer, params, x, dy):
    y, pullback = layer(params, x)
    return y, *pullback(dy)


def test_resnet18_has_its_18_layers():
    """18 layers of weights, shortcuts apart; the number of parameters by hand."""
    shapes, widths = nn.resnet18_shapes(), resnet.FULL
    weights = [name for name in shapes if name.endswith("weight")]
    assert sum("shortcut" not in name for name in weights) == 18
    outputs = [shapes[f"{k}.branch.3.weight"][0] for k in range(1, 9)]
    assert outputs == [width for width in widths for _ in range(2)]
    pairs = list(zip(widths, widths[1:], strict=False))
    convs = 64 + 4 * 64**2 + sum(a * b + 3 * b * b for a, b in pairs)
    biases = 5 * 64 + 4 * sum(widths[1:])
    shortcuts = sum(a * b + b for a, b in pairs)
    count = 9 * convs + biases + shortcuts + 512 * 128 + 128
    assert Flat(shapes).count == count == 11_228_544
    assert resnet.log_ratio_shapes()["2.triangle"] == (128, 128)


def test_dtype_is_kept():
    g = make_rng(0)
    params = resnet.log_ratio_init_params(SHAPES, g)
    params = {k: p.astype("float32") for k, p in params.items()}
    x = g.normal(size=(2, 784)).astype("float32")
    y, pullback = resnet.log_ratio(WIDTHS)(params, x)
    dx, dparams = pullback(np.ones_like(y))
    assert y.shape == (2, 1) and dx.shape == x.shape
    assert {a.dtype.name for a in (y, dx, *dparams.values())} == {"float32"}


def test_blocks_start_as_their_shortcuts():
    """Branches end in zeros, other weights have variance 2/fan-in, W is I/features."""
    shapes = resnet.log_ratio_shapes((16, 32, 32, 32), features=9)
    params = resnet.log_ratio_init_params(shapes, make_rng(1), 2)
    for name, p in params.items():
        assert p.shape == (2, *shapes[name])
        if ".branch.3." in name or name.endswith("bias") or name == "2.b":
            assert np.all(p == 0.0)
        elif name.endswith("weight"):
            # The mean of N squares of unit normals is off by more than 6.2 sqrt(2/N)
            # with probability 6e-10.
            unit = np.mean(p**2) * math.prod(shapes[name][1:]) / 2.0
            assert abs(unit - 1.0) < 6.2 * math.sqrt(2.0 / p.size)
    triangle = params["2.triangle"][0]
    L = np.tril(triangle, -1) + np.diag(np.exp(np.diagonal(triangle)))
    assert_close(L @ L.T, np.eye(9) / 9, scale=1.0)


@pytest.mark.parametrize("sign, factor", [("negative", -1.0), ("positive", 1.0)])
def test_log_ratio_agrees_with_pytorch(sign, factor):
    """r, its gradient by all parameters and by the image: rounding, 18 layers deep."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    params, x, g = drawn(2)
    dr = g.normal(size=(3, 1))
    got = evaluated(resnet.log_ratio(WIDTHS, sign, side=9), params, x, dr)
    assert list(got[2]) == list(params) == list(SHAPES)
    leaves = {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    image = torch.tensor(x, requires_grad=True)
    out = torch_resnet.log_ratio(torch, leaves, image, WIDTHS, factor)
    (out * torch.tensor(dr[:, 0])).sum().backward()
    grads = {k: leaf.grad.numpy() for k, leaf in leaves.items()}
    assert_all_close(got, (out.detach().numpy()[:, None], image.grad.numpy(), grads))


def test_network_without_noise_density_is_the_log_ratio():
    """The head gives log p - log q itself: with noise None nothing is subtracted."""
    params, x, _ = drawn(3, runs=(1,))
    theta, layer = Flat(SHAPES).ravel(params), resnet.log_ratio(WIDTHS, side=9)
    data, noise = x[0, :1], x[0, 1:]
    r_data, r_noise, _ = models.network(layer, SHAPES, None)(theta, data, noise)
    r, _ = layer(params, x)
    scale = 1e3 * np.max(np.abs(r))
    got = np.concatenate([r_data, r_noise], axis=-1)
    assert_close(got, r[..., 0], scale=scale)
    law = distributions.DiagonalGaussian(np.zeros(81), np.ones(81))
    with_law, _, _ = models.network(layer, SHAPES, law)(theta, data, noise)
    assert_close(with_law, r_data - law.log_density(data), scale=scale)


@pytest.mark.parametrize("shared", [(), ("x",), ("params",)])
def test_runs_broadcast(shared):
    """Each run by itself; the gradient of what runs share is the sum."""
    layer, (params, x, g) = resnet.log_ratio(WIDTHS, side=9), drawn(4, runs=(2,))
    alone = [({k: p[run] for k, p in params.items()}, x[run]) for run in range(2)]
    if "params" in shared:
        params = alone[0][0]
        alone = [(params, x_one) for _, x_one in alone]
    if "x" in shared:
        x = x[0]
        alone = [(params_one, x) for params_one, _ in alone]
    dy = g.normal(size=(2, 3, 1))
    y, dx, dparams = evaluated(layer, params, x, dy)
    runs = [evaluated(layer, *alone[run], dy[run]) for run in range(2)]
    joins = {name: sum if name in shared else np.stack for name in ("x", "params")}
    right = {k: joins["params"]([run[2][k] for run in runs]) for k in SHAPES}
    dx_right = joins["x"]([run[1] for run in runs])
    y_right = np.stack([run[0] for run in runs])
    assert_all_close((y, dx, dparams), (y_right, dx_right, right))


@pytest.mark.parametrize("name", OTHERS)
def test_array_libraries_agree(name):
    to, layer = or_skip(name), resnet.log_ratio(WIDTHS, side=9)
    params, x, g = drawn(5)
    dy = g.normal(size=(3, 1))
    there = {k: to(p) for k, p in params.items()}
    got = evaluated(layer, there, to(x), to(dy))
    assert_all_close(got, evaluated(layer, params, x, dy))


def test_no_images():
    params, x, _ = drawn(6, n=0)
    layer = resnet.log_ratio(WIDTHS, side=9)
    y, dx, dparams = evaluated(layer, params, x, np.zeros((0, 1)))
    assert y.shape == (0, 1) and dx.shape == (0, 81)
    assert {k: p.shape for k, p in dparams.items()} == SHAPES
    assert not any(p.any() for p in dparams.values())


def test_images_of_another_size_are_refused():
    says = r"x must be \(..., n, 784\), rows of images of 28 x 28; got shape \(3, 81\)"
    params, x, _ = drawn(6)
    with pytest.raises(ValueError, match=says):
        resnet.log_ratio(WIDTHS)(params, x)
