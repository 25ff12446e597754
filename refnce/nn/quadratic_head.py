"""The quadratic head of Section 4.3: features to a log-ratio."""

from refnce.array import Array, array_namespace, check_arrays, device, invalid, shape_of
from refnce.nn.layer import Output, Params, output, unbroadcast

SIGNS = {"negative": -1.0, "positive": 1.0}


def quadratic_head(params: Params, f: Array, *, sign: str = "negative") -> Output:
    """Quadratic head r = -f^T W f + b^T f with a positive definite W.

    Parameters
    ----------
    params : dict
        "triangle" (..., k, k) and "b" (..., k). W = L L^T; L is lower triangular: the
        part of ``triangle`` below the diagonal, and the exponential of its diagonal.
        The part above the diagonal is not used.
    f : array (..., n, k)
        Features, a row for each sample. Leading axes are runs, and broadcast.
    sign : {"negative", "positive"}
        "positive" gives r = +f^T W f + b^T f.

    Returns
    -------
    r : array (..., n, 1)
    pullback : callable
        ``pullback(dr) -> (df, dparams)``.

    Raises
    ------
    ValueError
        If the sign is unknown or a shape does not fit.

    Notes
    -----
    Section 4.3 prints +f^T W f. Rhodes et al. 2020 return the negative sign: exp(r) is
    then bounded for any features. With the positive sign the model is normalisable
    only if f^T W f grows more slowly than -log q. The constant c of the paper is not a
    parameter: c = -F, and F is the one that is estimated.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> params = {"triangle": np.zeros((2, 2)), "b": np.array([1.0, 0.0])}
    >>> r, pullback = nn.quadratic_head(params, np.array([[3.0, 4.0]]))
    >>> r
    array([[-22.]])
    """
    if sign not in SIGNS:
        raise invalid("sign", f"be one of {', '.join(SIGNS)}", repr(sign))
    triangle, b, factor = params["triangle"], params["b"], SIGNS[sign]
    check_arrays(triangle=triangle, b=b, f=f)
    k = f.shape[-1]
    if tuple(triangle.shape[-2:]) != (k, k) or b.shape[-1:] != (k,):
        must = f"be (..., {k}, {k}) and b (..., {k}) for f {tuple(f.shape)}"
        raise invalid("triangle", must, shape_of(triangle, b))
    xp = array_namespace(f)
    eye = xp.eye(k, dtype=f.dtype, device=device(f))
    diagonal = xp.exp(xp.linalg.diagonal(triangle))
    L = xp.tril(triangle, k=-1) + diagonal[..., None] * eye
    z = f @ L
    dsquare = 2.0 * factor * z

    def f_vjp(dr: Array) -> Array:
        df = (dsquare * dr) @ L.mT + dr * b[..., None, :]
        return unbroadcast(df, f.shape)

    def params_vjp(dr: Array) -> Params:
        f_T = f.mT
        dL = f_T @ (dsquare * dr)
        ddiagonal = diagonal * xp.linalg.diagonal(dL)
        dtriangle = xp.tril(dL, k=-1) + ddiagonal[..., None] * eye
        db = unbroadcast((f_T @ dr)[..., 0], b.shape)
        return {"triangle": unbroadcast(dtriangle, triangle.shape), "b": db}

    r = xp.sum(factor * z * z + f * b[..., None, :], axis=-1, keepdims=True)
    return output(r, f_vjp, params_vjp)
