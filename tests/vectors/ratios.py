"""The suites nce, logz and ence: functions of log-ratios."""

from functools import partial

import mpmath
import numpy as np
from flint import arb

from tests import certified
from tests.certainty import Exact, certify, total
from tests.vectors import samples
from tests.vectors.records import over_runs
from tests.vectors.samples import APART, INF, exact_inputs, flagged

# A standard error and an overlap are statistics: their units are 2^10 times the ulps.
STATISTIC = 2**10
XTOL = 2.0**-10
GRAD_R = ("grad_r_data", "grad_r_noise")
LARGE = "Large Unequal Weight", "20000 and 10000"
of_runs = partial(over_runs, r_data=1, r_noise=1)


def _one(exact):
    return (), [exact]


def _grad_r(grad_r, given):
    return {name: (r.shape, x) for name, r, x in zip(GRAD_R, given, grad_r(*given))}


def _refuse(suite, names, *quantities):
    for comment, change in samples.INVALID:
        if change.keys() <= set(names):
            inputs = {name: (samples.VALID | change)[name] for name in names}
            asked = [q for q in quantities if q != "log_z" or "F" not in change]
            suite.add("BadInput", comment, inputs, refused=asked)


def _broadcast(suite, names, *quantities):
    """The last case of samples.INVALID again, without grad_r."""
    comment, change = samples.INVALID[-1]
    suite.withdraw(comment, "grad_r_data does not depend on the runs of the noise")
    inputs = {name: (samples.VALID | change)[name] for name in names}
    asked = [quantity for quantity in quantities if quantity != "grad_r_data"]
    suite.add("BadInput", comment, inputs, refused=asked)


def _six_runs(suite, outputs, *names):
    arrays = samples.six_runs(suite.dtype)
    for nu in (1.0, 0.5) if "nu" in names else (1.0,):
        inputs = {name: (arrays | {"nu": nu})[name] for name in names}
        suite.answer(flagged("Batched Unequal", 1, 1, nu), "six runs", outputs, inputs)


def _three_runs(suite, outputs, r_data, r_noise, **given):
    data, noise = (exact_inputs(r, suite.dtype) for r in (r_data, r_noise))
    inputs = {"r_data": data, "r_noise": noise, **given}
    suite.answer("Apart Batched Unequal", "three runs", outputs, inputs)


def _kinds(suite, outputs, *names, each=False):
    """Counts, weights, runs, layouts and defaults that code may mistake."""
    r_data, r_noise = samples.overlapping(suite.dtype, 33, 3)
    Fs, each = np.asarray([0.25, -0.5, 1.0]), {"each": True} if each else {}

    def add(flags, comment, data, noise, F=0.25, nu=2.0, **options):
        given = {"r_data": data, "r_noise": noise, "F": F, "nu": nu}
        inputs = {name: given[name] for name in names if given[name] is not None}
        weight = " Weight" if inputs.get("nu", 1.0) != 1.0 else ""
        found = outputs(**inputs, **options)
        if np.ndim(F) and np.ndim(data) == 1:  # log_z does not depend on F
            found.pop("log_z", None)
        suite.add(flags + weight, comment, inputs, found)

    one = r_data[0], r_noise[0]
    many = [samples.integers(n, n) for n in (307, 101, 1500, 300)]
    if suite.dtype == "float64":
        add("Sizes Unequal", "1500 and 300", *many[2:])
        add("Sizes Unequal", "307 and 101", *many[:2], **each)
    add("Batched Unequal", "each has three runs", r_data, r_noise, Fs, **each)
    add("Batched Unequal", "runs of the data alone", r_data, one[1])
    add("Batched Unequal", "runs of the noise alone", one[0], r_noise)
    square = r_data[:, :3], r_noise[:, :3]
    add("Batched Square", "three runs of three", *square, Fs, **each)
    add("Views Batched Unequal", "three runs", r_data, r_noise, Fs, **each)
    add("Views Unequal", "one run", *one, **each)
    if "F" in names:
        add("Batched Square", "three runs of F alone", one[0][:3], one[1][:3], Fs)
    if "nu" in names:
        add("Default Unequal", "without nu", *one, nu=None, **each)
        for power in (-12, -6, 6, 12):
            nu = float(exact_inputs(10.0**power, suite.dtype))
            for F in (0.25, -round(np.log(nu))) if "F" in names else (0.25,):
                add("Unequal", f"nu = 1e{power}", *one, F, nu, **each)


# --- nce


@of_runs
def nce_outputs(r_data, r_noise, F, nu=1.0, each=False):
    given = r_data, r_noise, F, nu
    names = ("loss", "grad_F", "hess_F", "bar_update")
    found = {name: _one(getattr(certified, name)(*given)) for name in names}
    return found | _grad_r(certified.grad_r, given) if each else found


def nce(suite):
    dtype = suite.dtype
    for flags, case in samples.finite(dtype):
        root = float(exact_inputs(certified.root_F(**case.r, nu=case.nu), dtype))
        for F in dict.fromkeys((*case.F, root)):
            inputs, each = case.r | {"F": F, "nu": case.nu}, case.size <= 16
            near = flags + " NearRoot" * (F == root)
            suite.answer(near, case.name, nce_outputs, inputs, each=each)
    for inputs in samples.infinite(F=0.5, nu=1.0):
        suite.answer("Infinite", "", nce_outputs, inputs, each=True)
    _six_runs(suite, nce_outputs, "r_data", "r_noise", "F", "nu")
    if dtype == "float64":
        inputs = {**samples.large(20, 1.0, 1.0), "F": 0.25, "nu": 0.5}
        suite.answer(*LARGE, nce_outputs, inputs)
    quantities = ("loss", "grad_F", "hess_F", "grad_r_data", "bar_update")
    _refuse(suite, ("r_data", "r_noise", "F", "nu"), *quantities)
    r_data, r_noise = samples.overlapping(dtype, 30, 3)
    _three_runs(suite, nce_outputs, r_data + APART, r_noise, F=0.25, nu=1.0)
    _three_runs(suite, nce_outputs, r_data, r_noise - APART, F=0.25, nu=1.0)
    _kinds(suite, nce_outputs, "r_data", "r_noise", "F", "nu", each=True)
    _broadcast(suite, ("r_data", "r_noise", "F", "nu"), *quantities)


# --- logz


@of_runs
def logz_outputs(r_data, r_noise, nu=1.0):
    root = certified.root(r_data, r_noise, nu)
    found = {"root": _one(root.F)}
    size = abs(root.F.value) if root.has_root else 0
    if size < 1e6:  # beyond, the rounding of the root leaves nothing of them
        for name in ("standard_error", "overlap"):
            exact = getattr(root, name)
            scale = exact.scale * (STATISTIC + size)
            found[name] = _one(exact._replace(scale=scale, slack=1))
    return found


def _converged(told):
    return (), [Exact(mpmath.mpf(int(told)), mpmath.mpf(1))]


@of_runs
def _solved(r_data, r_noise, nu):
    has_root = certified.verdict(r_data, r_noise, nu) is None
    outputs = logz_outputs(r_data=r_data, r_noise=r_noise, nu=nu)
    return outputs | {"converged": _converged(has_root)}


def logz(suite):
    dtype = suite.dtype
    for flags, case in samples.finite(dtype):
        inputs = case.r | {"nu": case.nu}
        suite.answer(flags, case.name, logz_outputs, inputs)
    for x in samples.infinite():
        for nu in (1.0, 3.0):
            none = certified.verdict(**x, nu=nu) is not None
            flags = flagged("Infinite" + " NoRoot" * none, 1, 1, nu)
            suite.answer(flags, "", logz_outputs, {**x, "nu": nu})
    _six_runs(suite, logz_outputs, "r_data", "r_noise", "nu")
    if dtype == "float64":
        for seed, spread in ((22, 1.0), (23, 16.0)):
            inputs = {**samples.large(seed, spread, spread), "nu": 0.5}
            suite.answer(*LARGE, logz_outputs, inputs)
    _refuse(suite, ("r_data", "r_noise", "nu"), "root")
    r_data, r_noise = samples.overlapping(dtype, 31, 3)

    _three_runs(suite, logz_outputs, r_data + APART, r_noise + APART, nu=1.0)

    def add(flags, comment, outputs, data, noise):
        inputs = {"r_data": np.asarray(data), "r_noise": np.asarray(noise), "nu": 1.0}
        suite.answer(flags, comment, outputs, inputs)

    both = [-INF, INF]
    some = (
        [[0.5, 1.0], both, [0.5, 1.0], [0.25, 2.0]],
        [[0.25, -1.0], both, [-INF, -INF], [1.0, 0.0]],
    )
    comment = "two of four runs have no root, one of them no limit either"
    add("Batched NoRoot Infinite", comment, logz_outputs, *some)
    for nu in (1.0, 0.5):
        inputs = {"r_data": r_data[0], "r_noise": r_noise[0], "nu": nu}
        flags = flagged("Status Unequal", 1, 1, nu)
        suite.answer(flags, "an easy root", _solved, inputs)
    for sides in (([0.5], [-INF]), (both, both), ([INF, INF], [0.5])):
        add("Status NoRoot Infinite", "", _solved, *sides)
    add("Status Batched NoRoot Infinite", "", _solved, *some)
    _options(suite, r_data, r_noise)
    _kinds(suite, logz_outputs, "r_data", "r_noise", "nu")


def _options(suite, r_data, r_noise):
    """Cases with F0, xtol, step and max_updates."""

    def add(comment, *r, told=True, **given):
        inputs = {"r_data": r[0], "r_noise": r[1], "nu": 1.0}
        outputs = _solved(**inputs)
        shape, exacts = outputs["root"]
        if "xtol" in given:  # it is one unit; statistics at the root are not asked for
            units = round(given["xtol"] / float(np.finfo(suite.dtype).eps))
            root = shape, [exact._replace(slack=units) for exact in exacts]
            outputs = {"root": root, "converged": outputs["converged"]}
        if not told:
            outputs |= {"converged": _converged(False)}
        flags = f"Options{' Batched' if shape else ''} Unequal"
        suite.add(flags, comment, inputs | given, outputs)

    for F0 in (0.5, 30.0, -30.0):
        add("F0", r_data[1], r_noise[1], F0=F0)
    add("F0 of each run", r_data, r_noise, F0=np.asarray([0.0, 4.0, -4.0]))
    thousand = [exact_inputs(r[2] + 1000.0, suite.dtype) for r in (r_data, r_noise)]
    add("xtol", r_data[0], r_noise[0], xtol=XTOL)
    add("xtol, which is absolute", *thousand, xtol=XTOL)
    add("xtol, and F0", *thousand, xtol=XTOL, F0=990.0)
    separated = np.asarray([8.0, 9.0, 10.0, 12.0]), np.asarray([-8.0, -9.0, -11.0])
    easy = r_data[0], r_noise[0]
    add("half updates where whole ones zigzag", *separated, step=0.5, F0=4.0)
    add("half updates", *easy, step=0.5)
    add("three updates are not enough", *separated, told=False, F0=4.0, max_updates=3.0)
    add("one update is not enough", *easy, told=False, F0=6.0, max_updates=1.0)
    add("a hundred updates are enough", *easy, max_updates=100.0)
    for quantity, r, nu, F0, step, most, updates in (
        ("last", easy, 2.0, 6.0, 1.0, 1, 1),
        ("last", easy, 0.5, -3.0, 0.5, 2, 2),
        ("last", separated, 1.0, 4.0, 1.0, 3, 3),
        ("cycle", separated, 1.0, 4.0, 1.0, 500, 5),
    ):
        inputs = {"r_data": r[0], "r_noise": r[1], "nu": nu, "F0": F0, "step": step}
        inputs["max_updates"] = float(most)
        exact = certify(partial(_iterate, *r, nu, F0, step, updates), slack=updates)
        outputs = {quantity: _one(exact), "converged": _converged(False)}
        comment = f"F where bar stops: {quantity}"
        suite.add("Options Stopped Unequal", comment, inputs, outputs)


def _iterate(r_data, r_noise, nu, F, step, updates):
    F, log_nu = arb(F), arb(nu).log()
    for _ in range(updates):
        u = F + log_nu
        A, B = (
            total(1 / (1 + (side * (arb(x) - u)).exp()) for x in r.tolist()) / r.size
            for side, r in ((1, r_data), (-1, r_noise))
        )
        F = F - step * (A / B / nu).log()
    return F, abs(F)


# --- ence


@of_runs
def ence_outputs(r_data, r_noise, F, each=False):
    given, names = (r_data, r_noise, F), ("loss", "grad_F", "log_z")
    found = {name: _one(getattr(certified, f"ence_{name}")(*given)) for name in names}
    return found | _grad_r(certified.ence_grad_r, given) if each else found


def ence(suite):
    for flags, case in samples.finite(suite.dtype):
        if case.nu == 1.0 and "Huge" not in flags:
            for F in case.F:
                inputs, each = case.r | {"F": F}, case.size <= 8
                suite.answer(flags, case.name, ence_outputs, inputs, each=each)
    for inputs in samples.infinite(F=0.5):
        suite.answer("Infinite", "", ence_outputs, inputs, each=True)
    _six_runs(suite, ence_outputs, "r_data", "r_noise", "F")
    names = ("r_data", "r_noise", "F")
    _refuse(suite, names, "loss", "grad_F", "grad_r_data", "log_z")
    r_data, r_noise = samples.overlapping(suite.dtype, 32, 3)
    moved = r_data + APART, r_noise + APART
    _three_runs(suite, ence_outputs, *moved, F=APART[:, 0] + 0.5)
    _kinds(suite, ence_outputs, *names, each=True)
    _broadcast(suite, names, "loss", "grad_F", "log_z")
