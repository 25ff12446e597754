"""The suites mlp, conv, head and optim: layers and optimizers."""

from itertools import pairwise

import numpy as np

from tests.regimes import rng
from tests.vectors import network
from tests.vectors.records import certified
from tests.vectors.samples import exact_inputs, integers

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


def _outputs(layer, inputs, flag, seed, runs):
    """The outputs of a layer.

    With the flag Shared this takes the runs of the parameters from the inputs, for an
    even seed of the samples. What belongs to all runs gets the sum of their gradients.
    """
    shared, samples = set(), inputs.keys() & {"x", "f"}
    if "Shared" in flag:
        params = inputs.keys() - samples - {"dy", "stride", "sign"}
        shared = params if seed % 2 else samples
        inputs |= {name: inputs[name][0] for name in shared}
    whole = inputs | {name: np.stack(runs[0] * [inputs[name]]) for name in shared}

    def formula():
        found = layer(**whole)
        return found | {f"d{name}": found[f"d{name}"].sum(0) for name in shared}

    if "Default" in flag:
        inputs.popitem()  # stride or sign
    return certified(formula)


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
        (4010, (), (3, 2), 4, "Sizes"),
        (4011, (), (2, 3, 1), 1, "Sizes"),
        (4012, (), (2, 3, 2, 3, 2, 2, 1), 3, "Sizes"),
        (4013, (), (2, 17, 1), 33, "Sizes"),
        (4510, (3,), (3, 3, 3), 3, "Batched Square"),
        (4511, (3,), (2, 4, 1), 3, "Batched Shared"),
        (4512, (3,), (2, 4, 1), 3, "Batched Shared"),
        (4513, (2,), (2, 3, 2), 3, "Views Batched"),
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
        outputs = _outputs(network.mlp, inputs, flag, seed, runs)
        suite.add(flag, comment, inputs, outputs)


# --- The 3x3 convolution


def conv_inputs(dtype, seed, runs, n, C, O, H, W, stride):
    shapes = {"weight": (O, C, 3, 3), "bias": (O,), "x": (n, C, H, W)}
    shapes["dy"] = (n, O, -(-H // stride), -(-W // stride))
    return _normal(dtype, seed, runs, shapes) | {"stride": stride}


def conv(suite):
    good = conv_inputs(suite.dtype, 7200, (), 1, 2, 2, 3, 3, 1)
    changes = {
        "channels that differ": {"x": good["x"][:, :1]},
        "a bias of another length": {"bias": good["bias"][:1]},
        "a kernel of 2 x 2": {"weight": good["weight"][..., :2, :2]},
    }
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
        (7010, (), "Sizes", 1, 5, 7, 3, 3, 1),
        (7011, (), "Sizes", 9, 1, 1, 3, 2, 1),
        (7012, (), "Sizes", 1, 1, 1, 17, 3, 1),
        (7013, (), "Sizes Stride", 1, 1, 1, 3, 17, 2),
        (7110, (3,), "Batched Square", 3, 3, 3, 3, 3, 1),
        (7111, (2,), "Batched Shared", 2, 2, 3, 3, 4, 1),
        (7112, (2,), "Batched Shared", 2, 2, 3, 3, 4, 1),
        (7113, (), "Views", 2, 2, 3, 3, 4, 1),
        (7014, (), "Default", 1, 2, 2, 3, 3, 1),
    ):
        if seed == 7010:  # cases that came later stand below, since ids stay
            _refuse(suite, "y", good, changes)
        inputs = conv_inputs(suite.dtype, seed, runs, *sizes)
        n, C, O, H, W, _ = sizes
        images = f"{n} images of {C} x {H} x {W} to {O} channels"
        outputs = _outputs(network.conv3x3, inputs, flag, seed, runs)
        for name, (shape, exacts) in outputs.items():
            # The scale of a 0 to which nothing was added is the largest of its array.
            largest = max(exact.scale for exact in exacts)
            scaled = [x._replace(scale=FAST * (x.scale or largest)) for x in exacts]
            outputs[name] = (shape, scaled)
        suite.add(flag, f"{runs[0]} runs" if runs else images, inputs, outputs)
    small = good["dy"][..., :1, :1]
    strides = {f"stride {k}": {"stride": k, "dy": small} for k in (0, 3)}
    _refuse(suite, "y", good, strides)


# --- The quadratic head


def head_inputs(dtype, seed, runs, n, k, sign):
    shapes = {"triangle": (k, k), "b": (k,), "f": (n, k), "dy": (n, 1)}
    return _normal(dtype, seed, runs, shapes, 0.75) | {"sign": sign}


def head(suite):
    good = head_inputs(suite.dtype, 8200, (), 2, 3, "negative")
    changes = {
        "a triangle of another size": {"triangle": good["triangle"][:2, :2]},
        "b of another length": {"b": good["b"][:2]},
        "no such sign": {"sign": "both"},
    }
    for seed, runs, n, k, flag in (
        (8000, (), 3, 3, "Normal"),
        (8001, (), 4, 5, "Normal"),
        (8002, (), 3, 4, "Sign"),
        (8003, (), 2, 1, "Small"),
        (8100, (2,), 3, 3, "Batched"),
        (8101, (2,), 3, 3, "Batched Sign"),
        (8010, (), 1, 3, "Sizes"),
        (8011, (), 33, 2, "Sizes"),
        (8012, (), 2, 9, "Sizes"),
        (8110, (3,), 3, 3, "Batched Square"),
        (8111, (2,), 3, 2, "Batched Shared"),
        (8112, (2,), 3, 2, "Batched Shared"),
        (8113, (2,), 3, 2, "Views Batched"),
        (8013, (), 3, 2, "Default"),
    ):
        if seed == 8010:
            _refuse(suite, "r", good, changes)
        sign = "positive" if "Sign" in flag else "negative"
        inputs = head_inputs(suite.dtype, seed, runs, n, k, sign)
        comment = "two runs" if runs else f"{n} samples of {k} features"
        outputs = _outputs(network.quadratic_head, inputs, flag, seed, runs)
        suite.add(flag, comment, inputs, outputs)


# --- Optimizers


def optim(suite):
    double = suite.dtype == "float64"
    g, h = rng(5000), rng(5500)
    tiny, huge = 2.0 ** (-600 if double else -90), 2.0 ** (664 if double else 90)
    size, scale = np.asarray([1e-4, 1.0, 1e4]), np.asarray([[1.0], [100.0]])
    still = h.normal(size=(3, 2, 3))
    still[:, 1] = 0.0
    sparse = [[1.0, 0.0, 0.5], [0.0, 0.0, -0.25], [0.0, 2.0, 0.125], [0.0, 0.0, 0.5]]
    sparse += [[-0.5, 0.0, 1.0]]
    for flag, comment, gradients, *rate in (
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
        ("Steps Runs", "three hundred steps", integers(300, 0)[:, None], 0.75),
        ("Steps Runs", "fourteen steps", integers(28, 1).reshape(14, 2), 2.0**-10),
        ("Batched Square Runs", "three runs of three", g.normal(size=(4, 3, 3)), 4.0),
        ("Views Runs", "views", g.normal(size=(3, 3)), 0.25),
    ):
        rate = rate[0] if rate else RATE
        kept = exact_inputs(gradients, suite.dtype)
        # The squares in Adam are 0 beside eps, or overflow, but not to the last digit.
        names = ("sgd", "ngd") if "Squares" in flag else ("sgd", "ngd", "adam")
        names = ("adam",) if len(kept) == 300 else names
        outputs = {}
        for name in names:
            outputs |= certified(lambda: {name: getattr(network, name)(kept, rate)})
        suite.add(flag, comment, {"gradients": kept, "rate": rate}, outputs)
