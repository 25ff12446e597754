"""The test vectors derived a second time: plain formulas in mpmath at two precisions.

Nothing of the generator is used: no ball arithmetic, and for families and layers no
formula of a derivative, only differences. Samples of 10^4 numbers and infinite
log-ratios are left out; the limits of those are tested in test_certified.
"""

from collections import defaultdict
from functools import partial

import mpmath
import numpy as np
import pytest

from tests import in_mpmath, plain_conv
from tests.in_mpmath import at_root, balance, exp, loss, root, sides, sqrt, to_mp
from tests.rederive import AGREE, PRECISIONS, bend, compare, direction, expected
from tests.rederive import expected_of, load, regenerated, runs_of, slope

pytestmark = [regenerated, pytest.mark.parametrize("dtype", ["float64", "float32"])]
GRAD_R = ("grad_r_data", "grad_r_noise")
zero, one = mpmath.mpf(0), mpmath.mpf(1)


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(PRECISIONS[0][1]):
        yield


def losses(prefix, names, *run):
    found = {name: getattr(in_mpmath, prefix + name)(*run) for name in names}
    sides = getattr(in_mpmath, f"{prefix}grad_r")(*run)
    return found | dict(zip(GRAD_R, sides, strict=True))


SUMS = [("nce", "", ("loss", "grad_F", "hess_F", "bar_update"))]
SUMS += [("ence", "ence_", ("loss", "grad_F", "log_z"))]


@pytest.mark.parametrize("suite, prefix, names", SUMS)
def test_losses(suite, prefix, names, dtype):
    for case in load(dtype, suite):
        for run, x in runs_of(case, r_data=1, r_noise=1):
            truths = expected_of(case, run, *names, *GRAD_R)
            values = partial(losses, prefix, names, *x.values())
            compare(f"{case.id} {run}", values, *truths)


def test_logz(dtype):
    for case in load(dtype, "logz"):
        for run, x in runs_of(case, r_data=1, r_noise=1):
            sample = {"r_data": x["r_data"], "r_noise": x["r_noise"], "nu": x["nu"]}
            if "Stopped" in case.flags:
                assert_stopped(case, x, sample)
                continue
            what, F = f"{case.id} {run}", expected(case, "root", run)
            assert_root(what, F, **sample)
            truths, units = expected_of(case, run, "standard_error", "overlap")
            # F has 40 digits, and the weights under it turn as fast as e^F.
            sizes = {name: 100 * (1 + abs(F)) * abs(x) for name, x in truths.items()}
            compare(what, partial(at_root, F=F, **sample), truths, units, sizes)


def assert_stopped(case, x, sample):
    """F after all updates, or after the four that each undid the last one."""
    F, moves = x["F0"], []
    for _ in range(int(x["max_updates"])):
        moves.append(x["step"] * (in_mpmath.bar_update(F=F, **sample) - F))
        F += moves[-1]
        undone = [-b / a for a, b in zip(moves[-5:], moves[-4:])]
        if len(undone) == 4 and all(abs(1 - x) < 0.01 for x in undone):
            break
    quantity = "cycle" if len(moves) < x["max_updates"] else "last"
    assert abs(expected(case, quantity) - F) <= AGREE * abs(F), case.id


def assert_root(what, F, **sample):
    """A - nu B, which increases, changes its sign within the last digits of F."""
    width = AGREE * max(abs(F), mpmath.mpf(2) ** -80 / AGREE)
    for digits in PRECISIONS[0]:
        with mpmath.workdps(digits):
            below = balance(F=F - width, **sample)
            increases = below < 0 < balance(F=F + width, **sample)
        assert increases, f"{what}: {mpmath.nstr(F, 45)} is no root"


def ratios(x, theta):
    return [x[f"T_{side}"] @ theta + x[f"offset_{side}"] for side in ("data", "noise")]


def family_loss(x):
    """The loss at [theta, F], or at theta alone and the root."""
    k, nu = x["T_data"].shape[-1], x["nu"]
    r = ratios(x, x["point"][:k])
    return loss(*r, x["point"][k] if x["point"].size > k else root(*r, nu), nu)


def test_expfam(dtype):
    axes = dict(T_data=2, T_noise=2, offset_data=1, offset_noise=1, theta=1)
    for case in load(dtype, "expfam"):
        for run, x in runs_of(case, **axes):
            points = {"": np.append(x["theta"], x["F"]), "profile_": x["theta"]}
            for prefix, point in points.items():
                if f"{prefix}loss" not in case.outputs:
                    continue
                at, v = {**x, "point": point}, direction(point.shape)

                def values(at=at, v=v):
                    along = family_loss, at, "point", v
                    found = {"slope": slope(*along), "bend": bend(*along)}
                    return found | {"loss": family_loss(at)}

                names = (f"{prefix}{name}" for name in ("loss", "gradient", "hessian"))
                L, g, H = (expected(case, name, run) for name in names)
                truths = {"loss": L, "slope": g @ v, "bend": v @ H @ v}
                sizes = {"slope": abs(g) @ v, "bend": v @ abs(H) @ v}
                compare(f"{case.id} {run} {prefix}", values, truths, {}, sizes)
                assert np.array_equal(H, H.T)


def mlp(x):
    y, layers = x["x"], sum(name.endswith("weight") for name in x)
    for k in range(layers):
        if k:
            y = np.where(y > 0, y, mpmath.mpf(0.01) * y)
        y = y @ x[f"{2 * k}.weight"].T + x[f"{2 * k}.bias"]
    return y


def conv(x):
    return plain_conv.forward(x["weight"], x["bias"], x["x"], int(x["stride"]))


def head(x):
    k, triangle = x["b"].size, x["triangle"]
    below = np.where(np.tri(k) > 0, triangle, zero)
    L = np.where(np.eye(k, dtype=bool), exp(triangle), below)
    square = np.sum((x["f"] @ L) ** 2, axis=-1)
    sign = 1 if x["sign"] == "positive" else -1
    return (sign * square + x["f"] @ x["b"])[:, None]


LAYERS = {"mlp": (mlp, "y", {}), "conv": (conv, "y", dict(weight=4, bias=1, x=4, dy=4))}
LAYERS["head"] = head, "r", dict(triangle=2, b=1, f=2, dy=2)


@pytest.mark.parametrize("suite", LAYERS)
def test_layers(suite, dtype):
    """y, and along one direction of each input what dy pulls back to it."""
    forward, y, axes = LAYERS[suite]
    for case in load(dtype, suite):
        of_mlp = {name: 1 if name.endswith("bias") else 2 for name in case.inputs}
        ranks, adding = axes or of_mlp, defaultdict(list)
        for run, x in runs_of(case, **ranks):
            truth, got = expected(case, y, run), forward(x)
            allowed = AGREE * (abs(truth) + np.max(abs(truth)))
            assert got.shape == truth.shape, case.id
            assert np.all(abs(got - truth) <= allowed), case.id
            for name in case.outputs.keys() - {y}:
                given = name.removeprefix("d")
                shared = case.inputs[given].ndim == ranks[given]
                adding[name, () if shared else run].append(x)
        if "Kink" in case.flags:  # its slope is a matter of definition
            continue
        for (name, run), runs in adding.items():
            g = expected(case, name, run)
            v = direction(g.shape)

            def value(name=name, v=v, runs=runs):
                along = partial(slope, forward, name=name.removeprefix("d"), along=v)
                return {name: sum(np.sum(along(inputs=x) * x["dy"]) for x in runs)}

            sizes = {name: np.sum(abs(g) * v)}
            compare(f"{case.id} {run}", value, {name: np.sum(g * v)}, {}, sizes)


def test_optim(dtype):
    for case in load(dtype, "optim"):
        g = to_mp(case.inputs["gradients"].astype(float))
        rate = mpmath.mpf(float(case.inputs["rate"]))
        truths = expected_of(case, (), "sgd", "ngd", "adam")
        compare(case.id, partial(optimizers, g, rate), *truths)


def optimizers(g, rate):
    """Adam's moments are the sums that their recursions define."""
    norm = sqrt(np.sum(g * g, axis=-1, keepdims=True))
    eps, adam = mpmath.mpf(1e-8), []
    for t in range(1, len(g) + 1):
        m, v = (
            sum((1 - b) * b ** (t - 1 - i) * g[i] ** power for i in range(t))
            / (1 - b**t)
            for b, power in ((mpmath.mpf(0.9), 1), (mpmath.mpf(0.999), 2))
        )
        adam.append(-rate * m / (sqrt(v) + eps))
    ngd = -rate * g / np.where(norm > 0, norm, one)
    return {"sgd": -rate * g, "ngd": ngd, "adam": np.asarray(adam)}


def path(x):
    """theta and F after each step of Algorithm 1; theta's gradient is a difference."""
    theta, F, nu, thetas, Fs = x["theta"], x["F"], x["nu"], [], []
    names = "T_data", "T_noise", "offset_data", "offset_noise"
    for k in range(len(x["T_data"])):
        batch = {name: x[name][k] for name in names}
        r = ratios(batch, theta)
        A, B = sides(*r, F, nu)
        F_next = {
            "gradient": lambda: F - x["rate_F"] * (A - B) / (1 + nu),
            "bar": lambda: F - x["rate_F"] * mpmath.log(A / B),
            "root": lambda: root(*r, nu),
        }[x["update"]]()
        seen = np.append(theta, F_next if x["order"] == "first" else F)
        at = {**batch, "nu": nu, "point": seen}
        units = np.where(np.eye(theta.size + 1, dtype=bool), one, zero)[:-1]
        gradient = [slope(family_loss, at, "point", unit) for unit in units]
        theta, F = theta - x["rate"] * np.asarray(gradient), F_next
        thetas.append(theta)
        Fs.append(F)
    return {"theta": np.asarray(thetas), "F": np.asarray(Fs)}


def test_trajectory(dtype):
    axes = dict(T_data=3, T_noise=3, offset_data=2, offset_noise=2, theta=1)
    for case in load(dtype, "trajectory"):
        for _, x in runs_of(case, **axes):
            sizes = {name: abs(expected(case, name)) + 1 for name in ("theta", "F")}
            compare(case.id, partial(path, x), *expected_of(case, (), *sizes), sizes)
