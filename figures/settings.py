"""What a figure is asked for, with its random streams and progress bar."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from refnce.array import backend


@dataclass(frozen=True)
class Settings:
    """What a figure is asked for.

    runs is None for the paper's number; quick asks for a coarse version in seconds. For
    the figures on MNIST: mnist is the folder of its files, width that of the network,
    steps those of training (None: the width's own), work the folder of checkpoints, and
    resume whether to go on from them.
    """

    backend: str = "numpy"
    seed: int = 0
    runs: int | None = None
    quick: bool = False
    progress: bool = False
    mnist: Path | None = None
    width: str = "narrow"
    steps: int | None = None
    work: Path | None = None
    resume: bool = False

    @property
    def xp(self) -> Any:
        return backend.load(self.backend)

    def array(self, x: Any, dtype: str = "float64") -> Any:
        """Move a host array to the backend."""
        return backend.asarray(x, self.xp, dtype=getattr(self.xp, dtype))

    def generators(self, figure: int, count: int) -> list[np.random.Generator]:
        """Independent streams, the same on every backend."""
        return [
            np.random.Generator(np.random.PCG64([self.seed, figure, k]))
            for k in range(count)
        ]

    def track(
        self, steps: Iterable[Any], label: str, total: int | None = None
    ) -> Iterable[Any]:
        # None shows no bar where standard error is not a terminal.
        hidden = None if self.progress else True
        return tqdm(steps, label, total, mininterval=0.2, ncols=88, disable=hidden)
