"""The report of a conformance run: a table by function and flag."""

from argparse import ArgumentTypeError
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nlargest
from math import isnan

from refnce.conformance.cases import LEVELS, notes
from refnce.conformance.score import Verdict
from refnce.conformance.surface import NOT_PROVIDED


def flags_of(text: str) -> frozenset[str]:
    """Return the flags of a command line, which are separated by commas.

    Raises ArgumentTypeError for an unknown one.
    """
    flags = frozenset(filter(None, text.split(",")))
    unknown, known = ", ".join(flags - set(notes())), ", ".join(notes())
    if unknown:
        raise ArgumentTypeError(f"no flag is called {unknown} among {known}")
    return flags


@dataclass
class Report:
    """The verdicts of a run at one level.

    skipped: the flags of cases that are left out. missing: counts of what was not
    provided. hints: why a function may not have been found. unread: lines of results
    that are none.
    """

    level: str
    skipped: frozenset[str] = frozenset()
    verdicts: list[Verdict] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        found = list(verdicts)
        self.missing.update(x.note for x in found if isnan(x.error))
        self.verdicts += [x for x in found if not isnan(x.error)]

    def failed(self, verdict: Verdict) -> bool:
        return verdict.error > LEVELS[self.level]

    @property
    def failures(self) -> list[Verdict]:
        return list(filter(self.failed, self.verdicts))

    def by_function(self) -> dict[str, list[Verdict]]:
        groups = defaultdict(list)
        for verdict in self.verdicts:
            groups[verdict.function].append(verdict)
        return groups

    @property
    def incomplete(self) -> list[str]:
        """Functions of which some cases are answered and others are not."""
        return sorted(self.missing.keys() & self.by_function().keys())

    def text(self) -> str:
        """Return the table, the notes of what fails, and what was not provided."""
        head = f"worst error, in units (level {self.level}: {LEVELS[self.level]:g})"
        lines = [f"{'function':<26}{'flag':<16}{'cases':>7}{'failed':>8}  {head}"]
        for function, verdicts in self.by_function().items():
            lines += [self._row(function, "", verdicts), *self._failing(verdicts)]
        for what, count in sorted(self.missing.items()):
            hint = self.hints.get(what, "")
            lines.append(f"{NOT_PROVIDED}{what} ({count} cases){hint}")
        lines += [f"incomplete: {what}" for what in self.incomplete]
        lines += [f"not read: {line}" for line in self.unread[:10]]
        flags = ", ".join(sorted(self.skipped))
        skipped = f"skipped flags: {flags}" if flags else "no flag skipped"
        count, failed = len(self.verdicts), len(self.failures)
        return "\n".join([*lines, f"{count} answers, {failed} failed, {skipped}"])

    def _failing(self, verdicts):
        """Lines on the flags of wrong answers; notes of the three that fail most."""
        rows, shares = [], {}
        for flag, note in notes().items():
            group = [verdict for verdict in verdicts if flag in verdict.flags]
            failed = sum(map(self.failed, group))
            if failed:
                rows.append(self._row("", flag, group))
                line = f"{'':26}-> {flag} ({failed} of {len(group)}): {note}"
                shares[line] = failed / len(group)
        return rows + nlargest(3, shares, key=shares.__getitem__)

    def _row(self, function, flag, verdicts):
        worst = max(verdicts, key=lambda verdict: verdict.error)
        where = f" at {worst.id}" if worst.error > 0 else ""
        if self.failed(worst):
            numbers = f"{worst.quantity} {worst.got!r} for {worst.dec[:24]}"
            where += f" ({worst.note or numbers})"
        counts = f"{len(verdicts):>7}{sum(map(self.failed, verdicts)):>8}"
        return f"{function:<26}{flag:<16}{counts}  {worst.error:.3g}{where}"
