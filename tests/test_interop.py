"""Arrays of PyTorch, JAX and other DLPack libraries at the public surface."""

import contextlib
import inspect
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from refnce import expfam, logz, nce
from refnce.array import interoperable
from tests.libraries import FUNCTIONS, Foreign, Minimal, arguments, call, parts

DOCS = Path(__file__).parent.parent / "docs" / "interoperability.md"


@pytest.fixture(params=["torch", "jax", "minimal"])
def foreign(request, monkeypatch):
    return Foreign(request.param, monkeypatch)


def assert_same(foreign, found, expected, device):
    """The same bits, dtypes and shapes as NumPy's result, in the caller's library."""
    for part, x in parts(expected).items():
        got = parts(found)[part]
        if part == "converged" and foreign.kind is Minimal:
            continue  # it has no ==
        assert isinstance(got, foreign.kind), part
        assert got.device == device, part
        values = foreign.back(got)
        assert values.dtype == x.dtype and values.shape == x.shape, part
        assert values.tobytes() == np.asarray(x).tobytes(), part


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_numpys_to_the_bit(foreign, name, dtype):
    host = arguments(name, dtype)
    args = [foreign.to(x) for x in host]
    options = {} if name.startswith("ence") else {"nu": 2.5}
    if name in ("logz.bar", "logz.newton"):  # also an array passed by keyword
        F0 = np.zeros(3, dtype)
        expected = call(name, *host, F0=F0, **options)
        found = call(name, *args, F0=foreign.to(F0), **options)
    else:
        expected, found = call(name, *host, **options), call(name, *args, **options)
    assert isinstance(found, (logz.LogZ, tuple, foreign.kind))
    assert_same(foreign, found, expected, args[0].device)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["newton", "bisect", "bar"])
@pytest.mark.parametrize("shift", [0.0, np.inf], ids=["root", "no root"])
def test_numbers_are_numpys_to_the_bit(foreign, solver, dtype, shift):
    """One run alone gives numbers, which JAX gets in one compiled call."""
    r_data, r_noise = np.random.default_rng(3).normal(size=(2, 50)).astype(dtype)
    r_data = r_data + np.asarray(shift, dtype)
    solve = getattr(logz, solver)
    found = solve(foreign.to(r_data), foreign.to(r_noise))
    assert_same(foreign, found, solve(r_data, r_noise), foreign.to(r_data).device)


def test_subnormal_numbers_survive(foreign):
    for dtype in ("float32", "float64"):
        x = np.asarray([np.finfo(dtype).smallest_subnormal, -0.0, np.nan], dtype)
        whole = interoperable(lambda x: x.copy())(foreign.to(x))
        each = interoperable(lambda x: tuple(np.asarray(v) for v in x))
        numbers = each(foreign.to(x))
        assert foreign.back(whole).tobytes() == x.tobytes()
        assert b"".join(foreign.back(v).tobytes() for v in numbers) == x.tobytes()


def aligned(n):
    """NumPy memory at a multiple of 64 bytes, which JAX takes over without a copy."""
    room = np.zeros(n + 8)
    return room[(-room.ctypes.data % 64) // 8 :][:n]


def test_samples_and_results_are_not_copied(foreign):
    seen, result = [], aligned(300)

    @interoperable
    def function(x):
        seen.append(x)
        return result

    x = foreign.to(aligned(300))
    found = function(x)
    assert type(seen[0]) is np.ndarray and seen[0].ctypes.data == foreign.at(x)
    assert foreign.at(found) == result.ctypes.data


def test_cuda_arrays_are_viewed_by_cupy_on_their_own_device(monkeypatch):
    """With a stand-in for CuPy: a view whose device is a context."""
    foreign, current = Foreign("minimal", monkeypatch), []

    class View(np.ndarray):
        @property
        @contextlib.contextmanager
        def device(self):
            current.append("cuda:1")
            yield
            current.append("before")

    cupy = types.ModuleType("cupy")
    cupy.from_dlpack = lambda x: x.x.view(View)
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    @interoperable
    def function(x):
        assert type(x) is View and current == ["cuda:1"]
        return x + 1

    found = function(foreign.to(np.ones(3), (2, 1)))
    assert current == ["cuda:1", "before"] and foreign.back(found).tolist() == [2.0] * 3


def test_broadcast_results_are_copied(foreign):
    x = interoperable(lambda x: np.broadcast_to(x[0], (3,)))(foreign.to(np.ones(2)))
    assert foreign.back(x).tolist() == [1.0, 1.0, 1.0]


def test_numpy_arguments_are_passed_as_they_are():
    @interoperable
    def function(r_data, r_noise, F, *, nu=1.0):
        """The docstring."""
        return r_data, r_noise, F, nu

    args = np.ones(3), np.ones(2), 0.5
    assert all(a is b for a, b in zip(args, function(*args, nu=2), strict=False))
    assert str(inspect.signature(function)) == "(r_data, r_noise, F, *, nu=1.0)"
    assert function.__name__ == "function"
    assert function.__doc__ == ("The docstring." if sys.flags.optimize < 2 else None)


def test_plain_subclasses_of_numpys_array(tmp_path):
    """A memory map is passed as a plain array of the same memory; so is a subclass."""
    disk = np.memmap(tmp_path / "x", dtype="float64", mode="w+", shape=(50,))
    disk[:] = np.random.default_rng(1).normal(size=50)
    view = interoperable(lambda x: x)(disk)
    assert type(view) is np.ndarray and view.ctypes.data == disk.ctypes.data
    assert logz.newton(disk, -disk).F == logz.newton(view, -view).F


def test_numbers_beside_arrays(foreign):
    r_data, r_noise, _ = arguments("nce.loss")
    args = foreign.to(r_data), foreign.to(r_noise)
    for F in (1, 0.25, np.float64(0.25)):
        assert (foreign.back(nce.loss(*args, F)) == nce.loss(r_data, r_noise, F)).all()


# docs/interoperability.md


def run_example(title, capsys):
    """Run the code under a title of the page, and return its variables and output."""
    section = DOCS.read_text().split(f"## {title}")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    return names, capsys.readouterr().out


def profile_gradient(names, theta):
    """Equation 15 for r = theta x."""
    samples = (names[k] for k in ("x_data", "x_noise"))
    x_data, x_noise = (np.asarray(x).astype(float) for x in samples)
    zeros = np.zeros(4096)
    return expfam.profile_gradient(x_data, x_noise, np.asarray([theta]), zeros, zeros)


def test_eq15_pytorch_training_loop(torch, capsys):
    """loss.backward() at the solved F gives the gradient of the profile loss."""
    names, printed = run_example("PyTorch", capsys)
    assert printed == "theta = 1.0, F = 0.5\n"
    model, theta = names["model"], 0.3
    torch.nn.init.constant_(model.weight, theta)
    r_data, r_noise = model(names["x_data"])[:, 0], model(names["x_noise"])[:, 0]
    F = logz.newton(r_data.detach(), r_noise.detach()).F
    softplus = torch.nn.functional.softplus
    loss = (softplus(F - r_data).mean() + softplus(r_noise - F).mean()) / 2
    model.weight.grad = None
    loss.backward()
    (exact,) = profile_gradient(names, theta)
    assert abs(model.weight.grad.item() - exact) <= 64 * np.finfo("float32").eps


def test_eq15_jax_training_loop(jax, capsys):
    names, printed = run_example("JAX", capsys)
    assert printed == "theta = 1.0, F = 0.5\n"
    theta = jax.numpy.asarray([0.3])
    F = logz.newton(names["x_data"] @ theta, names["x_noise"] @ theta).F
    (exact,) = profile_gradient(names, 0.3)
    found = float(names["gradient"](theta, F)[0])
    assert abs(found - exact) <= 64 * np.finfo(float).eps
