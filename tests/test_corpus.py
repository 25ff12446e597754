"""The conformance run passes right implementations, and finds one bug in each wrong.

The right ones are written in many styles; a wrong one is a right one with a change.
"""

import importlib
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from refnce.conformance import conform
from refnce.conformance.surface import SURFACE
from tests.corpus.wrong import WRONG

RIGHT = {
    "exact": "nce ence expfam logz.bar_update",
    "scalar": "nce ence.loss logz.bar_update logz.bisect",
    "plain": "nce ence.loss ence.grad_F ence.grad_r expfam.loss expfam.gradient"
    " expfam.hessian nn optim train",
    "logdomain": "nce.loss nce.hess_F ence.loss ence.grad_F ence.log_z logz.bar_update",
    "scipy_forms": "nce.loss nce.grad_F logz.bar_update logz.newton logz.bisect"
    " expfam.profile_loss expfam.profile_gradient expfam.profile_hessian",
    "objects": "nce.grad_F nce.hess_F logz.newton logz.bar",
    "pooled": "logz.newton",
}
AUTOGRAD = (
    "ence.loss ence.grad_F ence.grad_r expfam.loss expfam.gradient expfam.hessian"
)
AUTOGRAD += " nn.conv3x3 nn.quadratic_head optim.sgd optim.adam"
EVERY = {f"{space}.{name}" for space, names in SURFACE.items() for name in names}
claim = pytest.mark.claim(
    "Conformance run",
    "finds each of 173 implementations with one bug, names the function, and passes"
    " 7 right ones",
    kind="theorem",
    where="refnce.conformance",
)


def report_on(implementation, level, skip=()):
    with np.errstate(all="ignore"):  # faster than warnings that are ignored
        return conform(implementation, level=level, skip_flags=skip)


def named(labels):
    """Return the functions in ``labels``; a namespace stands for all of its own."""
    labels = labels.split()
    return {x for x in EVERY if x in labels or x.split(".")[0] in labels}


def assert_passes(name, functions):
    """The module passes at its level and answers ``functions``.

    It needs each flag that it skips, and declines few cases. Returns this in words.
    """
    module = importlib.import_module(f"tests.corpus.{name}")
    report = report_on(module, module.LEVEL, module.SKIP)
    assert not report.failures, report.text()
    assert named(functions) == set(report.by_function())
    whole = report_on(module, module.LEVEL) if module.SKIP else report
    failing = {flag for verdict in whole.failures for flag in verdict.flags}
    assert set(module.SKIP) <= failing
    declined = sum(count for what, count in report.missing.items() if ": " in what)
    assert declined < 0.05 * len(report.verdicts)
    words = [f"{name}: {len(report.verdicts)} answers at level {module.LEVEL}"]
    words += [f"{declined} declined"] if declined else []
    words += [f"without {', '.join(module.SKIP)}"] if module.SKIP else []
    return ", ".join(words)


@lru_cache(maxsize=None)
def report_on_wrong(wrong):
    return report_on(wrong.implementation(), wrong.right.LEVEL, wrong.skip)


@claim
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_passes(evidence, name):
    evidence(assert_passes(name, RIGHT[name]))


def test_automatic_differentiation_passes(evidence):
    pytest.importorskip("torch", reason="PyTorch is not installed here")
    evidence(assert_passes("autograd", AUTOGRAD))


@claim
def test_the_right_ones_cover_the_surface():
    assert len(RIGHT) == 7 and set().union(*map(named, RIGHT.values())) == EVERY


@claim
@pytest.mark.parametrize("wrong", WRONG, ids=[f"{w.function}: {w.bug}" for w in WRONG])
def test_a_bug_is_found_and_named(wrong):
    """The report names the function that has it, no other, and the flag."""
    report = report_on_wrong(wrong)
    assert {v.function for v in report.failures} == {wrong.function}, report.text()
    assert len(report.by_function()) > 1
    table = report.text()
    rows = [line[26:42] for line in table.splitlines() if line[:26] == " " * 26]
    flags = [row.strip() for row in rows]
    assert wrong.flag in flags and f"\n{wrong.function} " in table, table
    assert f"-> {flags[0]} (" in table or len(set(flags)) > 3, table


@claim
def test_what_caught_each(evidence):
    assert len(WRONG) == 173 and {wrong.function for wrong in WRONG} == EVERY
    for wrong in WRONG:
        failures = report_on_wrong(wrong).failures
        flags = Counter(verdict.flags[0] for verdict in failures)
        caught = ", ".join(f"{flag} {count}" for flag, count in flags.most_common(3))
        evidence(f"{wrong.function}, {wrong.bug}: {len(failures)} failures ({caught})")
