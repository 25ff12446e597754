"""The suites expfam and trajectory: exponential families."""

from functools import partial
from itertools import product

import numpy as np

from tests.regimes import rng
from tests.vectors import family
from tests.vectors.balls import sized
from tests.vectors.records import certified, over_runs
from tests.vectors.samples import exact_inputs, flagged


@partial(over_runs, T_data=2, T_noise=2, offset_data=1, offset_noise=1, theta=1)
def outputs(theta, F, nu=1.0, **samples):
    def formula():
        found = {}
        for prefix, at in (("", sized(F)), ("profile_", None)):
            here = family.Family(**samples, theta=sized(theta), F=at, nu=nu)
            for name in ("loss", "gradient", "hessian"):
                found[prefix + name] = getattr(here, prefix + name)()
        return found

    return certified(formula)


def expfam(suite):
    dtype = suite.dtype
    for k, n, m, nu, size, shift, flag in (
        (1, 5, 4, 1.0, 1.0, 0.0, "Normal"),
        (2, 6, 6, 1.0, 1.0, 0.5, "Normal"),
        (3, 8, 5, 0.5, 1.0, 1.0, "Normal"),
        (2, 7, 9, 3.0, 0.5, -1.0, "Normal"),
        (1, 6, 6, 1.0, 4.0, 4.0, "Chasm"),
        (1, 6, 4, 1.0, -4.0, 4.0, "Plateau"),
        (2, 5, 5, 0.25, 8.0, 2.0, "Chasm"),
        (1, 1, 1, 1.0, 1.0, 1.0, "Small"),
    ):
        g = rng(3000 + 10 * k + n)
        T = g.normal(size=(n, k)) + shift, g.normal(size=(m, k))
        offsets = [0.25 * g.normal(size=count) + 0.9 for count in (n, m)]
        theta = size * np.abs(1.0 + 0.25 * g.normal(size=k))
        drawn = (exact_inputs(x, dtype) for x in (*T, *offsets, theta, g.normal()))
        inputs = dict(zip((*ARRAYS, "F"), drawn)) | {"nu": nu}
        suite.answer(flagged(flag, n, m, nu), f"{k} statistics", outputs, inputs)
    batches = (1, 3, (), 1.0), (2, 2, ("T_noise", "offset_noise"), 0.5)
    for seed, runs, shared, nu in batches:
        inputs = _family(dtype, 3500 + seed, 2, 6, 5, runs, shared=shared) | {"nu": nu}
        comment = f"{runs} runs" + ", one noise" * bool(shared)
        suite.answer(flagged("Batched Unequal", 1, 1, nu), comment, outputs, inputs)
    _kinds(suite)


def _family(dtype, seed, k, n, m, *runs, shared=()):
    """Inputs without nu; those in ``shared`` have no runs."""
    g, inputs = rng(seed), {}
    shapes = {"T_data": (n, k), "T_noise": (m, k), "offset_data": (n,)}
    shapes |= {"offset_noise": (m,), "theta": (k,), "F": ()}
    for name, shape in shapes.items():
        mean = 0.9 if "offset" in name else 0.5 if name == "T_data" else 0.0
        x = g.normal(size=shape if name in shared else (*runs, *shape))
        inputs[name] = exact_inputs(x + mean, dtype)
    return inputs


ARRAYS = "T_data", "T_noise", "offset_data", "offset_noise", "theta"


def _kinds(suite):
    """Sizes, runs, layouts, defaults and infinities that code may mistake."""

    def add(flags, comment, *sizes, nu=2.0, change=(), **options):
        inputs = _family(suite.dtype, 3600 + len(suite.cases), *sizes, **options)
        inputs |= {} if nu is None else {"nu": float(exact_inputs(nu, suite.dtype))}
        flags = flagged(flags, sizes[1], sizes[2], nu or 1.0)
        inputs |= dict(change)
        found = outputs(**inputs)
        if options.get("shared") == ARRAYS:  # of F alone, which profiles have not
            found = {x: y for x, y in found.items() if not x.startswith("profile_")}
        suite.add(flags, comment, inputs, found)

    add("Sizes", "five statistics of 11 and 13 samples", 5, 11, 13)
    if suite.dtype == "float64":
        add("Sizes", "257 and 101 samples", 1, 257, 101)
    add("Default", "without nu", 2, 5, 4, nu=None)
    add("Batched", "one theta for three runs", 2, 5, 4, 3, shared=["theta", "F"])
    add("Batched", "one T for three runs", 2, 5, 4, 3, shared=["T_data", "T_noise"])
    add("Batched", "three runs of theta alone", 2, 5, 4, 3, shared=[*ARRAYS[:4], "F"])
    add("Batched", "three runs of F alone", 2, 5, 4, 3, shared=ARRAYS)
    add("Batched", "three offsets alone", 2, 5, 4, 3, shared=["T_data", "T_noise", "F"])
    add("Batched Square", "three runs of three of three", 3, 3, 3, 3)
    add("Views Batched", "two runs", 2, 5, 4, 2)
    for nu in (1e-6, 1e6):
        add("Chasm", f"nu = {nu:g}", 2, 5, 4, nu=nu)
    sides = {"offset_data": [0.5, np.inf, 1.0], "offset_noise": [-np.inf, 0.25, 0.5, 0]}
    for name, x in sides.items():
        x = {name: np.asarray(x)}
        add("Infinite", f"an infinite {name}", 2, 3, 4, change=x)
    good = _family(suite.dtype, 3700, 2, 5, 4) | {"nu": 2.0}
    hole = good["T_data"].copy()
    hole[1, 1] = np.nan
    names = "loss", "gradient", "hessian"
    for comment, change in {
        "NaN in T_data": {"T_data": hole},
        "NaN in theta": {"theta": np.asarray([1.0, np.nan])},
        "theta of another length": {"theta": np.ones(3)},
        "T_noise of another width": {"T_noise": good["T_noise"][:, :1]},
        "offset_data of another length": {"offset_data": good["offset_data"][:4]},
        "nu = 0": {"nu": 0.0},
        "F = nan": {"F": np.nan},
        "no data": {"T_data": np.zeros((0, 2)), "offset_data": np.zeros(0)},
    }.items():
        asked = names if "F" in change else [*names, *(f"profile_{x}" for x in names)]
        suite.add("BadInput", comment, good | change, refused=asked)


TRAJECTORIES = (
    ("gradient", "together", 1.0, 1, 1.0),
    ("gradient", "first", 4.0, 2, 1.0),
    ("gradient", "together", 4.0, 1, 0.5),
    ("bar", "together", 1.0, 1, 1.0),
    ("bar", "together", 0.5, 2, 1.0),
    ("bar", "together", 1.0, 1, 2.0),
    ("bar", "first", 0.5, 1, 1.0),
    ("root", "first", 1.0, 1, 1.0),
    ("root", "first", 1.0, 2, 0.5),
    ("root", "together", 1.0, 1, 1.0),
    ("root", "together", 0.5, 1, 1.0),
    ("root", "first", 0.25, 2, 0.5),
)


def trajectory(suite):
    steps, n, m, dtype = 10, 6, 5, suite.dtype
    for seed, (update, order, rate_F, k, nu) in enumerate(TRAJECTORIES):
        g = rng(6000 + seed)
        T = 1.0 + g.normal(size=(steps, n, k)), g.normal(size=(steps, m, k))
        offsets = np.full((steps, n), 0.9), np.full((steps, m), 0.9)
        drawn = (exact_inputs(x, dtype) for x in (*T, *offsets))
        case = dict(zip(ARRAYS, drawn)) | {"theta": np.zeros(k), "F": 0.0, "nu": nu}
        case |= {"rate": 0.5, "rate_F": rate_F, "update": update, "order": order}
        found = certified(partial(family.trajectory, case))
        damped = (" Undamped" if update == "root" else " Rate") if rate_F != 1.0 else ""
        flag = f"{update.capitalize()} {order.capitalize()}{damped}"
        suite.add(flagged(flag, n, n, nu), f"{update}, {order}", case, found)
    # From a theta and an F other than 0
    started = product((3, 12), ("gradient", "bar", "root"), ("together", "first"))
    for seed, (steps, update, order) in enumerate(started):
        case = _family(dtype, 6100 + seed, 2, 4, 3, steps)
        start, nu = _family(dtype, 6200 + seed, 2, 4, 3), (2.0, 0.25, 4.0)[seed % 3]
        case |= {"theta": start["theta"], "F": start["F"], "nu": nu, "rate_F": 0.75}
        case |= {"rate": 0.125 * (1 + seed % 5), "update": update, "order": order}
        more = {0: " Views", 1: " Default"}.get(seed, " Steps" if steps > 10 else "")
        if seed == 1:
            del case["nu"]
        found = certified(partial(family.trajectory, {"nu": 1.0} | case))
        flag = f"{update.capitalize()} {order.capitalize()} Started Unequal{more}"
        suite.add(flag, f"{steps} steps of {update}, {order}", case, found)
