"""Figure 9: loss, parameter distance and trajectory for means at a distance of 4."""

from __future__ import annotations

from typing import Any

from figures import gaussian1d, triptych
from figures.settings import Settings

DISTANCE = 4.0


def compute(settings: Settings) -> dict[str, Any]:
    return gaussian1d.setting(settings, DISTANCE)


def draw(numbers: dict[str, Any]) -> Any:
    return triptych.draw(
        numbers, "Figure 9: Gaussians on the line, means at a distance of 4"
    )
