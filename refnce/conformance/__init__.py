"""Certified test vectors, and the verdict on an implementation that answers them.

``conform(module)`` runs another implementation on all vectors and returns the report;
``python -m refnce check`` judges results that a program in any language wrote. Every
expected value was computed by ball arithmetic, not by refnce.
"""

from typing import Any

from refnce.conformance import cases
from refnce.conformance.report import Report
from refnce.conformance.score import score_function
from refnce.conformance.surface import SUITES, Impl

__all__ = ["conform"]


def conform(
    module: Any,
    *,
    level: str = "A",
    skip_flags: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = ("float64",),
) -> Report:
    """Run an implementation on the certified test vectors.

    Parameters
    ----------
    module : module, class or object
        Namespaces nce, ence, logz, expfam, nn, optim, train with any of the names of
        the oracle surface. A function whose name occurs in one namespace only may
        stand bare in the module. ``module.asarray``, where there is one, makes the
        arguments from NumPy arrays.
    level : {"A", "B", "C"}
        The largest error that passes: 4, 64 or 2**20 units.
    skip_flags : tuple of str
        Kinds of cases to leave out, by flag.
    dtypes : tuple of str
        Which vectors to run: "float64", "float32" or both.

    Returns
    -------
    Report
        ``text()`` is a table, ``failures`` the wrong answers, and ``missing`` counts
        what the implementation does not provide.

    Raises
    ------
    refnce.conformance.cases.InputError
        If the module provides nothing, or a name twice.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce.conformance import conform
    >>> class mine:
    ...     @staticmethod
    ...     def sgd(state, gradient, *, rate):
    ...         return state, -rate * gradient
    >>> report = conform(mine)
    >>> len(report.failures), report.missing["nce.loss"]
    (0, 513)
    """
    impl = Impl(module)
    report = Report(level, frozenset(skip_flags), hints=impl.hints)
    for suite in cases.suites(dtypes):
        for label in SUITES[suite.name]:
            report.add(score_function(impl, suite, label, report.skipped))
    return report
