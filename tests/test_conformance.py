"""The conformance run: by pytest, by ``refnce check`` on the results of other languages, and on other libraries."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import textwrap
from functools import lru_cache
from pathlib import Path

import pytest

from refnce.__main__ import main
from refnce.conformance import cases, conform
from refnce.conformance.calls import CALLS
from refnce.conformance.score import judged
from tests.conftest import ORACLE

STEMS = [path.stem for path in cases.shipped()]
FUNCTIONS = [
    (stem, function) for stem in STEMS for function in CALLS[stem.split(".")[0]]
]


@lru_cache(maxsize=None)
def suite(stem):
    return cases.load(cases.FOLDER / f"{stem}.json")


@pytest.mark.claim(
    "Test vectors",
    "every function of the oracle surface answers the certified test vectors, each within 4 of its units",
    kind="theorem",
    where="refnce.conformance",
)
@pytest.mark.parametrize("stem, function", FUNCTIONS)
def test_answers(impl, request, pytestconfig, stem, function):
    verdicts = list(judged(impl, suite(stem), function))
    pytestconfig.stash[ORACLE].judge(
        suite(stem), verdicts, request.node.user_properties
    )


# --- python -m refnce check


def results(
    path,
    *,
    change=lambda name, quantity, numbers: numbers,
    stems=("nce.float64", "logz.float64", "optim.float32"),
):
    """The right answers, each through ``change``; one that becomes None is left out."""
    lines = ["# id, quantity, numbers", ""]
    for stem in stems:
        for row in (cases.FOLDER / f"{stem}.tsv").read_text().splitlines()[1:]:
            name, role, quantity, _, numbers, *_ = row.split("\t")
            if role == "out" and (told := change(name, quantity, numbers)) is not None:
                lines.append(f"{name}\t{quantity}\t{told}")
    path.write_text("\n".join(lines) + "\n")
    return path


def checked(capsys, path, *options):
    status = main(["check", str(path), *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_right_results_are_all_right(capsys, tmp_path):
    status, out, err = checked(capsys, results(tmp_path / "r.tsv"))
    assert (
        status == 0
        and not err
        and ", 0 failed, no flag skipped" in out
        and "not provided" not in out
    )


def test_a_wrong_number_is_named_and_an_answer_that_is_lacking_is_counted(
    capsys, tmp_path
):
    def change(name, quantity, numbers):
        if (name, quantity) == ("nce-003", "grad_F"):
            return "0x1.8p+1"
        return None if (name, quantity) == ("nce-004", "loss") else numbers

    path = results(tmp_path / "r.tsv", change=change)
    status, out, _ = checked(capsys, path)
    assert status == 1 and "at nce-003 (grad_F 3.0 for " in out and ", 1 failed" in out
    assert "not provided: nce.loss in float64 (1 cases)" in out
    report = json.loads(checked(capsys, path, "--json")[1])
    assert [v["id"] for v in report["failures"]] == ["nce-003"] and report[
        "missing"
    ] == {"nce.loss in float64": 1}


def test_levels_and_flags(capsys, tmp_path):
    """An answer 10 units off passes at level B; with its flag left out it is not judged."""
    case = suite("nce.float64").cases[0]
    loss = float(case.outputs["loss"].dec[0]) + 10 * case.outputs["loss"].unit[0]
    path = results(
        tmp_path / "r.tsv",
        change=lambda n, q, x: loss.hex() if (n, q) == (case.id, "loss") else x,
    )
    assert [checked(capsys, path, "--level", level)[0] for level in "ABC"] == [1, 0, 0]
    assert checked(capsys, path, "--skip-flags", ",".join(case.flags))[0] == 0
    status, _, err = checked(capsys, path, "--skip-flags", "Odd")
    assert status == 2 and "no flag is called Odd" in err and err.count("\n") == 1


def test_what_must_be_refused(capsys, tmp_path):
    """By the word, or by nan; a number is none, and no numbers are none."""
    for told, status in (
        ("refused", 0),
        ("nan", 0),
        ("nan nan", 0),
        ("0x1p+0", 1),
        ("nan 0x1p+0", 1),
        ("", 1),
        (" ", 1),
    ):
        path = results(
            tmp_path / "r.tsv",
            change=lambda n, q, x, told=told: told if x == "refused" else x,
        )
        assert checked(capsys, path)[0] == status
    path = results(
        tmp_path / "r.tsv", change=lambda n, q, x: "refused" if n == "nce-001" else x
    )
    assert checked(capsys, path)[0] == 1


@pytest.mark.parametrize(
    "line, complaint",
    [
        (
            "nce-001 loss 0x1p+0",
            "line 1: 'nce-001 loss 0x1p+0' is not id, quantity and numbers",
        ),
        ("nce-999\tloss\t0x1p+0", "no test vector asks 'nce-999' for 'loss'"),
        ("nce-001\tlosses\t0x1p+0", "no test vector asks 'nce-001' for 'losses'"),
        ("nce-001\tloss\t1.5", "'1.5' is no hexadecimal number such as 0x1.8p+1"),
        ("nce-001\tloss\t0x1p+99999", "is no hexadecimal number"),
        (
            "nce-001\tloss\t0x1p+0\nnce-001\tloss\t0x1p+0",
            "line 2: nce-001 loss is answered twice",
        ),
        ("", "answers no test vector"),
    ],
)
def test_results_that_are_none_are_one_line_and_exit_2(
    capsys, tmp_path, line, complaint
):
    path = tmp_path / "r.tsv"
    path.write_text(line + "\n")
    status, out, err = checked(capsys, path)
    assert (
        status == 2
        and not out
        and complaint in err
        and str(path) in err
        and err.count("\n") == 1
    )


def test_other_bad_files(capsys, tmp_path):
    assert checked(capsys, tmp_path / "gone.tsv")[0] == 2
    (tmp_path / "bytes.tsv").write_bytes(b"\xff\xfe")
    assert "is not text" in checked(capsys, tmp_path / "bytes.tsv")[2]
    assert (
        main(["vectors"]) == 0
        and Path(capsys.readouterr().out.strip(), "nce.float64.json").is_file()
    )


# --- other languages

LANGUAGES = Path(__file__).parent / "languages"


def test_c(capsys, tmp_path):
    """Reads and writes text; right at level C but for what plain sums of sigmoids cannot do: cancel, and be subnormal."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here")
    subprocess.run(
        [
            compiler,
            "-O2",
            "-Wall",
            "-Werror",
            "-o",
            tmp_path / "nce",
            LANGUAGES / "nce.c",
            "-lm",
        ],
        check=True,
    )
    with (tmp_path / "r.tsv").open("w") as out:
        subprocess.run(
            [tmp_path / "nce", cases.FOLDER / "nce.float64.tsv"], stdout=out, check=True
        )
    judged_as(
        capsys,
        tmp_path / "r.tsv",
        {"Plateau", "Subnormal", "Underflow", "CountsCancel", "Gap", "Huge"},
        1400,
    )


def test_javascript(capsys, tmp_path):
    """A bisection on the logarithms, right but where these cancel: on plateaus and in gaps."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no JavaScript (node) here")
    with (tmp_path / "r.tsv").open("w") as out:
        subprocess.run(
            [node, LANGUAGES / "logz.mjs", cases.FOLDER / "logz.float64.tsv"],
            stdout=out,
            check=True,
        )
    hard = {
        "Plateau",
        "Subnormal",
        "Underflow",
        "CountsCancel",
        "Gap",
        "Huge",
        "Ties",
        "Edge",
    }
    judged_as(capsys, tmp_path / "r.tsv", hard, 150)


def judged_as(capsys, path, hard, count):
    status, out, _ = checked(capsys, path, "--level", "C", "--json")
    report = json.loads(out)
    assert status == 1 and report["answers"] >= count
    assert {failure["flags"][0] for failure in report["failures"]} <= hard
    assert (
        checked(capsys, path, "--level", "C", "--skip-flags", ",".join(sorted(hard)))[0]
        == 0
    )


# --- other libraries

ADAPTERS = {
    "pytorch": (
        "torch",
        (
            "nce.loss",
            "nce.grad_F",
            "nce.hess_F",
            "nce.grad_r",
            "logz.bar_update",
            "nn.mlp",
        ),
    ),
    "jax_x64": (
        "jax",
        ("nce.loss", "nce.grad_F", "nce.hess_F", "nce.grad_r", "logz.bar_update"),
    ),
    "pymbar_bar": ("pymbar", ("logz.newton", "logz.bisect", "logz.bar")),
    "scipy_root": (
        "scipy",
        ("nce.loss", "nce.grad_F", "nce.hess_F", "logz.bar_update", "logz.newton"),
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters(name):
    """Each is right on ordinary numbers at level C or says that it cannot; none is in every regime (see docs/conformance.md)."""
    library, functions = ADAPTERS[name]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed here")
    report = conform(importlib.import_module(f"tests.adapters.{name}"), level="C")
    assert tuple(sorted(report.by_function())) == tuple(sorted(functions))
    assert report.failures
    assert [
        v
        for v in report.failures
        if v.flags[0] in ("Normal", "Kink") and not v.note.startswith("raised")
    ] == []


# --- pytest --impl

MINE = """
    import numpy as np

    def _mean(r, F, nu, sign):
        return np.logaddexp(0, sign * (np.asarray(F)[..., None] + np.log(nu) - r)).mean(-1)

    class nce:
        @staticmethod
        def loss(r_data, r_noise, F, *, nu=1.0):
            return (_mean(r_data, F, nu, 1) + nu * _mean(r_noise, F, nu, -1)) / {half}
"""


@pytest.fixture
def run(pytester, monkeypatch):
    def runner(half, *options):
        mine, tests = (
            textwrap.dedent(MINE.replace("{half}", half)),
            "from tests.test_conformance import test_answers",
        )
        pytester.makepyfile(mine=mine, test_it=tests)
        monkeypatch.syspath_prepend(pytester.path)
        importlib.sys.modules.pop("mine", None)
        chosen = (
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "--impl",
            "mine",
            "-k",
            "nce.float64",
        )
        return pytester.runpytest_inprocess(*chosen, *options)

    return runner


def test_another_implementation_is_judged(run, pytester):
    result = run("2", "--level", "C", "--report", "report.json")
    result.assert_outcomes(failed=1, skipped=8)
    result.stdout.fnmatch_lines(
        ["*test vectors (mine)*", "nce.loss *", "*-> *Weight: nu is not 1*"]
    )
    report = json.loads((pytester.path / "report.json").read_text())
    assert (
        report["implementation"] == "mine"
        and report["answers"] > 300
        and len(report["failures"]) > 50
    )


def test_known_failures_are_listed_and_must_fail(run, pytester):
    result = run("(1 + nu)", "--level", "C", "--report", "report.json")
    failures = json.loads((pytester.path / "report.json").read_text())["failures"]
    lines = [
        f"{failure['id']} {failure['quantity']}  # {failure['flags'][0]}"
        for failure in failures
    ]
    (pytester.path / "known.txt").write_text("\n".join(["# what is known", *lines]))
    run("(1 + nu)", "--level", "C", "--xfails", "known.txt").assert_outcomes(
        passed=1, skipped=8
    )
    (pytester.path / "known.txt").write_text("nce-001 loss\n" + "\n".join(lines))
    result = run("(1 + nu)", "--level", "C", "--xfails", "known.txt")
    result.assert_outcomes(failed=1, skipped=8)
    result.stdout.fnmatch_lines(
        ["*no longer fail, take them out of --xfails: *nce-001*"]
    )
    (pytester.path / "known.txt").write_text("nce-001\n")
    assert run("2", "--xfails", "known.txt").ret == pytest.ExitCode.USAGE_ERROR


def test_flags_are_left_out_by_name(run):
    result = run(
        "(1 + nu)", "--level", "C", "--skip-flags", "BadInput,Huge,Infinite,Batched"
    )
    result.stdout.fnmatch_lines(["*skipped flags: BadInput, Batched, Huge, Infinite*"])
    run("2", "--skip-flags", "Odd").stdout.fnmatch_lines(["*no flag is called Odd*"])


# --- what docs/conformance.md says

PAGE = (Path(__file__).parent.parent / "docs" / "conformance.md").read_text(
    encoding="utf-8"
)


def block(language, k=0):
    return PAGE.split(f"```{language}\n")[k + 1].split("```")[0]


def test_the_page_s_example_prints_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.sys.modules.pop("mine", None)
    printed = conform(importlib.import_module("mine"), level="C").text()
    for line in block("text").splitlines():
        assert line.strip() == "..." or line in printed, line


def test_the_page_names_what_there_is():
    assert (Path(__file__).parent / "languages" / "nce.c").read_text().count("\n") < 80
    assert all(
        len((LANGUAGES.parent / "adapters" / f"{name}.py").read_text().splitlines())
        < 60
        for name in ADAPTERS
    )
    count = sum(len(suite(stem).cases) for stem in STEMS)
    assert f"about {round(count, -2)} certified cases" in PAGE
