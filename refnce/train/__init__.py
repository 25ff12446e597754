"""Algorithm 1: one step of a training, and the loop that repeats it."""

from refnce.train.algorithm1 import State, start, step
from refnce.train.training import Method, Training

__all__ = ["Method", "State", "Training", "start", "step"]
