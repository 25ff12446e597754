"""The tolerances of tests that compare two ways of computing the same number."""

from typing import Any

import numpy as np


def assert_close(got: Any, expected: Any, *, scale: Any, ulps: float = 64.0) -> None:
    """Assert |got - expected| <= ulps * eps * scale everywhere, in float64.

    ``scale`` is the size of the largest term that either way adds up.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    unit = np.finfo(np.float64).eps * np.maximum(scale, np.finfo(np.float64).tiny)
    worst = float(np.max(np.abs(got - expected) / unit, initial=0.0))
    assert (
        got.shape == expected.shape and worst <= ulps
    ), f"{worst:.3g} > {ulps:g} ulps of scale; shapes {got.shape}, {expected.shape}"


def tolerance(impl: Any, *sizes: Any) -> float:
    """64 eps of the sum of 1 and the largest |x| in each of ``sizes``.

    It counts eps against the size of what is rounded (log-ratios, F, the terms of a
    mean), generously: test_accuracy judges how many units are lost.
    """
    return 64 * impl.eps * (1 + sum(float(np.max(np.abs(x))) for x in sizes))
