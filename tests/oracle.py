"""The pytest plugin of the conformance run: its options, and the table it closes with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from refnce import files
from refnce.conformance.score import Verdict
from refnce.conformance.report import Report, flags_of
from refnce.conformance.cases import LEVELS, Suite

KEY = "verdicts"


def add_options(group: Any) -> None:
    group.addoption(
        "--level",
        choices=list(LEVELS),
        help="of the test vectors: A (4 units), B (64) or C (2^20); default A",
    )
    group.addoption(
        "--skip-flags",
        default="",
        metavar="FLAGS",
        help="kinds of test vectors to leave out, with commas between",
    )
    group.addoption(
        "--xfails",
        type=Path,
        metavar="FILE",
        help="test vectors that are known to fail: lines of id and quantity",
    )
    group.addoption(
        "--report",
        type=Path,
        metavar="FILE",
        help="write the verdicts on the test vectors there as JSON",
    )


class Oracle:
    """Judges the answers of one test, and joins what all tests (of all workers) found."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, option = config, config.option
        elsewhere = option.impl is None and option.backend != "numpy"
        self.level = option.level or ("B" if elsewhere else "A")
        self.skipped = flags_of(option.skip_flags)
        self.known = _known(option.xfails)
        self.report = self.fresh()

    def fresh(self, notes: dict[str, str] | None = None) -> Report:
        return Report(self.level, dict(notes or {}), self.skipped)

    def judge(
        self, suite: Suite, verdicts: list[Verdict], properties: list[Any]
    ) -> None:
        """Fail the test where an answer is wrong that is not known to be, or right that is known to be wrong."""
        report = self.fresh(suite.notes)
        assert not report.unknown_flags(), report.unknown_flags()
        report.add(verdicts)
        told = {
            "verdicts": [asdict(v) for v in report.verdicts],
            "missing": dict(report.missing),
            "notes": suite.notes,
        }
        properties.append((KEY, told))
        wrong = {(v.id, v.quantity) for v in report.failures}
        new = wrong - self.known
        mended = {(v.id, v.quantity) for v in report.verdicts} & self.known - wrong
        assert (
            not mended
        ), f"no longer fail, take them out of --xfails: {sorted(mended)[:20]}"
        if new:
            function = verdicts[0].function
            pytest.fail(
                "\n".join(
                    [
                        f"{len(new)} answers of {function} fail",
                        report.text(),
                        *_first(report, new),
                    ]
                ),
                pytrace=False,
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown":
            return
        for name, found in report.user_properties:
            if name == KEY:
                self.report.notes |= found["notes"]
                self.report.verdicts += [
                    Verdict(**{**v, "flags": tuple(v["flags"])})
                    for v in found["verdicts"]
                ]
                self.report.missing += Counter(found["missing"])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.report.verdicts:
            return
        option = self.config.option
        terminalreporter.write_sep(
            "=", f"test vectors ({option.impl or 'refnce on ' + option.backend})"
        )
        terminalreporter.write_line(self.report.text())
        if option.report:
            content = {
                "implementation": option.impl or f"refnce on {option.backend}",
                **self.report.as_json(),
            }
            files.write(option.report, json.dumps(content, indent=1).encode())


def _first(report: Report, new: set[tuple[str, str]]) -> list[str]:
    shown = [v for v in report.failures if (v.id, v.quantity) in new][:10]
    return [
        f"{v.id} {v.quantity}: {v.error:.4g} units, {v.note or f'{v.got!r} for {v.dec}'} {v.flags}"
        for v in shown
    ]


def _known(path: Path | None) -> set[tuple[str, str]]:
    if path is None:
        return set()
    try:
        lines = [
            line.split("#")[0].split()
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--xfails: {error}") from None
    if any(len(words) not in (0, 2) for words in lines):
        raise pytest.UsageError(
            f"--xfails {path}: each line is an id and a quantity, as in 'nce-012 loss'"
        )
    return {(words[0], words[1]) for words in lines if words}
