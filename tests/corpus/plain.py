"""What one writes first: one line of NumPy for each formula.

``logaddexp`` stands where an exponential overflows otherwise. The rounding of r - F is
lost, at most half an ulp of 2000 and 512 units of a sigmoid: level C.
"""

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


def _softplus(x):
    return np.logaddexp(0.0, x)


def _sigmoid(x):
    return np.exp(-_softplus(-x))


def _z(r, F, nu):
    return np.asarray(F)[..., None] + np.log(nu) - r


def _sides(r_data, r_noise, F, nu):
    """F + log nu - r of data, and its negative of noise."""
    refuse(r_data, r_noise, F, nu)
    return _z(r_data, F, nu), -_z(r_noise, F, nu)


class nce:
    """Definition 3.1 and its derivatives."""

    def loss(r_data, r_noise, F, *, nu=1.0):
        data, noise = map(_softplus, _sides(r_data, r_noise, F, nu))
        return (data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        s_data, s_noise = map(_sigmoid, _sides(r_data, r_noise, F, nu))
        return (s_data.mean(-1) - nu * s_noise.mean(-1)) / (1.0 + nu)

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        sides = _sides(r_data, r_noise, F, nu)
        data, noise = (_sigmoid(z) * _sigmoid(-z) for z in sides)
        return (data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)

    def grad_r(r_data, r_noise, F, *, nu=1.0):
        s_data, s_noise = map(_sigmoid, _sides(r_data, r_noise, F, nu))
        n, m = r_data.shape[-1], r_noise.shape[-1]
        return -s_data / n / (1.0 + nu), nu * s_noise / m / (1.0 + nu)


class ence:
    """The exponential loss, in numbers that may overflow."""

    def loss(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return 0.5 * (data.mean(-1) + noise.mean(-1))

    def grad_F(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return 0.25 * (data.mean(-1) - noise.mean(-1))

    def grad_r(r_data, r_noise, F):
        data, noise = _halves(r_data, r_noise, F)
        return -0.25 / r_data.shape[-1] * data, 0.25 / r_noise.shape[-1] * noise


def _halves(r_data, r_noise, F):
    data, noise = _sides(r_data, r_noise, F, 1.0)
    return np.exp(0.5 * data), np.exp(0.5 * noise)


class expfam:
    """Equations 12 to 14, with the column -1 of F beside the statistics."""

    def loss(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        r = _ratio(T_data, theta, offset_data), _ratio(T_noise, theta, offset_noise)
        return nce.loss(*r, F, nu=nu)

    def gradient(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        r = _ratio(T_data, theta, offset_data), _ratio(T_noise, theta, offset_noise)
        w_data, w_noise = nce.grad_r(*r, F, nu=nu)
        data = np.einsum("...i,...ij->...j", w_data, _with_F(T_data))
        return data + np.einsum("...i,...ij->...j", w_noise, _with_F(T_noise))

    def hessian(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        r = _ratio(T_data, theta, offset_data), _ratio(T_noise, theta, offset_noise)
        refuse(*r, F, nu)
        H = 0.0
        data, noise = (T_data, offset_data, 1.0), (T_noise, offset_noise, nu)
        for T, offset, share in (data, noise):
            z = _z(_ratio(T, theta, offset), F, nu)
            w = _sigmoid(z) * _sigmoid(-z) * share / (1.0 + nu) / z.shape[-1]
            H = H + np.einsum("...i,...ij,...ik->...jk", w, _with_F(T), _with_F(T))
        return H


def _ratio(T, theta, offset):
    if T.shape[-2:] != (*offset.shape[-1:], *theta.shape[-1:]):
        raise ValueError("T, theta and offset do not fit")
    return np.einsum("...ij,...j->...i", T, theta) + offset


def _with_F(T):
    return np.concatenate([T, np.full((*T.shape[:-1], 1), -1.0)], axis=-1)


def _shared(pullback, params, x):
    """The gradient of an array without runs is the sum over the runs of others."""

    def summed(gradient, to):
        return gradient.sum(tuple(range(gradient.ndim - to.ndim)))

    def total(dy):
        dx, gradients = pullback(dy)
        found = {name: summed(gradients[name], p) for name, p in params.items()}
        return summed(dx, x), found

    return total


def mlp(params, x):
    given = x
    depth = len(params) // 2
    inputs = []
    for k in range(depth):
        weight, bias = params[f"{2 * k}.weight"], params[f"{2 * k}.bias"]
        inputs.append(x)
        x = x @ weight.mT + bias[..., None, :]
        if k + 1 < depth:
            x = np.where(x > 0, x, 0.01 * x)

    def pullback(d):
        gradients = {}
        for k in reversed(range(depth)):
            gradients[f"{2 * k}.weight"] = d.mT @ inputs[k]
            gradients[f"{2 * k}.bias"] = d.sum(-2)
            d = d @ params[f"{2 * k}.weight"]
            if k > 0:
                d = np.where(inputs[k] > 0, d, 0.01 * d)
        return d, gradients

    return x, _shared(pullback, params, given)


def conv3x3(params, x, *, stride=1):
    """Nine shifted images, one product each."""
    weight, bias = params["weight"], params["bias"]
    fits = x.shape[-3] == weight.shape[-3] and bias.shape[-1] == weight.shape[-4]
    if weight.shape[-2:] != (3, 3) or not fits or stride not in (1, 2):
        raise ValueError("weight, bias and x do not fit")
    H, W = x.shape[-2:]
    wide = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 2)] * 2)
    places = [
        (u, v, (..., slice(u, u + H, stride), slice(v, v + W, stride)))
        for u in range(3)
        for v in range(3)
    ]
    y = bias[..., None, :, None, None]
    for u, v, place in places:
        y = y + np.einsum("...oc,...nchw->...nohw", weight[..., u, v], wide[place])

    def pullback(dy):
        runs = dy.shape[:-4]
        dx = np.zeros((*runs, *wide.shape[-4:]))
        dweight = np.zeros((*runs, *weight.shape[-4:]))
        for u, v, place in places:
            dx[place] += np.einsum("...oc,...nohw->...nchw", weight[..., u, v], dy)
            dweight[..., u, v] = np.einsum("...nohw,...nchw->...oc", dy, wide[place])
        dbias = dy.sum((-4, -2, -1))
        return dx[..., 1 : H + 1, 1 : W + 1], {"weight": dweight, "bias": dbias}

    return y, _shared(pullback, params, x)


def quadratic_head(params, f, *, sign="negative"):
    """W itself, and its gradient pulled back to L."""
    triangle, b, k = params["triangle"], params["b"], f.shape[-1]
    fits = triangle.shape[-2:] == (k, k) and b.shape[-1] == k
    if sign not in ("negative", "positive") or not fits:
        raise ValueError("sign, triangle, b and f do not fit")
    s = 1.0 if sign == "positive" else -1.0
    diagonal = np.eye(k, dtype=bool)
    L = np.where(diagonal, np.exp(triangle), np.tril(triangle))
    W = s * L @ L.mT
    r = np.einsum("...ni,...ij,...nj->...n", f, W, f)
    r = r + np.einsum("...ni,...i->...n", f, b)

    def pullback(dy):
        dL = 2.0 * s * np.einsum("...ni,...n,...nj->...ij", f, dy[..., 0], f) @ L
        dtriangle = np.where(diagonal, np.exp(triangle) * dL, np.tril(dL))
        db = np.einsum("...n,...ni->...i", dy[..., 0], f)
        df = dy * (2.0 * f @ W + b[..., None, :])
        return df, {"triangle": dtriangle, "b": db}

    return r[..., None], _shared(pullback, params, f)


def sgd(state, gradient, *, rate):
    return state, -rate * gradient


def ngd(state, gradient, *, rate):
    largest = np.abs(gradient).max(-1, keepdims=True)
    scaled = gradient / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return state, -rate * scaled / np.where(norm > 0, norm, 1.0)


def adam(state, gradient, *, rate):
    t, m, v = state or (0, 0.0, 0.0)
    t = t + 1
    m, v = m + 0.1 * (gradient - m), v + 0.001 * (gradient**2 - v)
    return (t, m, v), -rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def _bar(r_data, r_noise, F, nu):
    s_data, s_noise = map(_sigmoid, _sides(r_data, r_noise, F, nu))
    return F - np.log(s_data.mean(-1)) + np.log(nu * s_noise.mean(-1))


def _solve(r_data, r_noise, nu):
    lo, hi = min(r_data.min(), r_noise.min()), max(r_data.max(), r_noise.max())
    for _ in range(80):
        F = 0.5 * (lo + hi)
        lo, hi = (lo, F) if nce.grad_F(r_data, r_noise, F, nu=nu) > 0 else (F, hi)
    return F


def trajectory(
    T_data, T_noise, offset_data, offset_noise, theta, F, *, nu=1.0, **options
):
    rate, rate_F = options["rate"], options["rate_F"]
    update, order = options["update"], options["order"]
    path = []
    for T, U, a, b in zip(T_data, T_noise, offset_data, offset_noise, strict=True):
        r = T @ theta + a, U @ theta + b
        if update == "gradient":
            F_next = F - rate_F * nce.grad_F(*r, F, nu=nu)
        elif update == "bar":
            F_next = (1 - rate_F) * F + rate_F * _bar(*r, F, nu)
        else:
            F_next = _solve(*r, nu)
        w_data, w_noise = nce.grad_r(*r, F_next if order == "first" else F, nu=nu)
        theta, F = theta - rate * (w_data @ T + w_noise @ U), F_next
        path.append((theta, F))
    return tuple(map(np.stack, zip(*path, strict=True)))
