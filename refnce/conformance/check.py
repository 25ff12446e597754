"""Results that a program in any language wrote: lines of id, quantity and numbers, with tabs between."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from refnce.conformance import cases
from refnce.conformance.score import NOT_REFUSED, Verdict, verdict, worst
from refnce.conformance.report import Report
from refnce.conformance.cases import LARGEST_FILE, Case, Suite
from refnce.files import FileError

REFUSED = "refused"


def check(path: Path, report: Report) -> Report:
    """Add to ``report`` the verdicts on the results in ``path``, and what they do not answer.

    A line is "id<tab>quantity<tab>numbers", the numbers in C order with blanks between, as C's %a, Python's float.hex or
    JavaScript's equivalent print them (0x1.8p+1, inf, nan); or "refused" for them. Empty lines and lines that begin with # are
    left out. Raises FileError, one line, for anything else, and OSError.
    """
    suites = [cases.load(file) for file in cases.shipped()]
    known = {case.id: (case, suite) for suite in suites for case in suite.cases}
    for suite in suites:
        report.notes |= suite.notes
    answers: dict[tuple[str, str], str] = {}
    if path.stat().st_size > LARGEST_FILE:
        raise FileError(
            f"{path} has {path.stat().st_size} bytes; results have at most {LARGEST_FILE}"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.rstrip("\r").partition("\t")
        quantity, tab, numbers = rest.partition("\t")
        if not tab:
            raise FileError(
                f"{path}, line {number}: {line[:60]!r} is not id, quantity and numbers with tabs between"
            )
        if name not in known or quantity not in known[name][0].quantities:
            raise FileError(
                f"{path}, line {number}: no test vector asks {name[:40]!r} for {quantity[:40]!r}"
            )
        if (name, quantity) in answers:
            raise FileError(
                f"{path}, line {number}: {name} {quantity} is answered twice"
            )
        answers[name, quantity] = numbers
        case, suite = known[name]
        report.add([_verdict(case, suite, quantity, numbers, f"{path}, line {number}")])
    _count_missing(report, suites, answers)
    return report


def _verdict(
    case: Case, suite: Suite, quantity: str, numbers: str, where: str
) -> Verdict:
    function = f"{suite.name}.{quantity}"
    if numbers.strip() == REFUSED:
        return verdict(
            case, function, quantity, 0.0 if case.refused else math.inf, note=REFUSED
        )
    found = [_number(word, where) for word in numbers.split()]
    if case.refused:
        told = bool(found) and all(math.isnan(x) for x in found)
        return verdict(
            case,
            function,
            quantity,
            0.0 if told else math.inf,
            note="" if told else NOT_REFUSED,
        )
    expected = case.outputs[quantity]
    if len(found) != len(expected.dec):
        return verdict(
            case,
            function,
            quantity,
            math.inf,
            note=f"{len(found)} numbers for {len(expected.dec)}",
        )
    return worst(case, function, quantity, found, expected, suite.dtype)


def _number(word: str, where: str) -> float:
    """A hexadecimal float; digits without 0x would be read as hexadecimal ones too, so they are refused."""
    try:
        if "0x" in word.lower() or word.lower().lstrip("+-") in (
            "inf",
            "infinity",
            "nan",
        ):
            return float.fromhex(word)
    except (ValueError, OverflowError):
        pass
    raise FileError(
        f"{where}: {word[:40]!r} is no hexadecimal number such as 0x1.8p+1 (printf's %a), inf or nan"
    )


def _count_missing(
    report: Report, suites: list[Suite], answers: dict[tuple[str, str], str]
) -> None:
    """Of each suite and dtype that is answered at all, what is not."""
    for suite in suites:
        asked = [
            (case, quantity) for case in suite.cases for quantity in case.quantities
        ]
        if any((case.id, quantity) in answers for case, quantity in asked):
            lacking = Counter(
                q
                for case, q in asked
                if (case.id, q) not in answers and not report.skipped & set(case.flags)
            )
            for quantity, count in lacking.items():
                report.missing[f"{suite.name}.{quantity} in {suite.dtype}"] += count
