"""The error of an answer in units, and the verdict on one quantity of one case."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from operator import attrgetter

from refnce.conformance import calls
from refnce.conformance.surface import NotProvided

# From here on a number rounds to infinity.
BEYOND = {"float64": 2**1024 - 2**970, "float32": 2**128 - 2**103}


@dataclass(frozen=True)
class Verdict:
    """The error in units of one quantity of one case.

    got and dec are the worst element and its exact digits; note says what came where
    that was no number. An error of NaN: nothing came, and note says what was lacking.
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
    if math.isfinite(got) and dec not in ("nan", "inf", "-inf"):
        error = abs(Fraction(got) - Fraction(dec)) / Fraction(unit)
        return float(error) if error < 2**1000 else math.inf
    exact = float(dec)
    if math.isfinite(exact) and abs(Fraction(dec)) >= BEYOND[dtype]:
        exact = math.copysign(math.inf, exact)
    right = got == exact or (math.isnan(got) and math.isnan(exact))
    return 0.0 if right else math.inf


def score_array(case, function, quantity, got, dtype, floor=0.0) -> Verdict:
    """Return the verdict on ``got`` for ``quantity`` of ``case``.

    got: an array of floats; NotProvided for none; where the inputs were refused, text
    that tells how. NaN for every number is a refusal too; no numbers at all are none. A
    unit is at least ``floor``.
    """
    verdict = partial(Verdict, case.id, case.flags, function, quantity)
    if isinstance(got, NotProvided):
        return verdict(math.nan, str(got))
    if isinstance(got, str):
        return verdict(0.0 if case.refused else math.inf, got)
    numbers = got.ravel().tolist()
    if case.refused:
        right = numbers and all(map(math.isnan, numbers))
        return verdict(0.0) if right else verdict(math.inf, "not refused")
    expected = case.outputs[quantity]
    if got.shape != expected.shape:
        return verdict(math.inf, f"shape {got.shape} for {expected.shape}")
    units = [max(unit, floor) for unit in expected.unit]
    triples = zip(numbers, expected.dec, units, strict=True)
    errors = [error_in_units(*triple, dtype) for triple in triples]
    k = errors.index(max(errors))
    return verdict(errors[k], got=numbers[k], dec=expected.dec[k])


def score_function(impl, suite, label, skipped=frozenset()) -> Iterator[Verdict]:
    """Yield the verdicts on one function of ``impl``, without the flags ``skipped``."""
    function, dtype = attrgetter(label)(impl), suite.dtype
    options = dtype, impl.floor if dtype == "float32" else 0.0
    for case in suite.cases:
        asked = calls.asked(label, case)
        if asked and skipped.isdisjoint(case.flags):
            yield from _score_case(function, label, case, asked, options)


def _score_case(function, label, case, asked, options):
    """NotImplementedError from the function is no failure: it provides nothing."""
    view = "Views" in case.flags
    inputs = {name: calls.copied(x, view=view) for name, x in case.inputs.items()}
    try:
        with warnings.catch_warnings():  # they are left to the implementation
            warnings.simplefilter("ignore")
            answers = calls.answers(label, function, inputs)
    except NotProvided as lack:
        answers = {asked[0]: lack}
    except Exception as error:  # whatever is raised is the answer to this case
        answers = {asked[0]: f"raised {error!r:.120}"}
        if isinstance(error, NotImplementedError):
            answers = {asked[0]: NotProvided(f"{label}: {error}")}
    for name, x in case.inputs.items():
        if not isinstance(x, str) and inputs[name].tobytes() != x.tobytes():
            note = f"it changed its argument {name} in place: work on a copy"
            return [Verdict(case.id, case.flags, label, asked[0], math.inf, note)]
    judged = [name for name in asked if name in answers]
    return [score_array(case, label, x, answers[x], *options) for x in judged]
