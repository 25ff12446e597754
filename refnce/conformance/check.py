"""Results that a program in any language wrote as lines of text."""

import math
import re
from pathlib import Path
from typing import Any

from refnce.array import host as numpy
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.report import Report
from refnce.conformance.score import score_array
from refnce.conformance.surface import NotProvided

FORMAT = "a line is id, quantity and numbers with tabs between; # begins a comment"
MOST = 2**26  # bytes of a file that are read: /dev/zero has no end


def check(path: Path, report: Report) -> Report:
    """Add the verdicts on the results in ``path``, and what they leave out.

    A line is "id<tab>quantity<tab>numbers". The numbers stand in C order with blanks
    between them, as C's %a or Python's float.hex print them (0x1.8p+1, inf, nan); the
    word "refused" may stand for them. Empty lines and lines that begin with # are
    ignored, and the report lists all others. Raises InputError with a message of one
    line if there is no answer, and OSError where the file cannot be read.
    """
    suites = cases.suites()
    known = {case.id: case for suite in suites for case in suite.cases}
    answers: dict[tuple[str, str], Any] = {}  # by id and quantity
    with path.open("rb") as file:
        text = file.read(MOST).decode("utf-8-sig", errors="backslashreplace")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, quantity, numbers = (line.split("\t", 2) + ["", ""])[:3]
        try:
            if name not in known or quantity not in known[name].quantities:
                asked = f"no test vector asks {name[:40]!r} for {quantity[:40]!r}"
                raise InputError(f"{asked}; {FORMAT}")
            if (name, quantity) in answers:
                raise InputError(f"{name} {quantity} is answered twice")
            expected = known[name].outputs.get(quantity)
            answers[name, quantity] = _parsed(numbers, expected)
        except InputError as error:
            report.unread.append(f"{path}, line {number}: {error}")
    if not answers:
        raise InputError((*report.unread, f"{path} answers no test vector")[0])
    answered = {name for name, _ in answers}
    for suite in suites:
        if not answered.isdisjoint(case.id for case in suite.cases):
            report.add(_verdicts(suite, answers, report.skipped))
    return report


def _verdicts(suite, answers, skipped):
    for case in suite.cases:
        for quantity in case.quantities if skipped.isdisjoint(case.flags) else ():
            label = f"{suite.name}.{quantity}"
            got = answers.get((case.id, quantity), NotProvided(label))
            yield score_array(case, label, quantity, got, suite.dtype)


def _parsed(numbers, expected):
    """The numbers as an array, of the expected shape where their count fits."""
    words = numbers.split()
    if words == ["refused"]:
        return "refused"
    array = numpy.asarray(list(map(_number, words)), dtype=float)
    if expected is not None and len(words) == len(expected.dec):
        return array.reshape(expected.shape)
    return array


def _number(word):
    # C prints nan(0x123), Microsoft's -nan(ind); converged may be a word.
    plain = re.sub(r"nan\(\w*\)", "nan", word.lower())
    plain = {"true": "0x1", "false": "0x0"}.get(plain, plain)
    try:
        number = float.fromhex(plain)
        if math.isfinite(number) and "x" not in plain:
            raise ValueError("float.fromhex took decimal digits for hexadecimal ones")
    except (ValueError, OverflowError) as error:
        needed = "hexadecimal number such as 0x1.8p+1 (printf's %a), inf or nan"
        raise InputError(f"{word[:40]!r} is no {needed}") from error
    return number
