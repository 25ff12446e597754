"""The oracle surface that others rely on, and what importing it costs.

CONTRIBUTING.md has the rule for changes of the surface.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest

import refnce
from refnce import logz
from tests import libraries, needs_docstrings

SAMPLES = "(r_data, r_noise, F, *, nu=1.0)"
FAMILY = "(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0)"
PROFILE = "(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0)"
BAR = "(r_data, r_noise, *, nu=1.0, F0=None, step=1.0, xtol=0.0, max_updates=500)"
PROFILES = "expfam.profile_loss expfam.profile_gradient expfam.profile_hessian"
FUNCTIONS = {
    SAMPLES: "nce.loss nce.grad_F nce.hess_F nce.grad_r logz.bar_update",
    "(r_data, r_noise, F)": "ence.loss ence.grad_F ence.grad_r",
    "(r_data, r_noise)": "ence.log_z",
    BAR: "logz.bar",
    "(r_data, r_noise, *, nu=1.0, xtol=0.0)": "logz.bisect",
    "(r_data, r_noise, *, nu=1.0, F0=None, xtol=0.0)": "logz.newton",
    FAMILY: "expfam.loss expfam.gradient expfam.hessian expfam.covariance",
    PROFILE: PROFILES,
}
SIGNATURES = {x: text for text, names in FUNCTIONS.items() for x in names.split()}
ALL = [module.name for module in pkgutil.walk_packages(refnce.__path__, "refnce.")]
MODULES = sorted(name for name in ALL if not name.endswith("__main__"))
# Packages and modules at the top level are public, except refnce.array.
PUBLIC = [name for name in MODULES if name.count(".") == 1 and name != "refnce.array"]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    space, function = name.split(".")
    module = importlib.import_module(f"refnce.{space}")
    signature = inspect.signature(getattr(module, function))
    empty = inspect.Parameter.empty
    plain = [x.replace(annotation=empty) for x in signature.parameters.values()]
    assert str(inspect.Signature(plain)) == SIGNATURES[name]


def test_the_surface_is_whole():
    assert set(SIGNATURES) == set(libraries.FUNCTIONS)
    assert "refnce.logz.newton" in MODULES and "refnce.conformance.score" in MODULES


@pytest.mark.parametrize("space", libraries.CORE)
def test_all_lists_the_surface(space):
    more = {"LogZ", "Status"} if space == "logz" else set()
    names = importlib.import_module(f"refnce.{space}").__all__
    assert sorted(names) == sorted({*libraries.CORE[space], *more})


@needs_docstrings
@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist_sorted_and_documented(name):
    """Without __all__, the functions and classes without underscore are documented."""
    module = importlib.import_module(name)
    assert module.__doc__
    names = getattr(module, "__all__", None)
    assert names or name not in PUBLIC
    if names is not None:
        assert list(names) == sorted(names, key=lambda key: (not key.isupper(), key))
    own = [key for key, x in vars(module).items() if _is_from(x, name)]
    members = {key: getattr(module, key) for key in names or own}
    undocumented = [key for key, x in members.items() if not inspect.getdoc(x)]
    aliases = [key for key, x in members.items() if typing.get_origin(x)]
    assert set(undocumented) <= {key for key in own if key[0] == "_"} | {*aliases}


def _is_from(x, name):
    return (inspect.isfunction(x) or inspect.isclass(x)) and x.__module__ == name


def test_result_fields_and_codes():
    fields = "F status evaluations bracket standard_error overlap"
    assert [field.name for field in dataclasses.fields(logz.LogZ)] == fields.split()
    names = ["CONVERGED", "FLAT", "NO_ROOT", "CYCLE", "MAX_UPDATES"]
    assert [(x.name, int(x)) for x in logz.Status] == list(zip(names, range(5)))
    found = logz.newton(np.zeros(2), np.zeros(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.F = 0.0


def test_importing_all_of_it_is_cheap():
    """It imports no array library but NumPy, no SciPy, no plotting library."""
    heavy = ["cupy", "figures", "jax", "matplotlib", "scipy", "torch", "tqdm"]
    code = f"import sys, {', '.join(MODULES)};"
    code += f" print([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_package_declares_its_types():
    assert (Path(refnce.__file__).parent / "py.typed").exists()


def test_the_wheel_holds_the_package_alone():
    """B7: figures and tests run from a clone."""
    setuptools = pytest.importorskip("setuptools")
    root, parser = Path(refnce.__file__).parent.parent, ConfigParser()
    parser.read(root / "setup.cfg")
    include = parser["options.packages.find"]["include"].split()
    packages = setuptools.find_packages(str(root), include=include)
    assert "refnce.logz" in packages
    assert {name.partition(".")[0] for name in packages} == {"refnce"}
