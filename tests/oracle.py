"""The pytest plugin of the conformance run: its options, and its closing table."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from refnce.conformance.cases import LEVELS
from refnce.conformance.report import Report, flags_of
from refnce.conformance.score import Verdict

KEY = "verdicts"


def add_options(group):
    add = group.addoption
    level = "of the test vectors: A (4 units), B (64) or C (2^20); default A"
    add("--level", choices=list(LEVELS), help=level)
    flags = "kinds of test vectors to leave out, separated by commas"
    add("--skip-flags", type=flags_of, default=frozenset(), metavar="FLAGS", help=flags)
    xfails = "test vectors that are known to fail: lines of id and quantity"
    add("--xfails", type=Path, metavar="FILE", help=xfails)
    report = "write the verdicts on the test vectors there as JSON"
    add("--report", type=Path, metavar="FILE", help=report)


class Oracle:
    """Judges the answers of each test, and joins the verdicts of all workers."""

    def __init__(self, config):
        self.config, option = config, config.option
        elsewhere = option.impl is None and option.backend != "numpy"
        self.level = option.level or ("B" if elsewhere else "A")
        self.known = _known(option.xfails)
        self.report = self._report()

    def _report(self):
        return Report(self.level, self.config.option.skip_flags)

    def judge(self, verdicts, properties):
        """Fail the test where an answer is wrong, and not known to be.

        An answer that is right, and known to be wrong, fails it too.
        """
        properties.append((KEY, list(map(asdict, verdicts))))
        report = self._report()
        report.add(verdicts)
        wrong = {(v.id, v.quantity): v for v in report.failures}
        judged = {(v.id, v.quantity) for v in report.verdicts}
        mended = sorted(judged & self.known - wrong.keys())
        assert not mended, f"no longer fail, take them out of --xfails: {mended[:20]}"
        new = [v for answer, v in wrong.items() if answer not in self.known]
        if new:
            head = f"{len(new)} answers of {verdicts[0].function} fail"
            lines = [head, report.text(), *map(_line, new[:10])]
            pytest.fail("\n".join(lines), pytrace=False)

    def pytest_runtest_logreport(self, report):
        for name, found in report.user_properties:
            if report.when == "teardown" and name == KEY:
                self.report.add(Verdict(**fields) for fields in found)

    def pytest_terminal_summary(self, terminalreporter):
        if not self.report.verdicts:
            return
        option = self.config.option
        name = option.impl or f"refnce on {option.backend}"
        terminalreporter.write_sep("=", f"test vectors ({name})")
        terminalreporter.write_line(self.report.text())
        if option.report:
            content = {"implementation": name, **_as_json(self.report)}
            option.report.write_text(json.dumps(content, indent=1))


def _as_json(report):
    def fields(v):
        return asdict(v) | {"error": str(v.error), "got": str(v.got)}

    groups = report.by_function().items()
    worst = {name: str(max(v.error for v in group)) for name, group in groups}
    found = {"level": report.level, "answers": len(report.verdicts)}
    found |= {"failures": list(map(fields, report.failures)), "worst": worst}
    return found | {"missing": dict(report.missing)}


def _line(v):
    what = v.note or f"{v.got!r} for {v.dec}"
    return f"{v.id} {v.quantity}: {v.error:.4g} units, {what} {v.flags}"


def _known(path):
    if path is None:
        return set()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--xfails: {error}") from None
    pairs = {tuple(line.split("#")[0].split()) for line in text.splitlines()} - {()}
    if any(len(words) != 2 for words in pairs):
        example = "each line is an id and a quantity, as in 'nce-012 loss'"
        raise pytest.UsageError(f"--xfails {path}: {example}")
    return pairs
