"""The one tolerance of tests that compare two ways of computing the same thing in double precision."""

from typing import Any

import numpy as np


def assert_close(got: Any, expected: Any, *, scale: Any, ulps: float = 64.0) -> None:
    """|got - expected| <= ulps eps scale everywhere; ``scale`` is the size of the largest term that either way adds up."""
    got, expected = np.asarray(got), np.asarray(expected)
    off = np.abs(got - expected) / (
        np.finfo(np.float64).eps * np.maximum(scale, np.finfo(np.float64).tiny)
    )
    worst = float(np.max(off, initial=0.0))
    assert (
        got.shape == expected.shape and worst <= ulps
    ), f"{worst:.3g} > {ulps:g} ulps of scale; shapes {got.shape}, {expected.shape}"
