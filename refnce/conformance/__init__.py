"""Certified test vectors, and the verdict on an implementation that answers them: which numbers are wrong, and how wrong.

``conform(module)`` runs another implementation on all vectors and returns the report; ``python -m refnce check`` judges
results that a program in any language wrote. Every expected value was computed by ball arithmetic, not by refnce.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from refnce.conformance import cases
from refnce.conformance.surface import Impl, NotProvided, on_object
from refnce.conformance.calls import CALLS
from refnce.conformance.score import judged
from refnce.conformance.report import Report

__all__ = ["conform"]


def conform(
    module: Any,
    *,
    level: str = "A",
    skip_flags: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = ("float64",),
) -> Report:
    """Return the report on ``module``: its namespaces nce, ence, logz, expfam, nn, optim, train with any of the surface's names.

    level: "A" (4 units), "B" (64) or "C" (2^20). skip_flags: kinds of cases to leave out, by name. Raises
    adapter.UnusableError where the module provides nothing.
    """
    impl = (
        module
        if isinstance(module, Impl)
        else on_object(getattr(module, "__name__", type(module).__name__), module)
    )
    report = Report(level, skipped=frozenset(skip_flags))
    for path in cases.shipped():
        if path.stem.rpartition(".")[2] not in dtypes:
            continue
        suite = _suite(path)
        report.notes |= suite.notes
        for function in CALLS[suite.name]:
            try:
                report.add(judged(impl, suite, function))
            except NotProvided as lack:
                report.missing[str(lack)] += len(suite.cases)
    return report


_suite = lru_cache(maxsize=None)(cases.load)
