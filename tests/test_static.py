"""Lint, types and import floors, each by its tool as configured in setup.cfg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


FLOORS = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"


@pytest.mark.parametrize(
    "command",
    [["-m", "flake8", "refnce", "figures", "tests"], ["-m", "mypy"], ["-c", FLOORS]],
    ids=["lint", "types", "floors"],
)
def test_the_tree_is_clean(command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
