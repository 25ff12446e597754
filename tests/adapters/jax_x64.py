"""NCE as one writes it in JAX with 64-bit floats, with the derivatives of jax.grad."""

import math

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, softplus
from jax.scipy.special import logsumexp

jax.config.update("jax_enable_x64", True)
asarray = jnp.asarray


def _loss(r_data, r_noise, F, nu):
    shift = F[..., None] + math.log(nu)
    data, noise = softplus(shift - r_data), softplus(r_noise - shift)
    return (data.mean(-1) + nu * noise.mean(-1)) / (1 + nu)


def _runs(r_data, r_noise, F):
    """F as an array over all runs, in the dtype of the log-ratios."""
    shape = jnp.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1], jnp.shape(F))
    return jnp.broadcast_to(jnp.asarray(F, dtype=r_data.dtype), shape)


class nce:
    def loss(r_data, r_noise, F, *, nu=1.0):
        return _loss(r_data, r_noise, _runs(r_data, r_noise, F), nu)

    def grad_F(r_data, r_noise, F, *, nu=1.0):
        loss = jax.grad(lambda F: _loss(r_data, r_noise, F, nu).sum())
        return loss(_runs(r_data, r_noise, F))

    def hess_F(r_data, r_noise, F, *, nu=1.0):
        slope = jax.grad(lambda F: _loss(r_data, r_noise, F, nu).sum())
        return jax.grad(lambda F: slope(F).sum())(_runs(r_data, r_noise, F))

    def grad_r(r_data, r_noise, F, *, nu=1.0):
        F = _runs(r_data, r_noise, F)
        loss = jax.grad(lambda a, b: _loss(a, b, F, nu).sum(), argnums=(0, 1))
        return loss(r_data, r_noise)


def _log_mean(logs):
    return logsumexp(logs, axis=-1) - math.log(logs.shape[-1])


def bar_update(r_data, r_noise, F, *, nu=1.0):
    shift = _runs(r_data, r_noise, F)[..., None] + math.log(nu)
    log_A = _log_mean(log_sigmoid(shift - r_data))
    return shift[..., 0] - log_A + _log_mean(log_sigmoid(r_noise - shift))
