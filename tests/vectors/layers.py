"""The suites mlp, conv, head and optim: layers and optimizers."""

from __future__ import annotations


from itertools import pairwise

import numpy as np

from tests.regimes import rng
from tests.vectors import network
from tests.vectors.balls import matrix
from tests.vectors.records import certified_parts, certified_sums, over_leading
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


def _outputs(formula, y):
    """The output ``y`` of a layer, and what dy pulls back to each of its inputs."""

    def call(**inputs):
        parts = certified_parts(lambda: formula(**inputs)).items()
        of = {name: "dy" if name == y else name.removeprefix("d") for name, _ in parts}
        return {name: (inputs[of[name]].shape, exacts) for name, exacts in parts}

    return call


def _refuse(suite, y, good, changes):
    for comment, change in changes.items():
        suite.add("BadInput", comment, good | change, refused=(y,))


# --- The perceptron


def mlp_inputs(dtype, seed, runs, widths, n):
    shapes = {}
    for k, (before, after) in enumerate(pairwise(widths)):
        shapes |= {f"{2 * k}.weight": (after, before), f"{2 * k}.bias": (after,)}
    shapes |= {"x": (n, widths[0]), "dy": (n, widths[-1])}
    inputs = _normal(dtype, seed, runs, shapes)
    return {k: 0.5 * x if k.endswith("bias") else x for k, x in inputs.items()}


mlp_outputs = _outputs(network.mlp, "y")


def mlp(suite):
    for seed, widths, n, flag in (
        (1, (2, 5, 1), 3, "Normal"),
        (2, (3, 8, 5, 1), 4, "Normal"),
        (3, (2, 6, 4, 2), 3, "Normal"),
        (5, (3, 4, 4, 1), 3, "Normal"),
        (4, (2, 3, 1), 2, "Kink"),
    ):
        inputs = mlp_inputs(suite.dtype, 4000 + seed, (), widths, n)
        if flag == "Kink":
            inputs["x"][0], inputs["0.bias"][1] = 0.0, 0.0
        comment = f"widths {widths}, {n} samples"
        suite.answer(flag, comment, mlp_outputs, inputs)
    for seed, runs, widths, n in ((1, 2, (2, 4, 1), 3), (2, 3, (3, 4, 4, 2), 4)):
        inputs = mlp_inputs(suite.dtype, 4500 + seed, (runs,), widths, n)
        comment = f"{runs} runs, widths {widths}, {n} samples"
        suite.answer("Batched", comment, over_leading(mlp_outputs, runs), inputs)


# --- The 3x3 convolution


def conv_inputs(dtype, seed, runs, n, C, O, H, W, stride):
    shapes = {"weight": (O, C, 3, 3), "bias": (O,), "x": (n, C, H, W)}
    shapes["dy"] = (n, O, -(-H // stride), -(-W // stride))
    return _normal(dtype, seed, runs, shapes) | {"stride": stride}


def conv_outputs(**inputs):
    found = _outputs(network.conv3x3, "y")(**inputs)
    for name, (shape, exacts) in found.items():
        # The scale of a 0 to which no product was added is the largest of its array.
        largest = max(exact.scale for exact in exacts)
        scaled = [x._replace(scale=FAST * (x.scale or largest)) for x in exacts]
        found[name] = (shape, scaled)
    return found


def conv(suite):
    for seed, (flag, *sizes) in enumerate(
        [
            ("Normal", 2, 2, 3, 5, 6, 1),
            ("Normal", 1, 3, 2, 8, 4, 1),
            ("Normal", 2, 3, 3, 7, 7, 1),
            ("Normal", 3, 1, 2, 4, 9, 1),
            ("Stride", 2, 2, 3, 5, 6, 2),
            ("Stride", 1, 3, 3, 8, 7, 2),
            ("Narrow", 2, 2, 2, 1, 1, 1),
            ("Narrow", 1, 2, 3, 1, 5, 1),
            ("Narrow", 2, 2, 2, 2, 2, 1),
            ("Narrow Stride", 1, 2, 2, 4, 1, 2),
        ]
    ):
        inputs = conv_inputs(suite.dtype, 7000 + seed, (), *sizes)
        n, C, O, H, W, _ = sizes
        comment = f"{n} images of {C} x {H} x {W} to {O} channels"
        suite.answer(flag, comment, conv_outputs, inputs)
    for seed, (runs, stride) in enumerate([(2, 1), (3, 2)]):
        sizes = 2, 2, 3, 5, 4, stride
        inputs = conv_inputs(suite.dtype, 7100 + seed, (runs,), *sizes)
        flags = "Batched" + " Stride" * (stride > 1)
        suite.answer(flags, f"{runs} runs", over_leading(conv_outputs, runs), inputs)
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


head_outputs = _outputs(network.quadratic_head, "r")


def head(suite):
    sizes = ("Normal", 3, 3), ("Normal", 4, 5), ("Sign", 3, 4), ("Small", 2, 1)
    for seed, (flag, n, k) in enumerate(sizes):
        sign = "positive" if flag == "Sign" else "negative"
        inputs = head_inputs(suite.dtype, 8000 + seed, (), n, k, sign)
        suite.answer(flag, f"{n} samples of {k} features", head_outputs, inputs)
    for seed, sign in enumerate(("negative", "positive")):
        inputs = head_inputs(suite.dtype, 8100 + seed, (2,), 3, 3, sign)
        flags = "Batched" + " Sign" * (sign == "positive")
        suite.answer(flags, "two runs", over_leading(head_outputs, 2), inputs)
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
    five, four = "five gradients of three numbers", g.normal(size=(5, 3))
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
        ("Normal Runs", five, four),
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
        found = {name: (kept.shape, _steps(name, kept)) for name in names}
        suite.add(flag, comment, {"gradients": kept, "rate": RATE}, found)


def _steps(name, gradients):
    """The steps (steps, [runs,] k) in C order."""
    k = gradients.shape[-1]
    by_run = gradients.reshape(len(gradients), -1, k)
    runs = [
        certified_sums(lambda: getattr(network, name)(matrix(by_run[:, i]), RATE))
        for i in range(by_run.shape[1])
    ]
    starts = range(0, len(runs[0]), k)
    return [x for start in starts for run in runs for x in run[start : start + k]]
