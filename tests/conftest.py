"""Options and fixtures: ``pytest [--backend X | --impl MODULE] [--write-claims]``."""

import importlib
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest

from refnce.array import backend
from refnce.conformance.cases import InputError
from refnce.conformance.surface import NOT_PROVIDED, REFNCE, Impl, NotProvided
from tests import oracle
from tests.ledger import Ledger
from tests.libraries import Library, import_or_skip

hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, database=None
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group, names = parser.getgroup("refnce"), (*backend.NAMES, backend.STRICT)
    library = "the array library to test the claims on"
    group.addoption("--backend", choices=names, default="numpy", help=library)
    module = "test the claims on this module instead of refnce (see README.md)"
    group.addoption("--impl", metavar="MODULE", help=module)
    write = "write CLAIMS.md from this run, which must be full and green"
    group.addoption("--write-claims", action="store_true", help=write)
    fuzz = "how many cases, and the seed, of test_fuzz.py"
    group.addoption("--fuzz-cases", type=int, default=100, help=fuzz)
    group.addoption("--fuzz-seed", type=int, default=0, help=fuzz)
    oracle.add_options(group)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fuzz_cases" in metafunc.fixturenames:
        option = metafunc.config.option
        count, size = option.fuzz_cases, 20
        parts = [range(k, min(k + size, count)) for k in range(0, count, size)]
        cases = [(option.fuzz_seed, part) for part in parts]
        ids = [f"{seed}-{part[0]}" for seed, part in cases]
        metafunc.parametrize("fuzz_cases", cases, ids=ids)


MARKERS = (
    "claim(label, statement, *, kind, verdict='holds', why='', where=''): "
    "a claim that the test proves",
    "printed_error(place, *, printed, right): "
    "the test proves one wrong, the other right",
    "fuzz: drawn cases against certified values",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    hypothesis.settings.load_profile("ci")
    config.pluginmanager.register(Ledger(config), "ledger")
    config.pluginmanager.register(oracle.Oracle(config), "oracle")


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that do not call the library or implementation asked for."""
    if config.option.impl is None and config.option.backend == "numpy":
        return
    calls = {item: "impl" in getattr(item, "fixturenames", ()) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not calls[item]])
    items[:] = [item for item in items if calls[item]]


def pytest_sessionstart(session: pytest.Session) -> None:
    option = session.config.option
    if option.impl is not None and option.backend != "numpy":
        instead = "a module under --impl defines asarray instead"
        raise pytest.UsageError(f"--backend is for refnce itself; {instead}")
    try:
        impl = on_module(option.impl) if option.impl else on_library(option.backend)
    except (InputError, backend.BackendError) as error:
        raise pytest.UsageError(str(error)) from error
    session.config.stash[IMPL] = impl


def on_module(path: str) -> Impl:
    """Return the implementation in the module that is imported as ``path``."""
    try:
        return Impl(importlib.import_module(path))
    except (ImportError, InputError) as error:
        raise InputError(f"--impl {path}: {error}") from error


def on_library(name: str) -> Impl:
    """Return refnce itself on the array library ``name``, in the dtypes it is given."""
    library, smallest = Library(name), np.finfo("float32").smallest_normal
    refnce = SimpleNamespace(__name__="refnce", **vars(REFNCE))
    refnce.asarray = lambda x: library(x, str(x.dtype))
    impl = Impl(refnce)
    impl.name = name
    if not backend.to_numpy(library(np.full(1, smallest), "float32") / 2.0).all():
        impl.floor = float(smallest)
    return impl


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test that asks for what the implementation lacks, and say what that is.

    refnce itself lacks nothing.
    """
    try:
        return (yield)
    except NotProvided as lack:
        if item.config.option.impl is None:
            raise
        pytest.skip(f"{NOT_PROVIDED}{lack}")


IMPL = pytest.StashKey[Impl]()


@pytest.fixture(scope="session")
def impl(pytestconfig: pytest.Config) -> Impl:
    """The implementation under test, called with NumPy arrays (conformance.surface)."""
    return pytestconfig.stash[IMPL]


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``evidence(text)``: what the test measured, for the ledger."""
    return lambda text: request.node.user_properties.append(("evidence", text))


@pytest.fixture
def torch() -> Any:
    """PyTorch, or a skip."""
    return import_or_skip("torch")


@pytest.fixture
def jax() -> Any:
    """JAX with its 64-bit types, or a skip."""
    module = import_or_skip("jax")
    module.config.update("jax_enable_x64", True)
    return module
