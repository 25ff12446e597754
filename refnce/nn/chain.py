"""Layers one after another."""

from __future__ import annotations

from functools import lru_cache

from refnce.array.backend import Array
from refnce.array.validation import invalid
from refnce.nn.layer import Gradients, Layer, Output, Params

Names = list[list[tuple[str, str]]]


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

    prefixes = tuple(map(str, range(len(layers))))

    def layer(params: Params, x: Array) -> Output:
        names, pullbacks = names_by_prefix(tuple(params), prefixes), []
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
def names_by_prefix(params: tuple[str, ...], prefixes: tuple[str, ...]) -> Names:
    """Return for each prefix the pairs (NAME, prefix.NAME) of names in ``params``."""
    names: dict[str, list[tuple[str, str]]] = {prefix: [] for prefix in prefixes}
    for long in params:
        prefix, _, short = long.partition(".")
        if prefix not in names:
            must = f"be named PREFIX.NAME, PREFIX one of {', '.join(prefixes)}"
            raise invalid("params", must, repr(long))
        names[prefix].append((short, long))
    return list(names.values())
