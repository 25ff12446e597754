"""``freeenergy.chain`` against its peers: a table of ratios.

``python -m tests.bench.bench_freeenergy`` times public functions on NumPy float64, one
thread, validation, errors and overlaps included. The legs are real data of alchemtest
(extra ``freeenergy``). pymbar is a loop over the pairs, at its defaults; alchemlyb is
``BAR().fit`` on the table. Neither estimates a correlation. The solves of a leg are one
call of ``logz.newton``, which leaves out the errors of totals; ``chain`` has them.

The small problems are bootstraps of one pair, 50 + 50 samples each. brentq solves 100
of them one by one, ``newton`` and ``chain`` solve 10,000 in one call; the ratio is one
of times per problem. Ratios are medians over interleaved rounds (``timing``). Timed
results are checked against the peer's first.
"""

import logging
import warnings
from typing import Any

from tests.bench.timing import ratios, row

import numpy as np
from scipy.optimize import brentq

from refnce import logz
from refnce.freeenergy import chain
from tests.bench.bench_formulas import ends
from tests.bench.bench_solve import log_ratio_of_means
from tests.regimes import gaussian_1d
from tests.test_freeenergy_peers import pairs_of, samples_of, solved

try:
    import alchemtest  # noqa: F401
    import pymbar
    from alchemlyb.estimators import BAR
    from loguru import logger
except ImportError as error:
    print(f"{error}: the legs are left out (extra freeenergy)")
    pymbar = None
LEGS = [("gmx", "benzene", "VDW"), ("gmx", "ABFE", "complex")]
LEGS += [("gmx", "ABFE", "ligand"), ("amber", "bace_example", "solvated vdw")]
PROBLEMS, ONE_BY_ONE = 10_000, 100


def a_leg(leg: tuple[str, str, str]) -> None:
    u, counts = samples_of(space := solved(*leg))
    pairs = list(pairs_of(u, counts))
    forward, r_data = (np.stack(x) for x in zip(*pairs, strict=True))
    r_noise = -forward
    works: dict[str, Any] = {"solves": lambda: logz.newton(r_data, r_noise)}
    works["chain, indep."] = lambda: chain(u, counts, independent=True)
    works["chain"] = lambda: chain(u, counts)
    works["pymbar"] = lambda: [pymbar.bar(*pair)["Delta_f"] for pair in pairs]
    works["alchemlyb"] = lambda: BAR().fit(space["u_nk"]).delta_f_.to_numpy()
    f = works["chain"]().f
    assert np.abs(f - works["alchemlyb"]()[0]).max() <= 1e-6  # at its tolerance
    assert np.abs(np.diff(f) - works["pymbar"]()).max() <= 1e-9
    assert np.abs(np.diff(f) + works["solves"]().F).max() <= 1e-13
    print(*leg)
    for ours in ("solves", "chain, indep.", "chain"):
        times = ratios(
            {x: works[x] for x in (ours, "pymbar")}, ours, rounds=15, calls=3
        )
        times |= ratios({x: works[x] for x in (ours, "alchemlyb")}, ours, rounds=7)
        work = f"{ours}: {len(pairs)} pairs of {counts[0]} + {counts[0]}"
        for peer, bound in (("pymbar", 30), ("alchemlyb", 100)):
            must = bound if ours == "solves" else 1
            print(row(work, peer, times[peer], must, bound), flush=True)


def small_problems() -> None:
    draw, (data, noise) = np.random.default_rng(2), gaussian_1d(1.0, 1.0, 50, 50, 1)
    r_data, r_noise = (x[draw.integers(50, size=(PROBLEMS, 50))] for x in (data, noise))
    u = np.zeros((PROBLEMS, 2, 100))  # r is u_0 - u_1
    u[:, 0, 50:], u[:, 1, :50] = r_data, -r_noise

    def one_by_one() -> Any:
        problems = zip(r_data[:ONE_BY_ONE], r_noise[:ONE_BY_ONE], strict=True)
        return [brentq(log_ratio_of_means, *ends(*x), args=x) for x in problems]

    works = {"newton": lambda: logz.newton(r_data, r_noise)}
    works["chain"] = lambda: chain(u, [50, 50], independent=True)
    exact = one_by_one()
    assert np.abs(works["newton"]().F[:ONE_BY_ONE] - exact).max() <= 1e-11
    assert np.abs(works["chain"]().f[:ONE_BY_ONE, 1] + exact).max() <= 1e-11
    for name in ("newton", "chain"):
        pair = {name: works[name], "brentq": one_by_one}
        ratio = ratios(pair, name, rounds=9)["brentq"] * PROBLEMS / ONE_BY_ONE
        print(row(f"{name}: {PROBLEMS} problems of 50 + 50", "brentq", ratio, 10, 20))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # pymbar announces each solve
    warnings.simplefilter("ignore")  # pandas, pymbar and alchemlyb warn
    small_problems()
    if pymbar:
        logger.disable("alchemlyb")
        for leg in LEGS:
            a_leg(leg)
