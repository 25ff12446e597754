"""Figure 4: log of the NCE loss, 8-Gaussians."""

from __future__ import annotations

from typing import Any

from figures import curves
from figures.settings import Settings


def compute(settings: Settings) -> dict[str, Any]:
    return curves.compute(settings, "8-Gaussians")


def draw(numbers: dict[str, Any]) -> Any:
    return curves.draw(numbers, "Figure 4: log of the NCE loss, 8-Gaussians")
