"""PyTorch: losses and layers, with derivatives by automatic differentiation.

nce and nn.mlp are in tests/adapters/pytorch.py in this style.
"""

import math
from copy import deepcopy

import torch

LEVEL = "C"
SKIP = (
    "Plateau",  # the gradient is summed from the numbers near 1
    "CountsCancel",
    "Underflow",
    "Infinite",  # automatic differentiation takes 0 inf for nan
    "Shared",  # the convolution goes over runs that all have
)


def asarray(x):
    return torch.tensor(x.copy())  # PyTorch takes no reversed view


def _checked(*tensors):
    if any(x.numel() == 0 or not torch.isfinite(x).all() for x in tensors):
        raise ValueError("empty, NaN or infinite")


def _number(F, like):
    return torch.as_tensor(F, dtype=like.dtype)


def _softplus(x):  # not torch's, which is linear from 20 on
    return torch.logaddexp(x, torch.zeros_like(x))


def _nce(r_data, r_noise, F, nu):
    if not 0 < nu < math.inf:
        raise ValueError("nu")
    F = _number(F, r_data)
    _checked(r_data, r_noise, F)
    z = F[..., None] + math.log(nu)
    data, noise = _softplus(z - r_data), _softplus(r_noise - z)
    return (data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)


class ence:
    """The exponential loss."""

    def loss(r_data, r_noise, F):
        F = _number(F, r_data)
        _checked(r_data, r_noise, F)
        halves = 0.5 * (F[..., None] - r_data), 0.5 * (r_noise - F[..., None])
        return 0.5 * sum(torch.exp(half).mean(-1) for half in halves)

    def grad_F(r_data, r_noise, F):
        F = _number(F, r_data)
        runs = r_data.shape[:-1], r_noise.shape[:-1], F.shape
        F = F.expand(torch.broadcast_shapes(*runs)).clone().requires_grad_()
        return torch.autograd.grad(ence.loss(r_data, r_noise, F).sum(), F)[0]

    def grad_r(r_data, r_noise, F):
        r = [x.clone().requires_grad_() for x in (r_data, r_noise)]
        return torch.autograd.grad(ence.loss(*r, F).sum(), r)


def _family(derivative):
    """``derivative(loss, x)`` of the loss as a function of [theta, F] in one vector."""

    def call(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
        if (T_data.ndim, theta.ndim, _number(F, theta).ndim) != (2, 1, 0):
            raise NotImplementedError("several runs of a family")

        def loss(x):
            r_data = T_data @ x[:-1] + offset_data
            return _nce(r_data, T_noise @ x[:-1] + offset_noise, x[-1], nu)

        return derivative(loss, torch.cat([theta, _number(F, theta)[None]]))

    return call


class expfam:
    """Equations 12 to 14, of which only the first is written down."""

    loss = _family(lambda loss, x: loss(x))
    gradient = _family(torch.autograd.functional.jacobian)
    hessian = _family(torch.autograd.functional.hessian)


def _pulled(f, params, x):
    """``f(leaves, x)``, and its pullback."""
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    x = x.clone().requires_grad_()
    y = f(leaves, x)

    def pullback(dy):
        dx, *found = torch.autograd.grad(
            y, (x, *leaves.values()), dy, retain_graph=True
        )
        return dx, dict(zip(leaves, found, strict=True))

    return y.detach(), pullback


def conv3x3(params, x, *, stride=1):
    if params["weight"].shape[-2:] != (3, 3) or stride not in (1, 2):
        raise ValueError("the kernel must be 3 x 3, the stride 1 or 2")

    def f(leaves, x):
        if x.ndim == 4:
            return torch.nn.functional.conv2d(x, **leaves, stride=stride, padding=1)
        runs = [{name: p[k] for name, p in leaves.items()} for k in range(len(x))]
        return torch.stack(list(map(f, runs, x)))

    return _pulled(f, params, x)


def quadratic_head(params, f, *, sign="negative"):
    factor = {"negative": -1.0, "positive": 1.0}[sign]

    def ratio(leaves, f):
        triangle = leaves["triangle"]
        diagonal = torch.diagonal(triangle, dim1=-2, dim2=-1)
        L = torch.tril(triangle, -1) + torch.diag_embed(diagonal.exp())
        square = ((f @ L) ** 2).sum(-1, keepdim=True)
        return factor * square + f @ leaves["b"][..., None]

    return _pulled(ratio, params, f)


def _stepping(make):
    """An optimizer of PyTorch, which keeps its own memory; it adds the step to 0."""

    def step(state, gradient, *, rate):
        if state is None:
            x = torch.zeros_like(gradient)
            state = x, make([x], rate)
        x, optimizer = state = deepcopy(state)
        x.zero_()
        x.grad = gradient
        optimizer.step()
        return state, x.clone()

    return step


sgd = _stepping(lambda params, rate: torch.optim.SGD(params, lr=rate))
adam = _stepping(lambda params, rate: torch.optim.Adam(params, lr=rate))
