"""What wrong answers have in common: a sign, a factor, a size of error, or the kind of case in which alone they are wrong."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from refnce.conformance.score import Verdict

# Factors that a forgotten or misplaced division is off by, from the n, m and nu of a case.
FACTORS: dict[str, Callable[[dict[str, float]], float]] = {
    "1 + nu": lambda a: 1 + a["nu"],
    "1/(1 + nu)": lambda a: 1 / (1 + a["nu"]),
    "nu": lambda a: a["nu"],
    "1/nu": lambda a: 1 / a["nu"],
    "n": lambda a: a["n"],
    "m": lambda a: a["m"],
    "1/n": lambda a: 1 / a["n"],
    "n/m": lambda a: a["n"] / a["m"],
    "m/n": lambda a: a["m"] / a["n"],
    "nu/(1 + nu)^2": lambda a: a["nu"] / (1 + a["nu"]) ** 2,
    "(1 + nu)^2/nu": lambda a: (1 + a["nu"]) ** 2 / a["nu"],
    "sqrt(n/(n - 1))": lambda a: math.sqrt(a["n"] / (a["n"] - 1)),
}
TINY = 1e-5  # relative: what is off by less is right but for its last digits
SINGLE = "about seven digits are right: float32 inside, or a constant of its precision"
NEAR = 1e-2  # of a root, beside the width 1 of the logistic


def explained(
    failures: list[Verdict], verdicts: list[Verdict], notes: dict[str, str]
) -> list[str]:
    """Lines that explain the ``failures`` among all ``verdicts`` of a function; ``notes`` say what each flag finds."""
    lines = _of_notes(failures)
    numbers = [v for v in failures if not v.note]
    wrong = {v.quantity for v in numbers}
    beside = {v.quantity for v in verdicts} - {v.quantity for v in failures}
    if numbers and beside:
        lines.append(
            f"only {', '.join(sorted(wrong))} is wrong, not {', '.join(sorted(beside))}"
        )
    lines += _of_statuses([v for v in numbers if v.quantity == "converged"])
    numbers = _causes(numbers)
    judged = [
        v for v in verdicts if v.quantity in {number.quantity for number in numbers}
    ]
    lines += _of_limits(numbers)
    lines += (
        _of_sizes(numbers)
        or _of_digits(numbers, judged)
        or _of_flags(numbers, judged, notes)
    )
    return [f"-> {line}" for line in lines]


def _of_notes(failures: list[Verdict]) -> list[str]:
    """What came instead of numbers: the two commonest kinds, each by its commonest words."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for v in failures:
        if v.note:
            kinds[v.note.split(":")[0]][v.note] += 1
    most = sorted(kinds.values(), key=lambda words: -words.total())
    return [
        f"{words.most_common(1)[0][0]} ({'mostly; ' * (len(words) > 1)}{_times(words.total())})"
        for words in most[:2]
    ]


def _causes(numbers: list[Verdict]) -> list[Verdict]:
    """Without statuses, and without the statistics at a root that is itself wrong: they follow from it."""
    lost = {v.id for v in numbers if v.quantity == "root"}
    return [
        v
        for v in numbers
        if v.quantity == "root" or v.id not in lost and v.quantity != "converged"
    ]


def _of_statuses(told: list[Verdict]) -> list[str]:
    bold, shy = (sum(v.got == got for v in told) for got in (1.0, 0.0))
    lines = [
        f"CONVERGED where there is no root, or none was reached ({_times(bold)})"
    ] * (bold > 0)
    return lines + [f"not CONVERGED at an easy root ({_times(shy)})"] * (shy > 0)


def _of_limits(numbers: list[Verdict]) -> list[str]:
    """Infinities and zeros where there are none, and one answer to many questions."""
    lines = []
    known = [v for v in numbers if math.isfinite(float(v.dec))]
    infinite = sum(math.isinf(v.got) for v in known)
    if infinite:
        lines.append(
            f"infinite where the answer is finite ({_times(infinite)}): an exponential overflows, or the logarithm of 0"
        )
    undefined = sum(math.isnan(v.got) for v in known)
    if undefined:
        lines.append(
            f"nan where there is an answer ({_times(undefined)}): inf - inf, or 0/0"
        )
    nothing = sum(v.got == 0.0 != float(v.dec) for v in known)
    if nothing:
        lines.append(
            f"0 where the answer is not ({_times(nothing)}): it cancels, or underflows"
        )
    asked = {
        (v.got, v.dec)
        for v in known
        if math.isfinite(v.got) and v.got != 0.0 and v.quantity == "root"
    }
    same = Counter(got for got, _ in asked)
    if same and same.most_common(1)[0][1] >= 3:
        got, count = same.most_common(1)[0]
        lines.append(
            f"answers {got!r} to {count} questions: the end of a bracket, or where it started"
        )
    return lines


def _of_sizes(numbers: list[Verdict]) -> list[str]:
    """A sign or a factor, if most of the numbers that are wrong are wrong by it."""
    ordinary = _ordinary(numbers)
    if len(ordinary) < 3 or len(ordinary) < 0.5 * len(numbers):
        return []
    turned = [
        (v.got - v.about["F"]) / (float(v.dec) - v.about["F"])
        for v in ordinary
        if _moves(v)
    ]
    if _share(abs(ratio + 1.0) < 1e-6 for ratio in turned) > 0.5:
        return ["the update goes the wrong way: sign of h in F - h"]
    ratios = [v.got / float(v.dec) for v in ordinary]
    if _share(abs(ratio + 1.0) < 1e-6 for ratio in ratios) > 0.5:
        return ["its sign is reversed"]
    shares = {
        name: _share(
            _is_factor(v, ratio, factor)
            for v, ratio in zip(ordinary, ratios, strict=True)
        )
        for name, factor in FACTORS.items()
    }
    best = max(shares.values()) - 0.1  # the two sides of one bug are off by n and by m
    if best > 0.5:
        return [
            f"off by a factor of {next(name for name, share in shares.items() if share >= best)}"
        ]
    constant, held = Counter(float(f"{ratio:.6g}") for ratio in ratios).most_common(1)[
        0
    ]
    if held > 0.5 * len(ratios) and abs(constant - 1.0) > 1e-5:
        return [f"off by a factor of {constant:g}"]
    return []


def _of_digits(numbers: list[Verdict], judged: list[Verdict]) -> list[str]:
    """How many digits are right, where they are many; how far a root was missed."""
    ordinary = _ordinary(numbers)
    off = sorted(abs(v.got / float(v.dec) - 1.0) for v in ordinary)
    if len(off) < max(1.0, 0.7 * len(numbers)):
        return []
    often = len(off) >= max(3.0, 0.5 * len(judged))
    typical, most = off[len(off) // 2], off[9 * len(off) // 10]
    if all(v.quantity == "root" for v in numbers):
        if often and typical > 1e-10 and most < 2.0**-23:
            return [SINGLE]
        return _of_distances(ordinary)
    if often and 1e-8 < typical < 1e-6:
        return [SINGLE]
    if 1e-13 < off[-1] < TINY and len(off) == len(numbers):
        return [
            f"at least {_digits(off[-1])} digits are right: a cut-off, or a constant of low precision"
        ]
    if often and 1e-13 < typical < 1e-8:
        return [
            f"about {_digits(typical)} digits are right: a cut-off, or a constant of low precision"
        ]
    return []


def _of_distances(roots: list[Verdict]) -> list[str]:
    """Roots that were nearly found: all to one distance, or some of them and others not at all."""
    away = sorted(abs(v.got - float(v.dec)) for v in roots)
    within = away[9 * len(away) // 10]
    if 1e-13 < within < NEAR:
        return [
            f"near the root but not at it (most within {within:.0e}): stopped early"
        ]
    if (
        len(away) >= 8
        and away[len(away) // 8] < NEAR
        and sum(d > NEAR for d in away) > 0.25 * len(away)
    ):
        return [
            "some near the root and some far from it: called converged where it still moves"
        ]
    return []


def _ordinary(numbers: list[Verdict]) -> list[Verdict]:
    return [
        v
        for v in numbers
        if math.isfinite(v.got) and v.got != 0.0 and 0 < abs(float(v.dec)) < math.inf
    ]


def _digits(off: float) -> int:
    return int(-math.log10(off))


def _moves(v: Verdict) -> bool:
    return (
        v.quantity == "bar_update" and "F" in v.about and float(v.dec) != v.about["F"]
    )


def _is_factor(
    v: Verdict, ratio: float, factor: Callable[[dict[str, float]], float]
) -> bool:
    try:
        expected = factor(v.about)
    except (KeyError, ZeroDivisionError):
        return False
    return expected != 1.0 and abs(ratio / expected - 1.0) < 1e-9


def _of_flags(
    numbers: list[Verdict], judged: list[Verdict], notes: dict[str, str]
) -> list[str]:
    """The note of the rarest flag that all wrong numbers carry, or of the regimes that fail most.

    The first flag of a case is its regime; more say what else is particular about it. One that all cases carry tells nothing.
    """
    if not numbers:
        return []
    common = (
        set.intersection(*(set(v.flags) for v in numbers))
        if len(numbers) >= 3
        else set()
    )
    carried = {
        flag: sum(flag in v.flags for v in judged) for flag in notes if flag in common
    }
    telling = [flag for flag in carried if carried[flag] < len(judged)]
    if telling:
        flag = min(
            telling,
            key=lambda flag: (carried[flag], any(v.flags[0] == flag for v in numbers)),
        )
        return [f"{flag}: {notes[flag]}"]
    regimes = Counter(v.flags[0] for v in numbers)
    shares = {
        flag: count / sum(v.flags[0] == flag for v in judged)
        for flag, count in regimes.items()
    }
    if shares.get("Normal", 0.0) > 0.2:
        return [f"Normal: {notes['Normal']}"]
    most = sorted(shares, key=lambda flag: -shares[flag])
    return [f"{flag}: {notes[flag]}" for flag in most[:3]]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _share(holds: Iterable[bool]) -> float:
    each = list(holds)
    return sum(each) / max(1, len(each))
