"""The affine layer."""

from __future__ import annotations

from refnce.array.backend import Array, array_namespace, device, matrix_transpose
from refnce.nn.layer import Gradients, Output, Params, unbroadcast


def linear(params: Params, x: Array) -> Output:
    """Affine layer y = x weight^T + bias.

    Parameters
    ----------
    params : dict
        "weight" (..., out, in) and "bias" (..., out).
    x : array (..., n, in)
        A row for each sample. Leading axes are runs, and broadcast.

    Returns
    -------
    y : array (..., n, out)
    pullback : callable
        ``pullback(dy) -> (dx, dparams)``.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> params = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}
    >>> y, pullback = nn.linear(params, np.array([[10.0, 20.0]]))
    >>> y
    array([[53.]])
    >>> dx, dparams = pullback(np.array([[1.0]]))
    >>> dx, dparams["weight"], dparams["bias"]
    (array([[1., 2.]]), array([[10., 20.]]), array([1.]))
    """
    weight, bias = params["weight"], params["bias"]

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
        dinput = unbroadcast(input_vjp(dy, weight), x.shape) if dx else None
        if not dparams:
            return dinput, None
        dweight, dbias = param_vjp(dy, x, weight, bias)
        return dinput, {"weight": dweight, "bias": dbias}

    return affine(x, weight, bias), pullback


def affine(x: Array, weight: Array, bias: Array) -> Array:
    """Return x weight^T + bias."""
    return x @ matrix_transpose(weight) + bias[..., None, :]


def input_vjp(dy: Array, weight: Array) -> Array:
    """Pull dy back to the input of ``affine``, before runs are summed."""
    # With one output an outer product is three times as fast as a matrix product.
    return dy * weight if weight.shape[-2] == 1 else dy @ weight


def param_vjp(dy: Array, x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    """Pull dy back to the weight and bias of ``affine``."""
    xp, dy_T = array_namespace(dy), matrix_transpose(dy)
    # The sum over samples as a matrix product: on a CPU the fastest.
    ones = xp.ones((dy.shape[-2], 1), dtype=dy.dtype, device=device(dy))
    dbias = (dy_T @ ones)[..., 0]
    return unbroadcast(dy_T @ x, weight.shape), unbroadcast(dbias, bias.shape)
