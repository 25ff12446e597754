"""The affine layer."""

from refnce.array import Array, array_namespace, check_arrays, device, invalid, shape_of
from refnce.nn.layer import Output, Params, output, unbroadcast


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
    check_arrays(weight=weight, bias=bias, x=x)
    if tuple(weight.shape[-2:]) != (*bias.shape[-1:], *x.shape[-1:]):
        must = "be (..., out, in), bias (..., out) and x (..., n, in)"
        raise invalid("weight", must, shape_of(weight, bias, x))

    def x_vjp(dy: Array) -> Array:
        # With one output an outer product is three times as fast as a matrix product.
        dx = dy * weight if weight.shape[-2] == 1 else dy @ weight
        return unbroadcast(dx, x.shape)

    def params_vjp(dy: Array) -> Params:
        xp, dy_T = array_namespace(dy), dy.mT
        # The sum over samples as a matrix product: on a CPU the fastest.
        ones = xp.ones((dy.shape[-2], 1), dtype=dy.dtype, device=device(dy))
        dbias = unbroadcast((dy_T @ ones)[..., 0], bias.shape)
        return {"weight": unbroadcast(dy_T @ x, weight.shape), "bias": dbias}

    return output(x @ weight.mT + bias[..., None, :], x_vjp, params_vjp)
