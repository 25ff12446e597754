"""How the test vectors are compared with values at two precisions of mpmath."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from refnce.conformance import cases
from tests.in_mpmath import to_mp
from tests.regimes import rng

# The second of a pair checks the first. Higher pairs are tried where they differ.
PRECISIONS = (150, 250), (700, 1200), (2000, 2500)
LARGEST = float(np.finfo("float32").max)
AGREE = mpmath.mpf(10) ** -38  # of 40 digits

Inputs = dict[str, Any]
Run = tuple[int, ...]


def load(dtype: str, name: str) -> Iterator[cases.Case]:
    """The cases with outputs, without large samples and infinite log-ratios."""
    for case in cases.load(cases.FOLDER / f"{name}.{dtype}.json").cases:
        if case.outputs and not {"Infinite", "Large"} & set(case.flags):
            yield case


def expected(case: cases.Case, name: str, run: Run = ()) -> Any:
    """The digits of an output as mpmath's numbers."""
    out = case.outputs[name]
    numbers = [mpmath.mpf(word) for word in out.dec]
    return np.asarray(numbers, dtype=object).reshape(out.shape)[run]


def expected_of(case: cases.Case, run: Run, *names: str) -> tuple[Inputs, Inputs]:
    """Those of ``names`` that the case has, and their units."""
    outputs = {name: case.outputs[name] for name in names if name in case.outputs}
    units = {
        name: np.asarray(out.unit, dtype=object).reshape(out.shape)[run]
        for name, out in outputs.items()
    }
    return {name: expected(case, name, run) for name in outputs}, units


def runs_of(case: cases.Case, **axes: int) -> Iterator[tuple[Run, Inputs]]:
    """Each run: its index, and its inputs in mpmath.

    ``axes`` are the numbers of axes of an input in one run, 0 where not named.
    """
    given = case.inputs
    arrays = {name: x for name, x in given.items() if not isinstance(x, str)}
    leads = {name: x.shape[: x.ndim - axes.get(name, 0)] for name, x in arrays.items()}
    shape = np.broadcast_shapes(*leads.values())
    whole = {
        name: np.broadcast_to(x.astype(float), (*shape, *x.shape[len(leads[name]) :]))
        for name, x in arrays.items()
    }
    for run in np.ndindex(shape):
        yield run, given | {name: to_mp(x[run]) for name, x in whole.items()}


def compare(
    what: str,
    values: Callable[[], Inputs],
    truths: Inputs,
    units: Any,
    sizes: Any = None,
) -> None:
    """Assert that ``values()`` agrees with ``truths``, the numbers of a file.

    What is less than 2^-60 of its unit may be 0 there; what overflows is infinite.
    """
    sizes = sizes or {}
    for precisions in PRECISIONS:
        low, high = (_at(digits, values) for digits in precisions)
        wrong = [
            name
            for name, truth in truths.items()
            if not np.all(
                agrees(
                    low[name], high[name], truth, units.get(name, 0), sizes.get(name, 0)
                )
            )
        ]
        if not wrong:
            return
    computed = {name: high[name] for name in wrong}
    raise AssertionError(f"{what}: of the file, these differ: {computed}"[:500])


def _at(digits: int, values: Callable[[], Inputs]) -> Inputs:
    with mpmath.workdps(digits):
        return values()


def _agrees(low: Any, high: Any, truth: Any, unit: Any, size: Any) -> bool:
    if mpmath.isnan(truth):
        return mpmath.isnan(high)
    if mpmath.isinf(truth):
        return mpmath.sign(truth) * high > LARGEST
    allowed = AGREE * max(abs(high), size)
    if truth == 0:
        allowed += mpmath.mpf(unit) * 2**-60
    return max(abs(high - low), abs(high - truth)) <= allowed


agrees = np.frompyfunc(_agrees, 5, 1)


def slope(f: Callable[[Inputs], Any], inputs: Inputs, name: str, along: Any) -> Any:
    """The derivative of f along a direction of one input, right to half the digits."""
    h = mpmath.mpf(10) ** -(mpmath.mp.dps // 3)
    x = inputs[name]
    up, down = (f({**inputs, name: x + sign * h * along}) for sign in (1, -1))
    return (up - down) / (2 * h)


def bend(f: Callable[[Inputs], Any], inputs: Inputs, name: str, along: Any) -> Any:
    """The second derivative of f along a direction of one input."""
    h, x = mpmath.mpf(10) ** -(mpmath.mp.dps // 4), inputs[name]
    values = [f({**inputs, name: x + sign * h * along}) for sign in (1, 0, -1)]
    return (values[0] - 2 * values[1] + values[2]) / h**2


def direction(shape: tuple[int, ...]) -> Any:
    return to_mp(rng(1).integers(1, 9, size=shape).astype(float))
