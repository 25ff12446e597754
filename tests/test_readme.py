"""README.md is true: its blocks run, its tables name what exists and hold."""

import importlib
import inspect
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from refnce import logz, nce
from refnce.conformance.surface import Impl, NotProvided

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
FIRST, TRAINING, PYTORCH, MINE = PYTHON


def test_examples_print_what_is_shown(capsys):
    space: dict = {}
    exec(FIRST + TRAINING, space)
    _, *shown = [text for language, text in BLOCKS if language == "text"]  # after Eq. 1
    assert capsys.readouterr().out == "".join(shown)
    assert len(FIRST.strip().splitlines()) <= 10
    log_z = 0.5 + np.log(2 * np.pi) / 2
    error = float(space["solution"].standard_error)
    assert abs(float(space["solution"].F) - log_z) <= 3 * error


def test_pytorch_training_loop(torch, capsys):
    exec(PYTORCH, {})
    assert capsys.readouterr().out == "theta = 1.0, F = 0.5\n"
    loop = PYTORCH.split("for _ in")[1].split("print")[0].strip().splitlines()
    assert len(loop) <= 10


def test_a_module_of_ones_own_is_checked():
    mine = ModuleType("mine")
    exec(MINE, mine.__dict__)
    impl = Impl(mine)
    loss, update = impl.nce.loss, impl.logz.bar_update
    expected = nce.loss(R_DATA, R_NOISE, F), logz.bar_update(R_DATA, R_NOISE, F)
    assert abs(loss(R_DATA, R_NOISE, F, nu=1.0) - expected[0]) <= UNITS
    assert abs(update(R_DATA, R_NOISE, F) - expected[1]) <= UNITS
    with pytest.raises(NotProvided, match=r"nce.loss\(nu=\)"):
        loss(R_DATA, R_NOISE, F, nu=2.0)
    with pytest.raises(NotProvided, match="logz.newton"):
        impl.logz.newton(R_DATA, R_NOISE)


# The table of equations


def test_table_names_functions_that_cite_their_equations():
    table = TEXT.split("## Where each equation lives")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*`.*)$", table, flags=re.MULTILINE)
    assert len(rows) >= 12
    for paper, code in rows:
        names, source = re.findall(r"`(\w+)\.(\w+)`", code), ""
        for module, name in names:
            places = f"refnce.{module}", f"refnce.train.{module}"
            found = importlib.import_module(next(filter(find_spec, places)))
            source += inspect.getsource(inspect.getmodule(getattr(found, name)))
        numbers = " ".join(re.findall(r"Eqs?\. ([\d, ]+)", paper))
        for number in re.findall(r"\d+", numbers):
            cited = rf"(Eqs?\.|Equations?) [^\n]*\b{number}\b"
            assert re.search(cited, source), f"Eq. {number}: {names}"
    for path in re.findall(r"`(figures/[\w/]+\.py)`", TEXT):
        assert (ROOT / path).exists()


# Anchors and commands


def test_anchors_are_headings():
    headings = re.findall(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_ci_runs_the_test_command():
    """.ci/run extracts the command; the same sed gives a line of README."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extract,) = re.findall(r"^command=\$\((sed .*)\)$", script, flags=re.MULTILINE)
    line = subprocess.check_output(["bash", "-c", extract], cwd=ROOT, text=True).strip()
    assert line in TEXT and "-m pytest" in line and "\n" not in line


# In other words

RNG = np.random.Generator(np.random.PCG64(21))
R_DATA, R_NOISE, F, NU = RNG.normal(1, 1, size=40), RNG.normal(-1, 1, size=60), 0.3, 1.5
UNITS = 16 * 2.0**-52  # both sides are means of at most 60 terms of order 1


def test_logistic_regression():
    def bce(z, target):  # as PyTorch documents it
        return (np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))).mean()

    z_data, z_noise = R_DATA - F - np.log(NU), R_NOISE - F - np.log(NU)
    expected = (bce(z_data, 1.0) + NU * bce(z_noise, 0.0)) / (1 + NU)
    assert abs(nce.loss(R_DATA, R_NOISE, F, nu=NU) - expected) <= UNITS


def test_gutmann_and_hyvarinen():
    # h = p/(p + nu q), c = -F
    h_data, h_noise = (1 / (1 + NU * np.exp(F - r)) for r in (R_DATA, R_NOISE))
    J = np.log(h_data).mean() + NU * np.log(1 - h_noise).mean()
    assert abs(J + (1 + NU) * nce.loss(R_DATA, R_NOISE, F, nu=NU)) <= 4 * UNITS
