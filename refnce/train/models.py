"""Models of log-ratios, for ``train`` to move theta: an exponential family and a network differ in nothing else.

``model(theta, x_data, x_noise)`` -> (r_data, r_noise, pullback). theta is (..., methods, k) and x (..., n, d), seen by all
methods; r = log p~(x) - log q(x) is (..., methods, n), and ``pullback(dr_data, dr_noise)`` the map from dL/dr to dL/dtheta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnce.array.backend import Array, array_namespace, is_numpy
from refnce.nn.params import Flat, Shapes
from refnce.nn.layer import Layer

__all__ = ["energy", "exponential_family", "network"]

Model = Callable[
    [Array, Array, Array], tuple[Array, Array, Callable[[Array, Array], Array]]
]
CHUNK = (
    1 << 20
)  # bytes of an activation: with its slope and its gradient it then stays about a core's second-level cache


def exponential_family(family: Any, noise: Any) -> Model:
    """Return the model r = <T(x), theta> + log_base(x) - log q(x) of Equation 2, T and log_base those of ``family``.

    ``family`` is a class or instance of ``refnce.distributions`` with statistics and log_base, ``noise`` a law with log_density.
    """

    def ratio(theta: Array, x: Array) -> tuple[Array, Array]:
        xp = array_namespace(theta, x)
        T = family.statistics(x)
        offset = family.log_base(x) - noise.log_density(x)
        features = xp.matrix_transpose(T)
        # One statistic: the outer product, which as a product of matrices takes three times as long.
        r = (
            theta * features if T.shape[-1] == 1 else xp.matmul(theta, features)
        ) + offset[..., None, :]
        return r, T

    def model(theta: Array, x_data: Array, x_noise: Array) -> Any:
        (r_data, T_data), (r_noise, T_noise) = ratio(theta, x_data), ratio(
            theta, x_noise
        )
        xp = array_namespace(theta)
        return (
            r_data,
            r_noise,
            lambda dr_data, dr_noise: xp.matmul(dr_data, T_data)
            + xp.matmul(dr_noise, T_noise),
        )

    return model


def network(layer: Layer, shapes: Shapes, noise: Any, width: int = 0) -> Model:
    """Return the model r = E(x) - log q(x) with the energy E = ``layer``(params, x)[..., 0], theta the params of ``shapes``.

    noise: q, or None where the layer gives the log-ratio itself. width: numbers in the widest activation of a sample; on a CPU
    samples go through the network in chunks that fit its cache, with 0 all at once.
    """
    flat = Flat(shapes)

    def model(theta: Array, x_data: Array, x_noise: Array) -> Any:
        xp, n = array_namespace(theta), x_data.shape[-2]
        x, params = xp.concat([x_data, x_noise], axis=-2), flat.unravel(theta)
        chunks = _chunks(theta, x, width)
        parts = [layer(params, x[..., None, chunk, :]) for chunk in chunks]
        E = (
            parts[0][0]
            if len(parts) == 1
            else xp.concat([y for y, _ in parts], axis=-2)
        )
        r = E[..., 0]
        if noise is not None:
            r = r - noise.log_density(x)[..., None, :]

        def pullback(dr_data: Array, dr_noise: Array) -> Array:
            dr = xp.concat([dr_data, dr_noise], axis=-1)
            bars = [
                flat.ravel(pull(dr[..., chunk, None], dx=False)[1])
                for chunk, (_, pull) in zip(chunks, parts, strict=True)
            ]
            return sum(bars[1:], bars[0])

        return r[..., :n], r[..., n:], pullback

    return model


def _chunks(theta: Array, x: Array, width: int) -> list[slice]:
    """Which samples go through the network together."""
    rows = (
        x.shape[-2]
        if width == 0 or not is_numpy(theta)
        else max(64, CHUNK // (width * theta.dtype.itemsize))
    )
    return [slice(start, start + rows) for start in range(0, x.shape[-2], rows)]


def energy(
    layer: Layer, shapes: Shapes, theta: Array
) -> Callable[[Array], tuple[Array, Array]]:
    """Return the function x (*runs, n, d) -> (E (*runs, n), dE/dx) of the network at theta (*runs, k), for ``sampling.hmc``.

    One theta (k,) takes x of any runs. Raises ValueError for other runs: where theta's were broadcast dE/dx would be their sum.
    """
    params, runs = Flat(shapes).unravel(theta), tuple(theta.shape[:-1])

    def function(x: Array) -> tuple[Array, Array]:
        if runs and tuple(x.shape[:-2]) != runs:
            raise ValueError(
                f"x must be (*runs, n, d) with theta's runs {runs}; got shape {tuple(x.shape)}"
            )
        y, pull = layer(params, x)
        slope, _ = pull(array_namespace(y).ones_like(y), dparams=False)
        return y[..., 0], slope

    return function
