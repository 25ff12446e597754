"""The error of an answer in units, and the verdict on one quantity of one case."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from refnce.array import backend
from refnce.conformance.cases import in_one_line
from refnce.conformance.surface import NOT_PROVIDED, NotProvided

# From here on a number rounds to infinity.
BEYOND = {"float64": 2**1024 - 2**970, "float32": 2**128 - 2**103}


@dataclass(frozen=True)
class Verdict:
    """The error in units of one quantity of one case.

    got and dec are the worst element and its exact digits; note says what came where
    that was no number.
    """

    id: str
    flags: tuple[str, ...]
    function: str
    quantity: str
    error: float
    note: str = ""
    got: float = math.nan
    dec: str = ""


def error_in_units(got: float, dec: str, unit: float, dtype: str) -> float:
    """Return |got - dec|/unit, computed exactly.

    NaN and infinities must agree; where |dec| rounds beyond the largest number of
    ``dtype`` the infinity of its sign is right.
    """
    exact = float(dec)
    if math.isnan(exact) or math.isnan(got):
        return 0.0 if math.isnan(exact) and math.isnan(got) else math.inf
    if dec in ("inf", "-inf") or math.isinf(got):
        beyond = math.isinf(exact) or abs(Fraction(dec)) >= BEYOND[dtype]
        right = math.isinf(got) and beyond and (got > 0) == (exact > 0)
        return 0.0 if right else math.inf
    error = abs(Fraction(got) - Fraction(dec)) / Fraction(unit)
    return float(error) if error < 2**1000 else math.inf


def score_array(case, function, quantity, got, dtype, note="") -> Verdict:
    """Return the verdict on ``got`` for ``quantity`` of ``case``.

    got: an array of floats; None where the inputs were refused, and ``note`` tells
    how. NaN for every number is a refusal too; no numbers at all are none.
    """

    verdict = partial(Verdict, case.id, case.flags, function, quantity)
    if got is None:
        return verdict(0.0 if case.refused else math.inf, note)
    if case.refused:
        numbers = got.ravel().tolist()
        right = numbers and all(map(math.isnan, numbers))
        return verdict(0.0) if right else verdict(math.inf, "not refused")
    expected = case.outputs[quantity]
    if got.shape != expected.shape:
        return verdict(math.inf, f"shape {got.shape} for {expected.shape}")
    numbers = got.ravel().tolist()
    triples = zip(numbers, expected.dec, expected.unit, strict=True)
    errors = [error_in_units(*triple, dtype) for triple in triples]
    k = errors.index(max(errors))
    return verdict(errors[k], got=numbers[k], dec=expected.dec[k])


def score_function(impl, suite, call, skipped=frozenset()) -> Iterator[Verdict]:
    """Yield the verdicts on one function of ``impl``, without the flags ``skipped``.

    Raises NotProvided where ``impl`` has no such function. NotImplementedError from
    the function marks a case as "not provided"; it does not count as a failure.
    """
    for case in suite.cases:
        asked = call.asked(case)
        if asked and not skipped.intersection(case.flags):
            yield from _score_case(impl, suite, call, case, asked)


def _score_case(impl, suite, call, case, asked):
    verdict = partial(Verdict, case.id, case.flags, call.label)
    score = partial(score_array, case, call.label, dtype=suite.dtype)

    def lacking(quantity, what):
        return verdict(quantity, math.nan, f"{NOT_PROVIDED}{what}")

    numpy = backend.load("numpy")
    arrays = {name: x for name, x in case.inputs.items() if not isinstance(x, str)}
    inputs = case.inputs | {name: x.copy() for name, x in arrays.items()}
    try:
        with warnings.catch_warnings():  # they are left to the implementation
            warnings.simplefilter("ignore")
            answers = call.run(impl, inputs)
            answers = {name: numpy.asarray(x, float) for name, x in answers.items()}
    except NotProvided as lack:
        if str(lack) == call.label:
            raise
        return [lacking(asked[0], str(lack))]
    except Exception as error:  # whatever is raised is the answer to this case
        if isinstance(error, NotImplementedError) and not case.refused:
            return [lacking(asked[0], f"{call.label}: {error}")]
        return [score(asked[0], None, note=f"raised {in_one_line(error, 120)}")]
    for name, x in arrays.items():
        if inputs[name].tobytes() != x.tobytes():
            note = f"it changed its argument {name} in place: work on a copy"
            return [verdict(asked[0], math.inf, note)]
    verdicts = [score(name, answers[name]) for name in asked if name in answers]
    if set(answers) == {"converged"}:
        what = f"{call.label}: not converged, no root claimed"
        return [lacking(asked[0], what), *verdicts]
    missing = [] if case.refused else [name for name in asked if name not in answers]
    return verdicts + [lacking(name, f"{call.label}().{name}") for name in missing]
