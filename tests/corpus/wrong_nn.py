"""Layers with one bug each: the perceptron, the 3x3 convolution and the quadratic head."""

from __future__ import annotations

import numpy as np

from refnce import nn
from tests.corpus.bug import BATCHED, NORMAL, Wrong

# --- the perceptron ----------------------------------------------------------------------------------------------------


def network(
    slope=lambda z: np.where(z > 0, 1.0, 0.01),
    bias=lambda d: d.sum(-2),
    weight=lambda d, x: d.mT @ x,
    through=True,
):
    """A perceptron with a rectifier's slope, a bias's and a weight's gradient of one's own, and perhaps no slope in dx."""

    def mlp(params, x):
        depth = len(params) // 2
        inputs, slopes = [], []
        for k in range(depth):
            inputs.append(x)
            z = x @ params[f"{2 * k}.weight"].mT + params[f"{2 * k}.bias"][..., None, :]
            slopes.append(slope(z) if k + 1 < depth else np.ones_like(z))
            x = z * slopes[-1]

        def pullback(d):
            found = {}
            for k in reversed(range(depth)):
                d = d * slopes[k]
                found[f"{2 * k}.weight"], found[f"{2 * k}.bias"] = weight(
                    d, inputs[k]
                ), bias(d)
                d = (
                    d
                    @ params[f"{2 * k}.weight"]
                    / (1.0 if through or k else slopes[0].mean())
                )
            return d, found

        return x, pullback

    return mlp


def averaged(params, x):
    y, pullback = network()(params, x)
    return y, lambda dy: pullback(dy / x.shape[-2])


def slope_in_float32(z):
    return np.where(z > 0, 1.0, float(np.float32(0.01)))


def bias_of_all(d):
    """Summed over the runs as well."""
    each = d.sum(-2)
    return np.broadcast_to(each.sum(tuple(range(each.ndim - 1))), each.shape)


def transposed_square(d, x):
    return x.mT @ d if d.shape == x.shape else d.mT @ x


# --- the convolution ---------------------------------------------------------------------------------------------------


def changed(
    layer,
    *,
    params=lambda p: p,
    x=lambda x: x,
    y=lambda y: y,
    back=lambda dx, dparams: (dx, dparams),
    **fixed,
):
    """``layer`` with its parameters, input, output or gradients changed on the way."""

    def wrong(given, data, **options):
        out, pullback = layer(params(given), x(data), **(options | fixed))
        return y(out), lambda dy: back(*pullback(dy))

    return wrong


def conv(**changes):
    return changed(nn.conv3x3, **changes)


def turned(p):
    return {**p, "weight": p["weight"][..., ::-1, ::-1]}


def square_transposed(p):
    out, into = p["weight"].shape[-4:-2]
    return {**p, "weight": p["weight"].swapaxes(-3, -4)} if out == into else p


def last_of_two(params, x, *, stride):
    """Rows and columns 1, 3, 5, ... for stride 2, as if the zeros were put at the end."""
    if stride == 1:
        return nn.conv3x3(params, x)
    y, pullback = nn.conv3x3(params, np.roll(x, -1, (-2, -1)), stride=2)

    def back(dy):
        dx, dparams = pullback(dy)
        return np.roll(dx, 1, (-2, -1)), dparams

    return y, back


def edges_repeated(params, x, *, stride):
    """The border's pixels around the image in place of zeros; forward alone, so that the gradients stay right."""
    y, pullback = nn.conv3x3(params, x, stride=stride)
    wide = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1)] * 2, mode="edge")
    around, _ = nn.conv3x3(params, wide)
    return around[..., 1:-1, 1:-1][..., ::stride, ::stride], pullback


def with_gradient(name, change):
    return lambda dx, dparams: (dx, {**dparams, name: change(dparams[name])})


def not_turned_back(params, x, *, stride):
    """dx by the kernel as it stands, not turned by 180 degrees."""
    y, pullback = nn.conv3x3(params, x, stride=stride)
    _, other = nn.conv3x3(turned(params), x, stride=stride)
    return y, lambda dy: (other(dy)[0], pullback(dy)[1])


def any_kernel(params, x, *, stride):
    """Takes what does not fit, and answers with zeros."""
    try:
        return nn.conv3x3(params, x, stride=stride)
    except ValueError:
        return np.zeros(x.shape), lambda dy: (x, params)


# --- the quadratic head ------------------------------------------------------------------------------------------------


def head(**changes):
    return changed(nn.quadratic_head, **changes)


def diagonal(change):
    """The parameters with the diagonal of the triangle changed."""

    def call(p):
        triangle = p["triangle"].copy()
        k = np.arange(triangle.shape[-1])
        triangle[..., k, k] = change(triangle[..., k, k])
        return {**p, "triangle": triangle}

    return call


def diagonal_as_it_stands(params, f, *, sign):
    """L's diagonal is the triangle's, not its exponential; where it is positive, as refnce's of its logarithm is."""
    with np.errstate(all="ignore"):
        y, pullback = nn.quadratic_head(
            diagonal(lambda d: np.log(np.abs(d)))(params), f, sign=sign
        )
    return y, pullback


def without_chain(params, f, *, sign):
    """The gradient of the diagonal by L's entry, not by its logarithm."""
    y, pullback = nn.quadratic_head(params, f, sign=sign)

    def back(dy):
        df, dparams = pullback(dy)
        k = np.arange(f.shape[-1])
        gradient = dparams["triangle"].copy()
        gradient[..., k, k] = gradient[..., k, k] * np.exp(
            -params["triangle"][..., k, k]
        )
        return df, {**dparams, "triangle": gradient}

    return y, back


def whole_triangle(params, f, *, sign):
    """A gradient for what is above the diagonal too."""
    y, pullback = nn.quadratic_head(params, f, sign=sign)

    def back(dy):
        df, dparams = pullback(dy)
        lower = np.tril(dparams["triangle"], -1)
        return df, {**dparams, "triangle": dparams["triangle"] + lower.swapaxes(-1, -2)}

    return y, back


def other_order(params, f, *, sign):
    """L^T L for L L^T."""
    L = np.tril(params["triangle"], -1) + np.exp(params["triangle"]) * np.eye(
        f.shape[-1]
    )
    W = L.swapaxes(-1, -2) @ L
    y, pullback = nn.quadratic_head(params, f, sign=sign)
    quadratic = np.sum((f @ W) * f, axis=-1, keepdims=True)
    return (quadratic if sign == "positive" else -quadratic) + np.sum(
        f * params["b"][..., None, :], -1, keepdims=True
    ), pullback


ONLY_WEIGHTS = "only dweight is wrong, not dbias, dx, y"
ONLY_BIAS = "only d0.bias, d2.bias, d4.bias is wrong, not d0.weight, d2.weight, d4.weight, dx, y; off by a factor of 1/n."
WRONG_NN = (
    Wrong(
        "slope 1 at 0",
        "nn.mlp",
        network(slope=lambda z: np.where(z >= 0, 1.0, 0.01)),
        "a rectifier exactly at 0",
    ),
    Wrong(
        "slope 0.1",
        "nn.mlp",
        network(slope=lambda z: np.where(z > 0, 1.0, 0.1)),
        "y is wrong, not d4.bias",
    ),
    Wrong(
        "bias gradient a mean", "nn.mlp", network(bias=lambda d: d.mean(-2)), ONLY_BIAS
    ),
    Wrong("bias gradient of all runs", "nn.mlp", network(bias=bias_of_all), BATCHED),
    Wrong(
        "weight gradient transposed",
        "nn.mlp",
        network(weight=lambda d, x: x.mT @ d),
        "shape (5, 1) for (1, 5)",
    ),
    Wrong(
        "weight gradient transposed where square",
        "nn.mlp",
        network(weight=transposed_square),
        "only d2.weight is wrong",
    ),
    Wrong(
        "gradients means over samples",
        "nn.mlp",
        averaged,
        "not y; off by a factor of 1/n.",
    ),
    Wrong(
        "slope 0.01 rounded to float32",
        "nn.mlp",
        network(slope=slope_in_float32),
        "a constant of its precision",
    ),
    Wrong(
        "dx without the first slope",
        "nn.mlp",
        network(through=False),
        "only dx is wrong",
    ),
    Wrong(
        "a convolution, not a correlation", "nn.conv3x3", conv(params=turned), NORMAL
    ),
    Wrong(
        "channels exchanged where square",
        "nn.conv3x3",
        conv(params=square_transposed),
        "only dx, y is wrong",
    ),
    Wrong(
        "stride from the second pixel", "nn.conv3x3", last_of_two, "Stride: stride 2"
    ),
    Wrong(
        "edges repeated around the image",
        "nn.conv3x3",
        edges_repeated,
        "only y is wrong, not dbias, dweight, dx",
    ),
    Wrong(
        "kernel not turned for dx",
        "nn.conv3x3",
        not_turned_back,
        "only dx is wrong, not dbias, dweight, y",
    ),
    Wrong(
        "weight gradient turned",
        "nn.conv3x3",
        conv(back=with_gradient("weight", lambda g: g[..., ::-1, ::-1])),
        ONLY_WEIGHTS,
    ),
    Wrong(
        "bias left out",
        "nn.conv3x3",
        conv(params=lambda p: {**p, "bias": 0 * p["bias"]}),
        "only y is wrong",
    ),
    Wrong("takes what does not fit", "nn.conv3x3", any_kernel, "not refused"),
    Wrong(
        "sign ignored",
        "nn.quadratic_head",
        lambda p, f, *, sign: nn.quadratic_head(p, f),
        "Sign",
    ),
    Wrong("diagonal as it stands", "nn.quadratic_head", diagonal_as_it_stands, NORMAL),
    Wrong(
        "diagonal's gradient without the chain rule",
        "nn.quadratic_head",
        without_chain,
        "only dtriangle is wrong",
    ),
    Wrong(
        "gradient above the diagonal",
        "nn.quadratic_head",
        whole_triangle,
        "only dtriangle is wrong, not db, df, r",
    ),
    Wrong(
        "L^T L for L L^T",
        "nn.quadratic_head",
        other_order,
        "only r is wrong, not db, df, dtriangle",
    ),
    Wrong(
        "b left out",
        "nn.quadratic_head",
        head(params=lambda p: {**p, "b": 0 * p["b"]}),
        NORMAL,
    ),
    Wrong(
        "r half as large",
        "nn.quadratic_head",
        head(y=lambda r: 0.5 * r),
        "off by a factor of 0.5.",
    ),
)
