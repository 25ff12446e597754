"""Figure 12: learnt densities, pinwheel."""

from __future__ import annotations

from typing import Any

from figures import density_maps
from figures.settings import Settings


def compute(settings: Settings) -> dict[str, Any]:
    return density_maps.compute(settings, "pinwheel")


def draw(numbers: dict[str, Any]) -> Any:
    return density_maps.draw(numbers, "Figure 12: learnt densities, pinwheel")
