"""The pytest plugin that keeps the ledger: which claims were declared, what their tests did, what CLAIMS.md says."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from refnce.conformance.surface import NOT_PROVIDED
from tests import claims


class Ledger:
    """Registered by conftest, once per process: under pytest-xdist each worker sends what it declared to the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tests: dict[str, claims.Record] = {}
        self.deselected = 0

    def _test(self, name: str) -> claims.Record:
        return self.tests.setdefault(name, claims.Record())

    # What is declared

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            try:
                declared = [
                    claims.claim(*mark.args, **mark.kwargs)
                    for mark in item.iter_markers("claim")
                ]
                declared += [
                    claims.printed_error(*mark.args, **mark.kwargs)
                    for mark in item.iter_markers("printed_error")
                ]
            except (TypeError, claims.DeclarationError) as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from None
            self._test(item.nodeid).claims = declared
        try:
            claims.rows(self.tests)
        except claims.DeclarationError as error:
            self.tests.clear()  # the summary that follows has no ledger to print
            raise pytest.UsageError(str(error)) from None

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)
        for item in items:
            self._test(item.nodeid).reason = "deselected"

    # What the tests did

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self._test(report.nodeid)
        if report.failed:
            test.outcome = "failed"
        elif report.skipped:
            test.reason = (
                "expected to fail" if hasattr(report, "wasxfail") else _reason(report)
            )
        elif report.when == "call":
            test.outcome = "passed"
        if report.when == "teardown":
            test.evidence = [
                str(text) for name, text in report.user_properties if name == "evidence"
            ]

    # pytest-xdist, where installed: the controller collects nothing itself.

    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workeroutput"):
            declared = {
                name: [asdict(claim) for claim in test.claims]
                for name, test in self.tests.items()
            }
            reasons = {name: test.reason for name, test in self.tests.items()}
            self.config.workeroutput["ledger"] = {
                "declared": declared,
                "reasons": reasons,
                "deselected": self.deselected,
            }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent = getattr(node, "workeroutput", {}).get("ledger")
        if sent is not None:
            self.deselected = max(self.deselected, sent["deselected"])
            self.tests = {
                name: self._test(name) for name in [*sent["declared"], *self.tests]
            }  # in the order of collection
            for name, declared in sent["declared"].items():
                test = self._test(name)
                test.claims = [claims.Claim(**one) for one in declared]
                if sent["reasons"][name] == "deselected":
                    test.reason = "deselected"

    # What CLAIMS.md says

    @property
    def path(self) -> Path:
        return self.config.rootpath / "CLAIMS.md"

    @property
    def full(self) -> bool:
        """Whether every test ran, on NumPy and on refnce itself: only then is CLAIMS.md compared or written."""
        config, option = self.config, self.config.option
        narrowing = (
            "keyword",
            "markexpr",
            "ignore",
            "ignore_glob",
            "deselect",
            "collectonly",
            "lf",
        )
        everything = {
            config.rootpath,
            *(config.rootpath / name for name in config.getini("testpaths")),
        }
        asked = {
            (config.invocation_params.dir / name).resolve() for name in config.args
        }
        chosen = (
            any(getattr(option, name, None) for name in narrowing)
            or self.deselected
            or not asked & everything
        )
        return option.backend == "numpy" and option.impl is None and not chosen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        result = yield
        if (
            not hasattr(self.config, "workerinput")
            and not self.config.option.collectonly
        ):
            complaint = (
                self._write(session)
                if self.config.option.write_claims
                else self._compare()
            )
            if complaint:
                session.config.hook.pytest_runtest_logreport(report=_failure(complaint))
        return result

    def _write(self, session: pytest.Session) -> str | None:
        if not self.full:
            return "--write-claims needs a full run: no test left out, on NumPy, without --impl"
        ledger = claims.rows(self.tests)
        short = [
            f"{row.claim.label}: {row.claim.statement}: {row.verdict}"
            for row in ledger
            if not row.earned
        ]
        if short or session.testsfailed:
            return "\n".join(
                [
                    "CLAIMS.md is not written: every test must pass and every claim be checked",
                    *short,
                ]
            )
        self.path.write_text(claims.render(ledger), encoding="utf-8")
        return None

    def _compare(self) -> str | None:
        ledger = claims.rows(self.tests)
        if not self.full or not ledger:
            return None
        found, stored = claims.render(ledger), (
            self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        )
        if found == stored:
            return None
        lines = difflib.unified_diff(
            stored.splitlines(),
            found.splitlines(),
            "CLAIMS.md",
            "this run",
            lineterm="",
            n=0,
        )
        return "\n".join(
            [
                "CLAIMS.md differs from this run (pytest --write-claims renews it)",
                *lines,
            ]
        )

    # What the run prints

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        out, option = terminalreporter, self.config.option
        ledger = claims.rows(self.tests)
        if not ledger or option.collectonly:
            return
        out.write_sep(
            "=", f"ledger of claims ({option.impl or 'refnce on ' + option.backend})"
        )
        for row in ledger:
            colour = (
                "red"
                if row.verdict == claims.FAILED
                else "green" if row.earned else "yellow"
            )
            out.write(f"{row.verdict:<16}", **{colour: True})
            out.write_line(
                f"{row.claim.label}: {row.claim.statement} [{row.claim.kind}, {_tests(len(row.tests))}]"
            )
            why = (
                f"right: {row.claim.why}"
                if row.claim.kind == claims.PRINTED
                else row.claim.why
            )
            notes = [why] if row.earned else [row.shortfall()]
            for note in [*filter(None, notes), *row.evidence]:
                out.write_line(f"{'':16}{note}")
        reasons = [test.reason for test in self.tests.values() if test.outcome is None]
        missing = Counter(
            reason.removeprefix(NOT_PROVIDED)
            for reason in reasons
            if reason.startswith(NOT_PROVIDED)
        )
        if missing:
            out.write_line(
                NOT_PROVIDED
                + ", ".join(
                    f"{name} ({_tests(count)})"
                    for name, count in sorted(missing.items())
                )
            )
        verdicts = Counter(row.verdict for row in ledger)
        out.write_line(
            "ledger: "
            + ", ".join(
                f"{count} {verdict}" for verdict, count in sorted(verdicts.items())
            )
        )


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"


def _reason(report: pytest.TestReport) -> str:
    text = (
        report.longrepr[2]
        if isinstance(report.longrepr, tuple)
        else str(report.longrepr)
    )
    return text.removeprefix("Skipped: ")


def _failure(message: str) -> pytest.TestReport:
    where = ("CLAIMS.md", None, "CLAIMS.md")
    return pytest.TestReport(
        nodeid="CLAIMS.md",
        location=where,
        keywords={},
        outcome="failed",
        longrepr=message,
        when="call",
    )
