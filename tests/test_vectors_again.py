"""The shipped test vectors derived a second time: plain formulas in mpmath at two precisions, derivatives as differences.

Nothing of the generator is used: no ball arithmetic, and for families and layers no formula of a derivative. Left out are
samples of 10^4 numbers and infinite log-ratios, whose limits are a matter of definition and tested in test_certified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

from refnce.conformance import cases
from tests import plain_conv
from tests.in_mpmath import (
    at_root,
    balance,
    ence,
    exp,
    loss,
    nce,
    root,
    sides,
    sqrt,
    to_mp,
)
from tests.regimes import rng

PRECISIONS = (150, 250), (700, 1200), (2000, 2500)
LARGEST = float(np.finfo("float32").max)
AGREE = mpmath.mpf(10) ** -38  # of 40 digits

pytestmark = pytest.mark.claim(
    "Test vectors",
    "they are regenerated bit for bit, and a second derivation agrees at two precisions",
    kind="theorem",
    where="refnce.conformance",
)

Inputs = dict[str, Any]


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(PRECISIONS[0][1]):
        yield


def _cases(dtype: str, name: str) -> Iterator[cases.Case]:
    suite = cases.load(cases.FOLDER / f"{name}.{dtype}.json")
    for case in suite.cases:
        if case.outputs and not {"Infinite", "Large"} & set(case.flags):
            yield case


def expected(case: cases.Case, name: str) -> Any:
    out = case.outputs[name]
    return np.asarray([mpmath.mpf(word) for word in out.dec], dtype=object).reshape(
        out.shape
    )


def of_run(
    case: cases.Case, run: tuple[int, ...], *names: str
) -> tuple[Inputs, Inputs]:
    """What the file says of those of ``names`` that the case has, and their units."""
    names = tuple(name for name in names if name in case.outputs)
    units = {
        name: np.asarray(case.outputs[name].unit, dtype=object).reshape(
            case.outputs[name].shape
        )[run]
        for name in names
    }
    return {name: expected(case, name)[run] for name in names}, units


def runs_of(case: cases.Case, **axes: int) -> Iterator[tuple[tuple[int, ...], Inputs]]:
    """Each run of a case whose arrays have ``axes`` axes and the leading ones of the runs: (its index, its inputs in mpmath)."""
    given = {
        name: x if isinstance(x, str) else np.asarray(x, dtype=float)
        for name, x in case.inputs.items()
    }
    lead = {
        name: x.ndim - axes.get(name, 0)
        for name, x in given.items()
        if not isinstance(x, str)
    }
    shape = np.broadcast_shapes(*(given[name].shape[:k] for name, k in lead.items()))
    for run in np.ndindex(shape):
        own = dict(given)
        for name, k in lead.items():
            whole = np.broadcast_to(given[name], (*shape, *given[name].shape[k:]))
            own[name] = to_mp(whole[run])
        yield run, own


def compare(
    what: str,
    values: Callable[[], Inputs],
    truths: Inputs,
    units: Inputs,
    sizes: Any = None,
) -> None:
    """The numbers or arrays ``values()``, at two precisions and at higher ones where they differ, against those of the file.

    What is less than 2**-60 of its unit, which no float can tell, may be 0 in the file; what overflows is infinite there.
    """
    for digits in PRECISIONS:
        low, high = (_at(each, values) for each in digits)
        wrong = [
            name
            for name, truth in truths.items()
            if not np.all(
                agrees(
                    low[name],
                    high[name],
                    truth,
                    units.get(name, 0),
                    (sizes or {}).get(name, 0),
                )
            )
        ]
        if not wrong:
            return
    raise AssertionError(
        f"{what}: {wrong} of the file are not {[high[name] for name in wrong]}"[:500]
    )


def _at(digits: int, values: Callable[[], Inputs]) -> Inputs:
    with mpmath.workdps(digits):
        return values()


def _agrees(low: Any, high: Any, truth: Any, unit: Any, size: Any) -> bool:
    if mpmath.isnan(truth):
        return mpmath.isnan(high)
    if mpmath.isinf(truth):
        return mpmath.sign(truth) * high > LARGEST
    allowed = AGREE * max(abs(high), size) + (
        mpmath.mpf(unit) * 2**-60 if truth == 0 else 0
    )
    return max(abs(high - low), abs(high - truth)) <= allowed


agrees = np.frompyfunc(_agrees, 5, 1)


def slope(f: Callable[[Inputs], Any], inputs: Inputs, name: str, along: Any) -> Any:
    """The derivative of f along a direction of one input, as a central difference that is right to half of the digits."""
    h = mpmath.mpf(10) ** -(mpmath.mp.dps // 3)
    ends = [f({**inputs, name: inputs[name] + sign * h * along}) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * h)


def bend(f: Callable[[Inputs], Any], inputs: Inputs, name: str, along: Any) -> Any:
    h = mpmath.mpf(10) ** -(mpmath.mp.dps // 4)
    up, here, down = (
        f({**inputs, name: inputs[name] + sign * h * along}) for sign in (1, 0, -1)
    )
    return (up - 2 * here + down) / h**2


def direction(shape: tuple[int, ...]) -> Any:
    return to_mp(rng(1).integers(1, 9, size=shape).astype(float))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nce(dtype):
    names = "loss", "grad_F", "hess_F", "bar_update", "grad_r_data", "grad_r_noise"
    for case in _cases(dtype, "nce"):
        for run, x in runs_of(case, r_data=1, r_noise=1):
            compare(
                f"{case.id} {run}", lambda x=x: nce(**x), *of_run(case, run, *names)
            )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logz(dtype):
    for case in _cases(dtype, "logz"):
        for run, x in runs_of(case, r_data=1, r_noise=1):
            F = expected(case, "root")[run]
            proved_root(f"{case.id} {run}", x["r_data"], x["r_noise"], F, x["nu"])
            truths, units = of_run(case, run, "standard_error", "overlap")
            # F has 40 digits, and the weights under it turn as fast as e^F.
            sizes = {
                name: 100 * (1 + abs(F)) * abs(truth) for name, truth in truths.items()
            }
            compare(
                f"{case.id} {run}",
                lambda x=x, F=F: at_root(x["r_data"], x["r_noise"], F, x["nu"]),
                truths,
                units,
                sizes,
            )


def proved_root(name: str, r_data: Any, r_noise: Any, F: Any, nu: Any) -> None:
    """A - nu B, which increases, changes its sign within the last digits of F, at both precisions."""
    width = AGREE * max(abs(F), mpmath.mpf(2) ** -80 / AGREE)
    for digits in PRECISIONS[0]:
        with mpmath.workdps(digits):
            below, above = (
                balance(r_data, r_noise, end, nu) for end in (F - width, F + width)
            )
            increases = below < 0 < above
        assert increases, f"{name}: {mpmath.nstr(F, 45)} is no root"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ence(dtype):
    for case in _cases(dtype, "ence"):
        for run, x in runs_of(case, r_data=1, r_noise=1):
            truths = of_run(
                case, run, "loss", "grad_F", "log_z", "grad_r_data", "grad_r_noise"
            )
            compare(f"{case.id} {run}", lambda x=x: ence(**x), *truths)


def family_loss(x: Inputs) -> Any:
    """The loss at [theta, F], or at theta alone and the root."""
    k = x["T_data"].shape[-1]
    theta, nu = x["point"][:k], x["nu"]
    data, noise = (
        x[f"T_{side}"] @ theta + x[f"offset_{side}"] for side in ("data", "noise")
    )
    return loss(
        data, noise, x["point"][k] if x["point"].size > k else root(data, noise, nu), nu
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_expfam(dtype):
    for case in _cases(dtype, "expfam"):
        for run, x in runs_of(
            case, T_data=2, T_noise=2, offset_data=1, offset_noise=1, theta=1
        ):
            for prefix, point in (
                ("", np.append(x["theta"], x["F"])),
                ("profile_", x["theta"]),
            ):
                here, v = {**x, "point": point}, direction(point.shape)

                def values(here=here, v=v):
                    along = (f(family_loss, here, "point", v) for f in (slope, bend))
                    return dict(
                        zip(
                            ("loss", "slope", "bend"),
                            (family_loss(here), *along),
                            strict=True,
                        )
                    )

                L, g, H = (
                    expected(case, f"{prefix}{name}")[run]
                    for name in ("loss", "gradient", "hessian")
                )
                sizes = {"slope": abs(g) @ v, "bend": v @ abs(H) @ v}
                compare(
                    f"{case.id} {run} {prefix}",
                    values,
                    {"loss": L, "slope": g @ v, "bend": v @ H @ v},
                    {},
                    sizes,
                )
                assert np.array_equal(H, H.T)


def gradients(
    case: cases.Case,
    run: tuple[int, ...],
    forward: Callable[[Inputs], Any],
    x: Inputs,
    y: str,
) -> None:
    """y of the file, and what it says dy pulls back to each input, along one direction of it."""
    truth = expected(case, y)[run]
    got, sizes = forward(x), abs(truth) + np.max(abs(truth))
    agree = np.all(abs(got - truth) <= AGREE * sizes)
    assert got.shape == truth.shape and agree, f"{case.id} {y}"
    if (
        "Kink" in case.flags
    ):  # which of the slopes is meant there is a matter of definition
        return
    for name in case.outputs.keys() - {y}:
        own, g = name.removeprefix("d"), expected(case, name)[run]
        v = direction(g.shape)

        def value(own=own, v=v, name=name):
            return {name: slope(lambda z: np.sum(forward(z) * x["dy"]), x, own, v)}

        compare(
            f"{case.id} {run}",
            value,
            {name: np.sum(g * v)},
            {},
            {name: np.sum(abs(g) * v)},
        )


def mlp(x: Inputs) -> Any:
    y, layers = x["x"], sum(name.endswith("weight") for name in x)
    for k in range(layers):
        if k:
            y = np.where(y > 0, y, mpmath.mpf(0.01) * y)
        y = y @ x[f"{2 * k}.weight"].T + x[f"{2 * k}.bias"]
    return y


def conv(x: Inputs) -> Any:
    return plain_conv.forward(x["weight"], x["bias"], x["x"], int(x["stride"]))


def head(x: Inputs) -> Any:
    diagonal = np.eye(x["b"].size, dtype=bool)
    L = np.where(
        diagonal,
        exp(x["triangle"]),
        np.where(np.tri(x["b"].size) > 0, x["triangle"], mpmath.mpf(0)),
    )
    square = np.sum((x["f"] @ L) ** 2, axis=-1)
    return ((square if x["sign"] == "positive" else -square) + x["f"] @ x["b"])[:, None]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("suite", ["mlp", "conv", "head"])
def test_layers(suite, dtype):
    forward, y = {"mlp": (mlp, "y"), "conv": (conv, "y"), "head": (head, "r")}[suite]
    axes = {
        "conv": {"weight": 4, "bias": 1, "x": 4, "dy": 4},
        "head": {"triangle": 2, "b": 1, "f": 2, "dy": 2},
    }.get(suite)
    for case in _cases(dtype, suite):
        own = axes or {name: 1 if name.endswith("bias") else 2 for name in case.inputs}
        for run, x in runs_of(case, **own):
            gradients(case, run, forward, x, y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_optim(dtype):
    for case in _cases(dtype, "optim"):
        rate, g = mpmath.mpf(float(case.inputs["rate"])), to_mp(
            np.asarray(case.inputs["gradients"], dtype=float)
        )

        compare(
            case.id,
            lambda g=g, rate=rate: optimizers(g, rate),
            *of_run(case, (), "sgd", "ngd", "adam"),
        )


def optimizers(g: Any, rate: Any) -> Inputs:
    norm = sqrt(np.sum(g * g, axis=-1, keepdims=True))
    beta1, beta2, eps = mpmath.mpf(0.9), mpmath.mpf(0.999), mpmath.mpf(1e-8)
    adam = []
    for t in range(1, len(g) + 1):  # the moments as the sums that their recursions are
        m = sum((1 - beta1) * beta1 ** (t - 1 - i) * g[i] for i in range(t)) / (
            1 - beta1**t
        )
        v = sum((1 - beta2) * beta2 ** (t - 1 - i) * g[i] ** 2 for i in range(t)) / (
            1 - beta2**t
        )
        adam.append(-rate * m / (sqrt(v) + eps))
    return {
        "sgd": -rate * g,
        "ngd": -rate * g / np.where(norm > 0, norm, mpmath.mpf(1)),
        "adam": np.asarray(adam),
    }


def travelled(x: Inputs) -> tuple[Any, Any]:
    """theta and F after each step of Algorithm 1; theta's gradient as the difference of losses."""
    theta, F, nu, thetas, Fs = x["theta"], x["F"], x["nu"], [], []
    for k in range(len(x["T_data"])):
        batch = {
            name: x[name][k]
            for name in ("T_data", "T_noise", "offset_data", "offset_noise")
        }
        data, noise = (
            batch[f"T_{side}"] @ theta + batch[f"offset_{side}"]
            for side in ("data", "noise")
        )
        A, B = sides(data, noise, F, nu)
        if x["update"] == "gradient":
            F_next = F - x["rate_F"] * (A - B) / (1 + nu)
        else:
            F_next = (
                F - x["rate_F"] * mpmath.log(A / B)
                if x["update"] == "bar"
                else root(data, noise, nu)
            )
        seen = {
            **batch,
            "nu": nu,
            "point": np.append(theta, F_next if x["order"] == "first" else F),
        }
        units = np.where(
            np.eye(theta.size + 1, dtype=bool), mpmath.mpf(1), mpmath.mpf(0)
        )
        theta = theta - x["rate"] * np.asarray(
            [slope(family_loss, seen, "point", e) for e in units[:-1]]
        )
        F = F_next
        thetas.append(theta)
        Fs.append(F)
    return np.asarray(thetas), np.asarray(Fs)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_trajectory(dtype):
    for case in _cases(dtype, "trajectory"):
        for _, x in runs_of(
            case, T_data=3, T_noise=3, offset_data=2, offset_noise=2, theta=1
        ):
            sizes = {name: abs(expected(case, name)) + 1 for name in ("theta", "F")}
            truths, units = of_run(case, (), *sizes)
            compare(
                case.id,
                lambda x=x: dict(zip(("theta", "F"), travelled(x), strict=True)),
                truths,
                units,
                sizes,
            )
