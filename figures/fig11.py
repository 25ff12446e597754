"""Figure 11: log of the NCE loss, pinwheel."""

from __future__ import annotations

from typing import Any

from figures import curves
from figures.settings import Settings


def compute(settings: Settings) -> dict[str, Any]:
    return curves.compute(settings, "pinwheel")


def draw(numbers: dict[str, Any]) -> Any:
    return curves.draw(numbers, "Figure 11: log of the NCE loss, pinwheel")
