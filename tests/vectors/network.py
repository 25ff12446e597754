"""The perceptron forward and backward, and the optimizers, in ball arithmetic."""

from __future__ import annotations

from typing import Any

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
