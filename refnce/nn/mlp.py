"""The multilayer perceptron of Section 4.3."""

from functools import lru_cache

from refnce.array import Array, invalid
from refnce.nn.layer import Gradients, Output, Params, Pullback
from refnce.nn.leaky_relu import slope
from refnce.nn.linear import linear
from refnce.nn.params import Shapes


def mlp(params: Params, x: Array) -> Output:
    """Multilayer perceptron: affine layers with leaky rectifiers between them.

    Parameters
    ----------
    params : dict
        "0.weight", "0.bias", "2.weight", "2.bias", ...: weights (..., out, in) and
        biases (..., out). The odd numbers are the rectifiers, so these are the names
        in the ``state_dict`` of a PyTorch ``Sequential``.
    x : array (..., n, in)
        A row for each sample. Leading axes are runs, and broadcast.

    Returns
    -------
    y : array (..., n, out)
    pullback : callable
        ``pullback(dy) -> (dx, dparams)``.

    Raises
    ------
    ValueError
        If the names of the parameters are not these.

    Notes
    -----
    The same as ``chain(linear, leaky_relu, linear, ...)``, written out for speed.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> params = nn.init_params(nn.mlp_shapes(2, 128, 64, 1), np.random.default_rng(0))
    >>> y, pullback = nn.mlp(params, np.zeros((5, 2)))
    >>> dx, dparams = pullback(np.ones_like(y))
    >>> y.shape, dx.shape, dparams["2.weight"].shape
    ((5, 1), (5, 2), (64, 128))
    """
    names, y = _names(tuple(params)), x
    pullbacks: list[Pullback] = []
    slopes: list[Array] = []
    for weight, bias in names:
        if pullbacks:  # a rectifier, in place
            slopes.append(slope(y > 0, y.dtype))
            y *= slopes[-1]
        y, inner = linear({"weight": params[weight], "bias": params[bias]}, y)
        pullbacks.append(inner)

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
        gradients: Params = {}
        for k, (weight, bias) in reversed(list(enumerate(names))):
            dy, own = pullbacks[k](dy, dx=dx or k > 0, dparams=dparams)
            if dparams:
                gradients = {weight: own["weight"], bias: own["bias"]} | gradients
            if k > 0:
                dy *= slopes[k - 1]
        return dy, (gradients if dparams else None)

    return y, pullback


@lru_cache(maxsize=16)
def _names(params: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [(f"{2 * k}.weight", f"{2 * k}.bias") for k in range(len(params) // 2)]
    if not names or {name for pair in names for name in pair} != set(params):
        must = "be named 0.weight, 0.bias, 2.weight, 2.bias and so on"
        raise invalid("params", must, ", ".join(params) or "none")
    return names


def mlp_shapes(*widths: int) -> Shapes:
    """Shapes of the parameters of ``mlp``.

    Parameters
    ----------
    *widths : int
        Widths from input to output: 2, 128, 64, 1 in Section 4.3.

    Returns
    -------
    shapes : dict
        Name to shape, in the order of the layers.

    Examples
    --------
    >>> from refnce import nn
    >>> nn.mlp_shapes(2, 128, 1)
    {'0.weight': (128, 2), '0.bias': (128,), '2.weight': (1, 128), '2.bias': (1,)}
    """
    shapes: Shapes = {}
    for k, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"{2 * k}.weight": (after, before), f"{2 * k}.bias": (after,)}
    return shapes
