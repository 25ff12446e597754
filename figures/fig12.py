"""Figure 12: learnt densities, pinwheel."""

from __future__ import annotations

from typing import Any

from figures import maps
from figures.settings import Settings


def compute(settings: Settings) -> dict[str, Any]:
    return maps.compute(settings, "pinwheel")


def draw(numbers: dict[str, Any]) -> Any:
    return maps.draw(numbers, "Figure 12: learnt densities, pinwheel")
