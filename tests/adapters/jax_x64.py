"""NCE as one writes it in JAX with 64-bit floats, with the derivatives of jax.grad."""

import math

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, softplus
from jax.scipy.special import logsumexp

jax.config.update("jax_enable_x64", True)
asarray = jnp.asarray


def _shift(F, nu):
    return jnp.asarray(F)[..., None] + math.log(nu)


def _loss(r_data, r_noise, F, nu):
    data, noise = softplus(_shift(F, nu) - r_data).mean(-1), softplus(
        r_noise - _shift(F, nu)
    ).mean(-1)
    return (data + nu * noise) / (1 + nu)


def _runs(r_data, r_noise, F):
    """F as an array over all runs, in the dtype of the log-ratios."""
    shape = jnp.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1], jnp.shape(F))
    return jnp.broadcast_to(jnp.asarray(F, dtype=r_data.dtype), shape)


class nce:
    @staticmethod
    def loss(r_data, r_noise, F, *, nu=1.0):
        return _loss(r_data, r_noise, _runs(r_data, r_noise, F), nu)

    @staticmethod
    def grad_F(r_data, r_noise, F, *, nu=1.0):
        return jax.grad(lambda F: _loss(r_data, r_noise, F, nu).sum())(
            _runs(r_data, r_noise, F)
        )

    @staticmethod
    def hess_F(r_data, r_noise, F, *, nu=1.0):
        slope = jax.grad(lambda F: _loss(r_data, r_noise, F, nu).sum())
        return jax.grad(lambda F: slope(F).sum())(_runs(r_data, r_noise, F))

    @staticmethod
    def grad_r(r_data, r_noise, F, *, nu=1.0):
        F = _runs(r_data, r_noise, F)
        return jax.grad(lambda a, b: _loss(a, b, F, nu).sum(), argnums=(0, 1))(
            r_data, r_noise
        )


def bar_update(r_data, r_noise, F, *, nu=1.0):
    F = _runs(r_data, r_noise, F)
    log_A = logsumexp(log_sigmoid(_shift(F, nu) - r_data), axis=-1) - math.log(
        r_data.shape[-1]
    )
    log_B = logsumexp(log_sigmoid(r_noise - _shift(F, nu)), axis=-1) - math.log(
        r_noise.shape[-1]
    )
    return F + math.log(nu) - log_A + log_B
