"""Claims of the paper: how tests declare them, what a run says, and CLAIMS.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

KINDS = ("theorem", "experiment")
VERDICTS = ("holds", "holds corrected", "not reproduced")
PRINTED = "printed error"
NOT_CHECKED = "not checked"
FAILED = "FAILED"

# The headings of CLAIMS.md in the paper's order, each with its labels in order.
OUTLINE = """
Section 1: Introduction = Section 1
Section 3.1: Vanilla noise contrastive estimation = Definition 3.1, Eq. 1, Section 3.1
Section 3.2: Exponential families = Eq. 2, Section 3.2
Section 3.3: Optimization of the normalizing constant = Lemma 3.2, Eq. 3, Eq. 4
Section 3.3: Optimization of the normalizing constant = Section 3.3
Section 3.4: Bennett acceptance ratio = Eq. 5, Eq. 6, Eq. 7, Eq. 8, Eq. 9, Eq. 10
Section 3.4: Bennett acceptance ratio = Section 3.4
Section 3.5: Training with BAR and binary search = Eq. 11, Section 3.5, Algorithm 1
Section 4: Experimental results = Section 4, Section 4.1, Figure 1, Section 4.2
Section 4: Experimental results = Figure 2, Figure 3, Section 4.3, Figure 4, Figure 5
Section 4: Experimental results = Figure 6
Section 5: Conclusion = Section 5
Appendix A: Convexity proofs = Appendix A, Appendix A.1, Eq. 12, Eq. 13, Eq. 14
Appendix A: Convexity proofs = Appendix A.2, Eq. 15, Eq. 16
Appendix B: Convergence of BAR = Lemma B.1, Eq. 17, Figure 7, Appendix B
Appendix C: Further results on exponential families = Appendix C, Figure 8, Figure 9
Appendix C: Further results on exponential families = Figure 10
Appendix D: Further results on neural networks = Appendix D, Appendix D.1, Figure 11
Appendix D: Further results on neural networks = Figure 12, Appendix D.2, Figure 13
"""
OTHERS = "Not in the paper"
LINES = [line.split(" = ") for line in OUTLINE.strip().splitlines()]
PLACES = [(label, head) for head, labels in LINES for label in labels.split(", ")]


class DeclarationError(ValueError):
    """A marker that declares no valid claim, or two that contradict each other."""


@dataclass(frozen=True)
class Claim:
    """A statement as a test declares it.

    For a printed error, ``statement`` is the printed form and ``why`` the right one.
    """

    label: str
    statement: str
    kind: str
    verdict: str = "holds"
    why: str = ""
    where: str = ""

    @property
    def key(self) -> tuple[bool, str, str]:
        return self.kind == PRINTED, self.label, self.statement

    @property
    def place(self) -> int:
        """The index in PLACES of the longest label that this one contains."""
        found = [k for k, (name, _) in enumerate(PLACES) if name in self.label]
        return max(found, key=lambda k: len(PLACES[k][0]), default=len(PLACES))

    @property
    def heading(self) -> str:
        return [*PLACES, ("", OTHERS)][self.place][1]


def claim(label: str, statement: str, *, kind: str, **options: str) -> Claim:
    """The claim of ``@pytest.mark.claim(...)``."""
    new = Claim(label, statement, kind, **options)
    if kind not in KINDS:
        raise DeclarationError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if new.verdict not in VERDICTS:
        names = ", ".join(VERDICTS)
        raise DeclarationError(f"verdict must be one of {names}; got {new.verdict!r}")
    if new.verdict != "holds" and not new.why:
        raise DeclarationError(f"verdict {new.verdict!r} needs why=")
    return new


def printed_error(place: str, *, printed: str, right: str) -> Claim:
    """The claim of ``@pytest.mark.printed_error(...)``."""
    return Claim(place, printed, PRINTED, "holds corrected", right)


@dataclass
class Record:
    """One test: its claims and line, its outcome, and what it measured.

    ``outcome`` is "passed", "failed", or None if the test did not run to its end.
    """

    claims: list[Claim] = field(default_factory=list)
    line: int = 0
    outcome: str | None = None
    reason: str = "did not run"
    evidence: list[str] = field(default_factory=list)


@dataclass
class Row:
    """One claim with all its tests, by node id."""

    claim: Claim
    where: set[str] = field(default_factory=set)
    tests: dict[str, Record] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The declared verdict, if every test of the claim ran and passed."""
        outcomes = {test.outcome for test in self.tests.values()}
        if "failed" in outcomes:
            return FAILED
        return self.claim.verdict if outcomes == {"passed"} else NOT_CHECKED

    @property
    def earned(self) -> bool:
        return self.verdict not in (FAILED, NOT_CHECKED)

    @property
    def evidence(self) -> list[str]:
        texts = [text for test in self.tests.values() for text in test.evidence]
        return list(dict.fromkeys(texts))

    def shortfall(self) -> str:
        """Which tests failed, or how many did not run and why."""
        if self.verdict == FAILED:
            failed = [k for k, test in self.tests.items() if test.outcome == "failed"]
            return ", ".join(failed)
        reasons = [test.reason for test in self.tests.values() if test.outcome is None]
        why = "; ".join(sorted(set(reasons)))
        return f"{len(reasons)} of {len(self.tests)} tests: {why}"

    def links(self) -> str:
        """The test functions, each linked to its file and line."""
        lines = {function(name): test.line for name, test in self.tests.items()}
        return ", ".join(link(*key, line) for key, line in sorted(lines.items()))


def function(nodeid: str) -> tuple[str, str]:
    """The file and the name of a test function, without its parameters."""
    path, *_, name = nodeid.split("[")[0].split("::")
    return path, name


def link(path: str, name: str, line: int) -> str:
    return f"[`{name}`]({path}#L{line})"


def rows(tests: dict[str, Record]) -> list[Row]:
    """The ledger: all claims in the paper's order, then its printed errors."""
    found: dict[Any, Row] = {}
    for name, test in tests.items():
        for claim in test.claims:
            row = found.setdefault(claim.key, Row(claim))
            for part in ("kind", "verdict", "why"):
                here, there = getattr(claim, part), getattr(row.claim, part)
                if here != there:
                    raise DeclarationError(
                        f"{claim.label}: {claim.statement}: {part} is {here!r} at "
                        f"{name}, {there!r} at {next(iter(row.tests))}"
                    )
            row.where |= {claim.where} - {""}
            row.tests[name] = test

    def order(row: Row) -> tuple[bool, int, str]:
        place, label = row.claim.place, row.claim.label
        return row.claim.kind == PRINTED, place, label if place == len(PLACES) else ""

    return sorted(found.values(), key=order)


def render(ledger: Iterable[Row]) -> str:
    """CLAIMS.md: what tests declare and earn, and nothing that a machine changes."""
    lines = [
        "# Claims",
        "",
        "One line for each claim, in the paper's order. `pytest --write-claims` writes"
        " this file; a full run of `pytest` fails if a claim differs from it. The"
        " evidence (worst errors, counts) depends on the machine: a run prints it.",
    ]
    heading = ""
    for row in ledger:
        claim = row.claim
        printed = claim.kind == PRINTED
        new = "Printed errors of the paper" if printed else claim.heading
        if new != heading:
            lines += ["", f"## {new}", ""]
            heading = new
        verdict = row.verdict if row.verdict == "holds" else f"**{row.verdict}**"
        kind = claim.kind if printed and row.earned else f"{claim.kind}, {verdict}"
        statement, why = map(_escaped, (claim.statement, claim.why))
        why = why and f" {'Right' if printed else 'But'}: {why}."
        where = "".join(f"`{name}`, " for name in sorted(row.where))
        lines.append(
            f"- **{claim.label}** ({kind}): {statement}.{why}" f" {where}{row.links()}"
        )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """The text with the characters escaped that Markdown would take for emphasis."""
    return re.sub(r"([*~])", r"\\\1", text)


def without_lines(text: str) -> str:
    """CLAIMS.md without the line numbers of its links."""
    return re.sub(r"#L\d+\)", ")", text)


def with_lines(text: str, tests: dict[str, Record]) -> str:
    """CLAIMS.md with the line numbers of its links renewed."""
    for name, test in tests.items():
        if test.claims:
            path, short = function(name)
            stale = re.escape(link(path, short, 0)[:-2]) + r"\d+\)"
            text = re.sub(stale, link(path, short, test.line), text)
    return text
