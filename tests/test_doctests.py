"""The examples in the docstrings of refnce and figures run and print what they say."""

import doctest
import importlib

import numpy as np
import pytest

from tests import needs_docstrings
from tests.test_api import MODULES

FIGURES = ["diagnostics", "mnist.dequantize", "mnist.files", "mnist.gaussian"]
FIGURES += ["mnist.mixture", "mnist.nearest", "mnist.classifier", "mnist.frechet"]
FIGURES += ["mnist.annealed", "mnist.bridges"]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@needs_docstrings
@pytest.mark.parametrize("name", [*MODULES, *(f"figures.{name}" for name in FIGURES)])
def test_examples(name, capsys):
    with np.printoptions():  # an example may change them
        result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0, capsys.readouterr().out
