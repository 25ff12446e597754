"""Every function of log-ratios on NumPy, CuPy and array-api-strict, and its errors."""

import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from refnce import logz, nn
from refnce.array import backend, ratios
from tests.libraries import FUNCTIONS, OTHERS, Foreign, Library
from tests.libraries import arguments, call, or_skip, parts

AGREE = pytest.mark.claim(
    "Array libraries",
    "on any array library, in float32 and float64, results keep dtype and device "
    "and agree with NumPy's float64",
    kind="theorem",
    where="backend.array_namespace",
)


def claimed(name):
    return pytest.param(name, marks=AGREE if name in ("numpy", backend.STRICT) else ())


# Sums of positive terms keep their relative accuracy. The others cancel and are judged
# by the size of their terms.
POSITIVE = {"loss", "hess_F", "grad_r", "profile_loss", "standard_error", "overlap"}
# Each term is a few eps off: exp, whose last bits the libraries choose, and a division.
# A pairwise mean of 40 adds log2(40)/2.
BOUND = 8.0


def deviation(name, part, found, expected, eps):
    """The largest error in eps |expected|, or eps max(1, |expected|) if it cancels."""
    size = np.abs(expected)
    if part not in POSITIVE and name.split(".")[1] not in POSITIVE:
        size = np.maximum(1.0, size)
    error = backend.to_numpy(found).astype("float64") - expected
    return float(np.max(np.abs(error) / (eps * size)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", [*map(claimed, ("numpy", *OTHERS))])
def test_results_keep_dtype_and_device_and_agree_with_numpy(library, dtype, evidence):
    library = or_skip(library)
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
            kept = dict.fromkeys(("status", "evaluations"), library.xp.int64)
            kept["converged"] = library.xp.bool
            assert x.dtype == kept.get(part, args[0].dtype), label
            if part in ("status", "converged"):
                assert (backend.to_numpy(x) == expected[part]).all(), label
            elif part not in ("evaluations", "lo", "hi"):  # these are a solver's own
                eps = float(np.finfo(dtype).eps)
                worst[label] = deviation(name, part, x, expected[part], eps)
    most = max(worst, key=worst.__getitem__)
    found = f"{worst[most]:.1f} eps from NumPy's float64 ({most})"
    evidence(f"{library.name}, {dtype}: at most {found}")
    assert worst[most] <= BOUND, worst


def test_names_of_libraries(monkeypatch):
    unknown = "backend must be one of numpy, cupy; got 'torch'"
    with pytest.raises(ValueError, match=unknown):
        backend.load("torch")
    monkeypatch.setitem(sys.modules, backend.STRICT, None)
    with pytest.raises(backend.BackendError, match="pip install array_api_strict"):
        backend.load(backend.STRICT)


def fake_cupy(available, error):
    """In CuPy's place, with or without a device; an allocation raises the error."""
    cuda = SimpleNamespace(is_available=lambda: available)
    return SimpleNamespace(cuda=cuda, zeros=Mock(side_effect=error))


NO_ALLOCATION = AssertionError("nothing may be allocated where there is no device")
NO_TOOLKIT = RuntimeError("cannot find libnvrtc.so.12")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"cupy is not installed; pip install 'refnce\[cuda12\]'"),
        (fake_cupy(False, NO_ALLOCATION), "finds no CUDA device; check the driver"),
        (fake_cupy(True, NO_TOOLKIT), r"incomplete \(cannot find .*'refnce\[cuda12\]"),
    ],
    ids=["not installed", "no device", "no toolkit"],
)
def test_three_reasons_for_no_cupy(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(backend.BackendError, match=message):
        backend.load("cupy")


def test_no_global_state_changes(monkeypatch):
    """Error state, strict flags and random stream stay; no warning escapes."""
    strict, minimal = Library(backend.STRICT), Foreign("minimal", monkeypatch).to

    def state():
        flags = strict.xp.get_array_api_strict_flags()
        return np.geterr(), flags, np.random.get_state()[1].tolist()

    before = state()
    with np.errstate(all="raise"):
        for name in FUNCTIONS[:11]:  # of log-ratios
            for convert in (np.asarray, strict, minimal):
                call(name, *(convert(500 * x) for x in arguments(name)))
    assert before == state()


def test_devices_are_not_hashed_and_nothing_is_clipped(monkeypatch):
    """C1, C4: CuPy has no hash for a device, and clip would wait for the GPU."""
    strict = Library(backend.STRICT)
    own = strict.xp.Device.__hash__

    def hashed(device):
        caller = sys._getframe(1).f_globals["__name__"]
        assert caller.startswith(backend.STRICT), f"{caller} hashed a device"
        return own(device)

    monkeypatch.setattr(strict.xp.Device, "__hash__", hashed)
    monkeypatch.delattr(strict.xp, "clip")
    for name in FUNCTIONS:
        call(name, *map(strict, arguments(name)))
    shapes = {"weight": (2, 5, 3, 3), "bias": (2,)}
    params = {name: strict(np.ones(shape)) for name, shape in shapes.items()}
    y, pullback = nn.conv3x3(params, strict(np.ones((1, 5, 4, 4))))
    assert pullback(y)[0].shape == (1, 5, 4, 4)


def test_newton_on_a_gpu_launches_few_kernels_and_waits_four_times(monkeypatch):
    """C5: each array that array-api-strict makes stands for a kernel."""
    strict, counts = Library(backend.STRICT), {"launch": 0, "wait": 0}

    def counted(what, function):
        def count(*args, **kwargs):
            counts[what] += 1
            return function(*args, **kwargs)

        return count

    pair = [strict(np.random.default_rng(k).normal(size=(100, 512))) for k in (0, 1)]
    array = type(pair[0])
    launch = counted("launch", array._new.__func__)
    monkeypatch.setattr(array, "_new", classmethod(launch))
    monkeypatch.setattr(array, "__bool__", counted("wait", array.__bool__))
    monkeypatch.setattr(ratios, "to_numpy", counted("wait", backend.to_numpy))
    assert backend.to_numpy(logz.newton(*pair).converged).all()
    assert 0 < counts["launch"] <= 200 and 0 < counts["wait"] <= 4, counts
