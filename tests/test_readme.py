"""README.md is true: its blocks run, its table names what exists, its translations are equalities."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest

from refnce import logz, nce

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]


def test_the_examples_run_and_print_what_is_shown():
    space, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        for code in PYTHON[:3]:
            exec(compile(code, "README.md", "exec"), space)
    assert out.getvalue() == "".join(
        text for language, text in BLOCKS if language == "text"
    )
    assert len(PYTHON[0].strip().splitlines()) <= 10
    assert abs(float(space["found"].F) - (0.5 + np.log(2 * np.pi) / 2)) <= 3 * float(
        space["found"].standard_error
    )


def test_the_module_of_ones_own_is_checked_as_described(pytester, monkeypatch):
    (pytester.path / "mine.py").write_text(PYTHON[3])
    monkeypatch.syspath_prepend(pytester.path)
    claims = """
        import numpy as np
        from refnce import logz, nce

        r_data, r_noise = np.asarray([0.5, 2.0]), np.asarray([-1.0, 0.0, 1.0])

        def test_loss(impl):
            assert abs(impl.nce.loss(r_data, r_noise, 0.3) - nce.loss(r_data, r_noise, 0.3)) <= 8 * impl.eps

        def test_update(impl):
            assert abs(impl.logz.bar_update(r_data, r_noise, 0.3) - logz.bar_update(r_data, r_noise, 0.3)) <= 8 * impl.eps

        def test_solver(impl):
            impl.logz.newton(r_data, r_noise)

        def test_nu(impl):
            impl.nce.loss(r_data, r_noise, 0.3, nu=2.0)
    """
    pytester.makepyfile(textwrap.dedent(claims))
    result = pytester.runpytest_inprocess(
        "-p", "tests.conftest", "-p", "no:cacheprovider", "--impl", "mine"
    )
    result.assert_outcomes(passed=2, skipped=2)


def test_the_table_names_what_exists_and_where_the_equation_stands():
    rows = re.findall(
        r"^\| (.*?) \| (`.*?) \|$",
        TEXT.split("## Where each equation lives")[1],
        flags=re.MULTILINE,
    )
    assert len(rows) >= 12
    for paper, code in rows:
        names = re.findall(r"`(\w+)\.(\w+)`", code)
        sources = set()
        for module, name in names:
            found = importlib.import_module(f"refnce.{module}")
            assert callable(getattr(found, name)), name
            folder = Path(found.__file__)
            sources |= (
                set(folder.parent.glob("*.py"))
                if folder.name == "__init__.py"
                else {folder}
            )
        source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        for numbers in re.findall(r"Eqs?\. ([\d, ]+)", paper):
            for number in re.findall(r"\d+", numbers):
                assert re.search(
                    rf"(Eqs?\.|Equations?) [^\n]*\b{number}\b", source
                ), f"Eq. {number} is not cited by {names}"
    for path in re.findall(r"`(figures/\w+\.py)`", TEXT):
        assert (ROOT / path).exists()


def test_links_lead_somewhere():
    targets = set(re.findall(r"\]\(([^)#:]+)\)", TEXT))
    for target in targets - {
        "CLAIMS.md"
    }:  # which a run must be able to write first, and which the ledger compares
        assert (ROOT / target).exists(), target


def test_ci_runs_the_command_that_stands_here():
    """.ci/run extracts it; bash -n reads the script, and the same sed gives the very line."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extract,) = re.findall(r"^command=\$\((sed .*)\)$", script, flags=re.MULTILINE)
    line = subprocess.run(
        ["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert line in TEXT and line.endswith("-m pytest") and "\n" not in line


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
    # pymbar stops at a relative step of 1e-14 of a linearly converging bisection-like search.
    assert abs(float(logz.newton(R_DATA, R_NOISE, nu=60 / 40).F) + expected) <= 1e-12
