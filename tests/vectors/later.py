"""Cases that came later, behind those of ``suites``, so that an id keeps its meaning: more of batches, statuses and options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np

from tests import certified
from tests.certified import Exact
from tests.regimes import rng
from tests.vectors import resnet, suites
from tests.vectors.records import Suite
from tests.vectors.suites import exact_inputs, flagged, over_runs, pair

XTOL = 2.0**-10


def every(dtype: str) -> Iterator[Suite]:
    for build, more in (
        (suites.nce, nce),
        (suites.logz, logz),
        (suites.ence, ence),
        (suites.expfam, expfam),
        (suites.mlp, mlp),
        (resnet.conv, None),
        (resnet.head, None),
        (suites.optim, optim),
        (suites.trajectory, None),
    ):
        suite = Suite(build.__name__, dtype)
        build(suite)
        if more is not None:
            more(suite)
        yield suite


def _drawn(dtype: str, seed: int, *runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Data and noise that overlap."""
    g = rng(seed)
    return exact_inputs(1.0 + g.normal(size=(*runs, 6)), dtype), exact_inputs(
        g.normal(size=(*runs, 5)), dtype
    )


def nce(suite: Suite) -> None:
    r_data, r_noise = _drawn(suite.dtype, 30, 3)
    far = exact_inputs(r_data + np.asarray([[0.0], [2000.0], [-2000.0]]), suite.dtype)
    for data, noise in (
        (far, r_noise),
        (
            r_data,
            exact_inputs(
                r_noise - np.asarray([[0.0], [2000.0], [-2000.0]]), suite.dtype
            ),
        ),
    ):
        inputs, joined = over_runs(
            lambda a, b, F, nu: suites.nce_outputs(a, b, F, nu, False),
            data,
            noise,
            F=np.asarray(0.25),
            nu=np.asarray(1.0),
        )
        suite.add("Apart Batched Unequal", "three runs", inputs, joined)


def _converged(told: bool) -> tuple[tuple[int, ...], list[Exact]]:
    return (), [Exact(mpmath.mpf(int(told)), mpmath.mpf(1))]


def _solved(r_data: np.ndarray, r_noise: np.ndarray, nu: float) -> dict[str, Any]:
    root = certified.verdict(r_data, r_noise, nu) is None
    return suites.logz_outputs(r_data, r_noise, nu) | {"converged": _converged(root)}


def logz(suite: Suite) -> None:
    r_data, r_noise = _drawn(suite.dtype, 31, 3)
    apart = np.asarray([[0.0], [2000.0], [-2000.0]])
    moved = [exact_inputs(r + apart, suite.dtype) for r in (r_data, r_noise)]
    suite.add(
        "Apart Batched Unequal",
        "three runs",
        *over_runs(suites.logz_outputs, *moved, nu=np.asarray(1.0)),
    )

    both = [-np.inf, np.inf]
    some = [[0.5, 1.0], both, [0.5, 1.0], [0.25, 2.0]], [
        [0.25, -1.0],
        both,
        [-np.inf, -np.inf],
        [1.0, 0.0],
    ]
    runs = over_runs(suites.logz_outputs, *pair(some), nu=np.asarray(1.0))
    suite.add(
        "Batched NoRoot Infinite",
        "two of four runs have no root, one of them no limit either",
        *runs,
    )

    for nu in (1.0, 0.5):
        inputs = {"r_data": r_data[0], "r_noise": r_noise[0], "nu": nu}
        suite.add(
            flagged("Status Unequal", 1, 1, nu),
            "an easy root",
            inputs,
            _solved(r_data[0], r_noise[0], nu),
        )
    for lists in (([0.5], [-np.inf]), (both, both), ([np.inf, np.inf], [0.5])):
        sides = pair(lists)
        inputs = {"r_data": sides[0], "r_noise": sides[1], "nu": 1.0}
        suite.add("Status NoRoot Infinite", "", inputs, _solved(*sides, 1.0))
    suite.add(
        "Status Batched NoRoot Infinite",
        "",
        *over_runs(_solved, *pair(some), nu=np.asarray(1.0)),
    )
    _options(suite, r_data, r_noise)


def _options(suite: Suite, r_data: np.ndarray, r_noise: np.ndarray) -> None:
    def add(
        comment: str,
        r_data: np.ndarray,
        r_noise: np.ndarray,
        told: bool = True,
        **given: Any,
    ) -> None:
        inputs, joined = over_runs(_solved, r_data, r_noise, nu=np.asarray(1.0))
        shape, exacts = joined["root"]
        if (
            "xtol" in given
        ):  # what it allows is one unit, and the statistics at some F near the root are not asked for
            units = round(given["xtol"] / float(np.finfo(suite.dtype).eps))
            joined = {
                "root": (shape, [exact._replace(slack=units) for exact in exacts]),
                "converged": joined["converged"],
            }
        if not told:
            joined |= {"converged": _converged(False)}
        batched = " Batched" if shape else ""
        suite.add(f"Options{batched} Unequal", comment, inputs | given, joined)

    for F0 in (0.5, 30.0, -30.0):
        add("F0", r_data[1], r_noise[1], F0=F0)
    add("F0 of each run", r_data, r_noise, F0=np.asarray([0.0, 4.0, -4.0]))
    thousand = [exact_inputs(r[2] + 1000.0, suite.dtype) for r in (r_data, r_noise)]
    add("xtol", r_data[0], r_noise[0], xtol=XTOL)
    add("xtol, which is absolute", *thousand, xtol=XTOL)
    add("xtol, and F0", *thousand, xtol=XTOL, F0=990.0)
    separated = np.asarray([8.0, 9.0, 10.0, 12.0]), np.asarray([-8.0, -9.0, -11.0])
    add("half updates where whole ones zigzag", *separated, step=0.5, F0=4.0)
    add("half updates", r_data[0], r_noise[0], step=0.5)
    add("three updates are not enough", *separated, told=False, F0=4.0, max_updates=3.0)
    add(
        "one update is not enough",
        r_data[0],
        r_noise[0],
        told=False,
        F0=6.0,
        max_updates=1.0,
    )
    add("a hundred updates are enough", r_data[0], r_noise[0], max_updates=100.0)


def ence(suite: Suite) -> None:
    apart = np.asarray([0.0, 2000.0, -2000.0])
    r_data, r_noise = (
        exact_inputs(r + apart[:, None], suite.dtype)
        for r in _drawn(suite.dtype, 32, 3)
    )
    inputs, joined = over_runs(
        lambda a, b, F: suites.ence_outputs(a, b, F, False),
        r_data,
        r_noise,
        F=apart + 0.5,
    )
    suite.add("Apart Batched Unequal", "three runs", inputs, joined)


def expfam(suite: Suite) -> None:
    names, k = ("T_data", "T_noise", "offset_data", "offset_noise"), 2
    for seed, runs, shared, nu in ((1, 3, False, 1.0), (2, 2, True, 0.5)):
        g = rng(3500 + seed)
        n, m = 6, 5
        shapes = (
            (runs, n, k),
            ((m, k) if shared else (runs, m, k)),
            (runs, n),
            ((m,) if shared else (runs, m)),
        )
        means = (0.5, 0.0, 0.9, 0.9)
        arrays = [
            exact_inputs(g.normal(size=shape) + c, suite.dtype)
            for shape, c in zip(shapes, means, strict=True)
        ]
        theta, F = exact_inputs(g.normal(size=(runs, k)), suite.dtype), exact_inputs(
            g.normal(size=runs), suite.dtype
        )
        each = [
            np.broadcast_to(x, (runs, *s))
            for x, s in zip(arrays, ((n, k), (m, k), (n,), (m,)), strict=True)
        ]
        found = [
            suites.family_outputs([x[i] for x in each], theta[i], float(F[i]), nu)
            for i in range(runs)
        ]
        comment = f"{runs} runs" + ", one noise" * shared
        inputs = {
            **dict(zip(names, arrays, strict=True)),
            "theta": theta,
            "F": F,
            "nu": nu,
        }
        suite.add(
            flagged("Batched Unequal", 1, 1, nu), comment, inputs, suites.stacked(found)
        )


def mlp(suite: Suite) -> None:
    for seed, runs, widths, n in ((1, 2, (2, 4, 1), 3), (2, 3, (3, 4, 4, 2), 4)):
        g = rng(4500 + seed)
        params = {}
        for k, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            params[f"{2 * k}.weight"] = exact_inputs(
                g.normal(size=(runs, after, before)), suite.dtype
            )
            params[f"{2 * k}.bias"] = exact_inputs(
                0.5 * g.normal(size=(runs, after)), suite.dtype
            )
        x, dy = (
            exact_inputs(g.normal(size=(runs, n, c)), suite.dtype)
            for c in (widths[0], widths[-1])
        )
        found = [
            suites.network_outputs(
                {name: p[i] for name, p in params.items()}, x[i], dy[i]
            )
            for i in range(runs)
        ]
        suite.add(
            "Batched",
            f"{runs} runs, widths {widths}, {n} samples",
            {**params, "x": x, "dy": dy},
            suites.stacked(found),
        )


def optim(suite: Suite) -> None:
    g = rng(5500)
    huge = 2.0**664 if suite.dtype == "float64" else 2.0**90
    one = g.normal(size=(3, 2, 3))
    one[:, 1] = 0.0
    sparse = np.asarray(
        [
            [1.0, 0.0, 0.5],
            [0.0, 0.0, -0.25],
            [0.0, 2.0, 0.125],
            [0.0, 0.0, 0.5],
            [-0.5, 0.0, 1.0],
        ]
    )
    suites.optimized(
        suite, "Sparse Runs", "two of three coordinates are 0 now and then", sparse
    )
    suites.optimized(suite, "Zero Batched Runs", "one of two runs is 0", one)
    suites.optimized(
        suite, "Squares Runs", "squares overflow", g.normal(size=(3, 2)) * huge
    )
