"""Array libraries to test on: each on the device, and with the settings, that show most."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from refnce.array import backend

OTHERS = ("array_api_strict", "cupy")


class Library:
    """An array library on the device to test it on: array_api_strict on its second, PyTorch on a GPU where there is one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp = backend.load(name)
        self.device = None
        if name == "array_api_strict":
            self.xp.set_array_api_strict_flags(api_version="2024.12")
            self.device = self.xp.Device("device1")
        if name == "jax":
            importlib.import_module("jax").config.update("jax_enable_x64", True)
        if name == "torch" and self.xp.cuda.is_available():
            self.device = "cuda"

    def __call__(self, x: Any, dtype: str = "float64") -> Any:
        return backend.asarray(np.asarray(x, dtype=dtype), self.xp, device=self.device)


def or_skip(name: str) -> Library:
    """The library, or a skip that says why it cannot be tested here."""
    try:
        return Library(name)
    except backend.BackendError as error:
        pytest.skip(str(error))
