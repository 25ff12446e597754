"""What one writes first: a line of NumPy for each formula, with ``logaddexp`` where it overflows otherwise.

The rounding of r - F is lost, half an ulp of 2000 at most and 512 units of a sigmoid: level C.
"""

from __future__ import annotations

import numpy as np

from tests.corpus import refuse

LEVEL = "C"
SKIP = (
    "Plateau",  # A - nu B from two means near 1
    "CountsCancel",  # the same, with exact zeros
    "Gap",  # the same, with a slope of 1e-132
    "Subnormal",  # the same, at the other end of exp
    "Underflow",
    "Huge",  # log nu is lost beside an F of 1e300
)


def _sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))


def _z(r, F, nu):
    return np.asarray(F)[..., None] + np.log(nu) - r


def _means(r_data, r_noise, F, nu):
    refuse(r_data, r_noise, F, nu)
    return _sigmoid(_z(r_data, F, nu)).mean(-1), _sigmoid(-_z(r_noise, F, nu)).mean(-1)


class nce:
    """Definition 3.1 and its derivatives."""

    @staticmethod
    def loss(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        data, noise = np.logaddexp(0.0, _z(r_data, F, nu)).mean(-1), np.logaddexp(
            0.0, -_z(r_noise, F, nu)
        ).mean(-1)
        return (data + nu * noise) / (1.0 + nu)

    @staticmethod
    def grad_F(r_data, r_noise, F, *, nu=1.0):
        A, B = _means(r_data, r_noise, F, nu)
        return (A - nu * B) / (1.0 + nu)

    @staticmethod
    def hess_F(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        bends = [
            (_sigmoid(_z(r, F, nu)) * _sigmoid(-_z(r, F, nu))).mean(-1)
            for r in (r_data, r_noise)
        ]
        return (bends[0] + nu * bends[1]) / (1.0 + nu)

    @staticmethod
    def grad_r(r_data, r_noise, F, *, nu=1.0):
        refuse(r_data, r_noise, F, nu)
        w = 1.0 / (1.0 + nu) / r_data.shape[-1], nu / (1.0 + nu) / r_noise.shape[-1]
        return -w[0] * _sigmoid(_z(r_data, F, nu)), w[1] * _sigmoid(-_z(r_noise, F, nu))


class ence:
    """The exponential loss, in numbers that may overflow."""

    @staticmethod
    def loss(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return 0.5 * (data.mean(-1) + noise.mean(-1))

    @staticmethod
    def grad_F(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return 0.25 * (data.mean(-1) - noise.mean(-1))

    @staticmethod
    def grad_r(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return -0.25 / r_data.shape[-1] * data, 0.25 / r_noise.shape[-1] * noise


def _halves(r_data, r_noise, F):
    refuse(r_data, r_noise, F)
    return np.exp(0.5 * _z(r_data, F, 1.0)), np.exp(-0.5 * _z(r_noise, F, 1.0))


class expfam:
    """Equations 12 to 14, with the column -1 of F beside the statistics."""

    @staticmethod
    def loss(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        return nce.loss(
            *_ratios(T_data, T_noise, theta, offset_data, offset_noise), F, nu=nu
        )

    @staticmethod
    def gradient(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        w = nce.grad_r(
            *_ratios(T_data, T_noise, theta, offset_data, offset_noise), F, nu=nu
        )
        return sum(
            np.einsum("...i,...ij->...j", each, _with_F(T))
            for each, T in zip(w, (T_data, T_noise), strict=True)
        )

    @staticmethod
    def hessian(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        H = 0.0
        for T, offset, share in (
            (T_data, offset_data, 1.0),
            (T_noise, offset_noise, nu),
        ):
            z = _z(_ratio(T, theta, offset), F, nu)
            w = _sigmoid(z) * _sigmoid(-z) * share / (1.0 + nu) / z.shape[-1]
            H = H + np.einsum("...i,...ij,...ik->...jk", w, _with_F(T), _with_F(T))
        return H


def _ratio(T, theta, offset):
    return np.einsum("...ij,...j->...i", T, theta) + offset


def _ratios(T_data, T_noise, theta, offset_data, offset_noise):
    return _ratio(T_data, theta, offset_data), _ratio(T_noise, theta, offset_noise)


def _with_F(T):
    return np.concatenate([T, np.full((*T.shape[:-1], 1), -1.0)], axis=-1)


def mlp(params, x):
    depth = len(params) // 2
    inputs = []
    for k in range(depth):
        inputs.append(x)
        x = (
            x @ params[f"{2 * k}.weight"].swapaxes(-1, -2)
            + params[f"{2 * k}.bias"][..., None, :]
        )
        if k + 1 < depth:
            x = np.where(x > 0, x, 0.01 * x)

    def pullback(d):
        found = {}
        for k in reversed(range(depth)):
            found[f"{2 * k}.weight"], found[f"{2 * k}.bias"] = d.swapaxes(
                -1, -2
            ) @ inputs[k], d.sum(-2)
            d = d @ params[f"{2 * k}.weight"]
            if k > 0:
                d = np.where(inputs[k] > 0, d, 0.01 * d)
        return d, found

    return x, pullback


def conv3x3(params, x, *, stride):
    """Nine shifted images, one product each."""
    weight, bias = params["weight"], params["bias"]
    if (
        weight.shape[-2:] != (3, 3)
        or x.shape[-3] != weight.shape[-3]
        or bias.shape[-1] != weight.shape[-4]
    ):
        raise ValueError("weight, bias and x do not fit")
    H, W = x.shape[-2:]
    wide = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 2)] * 2)
    places = [
        (u, v, (..., slice(u, u + H, stride), slice(v, v + W, stride)))
        for u in range(3)
        for v in range(3)
    ]
    seen = "...oc,...nchw->...nohw"
    y = (
        sum(np.einsum(seen, weight[..., u, v], wide[place]) for u, v, place in places)
        + bias[..., None, :, None, None]
    )

    def pullback(dy):
        down, gradient = np.zeros_like(wide), np.zeros_like(weight)
        for u, v, place in places:
            down[place] += np.einsum("...oc,...nohw->...nchw", weight[..., u, v], dy)
            gradient[..., u, v] = np.einsum("...nohw,...nchw->...oc", dy, wide[place])
        return down[..., 1 : H + 1, 1 : W + 1], {
            "weight": gradient,
            "bias": dy.sum((-4, -2, -1)),
        }

    return y, pullback


def quadratic_head(params, f, *, sign):
    """W itself, and its gradient pulled back to L."""
    triangle, b, k = params["triangle"], params["b"], f.shape[-1]
    if (
        sign not in ("negative", "positive")
        or triangle.shape[-2:] != (k, k)
        or b.shape[-1] != k
    ):
        raise ValueError("sign, triangle, b and f do not fit")
    s = 1.0 if sign == "positive" else -1.0
    L = np.where(np.eye(k, dtype=bool), np.exp(triangle), np.tril(triangle))
    W = s * L @ L.mT
    r = np.einsum("...ni,...ij,...nj->...n", f, W, f) + np.einsum(
        "...ni,...i->...n", f, b
    )

    def pullback(dy):
        dL = 2.0 * s * np.einsum("...ni,...n,...nj->...ij", f, dy[..., 0], f) @ L
        own = np.where(np.eye(k, dtype=bool), np.exp(triangle) * dL, np.tril(dL))
        df = dy * (2.0 * f @ W + b[..., None, :])
        return df, {"triangle": own, "b": np.einsum("...n,...ni->...i", dy[..., 0], f)}

    return r[..., None], pullback


def sgd(state, gradient, *, rate):
    return state, -rate * gradient


def ngd(state, gradient, *, rate):
    largest = np.abs(gradient).max(-1, keepdims=True)
    direction = gradient / np.where(largest > 0, largest, 1.0)
    return state, -rate * direction / np.where(
        largest > 0, np.linalg.norm(direction, axis=-1, keepdims=True), 1.0
    )


def adam(state, gradient, *, rate):
    t, m, v = state or (0, 0.0, 0.0)
    t, m, v = t + 1, m + 0.1 * (gradient - m), v + 0.001 * (gradient**2 - v)
    return (t, m, v), -rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def _bar(r_data, r_noise, F, nu):
    A, B = _means(r_data, r_noise, F, nu)
    return F - (np.log(A) - np.log(B) - np.log(nu))


def _solve(r_data, r_noise, nu):
    lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
    for _ in range(80):
        middle = 0.5 * (lo + hi)
        lo, hi = (
            (lo, middle)
            if nce.grad_F(r_data, r_noise, middle, nu=nu) > 0
            else (middle, hi)
        )
    return 0.5 * (lo + hi)


def trajectory(
    T_data,
    T_noise,
    offset_data,
    offset_noise,
    theta,
    F,
    *,
    nu=1.0,
    rate,
    rate_F,
    update,
    order,
):
    thetas, Fs = [], []
    for T, U, a, b in zip(T_data, T_noise, offset_data, offset_noise, strict=True):
        r = T @ theta + a, U @ theta + b
        if update == "gradient":
            after = F - rate_F * nce.grad_F(*r, F, nu=nu)
        else:
            after = (
                _solve(*r, nu)
                if update == "root"
                else (1 - rate_F) * F + rate_F * _bar(*r, F, nu)
            )
        w = nce.grad_r(*r, after if order == "first" else F, nu=nu)
        theta, F = theta - rate * (w[0] @ T + w[1] @ U), after
        thetas.append(theta)
        Fs.append(F)
    return np.stack(thetas), np.stack(Fs)
