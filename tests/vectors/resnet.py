"""The 3x3 convolution and the quadratic head forward and backward in ball arithmetic, and their cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.regimes import rng
from tests.vectors.balls import (
    ZERO,
    Matrix,
    Sized,
    dot,
    matrix,
    sized,
    total,
    transposed,
)
from tests.vectors.records import Suite
from tests.vectors.suites import certified_parts, exact_inputs, stacked

Outputs = dict[str, Any]
# Fast convolutions (Winograd's, Fourier's) add up terms larger than those of the definition, up to this much as it turns out.
FAST = 32


def _convolved(
    weight: Any, bias: Any, x: Any, dy: Any, stride: int
) -> dict[str, list[Sized]]:
    """y, and the pullback of dy, of one run, each flat in C order."""
    found = {
        "y": _zeros(dy.shape),
        "dx": _zeros(x.shape),
        "dweight": _zeros(weight.shape),
        "dbias": _zeros(bias.shape),
    }

    def add(name: str, place: tuple[int, ...], term: Sized) -> None:
        found[name][place] = found[name].get(place, ZERO) + term

    for i, o, a, b in np.ndindex(dy.shape):
        down = sized(float(dy[i, o, a, b]))
        add("dbias", (o,), down)
        add("y", (i, o, a, b), sized(float(bias[o])))
        for c, u, v in np.ndindex(weight.shape[1:]):
            pixel = (i, c, stride * a + u - 1, stride * b + v - 1)
            if 0 <= pixel[2] < x.shape[2] and 0 <= pixel[3] < x.shape[3]:
                w, z = sized(float(weight[o, c, u, v])), sized(float(x[pixel]))
                add("y", (i, o, a, b), w * z)
                add("dx", pixel, w * down)
                add("dweight", (o, c, u, v), z * down)
    return {name: list(numbers.values()) for name, numbers in found.items()}


def _zeros(shape: tuple[int, ...]) -> dict[tuple[int, ...], Sized]:
    return dict.fromkeys(np.ndindex(shape), ZERO)


def conv(suite: Suite) -> None:
    for seed, (flag, n, C, O, H, W, stride) in enumerate(
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
        inputs = _images(suite.dtype, 7000 + seed, (), n, C, O, H, W, stride)
        suite.add(
            flag,
            f"{n} images of {C} x {H} x {W} to {O} channels",
            inputs,
            _conv_outputs(inputs),
        )
    for seed, (runs, stride) in enumerate([(2, 1), (3, 2)]):
        inputs = _images(suite.dtype, 7100 + seed, (runs,), 2, 2, 3, 5, 4, stride)
        suite.add(
            "Batched" + " Stride" * (stride > 1),
            f"{runs} runs",
            inputs,
            _of_runs(_conv_outputs, inputs, runs),
        )
    good = _images(suite.dtype, 7200, (), 1, 2, 2, 3, 3, 1)
    for comment, change in (
        ("channels that differ", {"x": good["x"][:, :1]}),
        ("a bias of another length", {"bias": good["bias"][:1]}),
        ("a kernel of 2 x 2", {"weight": good["weight"][..., :2, :2]}),
    ):
        suite.add("BadInput", comment, {**good, **change}, refused=("y",))


def _images(
    dtype: str,
    seed: int,
    runs: tuple[int, ...],
    n: int,
    C: int,
    O: int,
    H: int,
    W: int,
    stride: int,
) -> dict[str, Any]:
    g = rng(seed)
    shapes = {
        "weight": (O, C, 3, 3),
        "bias": (O,),
        "x": (n, C, H, W),
        "dy": (n, O, -(-H // stride), -(-W // stride)),
    }
    return {
        name: exact_inputs(g.normal(size=(*runs, *shape)), dtype)
        for name, shape in shapes.items()
    } | {"stride": stride}


def _conv_outputs(inputs: dict[str, Any]) -> Outputs:
    shapes = {
        name: inputs[name.removeprefix("d")].shape
        for name in ("dx", "dweight", "dbias")
    } | {"y": inputs["dy"].shape}
    exacts = certified_parts(lambda: _convolved(**inputs))
    largest = {
        name: max(exact.scale for exact in exacts[name]) for name in exacts
    }  # for a 0 that no product has been added to
    return {
        name: (
            shapes[name],
            [
                exact._replace(scale=FAST * (exact.scale or largest[name]))
                for exact in exacts[name]
            ],
        )
        for name in exacts
    }


def _headed(
    triangle: Any, b: Any, f: Any, dy: Any, sign: str
) -> dict[str, list[Sized]]:
    """r, and the pullback of dy, of one run, each flat in C order."""
    k, factor = f.shape[-1], sized(1.0 if sign == "positive" else -1.0)
    L: Matrix = [
        [ZERO if j > i else sized(float(triangle[i, j])) for j in range(k)]
        for i in range(k)
    ]
    for i in range(k):
        L[i][i] = sized(L[i][i].value.exp())
    rows, slope = matrix(f), [sized(float(x)) for x in dy[:, 0]]
    z = [[dot(row, column) for column in transposed(L)] for row in rows]
    affine = [sized(float(x)) for x in b]
    r = [
        total(factor * x * x for x in own) + dot(affine, row)
        for own, row in zip(z, rows, strict=True)
    ]
    dz = [
        [sized(2.0) * factor * x * d for x in own]
        for own, d in zip(z, slope, strict=True)
    ]
    df = [
        [dot(own, row) + d * c for row, c in zip(L, affine, strict=True)]
        for own, d in zip(dz, slope, strict=True)
    ]
    dL = [[dot(column, own) for own in transposed(dz)] for column in transposed(rows)]
    dtriangle = [
        [
            ZERO if j > i else dL[i][j] * (L[i][i] if i == j else sized(1.0))
            for j in range(k)
        ]
        for i in range(k)
    ]
    return {
        "r": r,
        "df": sum(df, []),
        "dtriangle": sum(dtriangle, []),
        "db": [dot(column, slope) for column in transposed(rows)],
    }


def head(suite: Suite) -> None:
    for seed, (flag, n, k, sign) in enumerate(
        [
            ("Normal", 3, 3, "negative"),
            ("Normal", 4, 5, "negative"),
            ("Sign", 3, 4, "positive"),
            ("Small", 2, 1, "negative"),
        ]
    ):
        inputs = _features(suite.dtype, 8000 + seed, (), n, k, sign)
        suite.add(flag, f"{n} samples of {k} features", inputs, _head_outputs(inputs))
    for seed, sign in enumerate(("negative", "positive")):
        inputs = _features(suite.dtype, 8100 + seed, (2,), 3, 3, sign)
        suite.add(
            "Batched" + " Sign" * (sign == "positive"),
            "two runs",
            inputs,
            _of_runs(_head_outputs, inputs, 2),
        )
    good = _features(suite.dtype, 8200, (), 2, 3, "negative")
    for comment, change in (
        ("a triangle of another size", {"triangle": good["triangle"][:2, :2]}),
        ("b of another length", {"b": good["b"][:2]}),
        ("no such sign", {"sign": "both"}),
    ):
        suite.add("BadInput", comment, {**good, **change}, refused=("r",))


def _features(
    dtype: str, seed: int, runs: tuple[int, ...], n: int, k: int, sign: str
) -> dict[str, Any]:
    g = rng(seed)
    shapes = {"triangle": (k, k), "b": (k,), "f": (n, k), "dy": (n, 1)}
    drawn = {
        name: exact_inputs(0.75 * g.normal(size=(*runs, *shape)), dtype)
        for name, shape in shapes.items()
    }
    return drawn | {"sign": sign}


def _head_outputs(inputs: dict[str, Any]) -> Outputs:
    shapes = {f"d{name}": inputs[name].shape for name in ("f", "triangle", "b")} | {
        "r": inputs["dy"].shape
    }
    exacts = certified_parts(lambda: _headed(**inputs))
    return {name: (shapes[name], exacts[name]) for name in exacts}


def _of_runs(
    outputs: Callable[[dict[str, Any]], Outputs], inputs: dict[str, Any], runs: int
) -> Outputs:
    """The outputs of all runs of a batch, joined."""
    each = [
        outputs(
            {
                name: x[k] if isinstance(x, np.ndarray) else x
                for name, x in inputs.items()
            }
        )
        for k in range(runs)
    ]
    return stacked(each)
