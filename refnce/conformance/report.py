"""What a conformance run found: a table by function and flag, what was not provided, and what the failures have in common."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from refnce.conformance.judge import Verdict
from refnce.conformance.vectors import LEVELS


@dataclass
class Report:
    """The verdicts of a run at one level; cases with a flag in ``skipped`` are left out."""

    level: str
    notes: dict[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    verdicts: list[Verdict] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if self.skipped & set(verdict.flags):
                continue
            if verdict.note.startswith("not provided: "):
                self.missing[verdict.note.removeprefix("not provided: ")] += 1
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
            lines.append(f"not provided: {what} ({count} cases)")
        skipped = f"skipped flags: {', '.join(sorted(self.skipped))}" if self.skipped else "no flag skipped"
        lines.append(f"{len(self.verdicts)} answers, {len(self.failures)} failed, {skipped}")
        return "\n".join(lines)

    def diagnosis(self, function: str) -> list[str]:
        """What the failures of a function suggest: a factor, a sign, or the notes of the fewest flags that hold them all."""
        verdicts = self.by_function().get(function, [])
        failures = [verdict for verdict in verdicts if self.failed(verdict)]
        if not failures:
            return []
        return _of_notes(failures) + (_of_numbers(failures, len(verdicts)) or self._of_flags(verdicts, failures))

    def _of_flags(self, verdicts: list[Verdict], failures: list[Verdict]) -> list[str]:
        """The note of the flag that nearly all failures carry and few others do, or of the regimes that fail most.

        The first flag of a case is its regime; more flags say what else is particular about it.
        """
        numbers = [verdict for verdict in failures if not verdict.note]
        for flag in dict.fromkeys(flag for verdict in numbers for flag in verdict.flags[1:]):
            here = [verdict for verdict in verdicts if flag in verdict.flags]
            if _share(flag in v.flags for v in numbers) > 0.95 and _share(map(self.failed, here)) > 0.6:
                return [f"-> {flag}: {self.notes[flag]}"]
        regimes = Counter(verdict.flags[0] for verdict in numbers)
        shares = {
            flag: count / sum(verdict.flags[0] == flag for verdict in verdicts) for flag, count in regimes.items()
        }
        if shares.get("Normal", 0.0) > 0.2:
            return [f"-> Normal: {self.notes['Normal']}"]
        most = sorted(shares, key=lambda flag: -shares[flag])
        return [f"-> {flag}: {self.notes[flag]}" for flag in most[:3]]

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "answers": len(self.verdicts),
            "failures": [{**asdict(v), "error": str(v.error), "got": str(v.got), "about": str(v.about)} for v in self.failures],
            "worst": {function: str(max(v.error for v in verdicts)) for function, verdicts in self.by_function().items()},
            "missing": dict(self.missing),
        }


def _row(function: str, flag: str, verdicts: list[Verdict], report: Report) -> str:
    worst = max(verdicts, key=lambda verdict: verdict.error)
    failed = sum(map(report.failed, verdicts))
    where = f" at {worst.id}" if worst.error > 0 else ""
    what = f" ({worst.note or f'{worst.quantity} {worst.got!r} for {worst.dec[:24]}'})" if report.failed(worst) else ""
    return f"{function:<26}{flag:<16}{len(verdicts):>7}{failed:>8}  {worst.error:.3g}{where}{what}"


def _of_notes(failures: list[Verdict]) -> list[str]:
    kinds = Counter(verdict.note.split(":")[0] for verdict in failures if verdict.note)
    return [f"-> {kind} ({count} times)" for kind, count in kinds.most_common(2)]


def _of_numbers(failures: list[Verdict], cases: int) -> list[str]:
    """A sign, a factor or single precision, if nearly all numbers that are wrong are wrong by it."""
    ordinary = [v for v in failures if not v.note and math.isfinite(v.got) and 0 < abs(float(v.dec)) < math.inf]
    if len(ordinary) < 3:
        return []
    if ordinary[0].quantity == "bar_update":
        turned = [(v.got - v.about) / (float(v.dec) - v.about) for v in ordinary if float(v.dec) != v.about]
        if _share(abs(ratio + 1.0) < 1e-6 for ratio in turned) > 0.5:
            return ["-> the update goes the wrong way: sign of h in F - h"]
    ratios = [v.got / float(v.dec) for v in ordinary]
    if _share(abs(ratio + 1.0) < 1e-6 for ratio in ratios) > 0.5:
        return ["-> its sign is reversed"]
    factor, held = Counter(float(f"{ratio:.6g}") for ratio in ratios).most_common(1)[0]
    if held > 0.5 * len(ratios) and abs(factor - 1.0) > 1e-5 and factor != 0.0:
        return [f"-> off by a factor of {factor:g}"]
    sizes = sorted(abs(ratio - 1.0) for ratio in ratios)
    if len(failures) > 0.5 * cases and 1e-10 < sizes[len(sizes) // 2] < 1e-5:
        return ["-> about seven digits are right: float32 inside"]
    return []


def _share(holds: Iterable[bool]) -> float:
    each = list(holds)
    return sum(each) / max(1, len(each))
