"""The oracle surface that others rely on (its deprecation rule: CONTRIBUTING.md), and what importing it costs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import refnce
from refnce import logz
from refnce.conformance.surface import FIELDS
from tests.adapter import CORE

SAMPLES = "(r_data, r_noise, F, *, nu=1.0)"
FAMILY = "(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0)"
PROFILE = "(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0)"
SIGNATURES = {
    "nce.loss": SAMPLES,
    "nce.grad_F": SAMPLES,
    "nce.hess_F": SAMPLES,
    "nce.grad_r": SAMPLES,
    "ence.loss": "(r_data, r_noise, F)",
    "ence.grad_F": "(r_data, r_noise, F)",
    "ence.grad_r": "(r_data, r_noise, F)",
    "ence.log_z": "(r_data, r_noise)",
    "logz.bar_update": SAMPLES,
    "logz.bar": "(r_data, r_noise, *, nu=1.0, F0=None, step=1.0, xtol=0.0, max_updates=500)",
    "logz.bisect": "(r_data, r_noise, *, nu=1.0, xtol=0.0)",
    "logz.newton": "(r_data, r_noise, *, nu=1.0, F0=None, xtol=0.0)",
    "expfam.loss": FAMILY,
    "expfam.gradient": FAMILY,
    "expfam.hessian": FAMILY,
    "expfam.profile_loss": PROFILE,
    "expfam.profile_gradient": PROFILE,
    "expfam.profile_hessian": PROFILE,
}
MODULES = sorted(
    path.stem
    for path in Path(refnce.__file__).parent.glob("*.py")
    if not path.stem.startswith("__")
)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    space, function = name.split(".")
    signature = inspect.signature(
        getattr(importlib.import_module(f"refnce.{space}"), function)
    )
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    assert str(inspect.Signature(plain)) == SIGNATURES[name]


def test_the_surface_is_whole():
    assert set(SIGNATURES) == {
        f"{space}.{name}" for space, names in CORE.items() for name in names
    }


@pytest.mark.parametrize("space", CORE)
def test_all_lists_the_surface(space):
    more = {"LogZ", "Status"} if space == "logz" else set()
    assert sorted(importlib.import_module(f"refnce.{space}").__all__) == sorted(
        {*CORE[space], *more}
    )


@pytest.mark.parametrize("module", [*MODULES, "logz"])
def test_all_names_exist_sorted_and_documented(module):
    found = importlib.import_module(f"refnce.{module}")
    assert found.__doc__
    names = getattr(found, "__all__", None)
    if (
        names is None
    ):  # a module of the inside: its public functions are documented all the same
        names = [
            name
            for name, x in vars(found).items()
            if inspect.isfunction(x) and x.__module__ == found.__name__
        ]
        names = [name for name in names if not name.startswith("_")]
    else:
        assert list(names) == sorted(names)
    assert [name for name in names if not inspect.getdoc(getattr(found, name))] == []


def test_result_fields_and_codes():
    assert tuple(field.name for field in dataclasses.fields(logz.LogZ)) == FIELDS
    assert {status.name: int(status) for status in logz.Status} == {
        "CONVERGED": 0,
        "FLAT": 1,
        "NO_ROOT": 2,
        "CYCLE": 3,
        "MAX_UPDATES": 4,
    }


def test_the_result_is_frozen():
    import numpy as np

    found = logz.newton(np.zeros(2), np.zeros(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.F = 0.0


def test_importing_all_of_it_is_cheap():
    """Neither an array library other than NumPy, nor SciPy, nor a plotting library, nor the figures come with it."""
    heavy = ["cupy", "figures", "jax", "matplotlib", "scipy", "torch", "tqdm"]
    names = ", ".join(f"refnce.{name}" for name in MODULES)
    code = (
        f"import sys, {names}; print([name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"


def test_the_package_declares_its_types():
    assert (Path(refnce.__file__).parent / "py.typed").exists()
