"""Format, lint, types and import floors, each by its tool (setup.cfg)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TREES = ["refnce", "figures", "tests"]
FLOORS = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
COMMANDS = {"format": ["-m", "black", "--check", "--quiet", "--diff", *TREES]}
COMMANDS |= {"lint": ["-m", "flake8", *TREES], "types": ["-m", "mypy"]}
COMMANDS |= {"floors": ["-c", FLOORS]}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool_finds_nothing(name):
    command, null = [sys.executable, *COMMANDS[name]], subprocess.DEVNULL
    done = subprocess.run(command, cwd=ROOT, stdin=null, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_test_times_anything():
    """B8: it would fail on a busy machine. monotonic() is for deadlines alone."""
    clocks = re.compile(r"\b(perf_counter|process_time|timeit|time\.time)\b\(?")
    for path in sorted((ROOT / "tests").glob("*.py")):
        if path != Path(__file__):
            assert not clocks.search(path.read_text("utf-8")), path.name
