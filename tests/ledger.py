"""The pytest plugin that keeps the ledger of claims and CLAIMS.md."""

import difflib
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refnce.conformance.surface import NOT_PROVIDED
from tests import claims

DESELECTED = "deselected"
# Options with which pytest leaves tests out.
NARROWING = ("keyword", "markexpr", "ignore", "ignore_glob", "deselect", "lf")
COLOURS = {claims.FAILED: "red", claims.NOT_CHECKED: "yellow"}


class Ledger:
    """One for each process; under pytest-xdist the workers send theirs."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tests: defaultdict[str, claims.Record] = defaultdict(claims.Record)

    # What tests declare

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            test = self.tests[item.nodeid]
            test.line = (item.location[1] or 0) + 1
            try:
                for name in ("claim", "printed_error"):
                    declare = getattr(claims, name)
                    for mark in item.iter_markers(name):
                        test.claims.append(declare(*mark.args, **mark.kwargs))
            except (TypeError, ValueError) as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from None
        try:
            claims.rows(self.tests)
        except ValueError as error:
            self.tests.clear()  # there is no ledger to print
            raise pytest.UsageError(str(error)) from None

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        for item in items:
            self.tests[item.nodeid].reason = DESELECTED

    # What tests did

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests[report.nodeid]
        if report.failed:
            test.outcome = "failed"
        elif hasattr(report, "wasxfail"):
            test.reason = "expected to fail"
        elif report.skipped:
            text = report.longrepr
            text = text[2] if isinstance(text, tuple) else str(text)
            test.reason = text.removeprefix("Skipped: ")
        elif report.when == "call":
            test.outcome = "passed"
        found = report.user_properties
        test.evidence = [str(text) for name, text in found if name == "evidence"]

    # pytest-xdist: the controller collects nothing itself.

    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["ledger"] = pickle.dumps(self.tests)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if not hasattr(node, "workeroutput"):  # the worker crashed
            return
        for name, sent in pickle.loads(node.workeroutput["ledger"]).items():
            # to the end: in the order of collection
            test = self.tests[name] = self.tests.pop(name, sent)
            test.claims, test.line = sent.claims, sent.line

    # What CLAIMS.md says

    @property
    def path(self) -> Path:
        return self.config.rootpath / "CLAIMS.md"

    @property
    def stored(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    @property
    def full(self) -> bool:
        """Whether every test ran, on refnce itself and on NumPy."""
        config, option = self.config, self.config.option
        names = config.getini("testpaths")
        everything = {config.rootpath, *(config.rootpath / name for name in names)}
        here = config.invocation_params.dir
        narrowed = (
            any(getattr(option, name, None) for name in NARROWING)
            or any(test.reason == DESELECTED for test in self.tests.values())
            or not {(here / name).resolve() for name in config.args} & everything
        )
        return option.backend == "numpy" and option.impl is None and not narrowed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        result = yield
        option = self.config.option
        if option.collectonly and option.write_claims:
            text = claims.with_lines(self.stored, self.tests)
            self.path.write_text(text, encoding="utf-8")
        elif not option.collectonly and not hasattr(self.config, "workerinput"):
            judge = self._write if option.write_claims else self._compare
            if complaint := judge(session):
                more = ("CLAIMS.md", None, "CLAIMS.md"), {}, "failed", complaint, "call"
                report = pytest.TestReport("CLAIMS.md", *more)
                session.config.hook.pytest_runtest_logreport(report=report)
        return result

    def _write(self, session: pytest.Session) -> str:
        """Write CLAIMS.md, or say why not."""
        if not self.full:
            return "--write-claims needs a full run on NumPy, without --impl"
        ledger = claims.rows(self.tests)
        if session.testsfailed or not all(row.earned for row in ledger):
            need = "every test must pass and every claim be checked (see the ledger)"
            return f"CLAIMS.md is not written: {need}"
        self.path.write_text(claims.render(ledger), encoding="utf-8")
        return ""

    def _compare(self, session: pytest.Session) -> str:
        """The difference of a full run from CLAIMS.md, line numbers left out."""
        ledger = claims.rows(self.tests)
        if not self.full or not ledger:
            return ""
        texts = self.stored, claims.render(ledger)
        old, new = (claims.without_lines(text).splitlines() for text in texts)
        diff = difflib.unified_diff(old, new, "CLAIMS.md", "run", lineterm="", n=0)
        title = "CLAIMS.md differs from this run (pytest --write-claims renews it)"
        return "" if old == new else "\n".join([title, *diff])

    # What the run prints

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        out, option = terminalreporter, self.config.option
        ledger = claims.rows(self.tests)
        if not ledger or option.collectonly:
            return
        subject = option.impl or f"refnce on {option.backend}"
        out.write_sep("=", f"ledger of claims ({subject})")
        for row in ledger:
            claim, count = row.claim, _tests(len(row.tests))
            out.write(f"{row.verdict:<16}", **{COLOURS.get(row.verdict, "green"): True})
            out.write_line(f"{claim.label}: {claim.statement} [{claim.kind}, {count}]")
            for text in filter(None, [row.note(), *row.evidence]):
                out.write_line(f"{'':16}{text}")
        reasons = [test.reason for test in self.tests.values() if test.outcome is None]
        missing = Counter(text for text in reasons if text.startswith(NOT_PROVIDED))
        if missing:
            names = [
                f"{text.removeprefix(NOT_PROVIDED)} ({_tests(count)})"
                for text, count in sorted(missing.items())
            ]
            out.write_line(NOT_PROVIDED + ", ".join(names))
        verdicts = Counter(row.verdict for row in ledger)
        counts = [f"{count} {verdict}" for verdict, count in sorted(verdicts.items())]
        out.write_line("ledger: " + ", ".join(counts))
        if self.full and claims.with_lines(self.stored, self.tests) != self.stored:
            renew = "pytest --collect-only --write-claims"
            out.write_line(f"lines of links in CLAIMS.md have moved: {renew} renews")


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"
