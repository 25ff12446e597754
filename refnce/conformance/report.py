"""The report of a conformance run: a table by function and flag."""

from __future__ import annotations

from collections import Counter
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
        unknown = ", ".join(self.skipped - set(self.notes))
        if unknown:
            known = ", ".join(self.notes)
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
        groups: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            groups.setdefault(verdict.function, []).append(verdict)
        return groups

    def text(self) -> str:
        """Return the table, the notes of what fails, and what was not provided."""
        head = f"worst error, in units (level {self.level}: {LEVELS[self.level]:g})"
        lines = [f"{'function':<26}{'flag':<16}{'cases':>7}{'failed':>8}  {head}"]
        for function, verdicts in self.by_function().items():
            lines += [self._row(function, "", verdicts), *self._failing(verdicts)]
        for what, count in sorted(self.missing.items()):
            lines.append(f"{NOT_PROVIDED}{what} ({count} cases)")
        lines += [f"incomplete: {what}" for what in self.incomplete]
        flags = ", ".join(sorted(self.skipped))
        skipped = f"skipped flags: {flags}" if flags else "no flag skipped"
        count, failed = len(self.verdicts), len(self.failures)
        return "\n".join([*lines, f"{count} answers, {failed} failed, {skipped}"])

    def _failing(self, verdicts):
        """Lines on the flags of wrong answers; notes of the three that fail most."""
        flags = {flag for v in verdicts if self.failed(v) for flag in v.flags}
        lines, notes = [], []
        for flag in (flag for flag in self.notes if flag in flags):
            group = [verdict for verdict in verdicts if flag in verdict.flags]
            failed, cases = sum(map(self.failed, group)), len(group)
            lines.append(self._row("", flag, group))
            note = f"-> {flag} ({failed} of {cases}): {self.notes[flag]}"
            notes.append((-failed / cases, f"{'':26}{note}"))
        most = sorted(notes, key=lambda pair: pair[0])[:3]
        return [*lines, *(note for _, note in most)]

    def as_json(self) -> dict[str, Any]:
        groups = self.by_function().items()
        return {
            "level": self.level,
            "answers": len(self.verdicts),
            "failures": [
                asdict(v) | {"error": str(v.error), "got": str(v.got)}
                for v in self.failures
            ],
            "worst": {name: str(max(v.error for v in group)) for name, group in groups},
            "missing": dict(self.missing),
            "incomplete": self.incomplete,
        }

    def _row(self, function, flag, verdicts):
        worst = max(verdicts, key=lambda verdict: verdict.error)
        where = f" at {worst.id}" if worst.error > 0 else ""
        if self.failed(worst):
            numbers = f"{worst.quantity} {worst.got!r} for {worst.dec[:24]}"
            where += f" ({worst.note or numbers})"
        counts = f"{len(verdicts):>7}{sum(map(self.failed, verdicts)):>8}"
        return f"{function:<26}{flag:<16}{counts}  {worst.error:.3g}{where}"
