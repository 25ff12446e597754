"""README.md is true: its blocks run, its tables name what exists and hold."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refnce import logz, nce

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
FIRST, TRAINING, PYTORCH, MINE = PYTHON


def run(code, space):
    """What the code prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), space)
    return out.getvalue()


def test_examples_print_what_is_shown():
    space: dict = {}
    printed = [run(FIRST, space), run(TRAINING, space)]
    shown = [text for language, text in BLOCKS if language == "text"]
    assert printed == shown[1:]  # shown[0] is Eq. 1
    assert len(FIRST.strip().splitlines()) <= 10
    log_z = 0.5 + np.log(2 * np.pi) / 2
    error = float(space["solution"].standard_error)
    assert abs(float(space["solution"].F) - log_z) <= 3 * error


def test_pytorch_training_loop():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert run(PYTORCH, {}) == "theta = 1.0, F = 0.5\n"
    loop = PYTORCH.split("for _ in")[1].split("print")[0].strip().splitlines()
    assert len(loop) <= 10


def test_eq1_eq3_formulas_on_the_first_screen():
    def softplus(x):
        return np.logaddexp(0, x).mean()

    r_data, r_noise = R_DATA, R_NOISE
    expected = softplus(F - r_data) / 2 + softplus(r_noise - F) / 2
    assert abs(nce.loss(r_data, r_noise, F) - expected) <= UNITS
    root = logz.newton(r_data, r_noise).F
    A, B = 1 / (1 + np.exp(r_data - root)), 1 / (1 + np.exp(root - r_noise))
    assert abs(A.mean() - B.mean()) <= UNITS


CLAIMS = """
import numpy as np
from refnce import logz, nce

r_data, r_noise = np.asarray([0.5, 2.0]), np.asarray([-1.0, 0.0, 1.0])

def test_loss(impl):
    error = impl.nce.loss(r_data, r_noise, 0.3) - nce.loss(r_data, r_noise, 0.3)
    assert abs(error) <= 8 * impl.eps

def test_update(impl):
    expected = logz.bar_update(r_data, r_noise, 0.3)
    error = impl.logz.bar_update(r_data, r_noise, 0.3) - expected
    assert abs(error) <= 8 * impl.eps

def test_solver(impl):
    impl.logz.newton(r_data, r_noise)

def test_nu(impl):
    impl.nce.loss(r_data, r_noise, 0.3, nu=2.0)
"""


def test_a_module_of_ones_own_is_checked(pytester, monkeypatch):
    (pytester.path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile(CLAIMS)
    result = pytester.runpytest_inprocess(
        "-p", "tests.conftest", "-p", "no:cacheprovider", "--impl", "mine"
    )
    result.assert_outcomes(passed=2, skipped=2)


# The table of equations


def equation_rows():
    """(paper's label, names in the code) of each line of the table."""
    table = TEXT.split("## Where each equation lives")[1].split("\n## ")[0]
    for line in table.splitlines():
        if line.startswith("| ") and "`" in line:
            paper, code = line.strip("| ").split(" | ")
            yield paper, re.findall(r"`(\w+)\.(\w+)`", code)


def imported(module):
    for package in ("refnce", "refnce.train"):
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(f"{package}.{module}")
    raise AssertionError(f"no module {module}")


def test_table_names_functions_that_cite_their_equations():
    rows = list(equation_rows())
    assert len(rows) >= 12
    for paper, names in rows:
        source = ""
        for module, name in names:
            found = imported(module)
            assert callable(getattr(found, name)), name
            path = Path(found.__file__)
            files = path.parent.glob("*.py") if path.stem == "__init__" else [path]
            source += "\n".join(file.read_text(encoding="utf-8") for file in files)
        for numbers in re.findall(r"Eqs?\. ([\d, ]+)", paper):
            for number in re.findall(r"\d+", numbers):
                cited = rf"(Eqs?\.|Equations?) [^\n]*\b{number}\b"
                assert re.search(cited, source), f"Eq. {number}: {names}"
    for path in re.findall(r"`(figures/\w+\.py)`", TEXT):
        assert (ROOT / path).exists()


# Links and commands


def test_links_lead_somewhere():
    # CLAIMS.md may be absent: a run must be able to write it first.
    for target in set(re.findall(r"\]\(([^)#:]+)\)", TEXT)) - {"CLAIMS.md"}:
        assert (ROOT / target).exists(), target


def test_anchors_are_headings():
    headings = re.findall(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_ci_runs_the_test_command():
    """.ci/run extracts the command; the same sed gives a line of README."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extract,) = re.findall(r"^command=\$\((sed .*)\)$", script, flags=re.MULTILINE)
    line = subprocess.run(
        ["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert line in TEXT and "-m pytest" in line and "\n" not in line


# In other words

RNG = np.random.Generator(np.random.PCG64(21))
R_DATA, R_NOISE, F, NU = RNG.normal(1, 1, size=40), RNG.normal(-1, 1, size=60), 0.3, 1.5
UNITS = 16 * 2.0**-52  # both sides are means of at most 60 terms of order 1


def test_logistic_regression():
    z_data, z_noise = R_DATA - F - np.log(NU), R_NOISE - F - np.log(NU)

    def bce(z, target):
        return (
            np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))
        ).mean()  # as PyTorch documents it

    assert (
        abs(
            (bce(z_data, 1.0) + NU * bce(z_noise, 0.0)) / (1 + NU)
            - nce.loss(R_DATA, R_NOISE, F, nu=NU)
        )
        <= UNITS
    )


def test_gutmann_and_hyvarinen():
    h_data, h_noise = (
        1 / (1 + NU * np.exp(-(r - F))) for r in (R_DATA, R_NOISE)
    )  # h = p/(p + nu q), c = -F
    J = np.log(h_data).mean() + NU * np.log(1 - h_noise).mean()
    assert abs(J + (1 + NU) * nce.loss(R_DATA, R_NOISE, F, nu=NU)) <= 4 * UNITS


def test_pymbar_says_the_same():
    pymbar = pytest.importorskip(
        "pymbar", reason="pymbar is not installed (extra bench)"
    )
    expected = pymbar.bar(-R_NOISE, R_DATA, relative_tolerance=1e-14)["Delta_f"]
    # pymbar stops at a relative step of 1e-14 of a search that converges linearly.
    assert abs(float(logz.newton(R_DATA, R_NOISE, nu=60 / 40).F) + expected) <= 1e-12
