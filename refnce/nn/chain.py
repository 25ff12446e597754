"""Layers one after another."""

from __future__ import annotations

from functools import lru_cache

from refnce.array.backend import Array
from refnce.nn.layer import Layer, Params, Pullback


def chain(*layers: Layer) -> Layer:
    """Return the layer that applies ``layers`` in turn. Parameter "weight" of the k-th, from 0, is "k.weight" here."""

    def layer(params: Params, x: Array) -> tuple[Array, Pullback]:
        names, pullbacks = _names(tuple(params), len(layers)), []
        for own, each in zip(names, layers, strict=True):
            x, pullback = each({short: params[long] for short, long in own}, x)
            pullbacks.append(pullback)

        def back(
            dy: Array, *, dx: bool = True, dparams: bool = True
        ) -> tuple[Array | None, Params | None]:
            gradients: Params = dict.fromkeys(params)
            down: Array | None = dy
            lowest = (
                0
                if dx
                else min((k for k, own in enumerate(names) if own), default=len(layers))
            )
            for k in range(len(layers) - 1, lowest - 1, -1):
                down, mine = pullbacks[k](down, dx=dx or k > lowest, dparams=dparams)
                for short, long in names[k] if dparams else ():
                    gradients[long] = mine[short]
            return (down if dx else None), (gradients if dparams else None)

        return x, back

    return layer


@lru_cache(maxsize=256)
def _names(params: tuple[str, ...], count: int) -> list[list[tuple[str, str]]]:
    """For each layer the names of its parameters, as it knows them and here."""
    names: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    for long in params:
        place, _, short = long.partition(".")
        if not place.isdecimal() or int(place) >= count:
            raise ValueError(
                f"params of a chain of {count} layers must be named 0.NAME to {count - 1}.NAME; got {long!r}"
            )
        names[int(place)].append((short, long))
    return names
