"""Layers one after another."""

from __future__ import annotations

from functools import lru_cache

from refnce.array.backend import Array
from refnce.nn.layer import Gradients, Layer, Params, Pullback


def chain(*layers: Layer) -> Layer:
    """Compose layers: the output of each is the input of the next.

    Parameters
    ----------
    *layers : callable
        Layers ``layer(params, x) -> (y, pullback)``.

    Returns
    -------
    layer : callable
        Its parameter "k.name" is the parameter "name" of ``layers[k]``.

    Raises
    ------
    ValueError
        On the call, if a parameter belongs to none of the layers.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import nn
    >>> network = nn.chain(nn.linear, nn.leaky_relu)
    >>> params = {"0.weight": np.array([[1.0, -1.0]]), "0.bias": np.zeros(1)}
    >>> y, pullback = network(params, np.array([[3.0, 1.0], [1.0, 3.0]]))
    >>> y
    array([[ 2.  ],
           [-0.02]])
    """

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        names, pullbacks = _names(tuple(params), len(layers)), []
        for pairs, inner in zip(names, layers, strict=True):
            x, inner_pullback = inner({short: params[long] for short, long in pairs}, x)
            pullbacks.append(inner_pullback)
        with_params = [k for k, pairs in enumerate(names) if pairs]

        def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
            gradients: Params = dict.fromkeys(params)
            # Without dx the layers below all parameters are left out.
            first = 0 if dx else min(with_params, default=len(layers))
            for k in range(len(layers) - 1, first - 1, -1):
                dy, inner = pullbacks[k](dy, dx=dx or k > first, dparams=dparams)
                if dparams:
                    gradients |= {long: inner[short] for short, long in names[k]}
            return (dy if dx else None), (gradients if dparams else None)

        return x, pullback

    return layer


@lru_cache(maxsize=256)
def _names(params: tuple[str, ...], count: int) -> list[list[tuple[str, str]]]:
    """For each layer its parameters' names: (in the layer, in the chain)."""
    names: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    for long in params:
        number, _, short = long.partition(".")
        if not number.isdecimal() or int(number) >= count:
            raise ValueError(
                f"params of a chain of {count} layers must be named 0.NAME to "
                f"{count - 1}.NAME; got {long!r}"
            )
        names[int(number)].append((short, long))
    return names
