"""Models of log-ratios: ``model(theta, x) -> (r, pullback)``, for ``train`` to move theta.

theta is (..., methods, k) and x (..., n, d), seen by all methods; r = log p~(x) - log q(x) is (..., methods, n), and
``pullback(dr)`` the map from dL/dr to dL/dtheta. An exponential family and a network differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnce.backend import Array, array_namespace
from refnce.nn.flat import Shapes, pack, unpack
from refnce.nn.layer import Layer

__all__ = ["energy", "exponential_family", "network"]

Model = Callable[[Array, Array], tuple[Array, Callable[[Array], Array]]]


def exponential_family(family: Any, noise: Any) -> Model:
    """Return the model r = <T(x), theta> + log_base(x) - log q(x) of Equation 2, T and log_base those of ``family``.

    ``family`` is a class or instance of ``refnce.laws`` with statistics and log_base, ``noise`` a law with log_density.
    """

    def model(theta: Array, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        xp = array_namespace(theta, x)
        T = family.statistics(x)
        offset = family.log_base(x) - noise.log_density(x)
        features = xp.matrix_transpose(T)
        # One statistic: the outer product, which as a product of matrices takes three times as long.
        r = (theta * features if T.shape[-1] == 1 else xp.matmul(theta, features)) + offset[..., None, :]

        def pullback(dr: Array) -> Array:
            return xp.matmul(dr, T)

        return r, pullback

    return model


def network(layer: Layer, shapes: Shapes, noise: Any) -> Model:
    """Return the model r = E(x) - log q(x) with the energy E = ``layer``(params, x)[..., 0], theta the params of ``shapes``."""

    def model(theta: Array, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        y, pull = layer(unpack(shapes, theta), x[..., None, :, :])
        r = y[..., 0] - noise.log_density(x)[..., None, :]

        def pullback(dr: Array) -> Array:
            _, gradients = pull(dr[..., None], dx=False)
            return pack(shapes, gradients or {})

        return r, pullback

    return model


def energy(layer: Layer, shapes: Shapes, theta: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Return the function x (..., n, d) -> (E (..., n), dE/dx) of the network at theta (..., k), for ``mcmc``."""
    params = unpack(shapes, theta)

    def function(x: Array) -> tuple[Array, Array]:
        y, pull = layer(params, x)
        slope, _ = pull(array_namespace(y).ones_like(y), dparams=False)
        return y[..., 0], slope

    return function
