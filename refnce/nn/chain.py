"""Layers one after another."""

from refnce.array import Array, invalid
from refnce.nn.layer import Gradients, Layer, Output, Params


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
    prefixes = [str(k) for k in range(len(layers))]

    def layer(params: Params, x: Array) -> Output:
        parts, pullbacks = split(params, prefixes), []
        for part, inner in zip(parts, layers, strict=True):
            x, inner_pullback = inner(part, x)
            pullbacks.append(inner_pullback)
        with_params = [k for k, part in enumerate(parts) if part]

        def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> Gradients:
            gradients: list[Params] = [{}] * len(layers)
            # Without dx the layers below all parameters are left out.
            first = 0 if dx else min(with_params, default=len(layers))
            for k in reversed(range(first, len(layers))):
                dy, gradients[k] = pullbacks[k](dy, dx=dx or k > first, dparams=dparams)
            joined = join(gradients, prefixes) if dparams else None
            return (dy if dx else None), joined

        return x, pullback

    return layer


def split(params: Params, prefixes: list[str]) -> list[Params]:
    """Return for each prefix the parameters PREFIX.NAME of ``params`` by NAME."""
    parts: dict[str, Params] = {prefix: {} for prefix in prefixes}
    for long, value in params.items():
        prefix, _, short = long.partition(".")
        if prefix not in parts:
            must = f"be named PREFIX.NAME, PREFIX one of {', '.join(prefixes)}"
            raise invalid("params", must, repr(long))
        parts[prefix][short] = value
    return list(parts.values())


def join(parts: list[Params], prefixes: list[str]) -> Params:
    """Return what ``split`` takes apart."""
    named = zip(prefixes, parts, strict=True)
    return {f"{prefix}.{k}": x for prefix, part in named for k, x in part.items()}
