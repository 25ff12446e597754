"""Claims of the paper: how tests declare them, what a run says, and CLAIMS.md."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
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
LINES = [line.split(" = ") for line in OUTLINE.strip().splitlines()]
HEADINGS = {label: head for head, labels in LINES for label in labels.split(", ")}
HEADINGS[""] = "Not in the paper"
PLACES = list(HEADINGS)


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
    where: str = field(default="", compare=False)

    @property
    def printed(self) -> bool:
        return self.kind == PRINTED

    @property
    def place(self) -> str:
        """The longest label of the outline that this one contains."""
        return max((name for name in PLACES if name in self.label), key=len)

    @property
    def heading(self) -> str:
        return "Printed errors of the paper" if self.printed else HEADINGS[self.place]


def claim(label: str, statement: str, *, kind: str, **options: str) -> Claim:
    """The claim of ``@pytest.mark.claim(...)``."""
    new = Claim(label, statement, kind, **options)
    for name, choices in (("kind", KINDS), ("verdict", VERDICTS)):
        if (got := getattr(new, name)) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {got!r}")
    if new.verdict != "holds" and not new.why:
        raise ValueError(f"verdict {new.verdict!r} needs why=")
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

    def note(self) -> str:
        """Which tests failed, how many did not run and why, or the claim's remark."""
        if self.verdict == FAILED:
            failed = [k for k, test in self.tests.items() if test.outcome == "failed"]
            return ", ".join(failed)
        if self.verdict == NOT_CHECKED:
            missing = [test for test in self.tests.values() if test.outcome is None]
            why = "; ".join(sorted({test.reason for test in missing}))
            return f"{len(missing)} of {len(self.tests)} tests: {why}"
        return f"right: {self.claim.why}" if self.claim.printed else self.claim.why

    def line(self) -> str:
        """The line of CLAIMS.md: each test function is linked to its file and line."""
        claim = self.claim
        verdict = self.verdict if self.verdict == "holds" else f"**{self.verdict}**"
        kind = PRINTED if claim.printed and self.earned else f"{claim.kind}, {verdict}"
        # Markdown would take * and ~ for emphasis
        texts = (re.sub(r"([*~])", r"\\\1", x) for x in (claim.statement, claim.why))
        statement, why = texts
        why = why and f" {'Right' if claim.printed else 'But'}: {why}."
        names = [f"`{name}`" for name in sorted(self.where)]
        links = [link(name, test.line) for name, test in sorted(self.tests.items())]
        places = ", ".join([*names, *dict.fromkeys(links)])
        return f"- **{claim.label}** ({kind}): {statement}.{why} {places}"


def link(nodeid: str, line: int | str) -> str:
    """The name of a test function, without its parameters, as a link to its line."""
    path, *_, name = nodeid.split("[")[0].split("::")
    return f"[`{name}`]({path}#L{line})"


def rows(tests: dict[str, Record]) -> list[Row]:
    """The ledger: all claims in the paper's order, then its printed errors.

    Two declarations of one claim that contradict each other raise ValueError.
    """
    found: dict[Any, Row] = {}
    for name, test in tests.items():
        for claim in test.claims:
            key = claim.printed, claim.label, claim.statement
            row = found.setdefault(key, Row(claim))
            if claim != row.claim:
                first = next(iter(row.tests))
                raise ValueError(f"{claim} at {name}, but {row.claim} at {first}")
            row.where |= {claim.where} - {""}
            row.tests[name] = test

    def order(row: Row) -> tuple[bool, int, str]:
        claim = row.claim
        return claim.printed, PLACES.index(claim.place), claim.label

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
    for heading, group in groupby(ledger, key=lambda row: row.claim.heading):
        lines += ["", f"## {heading}", "", *(row.line() for row in group)]
    return "\n".join(lines) + "\n"


def without_lines(text: str) -> str:
    """CLAIMS.md without the line numbers of its links."""
    return re.sub(r"#L\d+\)", ")", text)


def with_lines(text: str, tests: dict[str, Record]) -> str:
    """CLAIMS.md with the line numbers of its links renewed."""
    for name, test in tests.items():
        if test.claims:
            stale = re.escape(link(name, "LINE")).replace("LINE", r"\d+")
            text = re.sub(stale, link(name, test.line), text)
    return text
