"""The conformance kit itself: it passes right implementations in many styles, and finds and names each bug of many wrong ones."""

from __future__ import annotations

import importlib
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from refnce.conformance import conform
from refnce.conformance.surface import SURFACE
from tests.corpus.wrong import WRONG

RIGHT = {
    "exact": ("nce", "ence", "expfam", "logz.bar_update"),
    "scalar": ("nce", "logz.bar_update", "logz.bisect", "nn.mlp", "optim"),
    "plain": (
        "nce",
        "ence.loss",
        "ence.grad_F",
        "ence.grad_r",
        "expfam.gradient",
        "expfam.hessian",
        "nn",
        "optim",
        "train",
    ),
    "logdomain": ("nce.loss", "nce.hess_F", "nce.grad_r", "ence", "logz.bar_update"),
    "scipy_forms": (
        "nce.loss",
        "logz.newton",
        "logz.bisect",
        "expfam.profile_loss",
        "expfam.profile_hessian",
    ),
    "objects": ("nce", "logz.newton", "logz.bar", "optim", "train"),
    "pooled": ("logz.newton",),
}
AUTOGRAD = (
    "nce.loss",
    "nce.grad_F",
    "nce.grad_r",
    "ence.loss",
    "ence.grad_F",
    "expfam.hessian",
    "nn",
    "optim.sgd",
    "optim.adam",
)
EVERY = {f"{space}.{name}" for space, names in SURFACE.items() for name in names}
claim = pytest.mark.claim(
    "Conformance run",
    "finds each of 102 implementations with one bug, names the function, and passes 7 right ones",
    kind="theorem",
    where="refnce.conformance",
)


def report_on(implementation, level, skip=()):
    with np.errstate(all="ignore"):  # silent is quicker
        return conform(implementation, level=level, skip_flags=skip)


def named(labels):
    """Every function of the namespaces and functions in ``labels``."""
    return {
        label for label in EVERY if label in labels or label.split(".")[0] in labels
    }


def passes(name, functions):
    """The module passes at its level, answers what it provides, and needs each flag that it skips; returns the level in words."""
    module = importlib.import_module(f"tests.corpus.{name}")
    implementation = getattr(module, "implementation", module)
    report = report_on(implementation, module.LEVEL, module.SKIP)
    assert not report.failures, report.text()
    assert named(functions) <= set(report.by_function())
    whole = report_on(implementation, module.LEVEL) if module.SKIP else report
    assert set(module.SKIP) <= {
        flag for verdict in whole.failures for flag in verdict.flags
    }
    declined = sum(count for what, count in report.missing.items() if ": " in what)
    assert declined < 0.03 * len(report.verdicts)
    but = [f"{declined} declined"] * (declined > 0) + [
        f"without {', '.join(module.SKIP)}"
    ] * (len(module.SKIP) > 0)
    return ", ".join(
        [f"{name}: {len(report.verdicts)} answers at level {module.LEVEL}", *but]
    )


@lru_cache(maxsize=None)
def found(k):
    return report_on(WRONG[k].implementation, WRONG[k].level)


def told(report, function):
    """The diagnosis in one sentence."""
    return (
        "; ".join(line.removeprefix("-> ") for line in report.diagnosis(function)) + "."
    )


@claim
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_passes(evidence, name):
    evidence(passes(name, RIGHT[name]))


def test_automatic_differentiation_passes(evidence):
    pytest.importorskip(
        "torch",
        reason="PyTorch is not installed: no automatic differentiation to check",
    )
    evidence(passes("autograd", AUTOGRAD))


@claim
def test_the_right_ones_cover_the_surface():
    assert len(RIGHT) == 7 and set().union(*map(named, RIGHT.values())) == EVERY


@claim
@pytest.mark.parametrize(
    "k", range(len(WRONG)), ids=[f"{wrong.breaks}: {wrong.bug}" for wrong in WRONG]
)
def test_a_bug_is_found_and_named(k):
    """In the function that has it and in no other of the implementation."""
    report, wrong = found(k), WRONG[k]
    assert {verdict.function for verdict in report.failures} == {
        wrong.breaks
    }, report.text()
    assert len(report.by_function()) > 1
    assert report.diagnosis(wrong.breaks) and wrong.told in told(
        report, wrong.breaks
    ), told(report, wrong.breaks)


@claim
def test_what_caught_each(evidence):
    assert len(WRONG) == 102 and {wrong.breaks for wrong in WRONG} == EVERY
    assert sum(not wrong.told for wrong in WRONG) <= 1
    for k, wrong in enumerate(WRONG):
        failures = found(k).failures
        flags = Counter(verdict.flags[0] for verdict in failures)
        caught = ", ".join(f"{flag} {count}" for flag, count in flags.most_common(3))
        evidence(f"{wrong.breaks}, {wrong.bug}: {len(failures)} failures ({caught})")
