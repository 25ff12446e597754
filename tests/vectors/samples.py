"""Samples of log-ratios for the suites nce, logz and ence."""

import numpy as np

from tests import regimes
from tests.regimes import Case, rng

FLAGS = (
    "good overlap: Normal, density chasm: Chasm, plateau: Plateau, tiny loss: TinyLoss,"
    " subnormal sigma: Subnormal, total underflow: Underflow, cancelling r - F:"
    " InputRounding, unequal counts: Unequal, nu: Weight, one and two points: Small,"
    " ties: Ties, Student-t(1.2) x 50: HeavyTail, root in a gap: Gap, counts cancel:"
    " CountsCancel, huge: Huge"
)
OF_REGIME = dict(pair.split(": ") for pair in FLAGS.split(", "))
NOT_FLOAT32 = "Chasm TinyLoss Subnormal Underflow InputRounding Gap CountsCancel Huge"
SMALL = 40  # numbers of both samples together that are written out for every F
# These regimes have larger samples: about THIN numbers of each are used.
THIN = 9
THINNED = "tiny loss, cancelling r - F, nu, Student-t(1.2) x 50, root in a gap"
LARGER = {"ring 0", "16 apart, theta = -16, 512", "0.333, 1 apart, theta 1"}
EDGES = {
    "float64": (0.0, 5e-324, 2.0**-53, 36.04, 36.74, 708.4, 709.78, 744.44, 745.13),
    "float32": (0.0, 2.0**-149, 2.0**-24, 16.6, 17.3, 87.3, 88.72, 103.2, 103.9),
}
INF = np.inf
INFINITE = (
    ([-INF, 0.5, 1.0], [0.25, -1.0]),
    ([INF, 0.5, 1.0], [0.25, -1.0]),
    ([0.5, 1.0], [-INF, -INF, 0.25]),
    ([0.5, 1.0], [INF, 0.25, -0.5]),
    ([-INF, 0.0, 0.0], [0.0, 0.0, -INF]),
    ([-INF, 2.0], [INF, 0.5]),
    ([INF, INF], [0.5]),
    ([0.5], [-INF]),
    ([-INF, -INF], [0.5]),
    ([INF, -INF, 3.0], [INF, -INF, -3.0]),
    ([INF], [-INF]),
)
VALID = {"r_data": [0.5, 1.0], "r_noise": [0.25, -1.0], "F": 0.5, "nu": 1.0}
CROSSED = {"r_data": np.zeros((2, 3)), "r_noise": np.zeros((3, 3))}
INVALID = (
    ("no data", {"r_data": []}),
    ("no noise", {"r_noise": []}),
    ("NaN among the data", {"r_data": [0.5, np.nan]}),
    ("NaN among the noise", {"r_noise": [np.nan, 0.5]}),
    *((f"F = {F}", {"F": F}) for F in (np.nan, INF)),
    *((f"nu = {nu}", {"nu": nu}) for nu in (0.0, -1.0, np.nan, INF)),
    ("runs that do not broadcast", CROSSED),
)
APART = np.asarray([[0.0], [2000.0], [-2000.0]])


def exact_inputs(x, dtype):
    return np.asarray(x, dtype=dtype).astype(np.float64)


def flagged(flag, n, m, nu):
    more = ["Unequal"] * (n != m) + ["Weight"] * (nu != 1.0)
    return " ".join([flag, *(name for name in more if name != flag)])


def finite(dtype):
    """Finite samples that are exact in a dtype, and the flags of each."""
    for name, flag in OF_REGIME.items():
        if dtype == "float32" and flag in NOT_FLOAT32.split():
            continue
        for case in regimes.REGIMES[name]():
            samples = [case.r_data, case.r_noise]
            if case.size > SMALL and case.name not in LARGER:
                if name not in THINNED.split(", "):
                    continue
                samples = [r[:: max(1, r.size // THIN)] for r in samples]
            r_data, r_noise = (exact_inputs(r, dtype) for r in samples)
            nu, *Fs = (float(exact_inputs(x, dtype)) for x in (case.nu, *case.F))
            flags = flagged(flag, r_data.size, r_noise.size, nu)
            yield flags, Case(case.name, r_data, r_noise, nu, tuple(Fs))
    kind = np.dtype(dtype).type
    for x in map(kind, EDGES[dtype]):
        for edge in (np.nextafter(x, kind(-INF)), x, np.nextafter(x, kind(INF))):
            r = np.asarray([float(edge)])
            yield "Edge", Case(f"at {float(edge)!r}", r, -r, 1.0, (0.0,))
            yield "Edge", Case(f"at {-float(edge)!r}", -r, r, 1.0, (0.0,))


def infinite(**given):
    for r_data, r_noise in INFINITE:
        yield {"r_data": np.asarray(r_data), "r_noise": np.asarray(r_noise), **given}


def overlapping(dtype, seed, *runs):
    g = rng(seed)
    r_data = exact_inputs(1.0 + g.normal(size=(*runs, 6)), dtype)
    return r_data, exact_inputs(g.normal(size=(*runs, 5)), dtype)


def six_runs(dtype):
    """r_data (2, 3, n), r_noise (3, m) and F: each run is in a regime of its own."""
    g = rng(21)
    centre = np.asarray([[0.0, 5.0, -3.0], [1.0, 30.0, -20.0]])[..., None]
    below = np.asarray([0.0, 5.0, -3.0])[:, None]
    return {
        "r_data": exact_inputs(centre + g.normal(size=(2, 3, 5)), dtype),
        "r_noise": exact_inputs(g.normal(size=(3, 4)) - below, dtype),
        "F": np.asarray([[0.0, 1.0, 2.0], [-1.0, 0.5, 3.0]]),
    }


def integers(count, start):
    """Numbers that a formula makes exactly: sixteenths from -3.125 to 3.125."""
    return ((np.arange(count) + start) * 37 % 101 - 50) / 16


def large(seed, mean, spread):
    g = rng(seed)
    r_data = mean + spread * g.normal(size=20_000)
    return {"r_data": r_data, "r_noise": spread * g.normal(size=10_000)}
