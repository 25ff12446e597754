"""Results that a program in any language wrote as lines of text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from refnce.array import backend
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.report import Report
from refnce.conformance.score import score_array

REFUSED = "refused"
FORMAT = "a line is id, quantity and numbers with tabs between"
NOT_HEXADECIMAL = ("inf", "infinity", "nan")


def check(path: Path, report: Report) -> Report:
    """Add the verdicts on the results in ``path``, and what they leave out.

    A line is "id<tab>quantity<tab>numbers". The numbers stand in C order with blanks
    between them, as C's %a or Python's float.hex print them (0x1.8p+1, inf, nan); the
    word "refused" may stand for them. Empty lines and lines that begin with # are
    ignored. Raises InputError with a message of one line for anything else, and
    OSError where the file cannot be read.
    """
    suites = [cases.load(file) for file in cases.shipped()]
    known = {case.id: (case, suite) for suite in suites for case in suite.cases}
    for suite in suites:
        report.notes |= suite.notes
    report.refuse_unknown_flags()
    answered: set[tuple[str, str]] = set()  # ids and quantities
    cases.check_size(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, quantity, numbers = (line.rstrip("\r").split("\t", 2) + ["", ""])[:3]
        try:
            if name not in known or quantity not in known[name][0].quantities:
                asked = f"{name[:40]!r} for {quantity[:40]!r}"
                raise InputError(f"no test vector asks {asked}; {FORMAT}")
            if (name, quantity) in answered:
                raise InputError(f"{name} {quantity} is answered twice")
            case, suite = known[name]
            got = _parsed(numbers, case.outputs.get(quantity))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        answered.add((name, quantity))
        label, note = f"{suite.name}.{quantity}", REFUSED if got is None else ""
        report.add([score_array(case, label, quantity, got, suite.dtype, note)])
    if not answered:
        raise InputError(f"{path} answers no test vector")
    for suite in suites:
        _count_missing(report, suite, answered)
    return report


def _count_missing(report, suite, answered):
    """Count what is missing from a suite, unless nothing of it is answered."""
    totals: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for case in suite.cases:
        if not report.skipped & set(case.flags):
            totals.update(case.quantities)
            given.update(q for q in case.quantities if (case.id, q) in answered)
    for quantity, lacking in (totals - given).items() if given else ():
        what = f"{suite.name}.{quantity} in {suite.dtype}"
        report.missing[what] += lacking
        if given[quantity]:
            missing = f"{lacking} of {totals[quantity]} answers are missing"
            report.incomplete.append(f"{what}: {missing}")


def _parsed(numbers, expected):
    """The numbers as an array, of the expected shape where their count fits.

    None stands for "refused".
    """
    if numbers.strip() == REFUSED:
        return None
    words = [_number(word) for word in numbers.split()]
    array = backend.load("numpy").asarray(words, dtype=float)
    fits = expected is not None and len(words) == len(expected.dec)
    return array.reshape(expected.shape) if fits else array


def _number(word):
    """A hexadecimal float. Without 0x, float.fromhex reads decimal digits as
    hexadecimal ones, so those are refused."""
    try:
        if "0x" in word.lower() or word.lower().lstrip("+-") in NOT_HEXADECIMAL:
            return float.fromhex(word)
    except (ValueError, OverflowError):
        pass
    number = "hexadecimal number such as 0x1.8p+1 (printf's %a)"
    raise InputError(f"{word[:40]!r} is no {number}, inf or nan")
