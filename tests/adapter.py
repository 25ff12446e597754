"""refnce itself as an implementation under test, on NumPy, CuPy or array-api-strict."""

from __future__ import annotations

from refnce.array import backend
from refnce.conformance.surface import Impl, UnusableError, on_refnce
from tests.libraries import CORE, Library

__all__ = ["CORE", "on_backend"]


def on_backend(name: str) -> Impl:
    """Return refnce on the array library ``name``, in the dtypes it is given."""
    try:
        library = Library(name)
    except backend.BackendError as error:
        raise UnusableError(str(error)) from error
    return on_refnce(name, lambda x: library(x, str(x.dtype)))
