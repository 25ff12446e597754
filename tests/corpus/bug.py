"""What a wrong implementation is: refnce's functions, one of them replaced, and what the conformance run must tell of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

# What is told of several.
NORMAL = "ordinary numbers"
BATCHED = "leading axes are independent runs"
BESIDE = {  # what stays right beside a function of each namespace: quick ones
    "nce": ("nce.loss", "nce.hess_F"),
    "ence": ("ence.loss", "ence.log_z"),
    "logz": ("logz.newton", "nce.loss"),
    "expfam": (
        "expfam.loss",
        "expfam.gradient",
        "expfam.profile_gradient",
        "expfam.profile_hessian",
    ),
    "nn": ("nn.mlp", "nn.conv3x3", "nn.quadratic_head", "optim.sgd"),
    "optim": ("optim.sgd", "optim.ngd", "optim.adam"),
    "train": ("train.trajectory", "optim.sgd"),
}


class Wrong(NamedTuple):
    """One bug: what it is, the function that has it, that function, a part of what is told of it, the level of judgement."""

    bug: str
    breaks: str
    function: Callable[..., Any]
    told: str
    level: str = "A"

    @property
    def implementation(self) -> Any:
        """An object with the wrong function and right ones beside it."""
        spaces: dict[str, SimpleNamespace] = {}
        for label in (*BESIDE[self.breaks.split(".")[0]], self.breaks):
            space, _, name = label.partition(".")
            module = importlib.import_module(
                "refnce.conformance.trajectory"
                if space == "train"
                else f"refnce.{space}"
            )
            function = self.function if label == self.breaks else getattr(module, name)
            setattr(spaces.setdefault(space, SimpleNamespace()), name, function)
        return SimpleNamespace(**spaces)
