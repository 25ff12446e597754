"""ResNet-18 and its log-ratio: shapes, first values, PyTorch.

Runs, array libraries and dtypes are tested with every layer in test_layers.py.
"""

import math

import numpy as np
import pytest

from figures.mnist import network
from refnce import distributions, nn
from refnce.array import make_rng
from refnce.nn import resnet
from refnce.nn.params import Flat
from refnce.train import models
from tests import torch_resnet
from tests.close import assert_close
from tests.test_layers import assert_all_close, evaluated

WIDTHS = (3, 4, 5, 6)
SHAPES = network.log_ratio_shapes(WIDTHS, features=7)


def drawn(seed, runs=()):
    """Parameters of which none is zero, and images of side 9."""
    g = make_rng(seed)
    params = network.log_ratio_init_params(SHAPES, g, *runs)
    params = {k: p + 0.1 * g.normal(size=p.shape) for k, p in params.items()}
    return params, g.normal(size=(*runs, 3, 81)), g


def test_resnet18_has_its_18_layers():
    """18 layers of weights, shortcuts apart; the number of parameters by hand.

    Of 3x3 kernels there are 9 (64 + 4 64^2 + sum over a, b of ab + 3b^2) numbers, where
    a, b are a width and the next; of biases 5 64 + 4 (128 + 256 + 512); of shortcuts
    the sum of ab + b; and of the last layer 512 128 + 128.
    """
    shapes = nn.resnet18_shapes()
    weights = [name for name in shapes if name.endswith("weight")]
    assert sum("shortcut" not in name for name in weights) == 18
    outputs = [shapes[f"{k}.branch.3.weight"][0] for k in range(2, 10)]
    assert outputs == [width for width in resnet.FULL for _ in range(2)]
    assert Flat(shapes).count == 11_228_544
    assert network.log_ratio_shapes()["2.triangle"] == (128, 128)


def test_blocks_start_as_their_shortcuts():
    """Branches end in zeros, other weights have variance 2/fan-in, W is I/features."""
    shapes = network.log_ratio_shapes((16, 32, 32, 32), features=9)
    params = network.log_ratio_init_params(shapes, make_rng(1), 2)
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
def test_log_ratio_agrees_with_pytorch(torch, sign, factor):
    """r, its gradient by all parameters and by the image: rounding, 18 layers deep."""
    params, x, g = drawn(2)
    dr = g.normal(size=(3, 1))
    got = evaluated(network.log_ratio(WIDTHS, sign, side=9), params | {"x": x}, dr)
    assert list(got[1]) == [*params, "x"] == [*SHAPES, "x"]
    leaves = {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    image = torch.tensor(x, requires_grad=True)
    out = torch_resnet.log_ratio(torch, leaves, image, WIDTHS, factor)
    (out * torch.tensor(dr[:, 0])).sum().backward()
    leaves["x"] = image
    grads = {k: leaf.grad.numpy() for k, leaf in leaves.items()}
    assert_all_close(got, (out.detach().numpy()[:, None], grads))


def test_network_without_noise_density_is_the_log_ratio():
    """The head gives log p - log q itself: with noise None nothing is subtracted."""
    params, x, _ = drawn(3, runs=(1,))
    theta, layer = Flat(SHAPES).ravel(params), network.log_ratio(WIDTHS, side=9)
    data, noise = x[0, :1], x[0, 1:]
    r_data, r_noise, _ = models.network(layer, SHAPES, None)(theta, data, noise)
    r, _ = layer(params, x)
    scale = 1e3 * np.max(np.abs(r))
    assert_close(np.concatenate([r_data, r_noise], axis=-1), r[..., 0], scale=scale)
    law = distributions.DiagonalGaussian(np.zeros(81), np.ones(81))
    with_law, _, _ = models.network(layer, SHAPES, law)(theta, data, noise)
    assert_close(with_law, r_data - law.log_density(data), scale=scale)


def test_images_of_another_size_are_refused():
    says = r"x must be \(..., n, 784\), rows of images of 28 x 28; got shape \(3, 81\)"
    params, x, _ = drawn(6)
    with pytest.raises(ValueError, match=says):
        network.log_ratio(WIDTHS)(params, x)


def test_small_log_ratio_has_one_block_a_stage_and_its_own_gradient():
    """A central difference with h = 1e-6 errs by h^2 and by eps/h, some 1e-9.

    A rectifier that changes sign within h would add an error of h times its slope.
    """
    shapes = network.small_log_ratio_shapes((3, 4, 5), features=6)
    weights = [name for name in shapes if name.endswith("weight")]
    assert sum("branch" in name for name in weights) == 6 and len(weights) == 10
    assert Flat(network.small_log_ratio_shapes()).count == 182_736
    g, layer, h = make_rng(7), network.small_log_ratio((3, 4, 5), side=9), 1e-6
    params = network.log_ratio_init_params(shapes, g) | {"x": g.normal(size=(4, 81))}
    params = {k: p + 0.1 * g.normal(size=p.shape) for k, p in params.items()}
    v, dr = {k: g.normal(size=p.shape) for k, p in params.items()}, g.normal(
        size=(4, 1)
    )
    _, gradient = evaluated(layer, params, dr)
    slope = sum(np.sum(gradient[k] * v[k]) for k in params)
    moved = ({k: p + s * v[k] for k, p in params.items()} for s in (h, -h))
    high, low = (np.sum(evaluated(layer, each, dr)[0] * dr) for each in moved)
    assert abs((high - low) / (2.0 * h) - slope) < 1e-6 * abs(slope)
    assert layer({k: params[k] for k in shapes}, params["x"])[0].shape == (4, 1)
