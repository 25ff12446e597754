"""The report of a conformance run: a table by function and flag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from refnce.conformance.cases import LEVELS, InputError
from refnce.conformance.score import Verdict
from refnce.conformance.surface import NOT_PROVIDED


def flags_of(text: str) -> frozenset[str]:
    """Return the flags in a list that is separated by commas."""
    return frozenset(filter(None, text.split(",")))


@dataclass
class Report:
    """The verdicts of a run at one level, without cases that have a skipped flag.

    notes: what each flag is for. missing: counts of what was not provided.
    incomplete: what was answered in part, with counts.
    """

    level: str
    notes: dict[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    verdicts: list[Verdict] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    incomplete: list[str] = field(default_factory=list)

    def refuse_unknown_flags(self) -> None:
        """Raise InputError if ``skipped`` has a flag that has no note."""
        unknown, known = ", ".join(self.skipped - set(self.notes)), ", ".join(
            self.notes
        )
        if unknown:
            raise InputError(f"--skip-flags: no flag is called {unknown} among {known}")

    def add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if self.skipped.intersection(verdict.flags):
                continue
            if verdict.note.startswith(NOT_PROVIDED):
                self.missing[verdict.note.removeprefix(NOT_PROVIDED)] += 1
            else:
                self.verdicts.append(verdict)

    def failed(self, verdict: Verdict) -> bool:
        return not verdict.error <= LEVELS[self.level]

    @property
    def failures(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if self.failed(verdict)]

    def by_function(self) -> dict[str, list[Verdict]]:
        groups: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in self.verdicts:
            groups[verdict.function].append(verdict)
        return dict(groups)

    def failing_flags(self, function: str) -> dict[str, list[Verdict]]:
        """Return the verdicts of each flag under which an answer is wrong."""
        verdicts = self.by_function().get(function, [])
        flags = {flag for v in verdicts if self.failed(v) for flag in v.flags}
        return {
            flag: [verdict for verdict in verdicts if flag in verdict.flags]
            for flag in self.notes
            if flag in flags
        }

    def diagnose(self, function: str) -> list[str]:
        """Return the notes of the (at most three) flags that fail most, with counts."""
        counts = {
            flag: (sum(map(self.failed, group)), len(group))
            for flag, group in self.failing_flags(function).items()
        }
        most = sorted(counts, key=lambda flag: -counts[flag][0] / counts[flag][1])[:3]
        return [
            "-> {} ({} of {}): {}".format(flag, *counts[flag], self.notes[flag])
            for flag in most
        ]

    def text(self) -> str:
        """Return the table, the notes of what fails, and what was not provided."""
        head = f"worst error, in units (level {self.level}: {LEVELS[self.level]:g})"
        lines = [f"{'function':<26}{'flag':<16}{'cases':>7}{'failed':>8}  {head}"]
        for function, verdicts in self.by_function().items():
            lines.append(self._row(function, "", verdicts))
            for flag, group in self.failing_flags(function).items():
                lines.append(self._row("", flag, group))
            lines += [f"{'':26}{line}" for line in self.diagnose(function)]
        for what, count in sorted(self.missing.items()):
            lines.append(f"{NOT_PROVIDED}{what} ({count} cases)")
        lines += [f"incomplete: {what}" for what in self.incomplete]
        flags = ", ".join(sorted(self.skipped))
        skipped = f"skipped flags: {flags}" if flags else "no flag skipped"
        count, failed = len(self.verdicts), len(self.failures)
        return "\n".join([*lines, f"{count} answers, {failed} failed, {skipped}"])

    def as_json(self) -> dict[str, Any]:
        failures = [
            asdict(verdict) | {"error": str(verdict.error), "got": str(verdict.got)}
            for verdict in self.failures
        ]
        worst = {
            function: str(max(verdict.error for verdict in verdicts))
            for function, verdicts in self.by_function().items()
        }
        return {
            "level": self.level,
            "answers": len(self.verdicts),
            "failures": failures,
            "worst": worst,
            "missing": dict(self.missing),
            "incomplete": self.incomplete,
        }

    def _row(self, function: str, flag: str, verdicts: list[Verdict]) -> str:
        worst = max(verdicts, key=lambda verdict: verdict.error)
        where = f" at {worst.id}" if worst.error > 0 else ""
        if self.failed(worst):
            numbers = f"{worst.quantity} {worst.got!r} for {worst.dec[:24]}"
            where += f" ({worst.note or numbers})"
        counts = f"{len(verdicts):>7}{sum(map(self.failed, verdicts)):>8}"
        return f"{function:<26}{flag:<16}{counts}  {worst.error:.3g}{where}"
