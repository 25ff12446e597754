"""Layers one after another."""

from __future__ import annotations

from refnce.backend import Array
from refnce.nn.layer import Layer, Params, Pullback


def chain(*layers: Layer) -> Layer:
    """Return the layer that applies ``layers`` in turn. Parameter "weight" of the k-th, from 0, is "k.weight" here."""

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        pullbacks = []
        for k in range(len(layers)):
            x, pullback = layers[k](part(params, k), x)
            pullbacks.append(pullback)

        def back(dy: Array, *, dx: bool = True, dparams: bool = True) -> tuple[Array | None, Params | None]:
            gradients: Params = {}
            down: Array | None = dy
            for k in reversed(range(len(layers))):
                down, own = pullbacks[k](down, dx=dx or k > 0, dparams=dparams)
                gradients.update({f"{k}.{name}": gradient for name, gradient in (own or {}).items()})
            return down, ({name: gradients[name] for name in params} if dparams else None)

        return x, back

    return layer


def part(params: Params, k: int) -> Params:
    """The parameters of the k-th layer under the names that it gives them."""
    prefix = f"{k}."
    return {name[len(prefix) :]: value for name, value in params.items() if name.startswith(prefix)}
