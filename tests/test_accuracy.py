"""The promise of DESIGN, Numbers: every value within 4 units of its certified one, in every regime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests import certified, regimes
from tests.regimes import Case
from tests.ulps import error_in_units

FORMULAS = {"loss": "nce", "grad_F": "nce", "hess_F": "nce", "bar_update": "logz"}
SOLVERS = ("newton", "bisect", "bar")
CONVERGED, NO_ROOT, CYCLE, MAX_UPDATES = 0, 2, 3, 4

PROMISE = 4.0  # units, NumPy on the CPU
# Other libraries bring an exp and sums of their own, an ulp or two worse in each.
PROMISE_ELSEWHERE = 16.0
# float32 keeps the same scheme in units of its own; counts stay below 2**24 there.
PROMISE_FLOAT32 = 4.0
FLOAT32_REGIMES = (
    "good overlap",
    "plateau",
    "unequal counts",
    "nu",
    "one and two points",
    "ties",
    "Student-t(1.2) x 50",
)
# The standard error and the overlap are carried from the last pass to the root, not computed to the last digits there: a
# bound on what that costs, measured, and no part of the promise. (2**-52 * 4096 is a relative error of 1e-12.)
SAMPLING_BOUND = 4096.0


class Worst:
    """The largest error of each quantity and where it was."""

    def __init__(self) -> None:
        self.errors: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))

    def add(self, quantity: str, error: float, where: str) -> None:
        if error >= self.errors[quantity][0]:
            self.errors[quantity] = error, where

    def of(self, quantities: tuple[str, ...]) -> Worst:
        """The same for some of the quantities alone."""
        part = Worst()
        part.errors.update(
            (quantity, self.errors[quantity])
            for quantity in quantities
            if quantity in self.errors
        )
        return part

    def table(self) -> str:
        return ", ".join(
            f"{quantity} {error:.2f}" for quantity, (error, _) in self.errors.items()
        )

    def check(self, bound: float) -> None:
        broken = [
            f"{q}: {error:.4g} units at {where}"
            for q, (error, where) in self.errors.items()
            if not error <= bound
        ]
        assert not broken, "; ".join(broken)


def _formulas(
    impl: Any, case: Case, F: float, dtype: str
) -> Iterator[tuple[str, float, str]]:
    for name, space in FORMULAS.items():
        exact = getattr(certified, name)(case.r_data, case.r_noise, F, case.nu)
        arrays = case.r_data.astype(dtype), case.r_noise.astype(dtype)
        got = getattr(getattr(impl, space), name)(*arrays, F, nu=case.nu)
        if (
            got.dtype != dtype or got.shape != ()
        ):  # an error of this quantity, not of those judged beside it
            yield name, float("inf"), f"{case.name}: {got.dtype} of shape {got.shape}"
        else:
            yield name, error_in_units(
                got, exact.value, exact.unit(dtype), dtype
            ), f"{case.name}, F = {F!r}"


def _roots(impl: Any, case: Case, dtype: str) -> Iterator[tuple[str, float, str]]:
    root = certified.root(case.r_data, case.r_noise, case.nu)
    for name in SOLVERS:
        options = {"max_updates": 100} if name == "bar" else {}
        arrays = case.r_data.astype(dtype), case.r_noise.astype(dtype)
        z = getattr(impl.logz, name)(*arrays, nu=case.nu, **options)
        if name == "bar" and z.status in (CYCLE, MAX_UPDATES):
            continue  # it does not claim a root there
        assert z.status == CONVERGED, f"{name} at {case.name}: status {z.status}"
        yield name, error_in_units(
            z.F, root.F.value, root.F.unit(dtype), dtype
        ), case.name
        lo, hi = z.bracket
        assert (
            lo <= hi and lo <= z.F <= hi
        ), f"{name} at {case.name}: bracket {z.bracket} of F = {z.F}"
        slack = PROMISE_FLOAT32 * float(root.F.unit(dtype))
        assert (
            float(lo) - slack <= float(root.F.value) <= float(hi) + slack
        ), f"{name} at {case.name}: {z.bracket}, {root.F.value}"
        # The exact standard error is that at the exact root: rounding a large F moves it by more than the bound.
        if name == "newton" and dtype == "float64" and abs(z.F) < 1e6:
            for quantity in ("standard_error", "overlap"):
                exact = getattr(root, quantity)
                yield quantity, error_in_units(
                    getattr(z, quantity), exact.value, exact.unit()
                ), case.name


@lru_cache(maxsize=None)
def _judge(impl: Any, regime: str, dtype: str) -> Worst:
    worst = Worst()
    for case in regimes.REGIMES[regime]():
        if dtype == "float32":
            case = case._replace(
                r_data=case.r_data.astype(dtype).astype("float64"),
                r_noise=case.r_noise.astype(dtype).astype("float64"),
                F=tuple(float(np.float32(F)) for F in case.F),
            )
        F_root = float(certified.root(case.r_data, case.r_noise, case.nu).F.value)
        for F in (*case.F, float(np.dtype(dtype).type(F_root))):
            for found in _formulas(impl, case, F, dtype):
                worst.add(*found)
        for found in _roots(impl, case, dtype):
            worst.add(*found)
    return worst


def _within_the_promise(
    impl: Any, evidence: Any, regime: str, dtype: str, quantities: tuple[str, ...]
) -> None:
    if dtype == "float64" and impl.eps != np.finfo(np.float64).eps:
        pytest.skip("the implementation does not work in float64")
    worst = _judge(impl, regime, dtype).of(quantities)
    evidence(f"{regime}: {worst.table()} units")
    promise = PROMISE if impl.name == "numpy" else PROMISE_ELSEWHERE
    worst.check(PROMISE_FLOAT32 if dtype == "float32" else promise)


CASES = [("float64", regime) for regime in regimes.REGIMES] + [
    ("float32", regime) for regime in FLOAT32_REGIMES
]
in_every_regime = pytest.mark.parametrize("dtype, regime", CASES)


@pytest.mark.claim(
    "Section 3.3",
    "loss and both derivatives in F: within 4 units of certified values",
    kind="theorem",
    where="nce",
)
@in_every_regime
def test_formulas_are_within_the_promise(impl, evidence, dtype, regime):
    _within_the_promise(impl, evidence, regime, dtype, ("loss", "grad_F", "hess_F"))


@pytest.mark.claim(
    "Eq. 10",
    "one BAR update: within 4 units of certified values",
    kind="theorem",
    where="logz.bar_update",
)
@in_every_regime
def test_bar_update_is_within_the_promise(impl, evidence, dtype, regime):
    _within_the_promise(impl, evidence, regime, dtype, ("bar_update",))


@pytest.mark.claim(
    "Section 3.3",
    "the F that minimises the loss can be computed to machine precision: the solvers within 4 units of certified roots",
    kind="theorem",
    where="logz",
)
@in_every_regime
def test_roots_are_within_the_promise(impl, evidence, dtype, regime):
    _within_the_promise(impl, evidence, regime, dtype, SOLVERS)


@pytest.mark.parametrize("regime", regimes.REGIMES)
def test_standard_error_and_overlap(impl, regime):
    _judge(impl, regime, "float64").of(("standard_error", "overlap")).check(
        SAMPLING_BOUND
    )


def test_grad_r_within_the_promise(impl, evidence):
    """Each weight to 4 of its own ulps, in every regime of up to 64 + 64 samples."""
    worst = Worst()
    for regime in regimes.REGIMES:
        if regime == "n = 1e5":
            continue
        for case in regimes.REGIMES[regime]():
            data, noise = case.r_data[:12], case.r_noise[:12]
            for F in case.F:
                exact = certified.grad_r(data, noise, F, case.nu)
                got = impl.nce.grad_r(data, noise, F, nu=case.nu)
                for expected, weights in zip(exact, got, strict=True):
                    for e, w in zip(expected, weights.tolist(), strict=True):
                        worst.add(
                            regime,
                            error_in_units(w, e.value, e.unit()),
                            f"{case.name}, F = {F!r}",
                        )
    evidence(f"grad_r: {worst.table()} units")
    worst.check(PROMISE if impl.name == "numpy" else PROMISE_ELSEWHERE)
