"""The layers, forward and backward, and the optimizers, in ball arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import arb

from tests.vectors.balls import (
    ZERO,
    Matrix,
    Sized,
    Vector,
    applied,
    dot,
    matrix,
    positive,
    sized,
    total,
    transposed,
)

SLOPE = 0.01  # the double nearest to it


def mlp(params: dict[str, Any], x: Any, dy: Any) -> dict[str, list[Sized]]:
    """y (n, out), and the pullback of dy: dx and each parameter's gradient, flat in C order."""
    layers = [
        (matrix(params[f"{2 * k}.weight"]), _row(params[f"{2 * k}.bias"]))
        for k in range(len(params) // 2)
    ]
    inputs: list[Matrix] = [matrix(x)]
    slopes: list[Matrix] = []
    for k, (weight, bias) in enumerate(layers):
        z = [
            [dot(row, column) + b for column, b in zip(weight, bias, strict=True)]
            for row in inputs[-1]
        ]
        if k == len(layers) - 1:
            inputs.append(z)
        else:
            slopes.append(
                applied(lambda x: sized(1.0) if positive(x) else sized(SLOPE), z)
            )
            inputs.append(_times(z, slopes[-1]))
    found: dict[str, list[Sized]] = {"y": _flat(inputs[-1])}
    down = matrix(dy)
    for k in range(len(layers) - 1, -1, -1):
        weight, _ = layers[k]
        across = transposed(down)
        found[f"d{2 * k}.weight"] = [
            dot(row, column) for row in across for column in transposed(inputs[k])
        ]
        found[f"d{2 * k}.bias"] = [total(row) for row in across]
        down = [[dot(row, column) for column in transposed(weight)] for row in down]
        if k:
            down = _times(down, slopes[k - 1])
    found["dx"] = _flat(down)
    return found


def conv3x3(
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


def quadratic_head(
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


def _row(xs: Any) -> Vector:
    return [sized(float(x)) for x in xs]


def _times(a: Matrix, b: Matrix) -> Matrix:
    return [
        [x * y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)
    ]


def _flat(rows: Matrix) -> list[Sized]:
    return [x for row in rows for x in row]


def sgd(gradients: Matrix, rate: float) -> list[Sized]:
    return [
        Sized(-arb(rate) * g.value, arb(rate) * g.size)
        for row in gradients
        for g in row
    ]


def ngd(gradients: Matrix, rate: float) -> list[Sized]:
    steps = []
    for row in gradients:
        square = sum((g.value**2 for g in row), arb(0))
        steps += [
            ZERO if square == 0 else sized(-arb(rate) * g.value / square.sqrt())
            for g in row
        ]
    return steps


def adam(gradients: Matrix, rate: float) -> list[Sized]:
    beta1, beta2, eps = arb(0.9), arb(0.999), arb(1e-8)
    m, v = [ZERO] * len(gradients[0]), [arb(0)] * len(gradients[0])
    steps = []
    for t, row in enumerate(gradients, start=1):
        m = [
            Sized(beta1, beta1) * a + Sized(1 - beta1, 1 - beta1) * g
            for a, g in zip(m, row, strict=True)
        ]
        v = [beta2 * b + (1 - beta2) * g.value**2 for b, g in zip(v, row, strict=True)]
        # 1 - beta^t cancels, in everybody's doubles
        cancelled = 1 + beta1**t / (1 - beta1**t) + beta2**t / (1 - beta2**t)
        for a, b in zip(m, v, strict=True):
            factor = arb(rate) / (1 - beta1**t) / ((b / (1 - beta2**t)).sqrt() + eps)
            steps.append(Sized(-a.value * factor, a.size * factor * cancelled))
    return steps
