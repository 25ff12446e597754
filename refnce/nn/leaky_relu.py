"""The leaky rectifier."""

from __future__ import annotations

from refnce.backend import Array, array_namespace
from refnce.nn.layer import Params, Pullback

SLOPE = 0.01


def leaky_relu(params: Params, x: Array) -> tuple[Array, Pullback]:
    """Return (x where x > 0 and SLOPE x elsewhere, pullback), elementwise; it has no parameters.

    At the kink, x = 0, the slope is SLOPE. Any number between SLOPE and 1 is a subgradient there; this is PyTorch's choice.
    """
    xp = array_namespace(x)
    slope = xp.maximum(xp.astype(x > 0, x.dtype), SLOPE)  # a third of the time of where

    def pullback(dy: Array, *, dx: bool = True, dparams: bool = True) -> tuple[Array | None, Params | None]:
        return (dy * slope if dx else None), ({} if dparams else None)

    return x * slope, pullback
