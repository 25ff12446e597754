"""The real files of MNIST, in the folder that REFNCE_MNIST names (.ci/run sets it)."""

import os

import pytest

FOLDER = os.environ.get("REFNCE_MNIST")
REAL = pytest.mark.skipif(
    not FOLDER, reason="REFNCE_MNIST does not name the folder of MNIST's four files"
)
