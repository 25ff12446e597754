"""The layers, forward and backward, and the optimizers, in ball arithmetic.

Arguments may have leading axes for runs.
"""

import numpy as np
from flint import arb

from tests.vectors.balls import Sized, balls, einsum, positive, sized, stacked

SLOPE = 0.01  # the double nearest to it


def mlp(x, dy, **params):
    """y (n, out), and dx and each parameter's gradient for dy."""
    depth = len(params) // 2
    weights = [sized(params[f"{2 * k}.weight"]) for k in range(depth)]
    y, inputs, slopes = sized(x), [], []
    for k in range(depth):
        inputs.append(y)
        y = y @ weights[k].mT + sized(params[f"{2 * k}.bias"])[..., None, :]
        if k + 1 < depth:
            slopes.append(sized(np.where(positive(y), 1.0, SLOPE)))
            y = y * slopes[k]
    gradients, d = {}, sized(dy)
    for k in reversed(range(depth)):
        d = d * slopes[k] if k + 1 < depth else d
        gradients[f"{2 * k}.weight"] = d.mT @ inputs[k]
        gradients[f"{2 * k}.bias"] = d.sum(-2)
        d = d @ weights[k]
    return {"y": y, "dx": d} | {f"d{name}": gradients[name] for name in params}


def conv3x3(weight, bias, x, dy, stride):
    """y, and the pullback of dy: a product for each place of the kernel."""
    H, W = x.shape[-2:]
    x = sized(np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 2)] * 2))
    weight, bias, dy = sized(weight), sized(bias), sized(dy)
    y = bias[..., None, :, None, None]
    dx, dweight = sized(np.zeros(x.value.shape)), sized(np.zeros(weight.value.shape))
    for u, v in np.ndindex(3, 3):
        place = np.s_[..., u : u + H : stride, v : v + W : stride]
        w = weight[..., u, v]
        y = y + einsum("...oc,...ncab->...noab", w, x[place])
        dx[place] = dx[place] + einsum("...oc,...noab->...ncab", w, dy)
        dweight[..., u, v] = einsum("...noab,...ncab->...oc", dy, x[place])
    dx, dbias = dx[..., 1 : H + 1, 1 : W + 1], dy.sum((-4, -2, -1))
    return {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}


def quadratic_head(triangle, b, f, dy, sign):
    """r, and the pullback of dy."""
    factor = sized(1.0 if sign == "positive" else -1.0)
    diagonal = np.eye(f.shape[-1], dtype=bool)
    exponentials = np.exp(balls(triangle))
    L = sized(np.where(diagonal, exponentials, np.tril(triangle)))
    slope = sized(np.where(diagonal, exponentials, np.tril(np.ones_like(triangle))))
    f, b, dy = sized(f), sized(b)[..., None, :], sized(dy)
    z = f @ L
    dz = sized(2.0) * factor * z * dy
    r = ((factor * z * z).sum(-1) + (f * b).sum(-1))[..., None]
    df, dtriangle, db = dz @ L.mT + dy * b, (f.mT @ dz) * slope, (f * dy).sum(-2)
    return {"r": r, "df": df, "dtriangle": dtriangle, "db": db}


def sgd(gradients, rate):
    return -(sized(rate) * sized(gradients))


def ngd(gradients, rate):
    g = balls(gradients)
    square = (g**2).sum(-1, keepdims=True)
    return sized(-arb(rate) * g / np.sqrt(np.where(square == 0, arb(1), square)))


def adam(gradients, rate):
    beta1, beta2, eps = arb(0.9), arb(0.999), arb(1e-8)
    m, v, steps = sized(0.0), arb(0), []
    for t, g in enumerate(map(sized, gradients), start=1):
        m = sized(beta1) * m + sized(1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g.value**2
        # 1 - beta^t cancels, in everybody's doubles
        cancelled = 1 + beta1**t / (1 - beta1**t) + beta2**t / (1 - beta2**t)
        factor = arb(rate) / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        steps.append(Sized(-m.value * factor, m.size * factor * cancelled))
    return stacked(steps)
