"""What a conformance run found: a table by function and flag, what was not provided, and what the failures have in common."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from refnce.conformance.surface import NOT_PROVIDED
from refnce.conformance.diagnosis import explained
from refnce.conformance.score import Verdict
from refnce.conformance.cases import LEVELS


def flags_of(text: str) -> frozenset[str]:
    """The flags in a list with commas between."""
    return frozenset(filter(None, text.split(",")))


@dataclass
class Report:
    """The verdicts of a run at one level; cases with a flag in ``skipped`` are left out."""

    level: str
    notes: dict[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    verdicts: list[Verdict] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)

    def unknown_flags(self) -> str:
        """What is wrong with ``skipped``, beside the flags that have a note; empty where nothing is."""
        strange = ", ".join(sorted(self.skipped - set(self.notes)))
        return (
            f"--skip-flags: no flag is called {strange}; there are {', '.join(self.notes)}"
            if strange
            else ""
        )

    def add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if self.skipped & set(verdict.flags):
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
        found: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in self.verdicts:
            found[verdict.function].append(verdict)
        return dict(found)

    def text(self) -> str:
        """The closing table, with a diagnosis of each function that fails, and what was not provided."""
        head = f"worst error, in units (level {self.level}: {LEVELS[self.level]:g})"
        lines = [f"{'function':<26}{'flag':<16}{'cases':>7}{'failed':>8}  {head}"]
        for function, verdicts in self.by_function().items():
            lines.append(_row(function, "", verdicts, self))
            if any(map(self.failed, verdicts)):
                for flag in self.notes:
                    here = [verdict for verdict in verdicts if flag in verdict.flags]
                    if any(map(self.failed, here)):
                        lines.append(_row("", flag, here, self))
                lines += [f"{'':26}{text}" for text in self.diagnosis(function)]
        for what, count in sorted(self.missing.items()):
            lines.append(f"{NOT_PROVIDED}{what} ({count} cases)")
        skipped = (
            f"skipped flags: {', '.join(sorted(self.skipped))}"
            if self.skipped
            else "no flag skipped"
        )
        lines.append(
            f"{len(self.verdicts)} answers, {len(self.failures)} failed, {skipped}"
        )
        return "\n".join(lines)

    def diagnosis(self, function: str) -> list[str]:
        """What the failures of a function have in common."""
        verdicts = self.by_function().get(function, [])
        failures = [verdict for verdict in verdicts if self.failed(verdict)]
        return explained(failures, verdicts, self.notes) if failures else []

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "answers": len(self.verdicts),
            "failures": [
                {**asdict(v), "error": str(v.error), "got": str(v.got)}
                for v in self.failures
            ],
            "worst": {
                function: str(max(v.error for v in verdicts))
                for function, verdicts in self.by_function().items()
            },
            "missing": dict(self.missing),
        }


def _row(function: str, flag: str, verdicts: list[Verdict], report: Report) -> str:
    worst = max(verdicts, key=lambda verdict: verdict.error)
    failed = sum(map(report.failed, verdicts))
    where = f" at {worst.id}" if worst.error > 0 else ""
    what = (
        f" ({worst.note or f'{worst.quantity} {worst.got!r} for {worst.dec[:24]}'})"
        if report.failed(worst)
        else ""
    )
    return f"{function:<26}{flag:<16}{len(verdicts):>7}{failed:>8}  {worst.error:.3g}{where}{what}"
