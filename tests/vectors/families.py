"""The suites expfam and trajectory: exponential families."""

from functools import partial

import numpy as np

from tests.regimes import rng
from tests.vectors import family
from tests.vectors.balls import sized
from tests.vectors.records import certified, over_runs
from tests.vectors.samples import exact_inputs, flagged


@partial(over_runs, T_data=2, T_noise=2, offset_data=1, offset_noise=1, theta=1)
def outputs(theta, F, nu, **samples):
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
        inputs = {
            "T_data": exact_inputs(g.normal(size=(n, k)) + shift, dtype),
            "T_noise": exact_inputs(g.normal(size=(m, k)), dtype),
            "offset_data": exact_inputs(0.25 * g.normal(size=n) + 0.9, dtype),
            "offset_noise": exact_inputs(0.25 * g.normal(size=m) + 0.9, dtype),
            "theta": exact_inputs(size * np.abs(1.0 + 0.25 * g.normal(size=k)), dtype),
            "F": float(exact_inputs(g.normal(), dtype)),
            "nu": nu,
        }
        suite.answer(flagged(flag, n, m, nu), f"{k} statistics", outputs, inputs)
    parts = {
        "T_data": ((6, 2), 0.5),
        "T_noise": ((5, 2), 0.0),
        "offset_data": ((6,), 0.9),
        "offset_noise": ((5,), 0.9),
        "theta": ((2,), 0.0),
        "F": ((), 0.0),
    }
    batches = (1, 3, (), 1.0), (2, 2, ("T_noise", "offset_noise"), 0.5)
    for seed, runs, shared, nu in batches:
        g, inputs = rng(3500 + seed), {}
        for name, (shape, mean) in parts.items():
            x = g.normal(size=shape if name in shared else (runs, *shape))
            inputs[name] = exact_inputs(x + mean, dtype)
        inputs["nu"] = nu
        comment = f"{runs} runs" + ", one noise" * bool(shared)
        suite.answer(flagged("Batched Unequal", 1, 1, nu), comment, outputs, inputs)


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
        case = {
            "T_data": exact_inputs(1.0 + g.normal(size=(steps, n, k)), dtype),
            "T_noise": exact_inputs(g.normal(size=(steps, m, k)), dtype),
            "offset_data": exact_inputs(np.full((steps, n), 0.9), dtype),
            "offset_noise": exact_inputs(np.full((steps, m), 0.9), dtype),
            "theta": np.zeros(k),
            "F": 0.0,
            "nu": nu,
            "rate": 0.5,
            "rate_F": rate_F,
            "update": update,
            "order": order,
        }
        found = certified(partial(family.trajectory, case))
        damped = (" Undamped" if update == "root" else " Rate") if rate_F != 1.0 else ""
        flag = f"{update.capitalize()} {order.capitalize()}{damped}"
        suite.add(flagged(flag, n, n, nu), f"{update}, {order}", case, found)
