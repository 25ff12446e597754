"""Models of log-ratios, whose theta a training moves.

``model(theta, x_data, x_noise) -> (r_data, r_noise, pullback)`` takes theta (..., k)
and samples x (..., n, d), of the runs of theta or (n, d) for all runs. It gives
r = log p~(x) - log q(x), (..., n), and ``pullback(dr_data, dr_noise)``, which maps
dL/dr to dL/dtheta (..., k). An exponential family and a network differ in nothing else.
"""

from collections.abc import Callable
from typing import Any

from refnce.array import Array, array_namespace, invalid, is_numpy, shape_of
from refnce.nn.layer import Layer
from refnce.nn.params import Flat, Shapes

__all__ = ["energy", "exponential_family", "network"]

Pullback = Callable[[Array, Array], Array]
Model = Callable[[Array, Array, Array], tuple[Array, Array, Pullback]]
# Bytes of an activation. It then stays, with its derivative and its gradient, in a
# core's second-level cache.
CHUNK = 1 << 20


def exponential_family(family: Any, noise: Any) -> Model:
    """Return the model r = <T(x), theta> + log h(x) - log q(x) of Equation 2.

    Parameters
    ----------
    family : object or class
        ``statistics(x)``, T (..., n, k), and ``log_base(x)``, log h (..., n); the laws
        of ``refnce.distributions`` have both.
    noise : object
        ``log_density(x)``, log q (..., n).

    Returns
    -------
    callable
        model(theta, x_data, x_noise) -> (r_data, r_noise, pullback)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions
    >>> from refnce.train import models
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(distributions.UnitGaussian, noise)
    >>> x, y = np.asarray([[1.0], [3.0]]), np.asarray([[0.0]])
    >>> r_data, r_noise, pullback = model(np.asarray([2.0]), x, y)
    >>> r_data - 0.5 * np.log(2 * np.pi)
    array([2., 6.])
    >>> pullback(np.asarray([1.0, 1.0]), np.asarray([1.0]))
    array([4.])
    """

    def log_ratio(theta: Array, x: Array) -> tuple[Array, Array]:
        T = family.statistics(x)
        if theta.shape[-1:] != T.shape[-1:]:
            raise invalid("theta", f"be (..., {T.shape[-1]})", shape_of(theta))
        offset = family.log_base(x) - noise.log_density(x)
        return _contract(theta, T.mT) + offset, T

    def model(theta: Array, x_data: Array, x_noise: Array) -> Any:
        r_data, T_data = log_ratio(theta, x_data)
        r_noise, T_noise = log_ratio(theta, x_noise)

        def pullback(dr_data: Array, dr_noise: Array) -> Array:
            return _contract(dr_data, T_data) + _contract(dr_noise, T_noise)

        return r_data, r_noise, pullback

    return model


def _contract(row: Array, matrix: Array) -> Array:
    """The product of row (..., a) with matrix (..., a, b), (..., b)."""
    xp = array_namespace(row, matrix)
    return xp.matmul(row[..., None, :], matrix)[..., 0, :]


def network(layer: Layer, shapes: Shapes, noise: Any, width: int = 0) -> Model:
    """Return the model r = E(x) - log q(x) of a network's energy E.

    Parameters
    ----------
    layer : callable
        ``layer(params, x) -> (y, pullback)`` with E = y[..., 0], see ``refnce.nn``.
    shapes : dict
        The shape of each parameter; theta holds them one after another.
    noise : object or None
        ``log_density(x)``, log q; None if the layer gives the log-ratio itself.
    width : int
        Numbers in the widest activation of a sample. On a CPU samples go through the
        network in chunks that fit its cache; 0 takes all at once.

    Returns
    -------
    callable
        model(theta, x_data, x_noise) -> (r_data, r_noise, pullback)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, nn
    >>> from refnce.train import models
    >>> noise = distributions.UnitGaussian(np.zeros(2))
    >>> shapes = nn.mlp_shapes(2, 4, 1)
    >>> model = models.network(nn.mlp, shapes, noise)
    >>> r_data, _, _ = model(np.zeros(17), np.zeros((3, 2)), np.zeros((3, 2)))
    >>> r_data.round(4)
    array([1.8379, 1.8379, 1.8379])
    """
    flat = Flat(shapes)

    def model(theta: Array, x_data: Array, x_noise: Array) -> Any:
        xp, n = array_namespace(theta), x_data.shape[-2]
        x, params = xp.concat([x_data, x_noise], axis=-2), flat.unravel(theta)
        missing = theta.ndim + 1 - x.ndim
        x = x[(None,) * missing + (...,)]  # shared samples: one more axis
        chunks = _chunks(x, width)
        parts = [layer(params, x[..., chunk, :]) for chunk in chunks]
        r = xp.concat([y[..., 0] for y, _ in parts], axis=-1)
        if noise is not None:
            r = r - noise.log_density(x)

        def pullback(dr_data: Array, dr_noise: Array) -> Array:
            dr = xp.concat([dr_data, dr_noise], axis=-1)
            gradients = [
                flat.ravel(layer_pullback(dr[..., chunk, None], dx=False)[1])
                for chunk, (_, layer_pullback) in zip(chunks, parts, strict=True)
            ]
            return sum(gradients[1:], gradients[0])

        return r[..., :n], r[..., n:], pullback

    return model


def energy(
    layer: Layer, shapes: Shapes, theta: Array, width: int = 0
) -> Callable[[Array], tuple[Array, Array]]:
    """Return the energy of a network and its gradient as a function, for a sampler.

    Parameters
    ----------
    layer, shapes, width
        See ``network``.
    theta : array (*runs, k)

    Returns
    -------
    callable
        x (*runs, n, d) -> (E (*runs, n), dE/dx (*runs, n, d)). One theta (k,) takes x
        of any runs. It raises ValueError for x of other runs than theta's, because
        dE/dx would be a sum over the broadcast runs.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> from refnce.train import models
    >>> function = models.energy(nn.mlp, nn.mlp_shapes(2, 4, 1), np.zeros(17))
    >>> function(np.zeros((3, 2)))[0]
    array([0., 0., 0.])
    """
    params, runs = Flat(shapes).unravel(theta), tuple(theta.shape[:-1])

    def function(x: Array) -> tuple[Array, Array]:
        if runs and tuple(x.shape[:-2]) != runs:
            must = f"be (*runs, n, d) with theta's runs {runs}"
            raise invalid("x", must, shape_of(x))
        xp, values, slopes = array_namespace(x), [], []
        for chunk in _chunks(x, width):
            y, pullback = layer(params, x[..., chunk, :])
            if y.shape[-1] != 1:  # the pullback of ones would be that of their sum
                raise invalid("layer", "give one number for each sample", shape_of(y))
            values.append(y[..., 0])
            slopes.append(pullback(xp.ones_like(y), dparams=False)[0])
        return xp.concat(values, axis=-1), xp.concat(slopes, axis=-2)

    return function


def _chunks(x: Array, width: int) -> list[slice]:
    """Which samples go through the network together."""
    total = rows = max(1, x.shape[-2])  # without samples there is one empty chunk
    if width > 0 and is_numpy(x):
        rows = max(64, CHUNK // (width * x.dtype.itemsize))
    return [slice(k, k + rows) for k in range(0, total, rows)]
