"""How the test vectors are compared with values at two precisions of mpmath."""

import mpmath
import numpy as np
import pytest

from refnce.conformance import cases
from tests.in_mpmath import to_mp
from tests.regimes import rng

regenerated = pytest.mark.claim(
    "Test vectors",
    "they are regenerated bit for bit, and a second derivation agrees at two"
    " precisions",
    kind="theorem",
    where="refnce.conformance",
)
# The second of a pair checks the first. Higher pairs are tried where they differ.
PRECISIONS = (150, 250), (700, 1200), (2000, 2500)
LARGEST = float(np.finfo("float32").max)
AGREE = mpmath.mpf(10) ** -38  # of 40 digits


DEFAULTS = {"nu": np.asarray(1.0), "stride": np.asarray(1.0), "sign": "negative"}


def load(dtype, name):
    """The cases with outputs, without large samples and infinite log-ratios.

    What a case leaves out is last among its inputs.
    """
    suite = cases.load(cases.FOLDER / f"{name}.{dtype}.json").cases
    known = DEFAULTS.keys() & set().union(*(case.inputs for case in suite))
    for case in suite:
        left = {key: DEFAULTS[key] for key in known - case.inputs.keys()}
        if case.outputs and not {"Infinite", "Large"} & set(case.flags):
            yield case._replace(inputs=case.inputs | left)


def expected(case, name, run=()):
    """The digits of an output as mpmath's numbers."""
    out = case.outputs[name]
    numbers = [mpmath.mpf(word) for word in out.dec]
    return np.asarray(numbers, dtype=object).reshape(out.shape)[run]


def expected_of(case, run, *names):
    """Those of ``names`` that the case has, and their units."""
    outputs = {name: case.outputs[name] for name in names if name in case.outputs}
    units = {
        name: np.asarray(out.unit, dtype=object).reshape(out.shape)[run]
        for name, out in outputs.items()
    }
    return {name: expected(case, name, run) for name in outputs}, units


def runs_of(case, **axes):
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


def compare(what, values, truths, units, sizes=None):
    """Assert that ``values()`` agrees with ``truths``, the numbers of a file.

    What is less than 2^-60 of its unit may be 0 there; what overflows is infinite.
    """
    sizes = sizes or {}

    def agree(name):
        unit, size = units.get(name, 0), sizes.get(name, 0)
        return np.all(agrees(low[name], high[name], truths[name], unit, size))

    for precisions in PRECISIONS:
        low, high = (_at(digits, values) for digits in precisions)
        wrong = [name for name in truths if not agree(name)]
        if not wrong:
            return
    computed = {name: high[name] for name in wrong}
    raise AssertionError(f"{what}: of the file, these differ: {computed}"[:500])


def _at(digits, values):
    with mpmath.workdps(digits):
        return values()


def _agrees(low, high, truth, unit, size):
    if mpmath.isnan(truth):
        return mpmath.isnan(high)
    if mpmath.isinf(truth):
        return mpmath.sign(truth) * high > LARGEST
    allowed = AGREE * max(abs(high), size)
    if truth == 0:
        allowed += mpmath.mpf(unit) * 2**-60
    return max(abs(high - low), abs(high - truth)) <= allowed


agrees = np.frompyfunc(_agrees, 5, 1)


def slope(f, inputs, name, along):
    """The derivative of f along a direction of one input, right to half the digits."""
    h = mpmath.mpf(10) ** -(mpmath.mp.dps // 3)
    x = inputs[name]
    up, down = (f({**inputs, name: x + sign * h * along}) for sign in (1, -1))
    return (up - down) / (2 * h)


def bend(f, inputs, name, along):
    """The second derivative of f along a direction of one input."""
    return slope(lambda x: slope(f, x, name, along), inputs, name, along)


def direction(shape):
    return to_mp(rng(1).integers(1, 9, size=shape).astype(float))
