"""Tests of the paper's claims and of the units behind them.

A run of ``pytest`` ends with the ledger of claims.
"""

import sys
from pathlib import Path

import pytest

# The assertions of helpers are then executed under python -O too.
for file in Path(__file__).parent.glob("*.py"):
    pytest.register_assert_rewrite(f"tests.{file.stem}")

needs_docstrings = pytest.mark.skipif(
    sys.flags.optimize > 1,
    reason="python -OO removes docstrings, which ArviZ too needs",
)
