"""The suites mlp, conv, head and optim: layers and optimizers."""

from functools import partial
from itertools import pairwise

import numpy as np

from tests.regimes import rng
from tests.vectors import network
from tests.vectors.records import certified
from tests.vectors.samples import exact_inputs

# Fast convolutions (Winograd's, Fourier's) add larger terms than the definition does:
# measured, up to this much.
FAST = 32
RATE = 0.125


def _normal(dtype, seed, runs, shapes, size=1.0):
    g = rng(seed)
    return {
        name: exact_inputs(size * g.normal(size=(*runs, *shape)), dtype)
        for name, shape in shapes.items()
    }


def _refuse(suite, y, good, changes):
    for comment, change in changes.items():
        suite.add("BadInput", comment, good | change, refused=(y,))


# --- The perceptron


def mlp(suite):
    for seed, runs, widths, n, flag in (
        (4001, (), (2, 5, 1), 3, "Normal"),
        (4002, (), (3, 8, 5, 1), 4, "Normal"),
        (4003, (), (2, 6, 4, 2), 3, "Normal"),
        (4005, (), (3, 4, 4, 1), 3, "Normal"),
        (4004, (), (2, 3, 1), 2, "Kink"),
        (4501, (2,), (2, 4, 1), 3, "Batched"),
        (4502, (3,), (3, 4, 4, 2), 4, "Batched"),
    ):
        shapes = {}
        for k, (before, after) in enumerate(pairwise(widths)):
            shapes |= {f"{2 * k}.weight": (after, before), f"{2 * k}.bias": (after,)}
        shapes |= {"x": (n, widths[0]), "dy": (n, widths[-1])}
        inputs = _normal(suite.dtype, seed, runs, shapes)
        inputs |= {k: 0.5 * x for k, x in inputs.items() if k.endswith("bias")}
        if flag == "Kink":
            inputs["x"][0], inputs["0.bias"][1] = 0.0, 0.0
        comment = "".join(f"{count} runs, " for count in runs)
        comment += f"widths {widths}, {n} samples"
        suite.add(flag, comment, inputs, certified(partial(network.mlp, **inputs)))


# --- The 3x3 convolution


def conv_inputs(dtype, seed, runs, n, C, O, H, W, stride):
    shapes = {"weight": (O, C, 3, 3), "bias": (O,), "x": (n, C, H, W)}
    shapes["dy"] = (n, O, -(-H // stride), -(-W // stride))
    return _normal(dtype, seed, runs, shapes) | {"stride": stride}


def conv(suite):
    for seed, runs, flag, *sizes in (
        (7000, (), "Normal", 2, 2, 3, 5, 6, 1),
        (7001, (), "Normal", 1, 3, 2, 8, 4, 1),
        (7002, (), "Normal", 2, 3, 3, 7, 7, 1),
        (7003, (), "Normal", 3, 1, 2, 4, 9, 1),
        (7004, (), "Stride", 2, 2, 3, 5, 6, 2),
        (7005, (), "Stride", 1, 3, 3, 8, 7, 2),
        (7006, (), "Narrow", 2, 2, 2, 1, 1, 1),
        (7007, (), "Narrow", 1, 2, 3, 1, 5, 1),
        (7008, (), "Narrow", 2, 2, 2, 2, 2, 1),
        (7009, (), "Narrow Stride", 1, 2, 2, 4, 1, 2),
        (7100, (2,), "Batched", 2, 2, 3, 5, 4, 1),
        (7101, (3,), "Batched Stride", 2, 2, 3, 5, 4, 2),
    ):
        inputs = conv_inputs(suite.dtype, seed, runs, *sizes)
        n, C, O, H, W, _ = sizes
        images = f"{n} images of {C} x {H} x {W} to {O} channels"
        outputs = certified(partial(network.conv3x3, **inputs))
        for name, (shape, exacts) in outputs.items():
            # The scale of a 0 to which nothing was added is the largest of its array.
            largest = max(exact.scale for exact in exacts)
            scaled = [x._replace(scale=FAST * (x.scale or largest)) for x in exacts]
            outputs[name] = (shape, scaled)
        suite.add(flag, f"{runs[0]} runs" if runs else images, inputs, outputs)
    good = conv_inputs(suite.dtype, 7200, (), 1, 2, 2, 3, 3, 1)
    changes = {
        "channels that differ": {"x": good["x"][:, :1]},
        "a bias of another length": {"bias": good["bias"][:1]},
        "a kernel of 2 x 2": {"weight": good["weight"][..., :2, :2]},
    }
    _refuse(suite, "y", good, changes)


# --- The quadratic head


def head_inputs(dtype, seed, runs, n, k, sign):
    shapes = {"triangle": (k, k), "b": (k,), "f": (n, k), "dy": (n, 1)}
    return _normal(dtype, seed, runs, shapes, 0.75) | {"sign": sign}


def head(suite):
    for seed, runs, n, k, flag in (
        (8000, (), 3, 3, "Normal"),
        (8001, (), 4, 5, "Normal"),
        (8002, (), 3, 4, "Sign"),
        (8003, (), 2, 1, "Small"),
        (8100, (2,), 3, 3, "Batched"),
        (8101, (2,), 3, 3, "Batched Sign"),
    ):
        sign = "positive" if "Sign" in flag else "negative"
        inputs = head_inputs(suite.dtype, seed, runs, n, k, sign)
        comment = "two runs" if runs else f"{n} samples of {k} features"
        outputs = certified(partial(network.quadratic_head, **inputs))
        suite.add(flag, comment, inputs, outputs)
    good = head_inputs(suite.dtype, 8200, (), 2, 3, "negative")
    changes = {
        "a triangle of another size": {"triangle": good["triangle"][:2, :2]},
        "b of another length": {"b": good["b"][:2]},
        "no such sign": {"sign": "both"},
    }
    _refuse(suite, "r", good, changes)


# --- Optimizers


def optim(suite):
    double = suite.dtype == "float64"
    g, h = rng(5000), rng(5500)
    tiny, huge = 2.0 ** (-600 if double else -90), 2.0 ** (664 if double else 90)
    size, scale = np.asarray([1e-4, 1.0, 1e4]), np.asarray([[1.0], [100.0]])
    still = h.normal(size=(3, 2, 3))
    still[:, 1] = 0.0
    sparse = [
        [1.0, 0.0, 0.5],
        [0.0, 0.0, -0.25],
        [0.0, 2.0, 0.125],
        [0.0, 0.0, 0.5],
        [-0.5, 0.0, 1.0],
    ]
    for flag, comment, gradients in (
        ("Normal Runs", "five gradients of three numbers", g.normal(size=(5, 3))),
        ("Normal Runs", "one number", g.normal(size=(4, 1))),
        ("Normal Runs", "sizes from 1e-4 to 1e4", g.normal(size=(5, 3)) * size),
        ("Squares Runs", "squares underflow", g.normal(size=(3, 2)) * tiny),
        ("Zero Runs", "all are 0", np.zeros((2, 3))),
        ("Zero Runs", "one is 0", [[0.0, 1.0], [0.0, -2.0]]),
        ("Batched Runs", "two runs", g.normal(size=(4, 2, 3)) * scale),
        ("Sparse Runs", "two of three coordinates are 0 now and then", sparse),
        ("Zero Batched Runs", "one of two runs is 0", still),
        ("Squares Runs", "squares overflow", h.normal(size=(3, 2)) * huge),
    ):
        kept = exact_inputs(gradients, suite.dtype)
        # The squares in Adam are 0 beside eps, or overflow, but not to the last digit.
        names = ("sgd", "ngd") if "Squares" in flag else ("sgd", "ngd", "adam")
        outputs = {}
        for name in names:
            outputs |= certified(lambda: {name: getattr(network, name)(kept, RATE)})
        suite.add(flag, comment, {"gradients": kept, "rate": RATE}, outputs)
