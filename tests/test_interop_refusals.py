"""Arrays that cannot be viewed: the argument, what came and the remedy in one line."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from refnce import logz, nce, nn
from tests.libraries import FUNCTIONS, Foreign, Minimal, arguments, call, names_of


def refused(x, message, error=TypeError):
    for args in ((x, np.zeros(3)), (np.zeros(3), x)):
        with pytest.raises(error, match=message) as caught:
            nce.loss(*args, 0.0)
        assert re.match("r_(data|noise) ", str(caught.value))


class Quantity(np.ndarray):
    unit = "J"


class Metal(Minimal):
    __module__ = "minimal"

    def __dlpack__(self, **options):
        raise BufferError("on Metal")


def test_arrays_that_are_refused(monkeypatch):
    Foreign("minimal", monkeypatch)  # a library with from_dlpack
    x = np.ones(3)
    refused([1.0], r"is a list; pass numpy.asarray\(r_\w+\)$")
    refused((1.0,), "is a tuple; pass numpy.asarray")
    with warnings.catch_warnings(action="ignore"):
        matrix = np.matrix([1.0])
    refused(matrix, "is a matrix; pass numpy.asarray")
    masked = r"is a MaskedArray; pass what is not masked, r_\w+.compress"
    refused(np.ma.array(x), masked)
    refused(x.view(Quantity), "is a Quantity; pass its values without the unit")
    refused(np.ones(3, complex), "must hold float64 or float32 numbers; got complex128")
    frame = type("Series", (), {"to_numpy": None, "__module__": "pandas.core.series"})
    refused(frame(), r"is a Series; pass r_\w+.to_numpy\(\)$")
    refused(Metal(x, (8, 0)), "cannot be viewed as a NumPy or CuPy array: on Metal$")


def test_tensors_that_are_refused(torch):
    x = torch.ones(3, dtype=torch.float64)
    refused(x.requires_grad_(), r"cannot be viewed .* grad.* tensor.detach\(\)")
    refused(torch.ones(3, dtype=torch.bfloat16), "cannot be viewed .*BFloat16")
    with pytest.raises(TypeError, match="r_data must hold float64 .* got int64"):
        nce.loss(torch.ones(3, dtype=torch.int64), torch.ones(3), 0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_argument_that_records_gradients_is_named(torch, name):
    for argument in names_of(name):
        pairs = zip(names_of(name), arguments(name), strict=True)
        args = [torch.from_numpy(x).requires_grad_(k == argument) for k, x in pairs]
        message = rf"{argument} cannot be viewed .* grad.* tensor.detach\(\)"
        with pytest.raises(TypeError, match=message):
            call(name, *args)


def test_tracers_are_refused(jax):
    with pytest.raises(TypeError, match=r"r_data is a \w+Tracer; .*jax.pure_callback"):
        jax.jit(logz.newton)(jax.numpy.ones(3), jax.numpy.ones(3))
    with pytest.raises(TypeError, match=r"F is a \w+Tracer"):
        x = np.ones(3)
        jax.grad(lambda F: nce.loss(x, x, F))(0.0)


def test_inside_jit_through_a_callback(jax):
    r_data, r_noise = np.random.default_rng(5).normal(size=(2, 40))

    @jax.jit
    def solve(a, b):
        number = jax.ShapeDtypeStruct((), a.dtype)
        return jax.pure_callback(lambda a, b: logz.newton(a, b).F, number, a, b)

    assert float(solve(r_data, r_noise)) == float(logz.newton(r_data, r_noise).F)


def test_two_libraries_are_refused(torch, jax):
    x = np.ones(3)
    for a, b, names in (
        (torch.from_numpy(x), x, "torch and numpy"),
        (jax.numpy.ones(3), torch.from_numpy(x), "jax and torch"),
        (x, jax.numpy.ones(3), "numpy and jax"),
    ):
        message = f"r_data and r_noise must be arrays of one library; got {names}"
        with pytest.raises(TypeError, match=message):
            nce.loss(a, b, 0.0)
        message = "r_data and F must be arrays of one library"
        with pytest.raises(TypeError, match=message):
            nce.loss(a, a, b)


def test_two_devices_are_refused(monkeypatch):
    minimal, there = Foreign("minimal", monkeypatch), Minimal([1.0], (3, 0))
    message = r"must be on one device; got \(1, 0\) and \(3"
    with pytest.raises(ValueError, match=message):
        nce.loss(Minimal([1.0]), there, 0.0)
    assert minimal.back(nce.loss(there, there, 0.0)) > 0


JAX_DEVICES = """
import os, warnings
warnings.simplefilter("error")
import jax, numpy as np
from refnce import logz, nce
x = np.random.default_rng(0).normal(size=(2, 30)).astype("float32")
there = jax.devices()[1]
a, b = jax.device_put(x[0], there), jax.device_put(x[1], there)
found, expected = logz.newton(a, b), logz.newton(*x)
assert found.F.dtype == "float32" and found.F == expected.F
assert {y.device for y in (found.F, found.status, *found.bracket)} == {there}
assert found.status.dtype == "int32"  # JAX's integer without 64-bit types
for part, whole in zip(nce.grad_r(a, b, 0.0), nce.grad_r(*x, 0.0)):
    assert part.device == there and (np.asarray(part) == whole).all()

def error(*args):
    try:
        nce.loss(*args, 0.0)
    except (TypeError, ValueError) as error:
        return str(error)

assert "must be on one device" in error(a, jax.device_put(x[1], jax.devices()[0]))
mesh = jax.sharding.Mesh(jax.devices(), "i")
spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
assert "is spread over several devices" in error(jax.device_put(x[0], spread), b)
jax.config.update("jax_enable_x64", True)
wide = jax.device_put(x[0].astype(float))
jax.config.update("jax_enable_x64", False)
assert "r_data cannot be viewed" in error(wide, wide)
assert "it is float64 while JAX makes float32" in error(wide, wide)
os._exit(0)  # JAX's threads may abort the end of a process on a busy machine
"""


def test_devices_of_jax_and_its_32_bits(jax):
    """In a process of its own: two devices, and 64-bit types off."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    env = os.environ | flags | {"JAX_ENABLE_X64": "0"}
    options = {"env": env, "capture_output": True, "cwd": Path(__file__).parent.parent}
    done = subprocess.run([sys.executable, "-c", JAX_DEVICES], **options)
    assert done.returncode == 0, done.stderr


def test_networks_refuse_tensors(torch):
    params = {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
    message = "weight must be a NumPy or CuPy array; got Tensor: convert it"
    with pytest.raises(TypeError, match=message):
        nn.linear(params, torch.ones(3, 2))
