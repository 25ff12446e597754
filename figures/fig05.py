"""Figure 5: learnt densities, 8-Gaussians."""

from __future__ import annotations

from typing import Any

from figures import density_maps
from figures.settings import Settings


def compute(settings: Settings) -> dict[str, Any]:
    return density_maps.compute(settings, "8-Gaussians")


def draw(numbers: dict[str, Any]) -> Any:
    return density_maps.draw(numbers, "Figure 5: learnt densities, 8-Gaussians")
