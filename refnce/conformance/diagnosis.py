"""What wrong answers have in common: a sign, a factor, a size of error, or the kind of case in which alone they are wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

from refnce.conformance.judge import Verdict

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
    "sqrt(n/(n - 1))": lambda a: math.sqrt(a["n"] / (a["n"] - 1)),
}


def explained(failures: list[Verdict], verdicts: list[Verdict], notes: dict[str, str]) -> list[str]:
    """Lines that explain the ``failures`` among all ``verdicts`` of a function; ``notes`` say what each flag finds."""
    kinds = Counter(v.note.split(":")[0] for v in failures if v.note)
    lines = [f"{kind} ({_times(count)})" for kind, count in kinds.most_common(2)]
    numbers = [v for v in failures if not v.note]
    wrong = {v.quantity for v in numbers}
    beside = {v.quantity for v in verdicts} - {v.quantity for v in failures}
    if numbers and beside:
        lines.append(f"only {', '.join(sorted(wrong))} is wrong, not {', '.join(sorted(beside))}")
    judged = [v for v in verdicts if v.quantity in wrong]
    lines += _of_limits(numbers)
    lines += _of_sizes(numbers, judged) or _of_flags(numbers, judged, notes)
    return [f"-> {line}" for line in lines]


def _of_limits(numbers: list[Verdict]) -> list[str]:
    """Infinities and zeros where there are none, and one answer to many questions."""
    lines = []
    known = [v for v in numbers if math.isfinite(float(v.dec))]
    infinite = sum(math.isinf(v.got) for v in known)
    if infinite:
        lines.append(f"infinite where the answer is finite ({_times(infinite)}): an exponential overflows, or the logarithm of 0")
    undefined = sum(math.isnan(v.got) for v in known)
    if undefined:
        lines.append(f"nan where there is an answer ({_times(undefined)}): inf - inf, or 0/0")
    nothing = sum(v.got == 0.0 != float(v.dec) for v in known)
    if nothing:
        lines.append(f"0 where the answer is not ({_times(nothing)}): it cancels, or underflows")
    asked = {(v.got, v.dec) for v in known if math.isfinite(v.got) and v.got != 0.0 and v.quantity == "root"}
    same = Counter(got for got, _ in asked)
    if same and same.most_common(1)[0][1] >= 3:
        got, count = same.most_common(1)[0]
        lines.append(f"answers {got!r} to {count} questions: the end of a bracket, or where it started")
    return lines


def _of_sizes(numbers: list[Verdict], judged: list[Verdict]) -> list[str]:
    """A sign, a factor or a precision, if most of the numbers that are wrong are wrong by it."""
    ordinary = [v for v in numbers if math.isfinite(v.got) and v.got != 0.0 and 0 < abs(float(v.dec)) < math.inf]
    if len(ordinary) < 3 or len(ordinary) < 0.5 * len(numbers):
        return []
    turned = [(v.got - v.about["F"]) / (float(v.dec) - v.about["F"]) for v in ordinary if _moves(v)]
    if _share(abs(ratio + 1.0) < 1e-6 for ratio in turned) > 0.5:
        return ["the update goes the wrong way: sign of h in F - h"]
    ratios = [v.got / float(v.dec) for v in ordinary]
    if _share(abs(ratio + 1.0) < 1e-6 for ratio in ratios) > 0.5:
        return ["its sign is reversed"]
    for name, factor in FACTORS.items():
        holds = [_is_factor(v, ratio, factor) for v, ratio in zip(ordinary, ratios, strict=True)]
        if _share(holds) > 0.6:
            return [f"off by a factor of {name}"]
    constant, held = Counter(float(f"{ratio:.6g}") for ratio in ratios).most_common(1)[0]
    if held > 0.5 * len(ratios) and abs(constant - 1.0) > 1e-5:
        return [f"off by a factor of {constant:g}"]
    if len(numbers) < 0.5 * len(judged):
        return []
    typical = sorted(abs(ratio - 1.0) for ratio in ratios)[len(ratios) // 2]
    if 1e-8 < typical < 1e-6:
        return ["about seven digits are right: float32 inside"]
    if numbers[0].quantity == "root" and sorted(abs(v.got - float(v.dec)) for v in ordinary)[len(ordinary) // 2] < 1e-2:
        return ["near the root but not at it: stopped early"]
    if typical < 1e-8:
        return ["many digits are right: an approximation, or a cut-off"]
    return []


def _moves(v: Verdict) -> bool:
    return v.quantity == "bar_update" and "F" in v.about and float(v.dec) != v.about["F"]


def _is_factor(v: Verdict, ratio: float, factor: Callable[[dict[str, float]], float]) -> bool:
    try:
        expected = factor(v.about)
    except (KeyError, ZeroDivisionError):
        return False
    return expected != 1.0 and abs(ratio / expected - 1.0) < 1e-9


def _of_flags(numbers: list[Verdict], judged: list[Verdict], notes: dict[str, str]) -> list[str]:
    """The note of the flag that nearly all wrong numbers carry, or of the regimes that fail most.

    The first flag of a case is its regime; more say what else is particular about it. One that all cases carry tells nothing.
    """
    if not numbers:
        return []
    for flag in dict.fromkeys(flag for v in numbers for flag in v.flags[1:]):
        if len(numbers) >= 3 and all(flag in v.flags for v in numbers) and not all(flag in v.flags for v in judged):
            return [f"{flag}: {notes[flag]}"]
    regimes = Counter(v.flags[0] for v in numbers)
    shares = {flag: count / sum(v.flags[0] == flag for v in judged) for flag, count in regimes.items()}
    if shares.get("Normal", 0.0) > 0.2:
        return [f"Normal: {notes['Normal']}"]
    most = sorted(shares, key=lambda flag: -shares[flag])
    return [f"{flag}: {notes[flag]}" for flag in most[:3]]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _share(holds: Iterable[bool]) -> float:
    each = list(holds)
    return sum(each) / max(1, len(each))
