"""What the suites hold: inputs, and which function of the exact side gives which quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tests import certified, regimes
from tests.certified import Exact, certify_all
from tests.regimes import rng
from tests.vectors import family, network
from tests.vectors.balls import Sized, matrix, sized, vector
from tests.vectors.records import Suite

FLAGS = {
    "Normal": "ordinary numbers: a failure here is a wrong formula, sign, factor or argument",
    "Chasm": "data far from noise, so that both means are tiny: sums of probabilities lose everything, logarithms do not",
    "Plateau": "noise scored above data, both means near 1: their difference cancels; sum the small sides apart",
    "TinyLoss": "loss down to 1e-300: log(1 + e^x) must be log1p(e^x)",
    "Subnormal": "sigmoids under 2.2e-308: a sigmoid that flushes to 0 too early (scipy.special.expit does)",
    "Underflow": "every sigmoid of a sample underflows: the logarithm of a mean that is 0; factor the largest term out",
    "NearRoot": "F at the root, where grad_F cancels: subtract before rounding, or sum the small sides apart",
    "InputRounding": "r - F cancels: its rounding must be kept (TwoSum) or is lost",
    "Unequal": "different numbers of data and noise: means, not sums, and not the mean of all together",
    "Weight": "nu is not 1: a log nu or a factor nu or 1/(1 + nu) missing or misplaced",
    "Small": "samples of one or two numbers",
    "Ties": "equal log-ratios",
    "HeavyTail": "log-ratios of Student's t times 50: steps of Newton that leave the bracket",
    "Gap": "the root lies where neither sample has a number and the slope is nearly 0: a bracket, not a step size, must stop it",
    "CountsCancel": "two clusters whose counts cancel: between them log A - log B is 0; separate counts from small sides",
    "Huge": "log-ratios up to 1e300",
    "Large": "tens of thousands of numbers: a running sum loses digits, a pairwise one does not",
    "Infinite": "infinite log-ratios take the limit of the formula and still count in n and m",
    "NoRoot": "no finite root: its limit, or nan, and never a plausible number",
    "Edge": "where exp, expm1 and log1p change regime",
    "Batched": "leading axes are independent runs and broadcast",
    "BadInput": "what must be refused, by an exception or a status that cannot be taken for a number",
    "Kink": "a rectifier exactly at 0: its slope is that for negative numbers",
    "Stride": "stride 2, of images of even and odd sides: outputs for rows and columns 0, 2, 4, ... of those of stride 1",
    "Narrow": "images of one or two rows or columns, so that most of what a kernel sees is the zeros around",
    "Sign": 'sign "positive": f^T W f is added, where it is otherwise taken away',
    "Zero": "a gradient of 0: no step, and no nan",
    "Runs": "several steps: memory is kept from one to the next",
    "Bar": "F moves by one BAR update",
    "Gradient": "F moves by its gradient",
    "Root": "F is solved for",
    "First": "theta's gradient is taken at the new F",
    "Together": "theta's gradient is taken at the old F",
    "Rate": "F has a rate of its own, which is not 1",
    "Undamped": "a rate_F other than 1 means nothing where F is solved for",
    "Apart": "runs 2000 apart in one batch: the largest term, and the bracket, are each run's own",
    "Squares": "gradients whose squares under- or overflow: divide by the largest coordinate before the norm",
    "Sparse": "a coordinate that is 0 at some steps: both moments go on decaying, and one count of steps corrects all",
    "Status": "whether it converged is told: an easy root is CONVERGED, and no root is not",
    "Options": "F0, xtol, step or max_updates is given",
}

OF_REGIME = {
    "good overlap": "Normal",
    "density chasm": "Chasm",
    "plateau": "Plateau",
    "tiny loss": "TinyLoss",
    "subnormal sigma": "Subnormal",
    "total underflow": "Underflow",
    "cancelling r - F": "InputRounding",
    "unequal counts": "Unequal",
    "nu": "Weight",
    "one and two points": "Small",
    "ties": "Ties",
    "Student-t(1.2) x 50": "HeavyTail",
    "root in a gap": "Gap",
    "counts cancel": "CountsCancel",
    "huge": "Huge",
}
OF_FLOAT32 = (
    "good overlap",
    "plateau",
    "unequal counts",
    "nu",
    "one and two points",
    "ties",
    "Student-t(1.2) x 50",
)
SMALL = 40  # numbers of both samples together that are written out for every F
# Regimes whose samples are larger: of these about THIN numbers of each, evenly spaced, make a case.
THINNED, THIN = (
    "tiny loss",
    "cancelling r - F",
    "nu",
    "Student-t(1.2) x 50",
    "root in a gap",
), 9
MIDDLE = (
    "ring 0",
    "16 apart, theta = -16, 512",
    "0.333, 1 apart, theta 1",
)  # and these, larger ones
EDGES = {
    "float64": (0.0, 5e-324, 2.0**-53, 36.04, 36.74, 708.4, 709.78, 744.44, 745.13),
    "float32": (0.0, 2.0**-149, 2.0**-24, 16.6, 17.3, 87.3, 88.72, 103.2, 103.9),
}
INFINITE = (
    ([-np.inf, 0.5, 1.0], [0.25, -1.0]),
    ([np.inf, 0.5, 1.0], [0.25, -1.0]),
    ([0.5, 1.0], [-np.inf, -np.inf, 0.25]),
    ([0.5, 1.0], [np.inf, 0.25, -0.5]),
    ([-np.inf, 0.0, 0.0], [0.0, 0.0, -np.inf]),
    ([-np.inf, 2.0], [np.inf, 0.5]),
    ([np.inf, np.inf], [0.5]),
    ([0.5], [-np.inf]),
    ([-np.inf, -np.inf], [0.5]),
    ([np.inf, -np.inf, 3.0], [np.inf, -np.inf, -3.0]),
    ([np.inf], [-np.inf]),
)
STATISTIC = (
    2**10
)  # a standard error is asked for to 2**10 ulps and that of the root: it is a statistic

Pair = tuple[np.ndarray, np.ndarray]


def exact_inputs(x: Any, dtype: str) -> np.ndarray:
    return np.asarray(x, dtype=dtype).astype(np.float64)


def flagged(flag: str, n: int, m: int, nu: float) -> str:
    more = [
        name
        for name, holds in (("Unequal", n != m), ("Weight", nu != 1.0))
        if holds and name != flag
    ]
    return " ".join([flag, *more])


def _samples(
    dtype: str,
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, float, tuple[float, ...]]]:
    """(flags, comment, r_data, r_noise, nu, Fs) of finite samples, exact in ``dtype``."""
    names = OF_REGIME if dtype == "float64" else OF_FLOAT32
    for name in names:
        for case in regimes.REGIMES[name]():
            samples = [case.r_data, case.r_noise]
            if sum(r.size for r in samples) > SMALL and case.name not in MIDDLE:
                if name not in THINNED:
                    continue
                samples = [r[:: max(1, r.size // THIN)] for r in samples]
            nu = float(np.dtype(dtype).type(case.nu))
            r_data, r_noise = (exact_inputs(r, dtype) for r in samples)
            n, m = r_data.size, r_noise.size
            Fs = tuple(float(np.dtype(dtype).type(F)) for F in case.F)
            yield flagged(OF_REGIME[name], n, m, nu), case.name, r_data, r_noise, nu, Fs
    for x in EDGES[dtype]:
        for near in (-np.inf, None, np.inf):
            one = np.dtype(dtype).type(x)
            if near is not None:
                one = np.nextafter(one, np.dtype(dtype).type(near))
            r = np.asarray([float(one)])
            yield "Edge", f"at {float(one)!r}", r, -r, 1.0, (0.0,)
            yield "Edge", f"at {-float(one)!r}", -r, r, 1.0, (0.0,)


def _root_of(r_data: np.ndarray, r_noise: np.ndarray, nu: float, dtype: str) -> float:
    return float(
        np.dtype(dtype).type(float(certified.root(r_data, r_noise, nu).F.value))
    )


def _one(exact: Exact) -> tuple[tuple[int, ...], list[Exact]]:
    return (), [exact]


def nce_outputs(
    r_data: np.ndarray, r_noise: np.ndarray, F: float, nu: float, each: bool
) -> dict[str, Any]:
    names = ("loss", "grad_F", "hess_F", "bar_update")
    found: dict[str, Any] = {
        name: _one(getattr(certified, name)(r_data, r_noise, F, nu)) for name in names
    }
    if each:
        pair = certified.grad_r(r_data, r_noise, F, nu)
        found |= {
            f"grad_r_{side}": (r.shape, x)
            for side, r, x in zip(
                ("data", "noise"), (r_data, r_noise), pair, strict=True
            )
        }
    return found


def nce(suite: Suite) -> None:
    dtype = suite.dtype
    for flags, comment, r_data, r_noise, nu, Fs in _samples(dtype):
        root = _root_of(r_data, r_noise, nu, dtype)
        for F in dict.fromkeys((*Fs, root)):
            inputs = {"r_data": r_data, "r_noise": r_noise, "F": F, "nu": nu}
            here = flags if F != root else f"{flags} NearRoot"
            suite.add(
                here,
                comment,
                inputs,
                nce_outputs(r_data, r_noise, F, nu, r_data.size + r_noise.size <= 16),
            )
    for r_data, r_noise in map(pair, INFINITE):
        inputs = {"r_data": r_data, "r_noise": r_noise, "F": 0.5, "nu": 1.0}
        suite.add("Infinite", "", inputs, nce_outputs(r_data, r_noise, 0.5, 1.0, True))
    _batched(suite, lambda a, b, F, nu: nce_outputs(a, b, F, nu, False), with_F=True)
    if dtype == "float64":
        g = rng(20)
        r_data, r_noise = 1.0 + g.normal(size=20_000), g.normal(size=10_000)
        inputs = {"r_data": r_data, "r_noise": r_noise, "F": 0.25, "nu": 0.5}
        suite.add(
            "Large Unequal Weight",
            "20000 and 10000",
            inputs,
            nce_outputs(r_data, r_noise, 0.25, 0.5, False),
        )
    for comment, change in _bad():
        suite.add(
            "BadInput",
            comment,
            {**_GOOD, **change},
            refused=("loss", "grad_F", "hess_F", "grad_r_data", "bar_update"),
        )


_GOOD = {"r_data": [0.5, 1.0], "r_noise": [0.25, -1.0], "F": 0.5, "nu": 1.0}


def _bad() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "no data", {"r_data": []}
    yield "no noise", {"r_noise": []}
    yield "NaN among the data", {"r_data": [0.5, np.nan]}
    yield "NaN among the noise", {"r_noise": [np.nan, 0.5]}
    for F in (np.nan, np.inf):
        yield f"F = {F}", {"F": F}
    for nu in (0.0, -1.0, np.nan, np.inf):
        yield f"nu = {nu}", {"nu": nu}
    yield "runs that do not broadcast", {
        "r_data": np.zeros((2, 3)),
        "r_noise": np.zeros((3, 3)),
    }


def pair(lists: Any) -> Pair:
    return np.asarray(lists[0], dtype=np.float64), np.asarray(
        lists[1], dtype=np.float64
    )


def _batched(
    suite: Suite,
    outputs: Callable[..., dict[str, Any]],
    *,
    with_F: bool,
    with_nu: bool = True,
) -> None:
    """r_data (2, 3, n) with r_noise (3, m): six runs, each its own regime."""
    g = rng(21)
    centre = np.asarray([[0.0, 5.0, -3.0], [1.0, 30.0, -20.0]])
    r_data = exact_inputs(centre[..., None] + g.normal(size=(2, 3, 5)), suite.dtype)
    r_noise = exact_inputs(
        g.normal(size=(3, 4)) - np.asarray([0.0, 5.0, -3.0])[:, None], suite.dtype
    )
    Fs = np.asarray([[0.0, 1.0, 2.0], [-1.0, 0.5, 3.0]])
    for nu in (1.0, 0.5) if with_nu else (1.0,):
        given = ({"F": Fs} if with_F else {}) | ({"nu": nu} if with_nu else {})
        inputs, joined = over_runs(outputs, r_data, r_noise, **given)
        suite.add(flagged("Batched Unequal", 1, 1, nu), "six runs", inputs, joined)


def over_runs(
    outputs: Callable[..., dict[str, Any]], r_data: Any, r_noise: Any, **given: Any
) -> tuple[dict[str, Any], Any]:
    """The inputs of a batch, and the outputs of its runs, numbers, joined; ``given`` are F and nu, which runs may share."""
    shape = np.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1])
    data, noise = (
        np.broadcast_to(r, (*shape, r.shape[-1])).reshape(-1, r.shape[-1])
        for r in (r_data, r_noise)
    )
    rest = [np.broadcast_to(x, shape).ravel().tolist() for x in given.values()]
    runs = [outputs(*run) for run in zip(data, noise, *rest, strict=True)]
    joined = {name: (shape, [run[name][1][0] for run in runs]) for name in runs[0]}
    return {"r_data": r_data, "r_noise": r_noise, **given}, joined


def logz_outputs(r_data: np.ndarray, r_noise: np.ndarray, nu: float) -> dict[str, Any]:
    root = certified.root(r_data, r_noise, nu)
    found = {"root": _one(root.F)}
    if (
        not root.has_root or abs(root.F.value) < 1e6
    ):  # further out the rounding of the root leaves nothing of them
        for name in ("standard_error", "overlap"):
            exact, size = getattr(root, name), abs(root.F.value) if root.has_root else 0
            found[name] = _one(
                exact._replace(scale=exact.scale * (STATISTIC + size), slack=1)
            )
    return found


def logz(suite: Suite) -> None:
    for flags, comment, r_data, r_noise, nu, _ in _samples(suite.dtype):
        inputs = {"r_data": r_data, "r_noise": r_noise, "nu": nu}
        suite.add(flags, comment, inputs, logz_outputs(r_data, r_noise, nu))
    for r_data, r_noise in map(pair, INFINITE):
        for nu in (1.0, 3.0):
            inputs = {"r_data": r_data, "r_noise": r_noise, "nu": nu}
            none = certified.verdict(r_data, r_noise, nu) is not None
            flags = flagged("Infinite NoRoot" if none else "Infinite", 1, 1, nu)
            suite.add(flags, "", inputs, logz_outputs(r_data, r_noise, nu))
    _batched(suite, logz_outputs, with_F=False)
    if suite.dtype == "float64":
        for seed, spread in ((22, 1.0), (23, 16.0)):
            g = rng(seed)
            r_data, r_noise = spread + spread * g.normal(
                size=20_000
            ), spread * g.normal(size=10_000)
            inputs = {"r_data": r_data, "r_noise": r_noise, "nu": 0.5}
            suite.add(
                "Large Unequal Weight",
                "20000 and 10000",
                inputs,
                logz_outputs(r_data, r_noise, 0.5),
            )
    for comment, change in _bad():
        if "F" not in change:
            inputs = {name: x for name, x in {**_GOOD, **change}.items() if name != "F"}
            suite.add("BadInput", comment, inputs, refused=("root",))


def ence_outputs(
    r_data: np.ndarray, r_noise: np.ndarray, F: float, each: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "loss": _one(certified.ence_loss(r_data, r_noise, F)),
        "grad_F": _one(certified.ence_grad_F(r_data, r_noise, F)),
        "log_z": _one(certified.ence_log_z(r_data, r_noise)),
    }
    if each:
        pair = certified.ence_grad_r(r_data, r_noise, F)
        found |= {
            f"grad_r_{side}": (r.shape, x)
            for side, r, x in zip(
                ("data", "noise"), (r_data, r_noise), pair, strict=True
            )
        }
    return found


def ence(suite: Suite) -> None:
    for flags, comment, r_data, r_noise, nu, Fs in _samples(suite.dtype):
        if nu == 1.0 and "Huge" not in flags:
            for F in Fs:
                inputs = {"r_data": r_data, "r_noise": r_noise, "F": F}
                suite.add(
                    flags,
                    comment,
                    inputs,
                    ence_outputs(r_data, r_noise, F, r_data.size + r_noise.size <= 8),
                )
    for r_data, r_noise in map(pair, INFINITE):
        inputs = {"r_data": r_data, "r_noise": r_noise, "F": 0.5}
        suite.add("Infinite", "", inputs, ence_outputs(r_data, r_noise, 0.5, True))
    _batched(
        suite, lambda a, b, F: ence_outputs(a, b, F, False), with_F=True, with_nu=False
    )
    for comment, change in _bad():
        if "nu" not in change:
            inputs = {
                name: x for name, x in {**_GOOD, **change}.items() if name != "nu"
            }
            of_F = ("loss", "grad_F", "grad_r_data")
            suite.add(
                "BadInput",
                comment,
                inputs,
                refused=of_F if "F" in change else (*of_F, "log_z"),
            )


def _certified(formula: Callable[[], Sequence[Sized]]) -> list[Exact]:
    return certify_all(lambda: [(x.value, x.size) for x in formula()])


def expfam(suite: Suite) -> None:
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
        T_data, T_noise = (
            exact_inputs(g.normal(size=(c, k)) + s, suite.dtype)
            for c, s in ((n, shift), (m, 0.0))
        )
        offset_data, offset_noise = (
            exact_inputs(0.25 * g.normal(size=c) + 0.9, suite.dtype) for c in (n, m)
        )
        theta = exact_inputs(size * np.abs(1.0 + 0.25 * g.normal(size=k)), suite.dtype)
        F = float(exact_inputs(g.normal(), suite.dtype))
        arrays = (T_data, T_noise, offset_data, offset_noise)
        outputs = family_outputs(arrays, theta, F, nu)
        names = ("T_data", "T_noise", "offset_data", "offset_noise")
        inputs = {
            **dict(zip(names, arrays, strict=True)),
            "theta": theta,
            "F": F,
            "nu": nu,
        }
        suite.add(flagged(flag, n, m, nu), f"{k} statistics", inputs, outputs)


def family_outputs(
    arrays: Sequence[np.ndarray], theta: np.ndarray, F: float, nu: float
) -> dict[str, Any]:
    def at(F: float | None) -> family.Family:
        return family.Family(
            *arrays, vector(theta), None if F is None else sized(F), nu
        )

    k = theta.size
    shapes: dict[str, tuple[int, ...]] = {
        "loss": (),
        "gradient": (k + 1,),
        "hessian": (k + 1, k + 1),
    }
    outputs = {
        q: (shape, _certified(lambda q=q: getattr(at(F), q)()))
        for q, shape in shapes.items()
    }
    shapes = {"profile_loss": (), "profile_gradient": (k,), "profile_hessian": (k, k)}
    return outputs | {
        q: (shape, _certified(lambda q=q: getattr(at(None), q)()))
        for q, shape in shapes.items()
    }


def mlp(suite: Suite) -> None:
    for seed, widths, n, flag in (
        (1, (2, 5, 1), 3, "Normal"),
        (2, (3, 8, 5, 1), 4, "Normal"),
        (3, (2, 6, 4, 2), 3, "Normal"),
        (5, (3, 4, 4, 1), 3, "Normal"),
        (4, (2, 3, 1), 2, "Kink"),
    ):
        g = rng(4000 + seed)
        params = {}
        for k, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            params[f"{2 * k}.weight"] = exact_inputs(
                g.normal(size=(after, before)), suite.dtype
            )
            params[f"{2 * k}.bias"] = exact_inputs(
                0.5 * g.normal(size=after), suite.dtype
            )
        x, dy = (
            exact_inputs(g.normal(size=(n, c)), suite.dtype)
            for c in (widths[0], widths[-1])
        )
        if flag == "Kink":
            x[0], params["0.bias"][1] = 0.0, 0.0
        suite.add(
            flag,
            f"widths {widths}, {n} samples",
            {**params, "x": x, "dy": dy},
            network_outputs(params, x, dy),
        )


def network_outputs(params: Any, x: np.ndarray, dy: np.ndarray) -> dict[str, Any]:
    exacts = certified_parts(lambda: network.mlp(params, x, dy))
    shapes = {"y": dy.shape, "dx": x.shape} | {
        f"d{name}": p.shape for name, p in params.items()
    }
    return {name: (shape, exacts[name]) for name, shape in shapes.items()}


def certified_parts(
    formula: Callable[[], dict[str, list[Sized]]],
) -> dict[str, list[Exact]]:
    """Each list of ``formula``, certain to 40 digits."""
    sizes = {name: len(xs) for name, xs in formula().items()}
    exacts = iter(_certified(lambda: [x for xs in formula().values() for x in xs]))
    return {name: [next(exacts) for _ in range(size)] for name, size in sizes.items()}


def stacked(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The outputs of runs, arrays in C order, as those of a batch."""
    return {
        name: ((len(runs), *shape), [exact for run in runs for exact in run[name][1]])
        for name, (shape, _) in runs[0].items()
    }


def optim(suite: Suite) -> None:
    g = rng(5000)
    tiny = 2.0**-600 if suite.dtype == "float64" else 2.0**-90
    for flag, comment, gradients in (
        ("Normal Runs", "five gradients of three numbers", g.normal(size=(5, 3))),
        ("Normal Runs", "one number", g.normal(size=(4, 1))),
        (
            "Normal Runs",
            "sizes from 1e-4 to 1e4",
            g.normal(size=(5, 3)) * np.asarray([1e-4, 1.0, 1e4]),
        ),
        ("Squares Runs", "squares underflow", g.normal(size=(3, 2)) * tiny),
        ("Zero Runs", "all are 0", np.zeros((2, 3))),
        ("Zero Runs", "one is 0", np.asarray([[0.0, 1.0], [0.0, -2.0]])),
        (
            "Batched Runs",
            "two runs",
            g.normal(size=(4, 2, 3)) * np.asarray([[1.0], [100.0]]),
        ),
    ):
        optimized(suite, flag, comment, gradients)


def optimized(suite: Suite, flag: str, comment: str, gradients: np.ndarray) -> None:
    kept = exact_inputs(gradients, suite.dtype)
    outputs = {}
    for name in ("sgd", "ngd", "adam"):
        if name == "adam" and "Squares" in flag:
            continue  # its squares are 0 beside eps or overflow, for everybody, but not to the last digit
        runs = [kept] if kept.ndim == 2 else [kept[:, i] for i in range(kept.shape[1])]
        found = [
            _certified(
                lambda name=name, run=run: getattr(network, name)(matrix(run), 0.125)
            )
            for run in runs
        ]
        outputs[name] = (kept.shape, _interleaved(found, kept.shape[-1]))
    suite.add(flag, comment, {"gradients": kept, "rate": 0.125}, outputs)


def _interleaved(runs: list[list[Exact]], k: int) -> list[Exact]:
    """(steps, runs, k) in C order from the runs alone."""
    return [
        x
        for start in range(0, len(runs[0]), k)
        for run in runs
        for x in run[start : start + k]
    ]


def trajectory(suite: Suite) -> None:
    steps, n, m = 10, 6, 5
    for seed, (update, order, rate_F, k, nu) in enumerate(
        [
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
        ]
    ):
        g = rng(6000 + seed)
        case: dict[str, Any] = {
            "T_data": exact_inputs(1.0 + g.normal(size=(steps, n, k)), suite.dtype),
            "T_noise": exact_inputs(g.normal(size=(steps, m, k)), suite.dtype),
            "offset_data": exact_inputs(np.full((steps, n), 0.9), suite.dtype),
            "offset_noise": exact_inputs(np.full((steps, m), 0.9), suite.dtype),
            "theta": np.zeros(k),
            "F": 0.0,
            "nu": nu,
            "rate": 0.5,
            "rate_F": rate_F,
            "update": update,
            "order": order,
        }
        exacts = _certified(
            lambda case=case: [x for xs in family.trajectory(case) for x in xs]
        )
        outputs = {
            "theta": ((steps, k), exacts[: steps * k]),
            "F": ((steps,), exacts[steps * k :]),
        }
        flag = {"gradient": "Gradient", "bar": "Bar", "root": "Root"}[update]
        damped = (" Undamped" if update == "root" else " Rate") if rate_F != 1.0 else ""
        more = f"{order.capitalize()}{damped}"
        suite.add(
            flagged(f"{flag} {more}", n, n, nu), f"{update}, {order}", case, outputs
        )
