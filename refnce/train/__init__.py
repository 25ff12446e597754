"""Algorithm 1: one step of a training, and what repeats it."""

from refnce.train.algorithm1 import (
    ORDERS,
    UPDATES,
    Method,
    State,
    Stopped,
    Training,
    start,
    step,
)

__all__ = [
    "ORDERS",
    "UPDATES",
    "Method",
    "State",
    "Stopped",
    "Training",
    "start",
    "step",
]
