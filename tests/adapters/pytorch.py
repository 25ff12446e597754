"""NCE as one writes it in PyTorch, with the derivatives of autograd."""

import math

import torch
from torch.nn.functional import leaky_relu, logsigmoid


def asarray(x):
    return torch.tensor(x.copy())  # PyTorch takes no reversed view


def _shift(r, F, nu):
    return torch.as_tensor(F, dtype=r.dtype)[..., None] + math.log(nu)


def _loss(r_data, r_noise, F, *, nu=1.0):
    # softplus is linear from 20 on (2e-9 off), and overflows with threshold=inf.
    shift = _shift(r_data, F, nu)
    data, noise = logsigmoid(r_data - shift), logsigmoid(shift - r_noise)
    return -(data.mean(-1) + nu * noise.mean(-1)) / (1 + nu)


class nce:
    loss = _loss

    def grad_F(r_data, r_noise, F, *, nu=1.0, order=1):
        F = torch.as_tensor(F, dtype=r_data.dtype)
        leaf = F.expand(_loss(r_data, r_noise, F).shape).clone().requires_grad_()
        value = _loss(r_data, r_noise, leaf, nu=nu)
        for _ in range(order):
            (value,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        return value.detach()

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        return nce.grad_F(r_data, r_noise, F, nu=nu, order=2)

    def grad_r(r_data, r_noise, F, *, nu=1.0):
        leaves = r_data.requires_grad_(), r_noise.requires_grad_()
        return torch.autograd.grad(_loss(*leaves, F, nu=nu).sum(), leaves)


def _log_mean(logs):
    return torch.logsumexp(logs, -1) - math.log(logs.shape[-1])


def bar_update(r_data, r_noise, F, *, nu=1.0):
    shift = _shift(r_data, F, nu)
    log_A = _log_mean(logsigmoid(shift - r_data))
    return shift[..., 0] - log_A + _log_mean(logsigmoid(r_noise - shift))


def mlp(params, x):
    leaves = [x, *params.values()]
    y, _ = x, [leaf.requires_grad_() for leaf in leaves]
    for k in range(0, len(params), 2):
        y = leaky_relu(y, 0.01) if k else y
        y = y @ params[f"{k}.weight"].mT + params[f"{k}.bias"][..., None, :]

    def pullback(dy):
        dx, *dparams = torch.autograd.grad(y, leaves, dy, retain_graph=True)
        return dx, dict(zip(params, dparams, strict=True))

    return y, pullback
