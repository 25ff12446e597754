"""The layers, forward and backward, and the optimizers, in ball arithmetic."""

from __future__ import annotations


import numpy as np
from flint import arb

from tests.vectors.balls import ZERO, Sized, dot, matmul, matrix
from tests.vectors.balls import positive, sized, times, total, transposed, vector

SLOPE = 0.01  # the double nearest to it


def mlp(x, dy, **params):
    """y (n, out), and dx and each parameter's gradient for dy, flat in C order."""
    depth = len(params) // 2
    weights = [matrix(params[f"{2 * k}.weight"]) for k in range(depth)]
    biases = [vector(params[f"{2 * k}.bias"]) for k in range(depth)]
    inputs, slopes = [matrix(x)], []
    for k in range(depth):
        z = [
            [x + b for x, b in zip(row, biases[k], strict=True)]
            for row in matmul(inputs[-1], transposed(weights[k]))
        ]
        if k + 1 < depth:
            slope = [[sized(1.0 if positive(x) else SLOPE) for x in row] for row in z]
            slopes.append(slope)
            z = times(z, slope)
        inputs.append(z)
    found, down = {}, matrix(dy)
    for k in reversed(range(depth)):
        down = times(down, slopes[k]) if k + 1 < depth else down
        across = transposed(down)
        found[f"{2 * k}.weight"] = sum(matmul(across, inputs[k]), [])
        found[f"{2 * k}.bias"] = [total(row) for row in across]
        down = matmul(down, weights[k])
    gradients = {f"d{name}": found[name] for name in params}
    return {"y": sum(inputs[-1], []), "dx": sum(down, [])} | gradients


def conv3x3(weight, bias, x, dy, stride):
    """y, and the pullback of dy, of one run, each flat in C order."""
    arrays = {"y": dy, "dx": x, "dweight": weight, "dbias": bias}
    found = {k: dict.fromkeys(np.ndindex(a.shape), ZERO) for k, a in arrays.items()}

    def add(name, place, term):
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


def quadratic_head(triangle, b, f, dy, sign):
    """r, and the pullback of dy, of one run, each flat in C order."""
    k, factor = f.shape[-1], sized(1.0 if sign == "positive" else -1.0)
    L = [
        [ZERO if j > i else sized(float(triangle[i, j])) for j in range(k)]
        for i in range(k)
    ]
    for i in range(k):
        L[i][i] = sized(L[i][i].value.exp())
    rows, affine, slope = matrix(f), vector(b), vector(dy[:, 0])
    z = matmul(rows, L)
    r = [
        total(factor * x * x for x in square) + dot(affine, row)
        for square, row in zip(z, rows, strict=True)
    ]
    dz = [
        [sized(2.0) * factor * x * d for x in row]
        for row, d in zip(z, slope, strict=True)
    ]
    df = [
        [x + d * c for x, c in zip(row, affine, strict=True)]
        for row, d in zip(matmul(dz, transposed(L)), slope, strict=True)
    ]
    dL = matmul(transposed(rows), dz)
    for i in range(k):
        dL[i] = [*dL[i][:i], dL[i][i] * L[i][i], *[ZERO] * (k - i - 1)]
    db = [dot(column, slope) for column in transposed(rows)]
    return {"r": r, "df": sum(df, []), "dtriangle": sum(dL, []), "db": db}


def sgd(gradients, rate):
    return [
        Sized(-arb(rate) * g.value, arb(rate) * g.size)
        for row in gradients
        for g in row
    ]


def ngd(gradients, rate):
    steps = []
    for row in gradients:
        square = sum((g.value**2 for g in row), arb(0))
        steps += [
            ZERO if square == 0 else sized(-arb(rate) * g.value / square.sqrt())
            for g in row
        ]
    return steps


def adam(gradients, rate):
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
