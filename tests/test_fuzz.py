"""Adversarial samples against certified values.

``python -m pytest -m fuzz -n 2 --fuzz-cases 2000 --fuzz-seed 7`` draws as many cases. A
case is a function of the seed and of its number. A failure prints both, and
``check(impl, seed, number)`` repeats it.
"""

import math
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pytest

from refnce.logz import Status
from tests import certified
from tests.ulps import units_off

UNITS = 4.0
# Equal terms round alike, so that their errors add up (the docstring of nce.loss).
TIES, UNITS_OF_TIES, UNITS_OF_TIED_ROOTS = 16, 12.0, 6.0
# "no run takes more than 120 passes"; bar may take all its updates.
PASSES = {"newton": 120, "bar": 502, "bisect": 2200}
SIZES = (1, 1, 2, 2, 3, 5, 7, 8, 16, 17, 31, 33, 64, 97, 127, 130, 300)


def normal(g, n):
    return 10.0 ** g.uniform(-2, 2) * g.standard_normal(n) + g.choice([0, 1, 30, -300])


def clusters(g, n):
    return g.choice(10.0 ** g.uniform(-1, 3) * g.standard_normal(4), n) + (
        10.0 ** g.uniform(-15, -1) * g.standard_normal(n)
    )


def two_scales(g, n):
    return g.standard_normal(n) * 10.0 ** g.choice(g.uniform(-6, 6, 2), n)


def nearly_equal(g, n):
    x = g.standard_normal() * 10.0 ** g.uniform(-3, 3)
    return x + np.spacing(x) * g.integers(-3, 4, n)


def cancelling(g, n):
    return np.resize([1.0, -1.0], n) * np.repeat(normal(g, n // 2 + 1), 2)[:n]


def huge(g, n):
    return g.standard_normal(n) * 10.0 ** g.uniform(3, 15)


def tiny(g, n):
    return g.standard_normal(n) * 10.0 ** -g.uniform(10, 300)


def edges(g, n):
    ends = [0.0, -0.0, 5e-324, -1e-310, 36.7, -745.2, 709.8, -709.8, 1e15, -1e15]
    return g.choice([*ends, 1.0, *g.standard_normal(3)], n)


def duplicates(g, n):
    return g.choice(g.standard_normal(g.integers(1, 4)), n)


def infinite(g, n):
    x = normal(g, n)
    x[g.random(n) < 0.3] = g.choice([math.inf, -math.inf])
    return x


KINDS = (normal, clusters, two_scales, nearly_equal, cancelling, huge, tiny, edges)
KINDS = (*KINDS, duplicates, infinite)
ENDED = (Status.CONVERGED, Status.NO_ROOT)


class Case(NamedTuple):
    """Samples of one run, nu, the F of the formulas, and the dtype."""

    pair: tuple[Any, Any]
    nu: float
    F: float
    dtype: str

    @property
    def exact(self):
        """The numbers that the formulas are given, as doubles."""
        return (*(r.astype(float) for r in self.pair), self.F, self.nu)


def draw(g: Any) -> Case:
    dtype = "float32" if g.random() < 0.25 else "float64"
    kinds = [g.choice(KINDS)] * 2 if g.random() < 0.6 else g.choice(KINDS, 2)
    sizes = g.choice(SIZES, 2)
    sizes = sizes[[0, 0]] if g.random() < 0.4 else sizes
    with np.errstate(over="ignore"):
        pair = tuple(kind(g, n) for kind, n in zip(kinds, sizes, strict=True))
        if dtype == "float32":
            pair = tuple(np.clip(r, -1e6, 1e6).astype(dtype) for r in pair)
    nu = float(10.0 ** g.choice([0.0, 0.0, g.uniform(-3, 3), g.uniform(-30, 30)]))
    finite = np.concatenate(pair)
    finite = finite[np.isfinite(finite)].tolist() or [0.0]
    near = np.mean(finite) + g.standard_normal()
    F = g.choice([0.0, near, g.choice(finite), np.median(finite) - math.log(nu)])
    return Case(pair, nu, float(np.asarray(F, dtype)), dtype)


def laid_out(g: Any, r: Any) -> Any:
    """The same numbers, read-only, strided or reversed in memory."""
    way = g.integers(4)
    if way == 1:
        r = np.repeat(r, 3)[::3]
    if way == 2:
        r = r[::-1].copy()[::-1]
    if way == 3:
        r = r.copy()
        r.flags.writeable = False
    return r


def judge(label: str, got: Any, exact: Any, case: Case, most: float) -> None:
    off = units_off(got, exact, case.dtype)
    assert off <= most, f"{label}: {got!r} is {off:.3g} units from {exact.value}"


def check(impl: Any, seed: int, number: int) -> None:
    """Draw one case, alone and beside three others, and judge every function."""
    g = np.random.Generator(np.random.PCG64([seed, number]))
    case = draw(g)
    _, nu, F, dtype = case
    arrays = [laid_out(g, r) for r in case.pair]
    others = zip(*(draw(g).pair for _ in range(3)), strict=True)
    batch = [
        np.stack([r, *(np.resize(x, r.shape).astype(dtype) for x in xs)])
        for r, xs in zip(arrays, others, strict=True)
    ]
    before = [r.tobytes() for r in (*arrays, *batch)]
    close = [np.unique(np.round(r, 9), return_counts=True)[1] for r in case.pair]
    tied = max(counts.max() for counts in close) >= TIES
    most = UNITS_OF_TIES if tied else UNITS
    for name in ("nce.loss", "nce.grad_F", "nce.hess_F", "logz.bar_update"):
        function, exact = attrgetter(name)(impl), getattr(certified, name.split(".")[1])
        got = function(*arrays, np.asarray(F, dtype), nu=nu)
        more = nu != 1.0 and name in ("nce.grad_F", "nce.hess_F")  # their docstrings
        judge(name, got, exact(*case.exact), case, most + more)
    exact = certified.root(*case.exact[:2], nu)
    most = UNITS_OF_TIED_ROOTS if tied else UNITS
    for name, passes in PASSES.items():
        solve = getattr(impl.logz, name)
        # Beside three others bar would nearly always take all its updates.
        some = [r[:2] if name == "bar" else r for r in batch]
        z, both = solve(*arrays, nu=nu), solve(*some, nu=nu)
        status = int(z.status)
        if status in ENDED:
            assert (status == Status.CONVERGED) == exact.has_root, name
            judge(name, z.F, exact.F, case, most)
            lo, hi = (float(x) for x in z.bracket)
            assert not exact.has_root or lo <= exact.F.value <= hi, (name, lo, hi)
        if (beside := int(both.status[0])) in ENDED:
            judge(f"{name} in a batch", both.F[0], exact.F, case, most)
        # bar's criterion may be met in one update or the next.
        assert name == "bar" or (status == beside and status in ENDED), (status, beside)
        assert int(z.evaluations) <= passes, f"{name}: {z.evaluations} passes"
    assert before == [r.tobytes() for r in (*arrays, *batch)], "an argument was changed"


@pytest.mark.fuzz
def test_fuzz(impl, fuzz_cases):
    seed, numbers = fuzz_cases
    for number in numbers:
        try:
            check(impl, seed, number)
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {number}: {error}") from error
