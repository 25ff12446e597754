"""Results that a program in any language wrote as lines of text."""

import math
from collections import Counter
from pathlib import Path

from refnce.array import backend
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.report import Report
from refnce.conformance.score import score_array

FORMAT = "a line is id, quantity and numbers with tabs between"


def check(path: Path, report: Report) -> Report:
    """Add the verdicts on the results in ``path``, and what they leave out.

    A line is "id<tab>quantity<tab>numbers". The numbers stand in C order with blanks
    between them, as C's %a or Python's float.hex print them (0x1.8p+1, inf, nan); the
    word "refused" may stand for them. Empty lines and lines that begin with # are
    ignored. Raises InputError with a message of one line for anything else, and
    OSError where the file cannot be read.
    """
    suites = cases.suites()
    known = {case.id: (case, suite) for suite in suites for case in suite.cases}
    answered: set[tuple[str, str]] = set()  # ids and quantities
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, quantity, numbers = (line.split("\t", 2) + ["", ""])[:3]
        try:
            if name not in known or quantity not in known[name][0].quantities:
                asked = f"no test vector asks {name[:40]!r} for {quantity[:40]!r}"
                raise InputError(f"{asked}; {FORMAT}")
            if (name, quantity) in answered:
                raise InputError(f"{name} {quantity} is answered twice")
            case, suite = known[name]
            got = _parsed(numbers, case.outputs.get(quantity))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        answered.add((name, quantity))
        label = f"{suite.name}.{quantity}"
        report.add([score_array(case, label, quantity, got, suite.dtype)])
    if not answered:
        raise InputError(f"{path} answers no test vector")
    for suite in suites:
        _count_missing(report, suite, answered)
    return report


def _count_missing(report, suite, answered):
    """Count what is missing from a suite, unless nothing of it is answered."""
    cases = [x for x in suite.cases if report.skipped.isdisjoint(x.flags)]
    asked = [(case.id, quantity) for case in cases for quantity in case.quantities]
    totals = Counter(quantity for _, quantity in asked)
    given = Counter(quantity for _, quantity in answered.intersection(asked))
    for quantity, lacking in (totals - given).items() if given else ():
        what = f"{suite.name}.{quantity} in {suite.dtype}"
        report.missing[what] += lacking
        if given[quantity]:
            missing = f"{lacking} of {totals[quantity]} answers are missing"
            report.incomplete.append(f"{what}: {missing}")


def _parsed(numbers, expected):
    """The numbers as an array, of the expected shape where their count fits."""
    words = numbers.split()
    if words == ["refused"]:
        return "refused"
    array = backend.load("numpy").asarray(list(map(_number, words)), dtype=float)
    if expected is not None and len(words) == len(expected.dec):
        return array.reshape(expected.shape)
    return array


def _number(word):
    try:
        number = float.fromhex(word)
        if math.isfinite(number) and "x" not in word.lower():
            raise ValueError("float.fromhex took decimal digits for hexadecimal ones")
    except (ValueError, OverflowError) as error:
        needed = "hexadecimal number such as 0x1.8p+1 (printf's %a), inf or nan"
        raise InputError(f"{word[:40]!r} is no {needed}") from error
    return number
