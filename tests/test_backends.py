"""Every public function on every array library: dtype, device, agreement with NumPy, and the errors on entry."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from refnce import ence, expfam, logz, nce
from refnce.array import backend
from refnce.conformance.surface import FIELDS
from tests.adapter import CORE
from tests.libraries import Library, or_skip

MODULES = {"nce": nce, "ence": ence, "logz": logz, "expfam": expfam}
FUNCTIONS = [f"{space}.{name}" for space, names in CORE.items() for name in names]
DTYPES = ["float32", "float64"]
OPTIONAL = ["torch", "jax", "cupy"]

AGREE = pytest.mark.claim(
    "Array libraries",
    "on any array library, in float32 and float64, results keep dtype and device and agree with NumPy's float64",
    kind="theorem",
    where="backend.array_namespace",
)


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(name, marks=AGREE) for name in ("numpy", "array_api_strict")),
        *OPTIONAL,
    ],
)
def library(request):
    """Skips, with the reason, where the library is not installed or finds no device."""
    return or_skip(request.param)


@pytest.fixture(scope="module")
def strict():
    return Library("array_api_strict")


def arguments(name, dtype, rng=None):
    """Three runs of 40 data and 30 noise samples, as host arrays of ``dtype``; F or theta per run."""
    rng = rng or np.random.Generator(np.random.PCG64(7))
    r_data, r_noise, F = (
        2 * rng.normal(size=(3, 40)) + 1,
        2 * rng.normal(size=(30,)) - 1,
        rng.normal(size=3),
    )
    T_data, T_noise, theta = (
        rng.normal(size=(3, 40, 2)),
        rng.normal(size=(30, 2)),
        rng.normal(size=(3, 2)),
    )
    space, function = name.split(".")
    found = [r_data, r_noise]
    if space == "expfam":
        found = [
            T_data,
            T_noise,
            theta,
            *([] if "profile" in function else [F]),
            r_data,
            r_noise,
        ]
    elif function in ("loss", "grad_F", "hess_F", "grad_r", "bar_update"):
        found.append(F)
    return [x.astype(dtype) for x in found]


def call(name, *args, **kwargs):
    space, function = name.split(".")
    return getattr(MODULES[space], function)(*args, **kwargs)


def parts(result):
    """The arrays of a result, by name."""
    if isinstance(result, logz.LogZ):
        found = {
            field: getattr(result, field) for field in FIELDS if field != "bracket"
        }
        return {
            **found,
            "lo": result.bracket[0],
            "hi": result.bracket[1],
            "converged": result.converged,
        }
    return dict(enumerate(result)) if isinstance(result, tuple) else {"value": result}


# Sums of positive terms, which keep their relative accuracy; the others cancel, and are judged by the size of what they sum.
POSITIVE = {"loss", "hess_F", "grad_r", "profile_loss", "standard_error", "overlap"}
# Each term is a few eps off (exp, whose last bits the libraries choose, and a division), a pairwise mean of 40 adds log2(40)/2.
BOUND = 8.0


def deviation(name, part, found, expected, eps):
    """The largest |found - expected| in units of eps times |expected|, or times max(1, |expected|) where terms cancel."""
    size = np.abs(expected)
    if part not in POSITIVE and name.split(".")[1] not in POSITIVE:
        size = np.maximum(1.0, size)
    return float(
        (
            np.abs(backend.to_numpy(found).astype("float64") - expected) / (eps * size)
        ).max()
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_keeps_dtype_and_device_and_agrees_with_numpy(library, dtype, evidence):
    worst = {}
    for name in FUNCTIONS:
        host = arguments(name, dtype)
        options = {} if name.startswith("ence") else {"nu": 2.5}
        expected = parts(call(name, *(x.astype("float64") for x in host), **options))
        args = [library(x, dtype) for x in host]
        for part, x in parts(call(name, *args, **options)).items():
            label = f"{name} {part}"
            assert backend.device(x) == backend.device(args[0]), label
            assert backend.array_namespace(x) is backend.array_namespace(args[0]), label
            kept = {
                "status": library.xp.int64,
                "evaluations": library.xp.int64,
                "converged": library.xp.bool,
            }
            assert x.dtype == kept.get(part, args[0].dtype), label
            if part in ("status", "converged"):
                assert (backend.to_numpy(x) == expected[part]).all(), label
            elif part not in (
                "evaluations",
                "lo",
                "hi",
            ):  # how often and how tight is the solver's business
                worst[label] = deviation(
                    name, part, x, expected[part], float(np.finfo(dtype).eps)
                )
    most = max(worst, key=worst.__getitem__)
    evidence(
        f"{library.name}, {dtype}: at most {worst[most]:.1f} eps from NumPy's float64 ({most})"
    )
    assert worst[most] <= BOUND, worst


# What is refused on entry, by every function that takes the argument.

TAKES_NU = [name for name in FUNCTIONS if not name.startswith("ence")]
TAKES_F = [name for name in FUNCTIONS if len(arguments(name, "float64")) in (3, 6)]
SAMPLES = [name for name in FUNCTIONS if not name.startswith("expfam")]


def names_of(name):
    """The names of the array arguments that ``arguments(name, ...)`` makes."""
    family = ["T_data", "T_noise", "theta", "F", "offset_data", "offset_noise"]
    if name in SAMPLES:
        return ["r_data", "r_noise", "F"][: len(arguments(name, "float64"))]
    return [x for x in family if x != "F" or name in TAKES_F]


def replaced(name, which, change, dtype="float64"):
    """The arguments of ``name`` with ``change`` applied to the one called ``which``."""
    pairs = zip(names_of(name), arguments(name, dtype), strict=True)
    return [change(x) if argument == which else x for argument, x in pairs]


def each(*wanted):
    return [
        (name, argument)
        for name in FUNCTIONS
        for argument in names_of(name)
        if argument in wanted or not wanted
    ]


@pytest.mark.parametrize(
    ("name", "argument"), each("r_data", "r_noise", "offset_data", "offset_noise")
)
def test_no_samples(name, argument):
    if name in SAMPLES:
        args = replaced(name, argument, lambda x: x[..., :0])
    else:
        side = argument.removeprefix("offset_")
        args = replaced(name, argument, lambda x: x[..., :0])
        args = [
            x[..., :0, :] if label == f"T_{side}" else x
            for label, x in zip(names_of(name), args, strict=True)
        ]
    with pytest.raises(
        ValueError, match=rf"{argument} .*at least one sample.*shape \((3, )?0,?\)"
    ):
        call(name, *args)
    if name in SAMPLES:
        with pytest.raises(
            ValueError, match=rf"{argument} .*at least one sample.*shape \(\)"
        ):
            call(name, *replaced(name, argument, lambda x: np.asarray(0.5)))


@pytest.mark.parametrize(("name", "argument"), each())
def test_nan_anywhere(name, argument, strict):
    def spoil(x):
        x = x.copy()
        x.reshape(-1)[1] = np.nan
        return x

    args = replaced(name, argument, spoil)
    message = rf"{argument} (holds 1 NaN|must be finite; got NaN)"
    with pytest.raises(ValueError, match=message):
        call(name, *args)
    with pytest.raises(ValueError, match=message):
        call(name, *map(strict, args))


@pytest.mark.parametrize(("name", "argument"), each())
def test_integer_arrays(name, argument):
    with pytest.raises(TypeError, match=rf"\b{argument} must .*int64.*convert"):
        call(name, *replaced(name, argument, lambda x: x.astype("int64")))


@pytest.mark.parametrize(("name", "argument"), each())
def test_mixed_precision(name, argument):
    with pytest.raises(TypeError, match="one dtype|must have the dtype"):
        call(name, *replaced(name, argument, lambda x: x.astype("float32")))


@pytest.mark.parametrize(("name", "argument"), each())
def test_mixed_libraries(name, argument, strict):
    with pytest.raises(TypeError, match="one library"):
        call(name, *replaced(name, argument, strict))


@pytest.mark.parametrize(("name", "argument"), each())
def test_mixed_devices(name, argument, strict):
    args = [
        strict(x) if label == argument else strict.xp.asarray(x)
        for label, x in _labelled(name)
    ]
    with pytest.raises(
        ValueError, match="must be on one device.*device1.*move one|move one"
    ):
        call(name, *args)


def _labelled(name):
    return zip(names_of(name), arguments(name, "float64"), strict=True)


@pytest.mark.parametrize(("name", "argument"), each())
@pytest.mark.parametrize(
    "wrong", ["1.0", [1.0, 2.0], None, object()], ids=["str", "list", "None", "object"]
)
def test_no_arrays(name, argument, wrong):
    with pytest.raises(TypeError):
        call(name, *replaced(name, argument, lambda x: wrong))


@pytest.mark.parametrize("name", TAKES_NU)
@pytest.mark.parametrize(
    ("nu", "error"),
    [(0, ValueError), (-1.0, ValueError), (np.inf, ValueError), (np.nan, ValueError)]
    + [
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.ones(3), TypeError),
        (1j, TypeError),
    ],
)
def test_bad_nu(name, nu, error):
    with pytest.raises(error, match="nu must be a .*got"):
        call(name, *arguments(name, "float64"), nu=nu)


@pytest.mark.parametrize("name", TAKES_F)
@pytest.mark.parametrize("F", [np.nan, np.inf, -np.inf])
def test_F_that_is_not_finite(name, F):
    with pytest.raises(ValueError, match="F must be finite"):
        call(name, *replaced(name, "F", lambda x: F))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_leading_shapes_that_do_not_broadcast(name):
    first = names_of(name)[0]
    with pytest.raises(ValueError, match=r"do not broadcast: .*\(2, .*\(3, "):
        call(
            name,
            *(
                x[:2] if label in (first, "offset_data") else x
                for label, x in _spread(name)
            ),
        )


def _spread(name):
    """The arguments with three runs each on the noise side too."""
    for label, x in _labelled(name):
        yield label, np.broadcast_to(x, (3, *x.shape)).copy() if "noise" in label else x


@pytest.mark.parametrize(("name", "argument"), each())
def test_tensors_that_record_gradients(name, argument):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    args = [
        torch.asarray(x).requires_grad_(label == argument)
        for label, x in _labelled(name)
    ]
    with pytest.raises(
        TypeError, match=rf"{argument} records gradients; pass {argument}.detach\(\)"
    ):
        call(name, *args)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("newton", {"xtol": -1.0}, ValueError, "xtol"),
        ("bisect", {"xtol": float("nan")}, ValueError, "xtol"),
        ("bar", {"xtol": float("inf")}, ValueError, "xtol"),
        ("bar", {"step": 0.0}, ValueError, "step"),
        ("bar", {"step": 1.5}, ValueError, "step"),
        ("bar", {"max_updates": 0}, ValueError, "max_updates"),
        ("bar", {"max_updates": 2.0}, ValueError, "max_updates"),
        ("bar", {"F0": float("nan")}, ValueError, "F0 must be finite"),
        ("newton", {"F0": "0"}, TypeError, "F0 must be a number"),
    ],
)
def test_bad_options_of_the_solvers(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(logz, name)(*arguments(f"logz.{name}", "float64"), **options)


# Loading a library by name.


@pytest.mark.parametrize(
    "shape", [(backend.BLOCK,), (3, backend.BLOCK + 1), (2, 5, 7, backend.BLOCK // 32)]
)
def test_blocks_of_an_elementwise_function_do_not_show(shape):
    """The same bits as at once, block or no block, for results of several dtypes and for arrays that are not contiguous."""
    g = np.random.Generator(np.random.PCG64(2))
    x, y = g.normal(size=(2, *shape))
    sizes = []

    def f(x, y):
        sizes.append(x.size)
        return np.sqrt(x * x + y), x > y

    with np.errstate(invalid="ignore"):
        for a, b in ((x, y), (x, np.broadcast_to(y[..., :1], shape)), (x.T, y.T)):
            sizes.clear()
            root, more = backend.elementwise(f, a, b)
            split = (
                a.size > backend.BLOCK and a.flags.c_contiguous and b.flags.c_contiguous
            )
            assert (max(sizes) <= backend.BLOCK) if split else (sizes == [a.size])
            assert np.array_equal(
                root, np.sqrt(a * a + b), equal_nan=True
            ) and np.array_equal(more, a > b)
            assert root.shape == more.shape == a.shape and more.dtype == bool


def test_an_unknown_library():
    with pytest.raises(
        ValueError, match="backend must be one of numpy, cupy, .*; got 'abacus'"
    ):
        backend.load("abacus")


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    with pytest.raises(
        backend.BackendError,
        match="array_api_strict is not installed.*pip install array_api_strict",
    ):
        backend.load("array_api_strict")


def cupy_that(available, zeros):
    """A module in CuPy's place, on a machine with or without a device."""
    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(is_available=lambda: available)
    module.zeros = zeros
    return module


def no_allocation(*args):
    raise AssertionError("nothing may be allocated where there is no device")


def no_toolkit(*args):
    raise RuntimeError("cannot find libnvrtc.so.12")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"CuPy is not installed; pip install 'refnce\[cuda12\]'"),
        (cupy_that(False, no_allocation), "finds no CUDA device; check the driver"),
        (
            cupy_that(True, no_toolkit),
            r"its toolkit is incomplete \(cannot find libnvrtc.so.12\).*\[ctk\]",
        ),
    ],
    ids=["not installed", "no device", "no toolkit"],
)
def test_three_reasons_for_no_cupy(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(backend.BackendError, match=message):
        backend.load("cupy")


def test_nothing_global_is_left_behind(strict):
    """NumPy's error state, the array-api-strict flags and the global random stream are as before."""
    before = (
        np.geterr(),
        strict.xp.get_array_api_strict_flags(),
        np.random.get_state()[1].tolist(),
    )
    with np.errstate(
        all="raise"
    ):  # and no warning escapes, whatever over- and underflows inside
        for name in SAMPLES:
            call(name, *(500 * x for x in arguments(name, "float64")))
            call(name, *(strict(500 * x) for x in arguments(name, "float64")))
    assert before == (
        np.geterr(),
        strict.xp.get_array_api_strict_flags(),
        np.random.get_state()[1].tolist(),
    )
