"""Errors in units of what a quantity can be known to, in exact arithmetic, and the verdict on one quantity of one case."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from refnce.array import backend
from refnce.conformance.surface import NOT_PROVIDED, Impl, NotProvided
from refnce.conformance.calls import CALLS, Answers, Call, answered
from refnce.conformance.cases import Case, Expected, Suite

NOT_REFUSED = "not refused"
LARGEST = {
    "float64": Fraction(2) ** 1024 * (1 - Fraction(1, 2**54)),
    "float32": Fraction(2) ** 128 * (1 - Fraction(1, 2**25)),
}


class ChangedError(Exception):
    """An argument was changed in place; the message names it. No refusal of bad input."""


@dataclass(frozen=True)
class Verdict:
    """One quantity of one case: its error in units (the worst element), where, and what came instead of numbers, if so."""

    id: str
    flags: tuple[str, ...]
    function: str
    quantity: str
    error: float
    got: float = math.nan
    dec: str = ""
    note: str = ""
    about: dict[str, float] = field(
        default_factory=dict
    )  # n, m, nu and F of the case, to explain an error by


def error_in_units(got: float, dec: str, unit: float, dtype: str) -> float:
    """|got - dec|/unit. nan and infinities must be the same; beyond the largest number of ``dtype`` infinity is right."""
    exact = float(dec)
    if math.isnan(exact) or math.isnan(got):
        return 0.0 if math.isnan(exact) and math.isnan(got) else math.inf
    if dec in ("inf", "-inf") or math.isinf(got):
        beyond = math.isinf(exact) or abs(Fraction(dec)) >= LARGEST[dtype]
        return (
            0.0 if math.isinf(got) and beyond and (got > 0) == (exact > 0) else math.inf
        )
    error = abs(Fraction(got) - Fraction(dec)) / Fraction(unit)
    return float(error) if error < 2**1000 else math.inf


def judge(case: Case, function: str, quantity: str, got: Any, dtype: str) -> Verdict:
    """The verdict on ``got``, an array or a number, for ``quantity`` of ``case``."""
    expected = case.outputs[quantity]
    shape = tuple(getattr(got, "shape", ()))
    if shape != expected.shape:
        return verdict(
            case,
            function,
            quantity,
            math.inf,
            note=f"shape {shape} for {expected.shape}",
        )
    numbers = (
        [float(x) for x in got.ravel().tolist()]
        if hasattr(got, "ravel")
        else [float(got)]
    )
    return worst(case, function, quantity, numbers, expected, dtype)


def worst(
    case: Case,
    function: str,
    quantity: str,
    numbers: list[float],
    expected: Expected,
    dtype: str,
) -> Verdict:
    """The same for numbers in C order, as many as are expected."""
    errors = [
        error_in_units(*each, dtype)
        for each in zip(numbers, expected.dec, expected.unit, strict=True)
    ]
    k = max(range(len(errors)), key=errors.__getitem__)
    return verdict(
        case, function, quantity, errors[k], got=numbers[k], dec=expected.dec[k]
    )


def verdict(
    case: Case, function: str, quantity: str, error: float, **more: Any
) -> Verdict:
    about = {
        str(name): float(case.inputs[name])
        for name in ("F", "nu")
        if name in case.inputs and case.inputs[name].ndim == 0
    }
    for name, count in (
        ("r_data", "n"),
        ("r_noise", "m"),
        ("T_data", "n"),
        ("T_noise", "m"),
        ("x", "n"),
        ("f", "n"),
    ):
        x = case.inputs.get(name)
        if x is not None:
            about[count] = float(
                x.shape[
                    (
                        -1
                        if name.startswith("r")
                        else -4 if "stride" in case.inputs else -2
                    )
                ]
            )
    return Verdict(case.id, case.flags, function, quantity, error, about=about, **more)


def judged(impl: Impl, suite: Suite, function: str) -> Iterator[Verdict]:
    """The verdicts on one function of an implementation. Raises NotProvided where it has no such function.

    An implementation raises NotImplementedError for what it does not do: that is counted, and no failure.
    """
    call = CALLS[suite.name][function]
    for case in suite.cases:
        wanted = answered(function, case.quantities, case.inputs)
        if not wanted:
            continue
        try:
            found = _called(call, impl, case)
        except NotProvided as lack:
            if str(lack) == function:
                raise
            yield verdict(
                case, function, wanted[0], math.nan, note=f"{NOT_PROVIDED}{lack}"
            )
            continue
        except NotImplementedError as lack:
            note = "" if case.refused else f"{NOT_PROVIDED}{function}: {lack}"
            yield verdict(
                case, function, wanted[0], 0.0 if case.refused else math.nan, note=note
            )
            continue
        except ChangedError as error:
            yield verdict(case, function, wanted[0], math.inf, note=str(error))
            continue
        except (
            Exception
        ) as error:  # whatever an implementation raises is its answer to this case
            what = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            yield verdict(
                case,
                function,
                wanted[0],
                0.0 if case.refused else math.inf,
                note=f"raised {what}",
            )
            continue
        if set(found) == {"converged"}:
            yield verdict(
                case,
                function,
                wanted[0],
                math.nan,
                note=f"{NOT_PROVIDED}{function}: not converged, no root claimed",
            )
            wanted = tuple(quantity for quantity in wanted if quantity in found)
        for quantity in wanted:
            if case.refused:
                if quantity in found:
                    told = _all_nan(found[quantity])
                    yield verdict(
                        case,
                        function,
                        quantity,
                        0.0 if told else math.inf,
                        note="" if told else NOT_REFUSED,
                    )
            elif quantity in found:
                yield judge(case, function, quantity, found[quantity], suite.dtype)
            else:
                yield verdict(
                    case,
                    function,
                    quantity,
                    math.nan,
                    note=f"{NOT_PROVIDED}{function}().{quantity}",
                )


def _called(call: Call, impl: Impl, case: Case) -> Answers:
    """The answers; warnings are the implementation's own affair, and changing an argument in place is an error."""
    inputs: Any = {
        name: x if isinstance(x, str) else x.copy() for name, x in case.inputs.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call(impl, inputs)
    for name, x in case.inputs.items():
        if not isinstance(x, str) and inputs[name].tobytes() != x.tobytes():
            raise ChangedError(
                f"it changed its argument {name} in place: work on a copy"
            )
    return found


def _all_nan(x: Any) -> bool:
    """Whether x holds numbers, all of them nan: no numbers at all refuse nothing."""
    numpy = backend.load("numpy")
    x = numpy.asarray(x, dtype=float)
    return bool(x.size and numpy.all(numpy.isnan(x)))
