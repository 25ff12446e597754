"""refnce itself as an implementation under test, on any array library."""

from __future__ import annotations

from refnce.array import backend
from refnce.conformance.surface import SURFACE, Impl, UnusableError, on_refnce
from tests.libraries import Library

# The functions of log-ratios, whose signatures and array libraries have tests of their own.
CORE = {space: SURFACE[space] for space in ("nce", "ence", "logz", "expfam")}


def on_backend(name: str) -> Impl:
    """refnce on the array library ``name``, in the dtypes it is given; array_api_strict on the device that is not its default."""
    try:
        library = Library(name)
    except backend.BackendError as error:
        raise UnusableError(str(error)) from error
    return on_refnce(name, lambda x: library(x, str(x.dtype)))
