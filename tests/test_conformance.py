"""The conformance run: by pytest, by ``refnce check``, and on other libraries."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import textwrap
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refnce import logz, nce
from refnce.__main__ import main
from refnce.conformance import cases, conform
from refnce.conformance.calls import CALLS
from refnce.conformance.score import score_function
from refnce.conformance.surface import NotProvided, UnusableError, on_object
from tests.conftest import ORACLE

STEMS = [path.stem for path in cases.shipped()]
FUNCTIONS = [
    pytest.param(stem, call, id=f"{stem}-{call.label}")
    for stem in STEMS
    for call in CALLS[stem.split(".")[0]]
]
LANGUAGES = Path(__file__).parent / "languages"
PAGE = (Path(__file__).parent.parent / "docs" / "conformance.md").read_text("utf-8")


@lru_cache(maxsize=None)
def suite(stem):
    return cases.load(cases.FOLDER / f"{stem}.json")


@pytest.mark.claim(
    "Test vectors",
    "every function of the oracle surface answers the certified test vectors, each within 4 of its units",
    kind="theorem",
    where="refnce.conformance",
)
@pytest.mark.parametrize("stem, call", FUNCTIONS)
def test_answers(impl, request, pytestconfig, stem, call):
    verdicts = list(score_function(impl, suite(stem), call))
    properties = request.node.user_properties
    pytestconfig.stash[ORACLE].judge(suite(stem), verdicts, properties)


# --- Which functions of a module are under test


def test_a_name_offered_twice_is_refused():
    mine = SimpleNamespace(
        bar_update=lambda r_data, r_noise, F: F,
        logz=SimpleNamespace(bar_update=lambda r_data, r_noise, F: F),
    )
    with pytest.raises(UnusableError, match="offers bar_update twice"):
        on_object("mine", mine)
    mine.bar_update = mine.logz.bar_update  # the same function under two names
    assert on_object("mine", mine).logz.bar_update(0.0, 0.0, 2.0) == 2.0


def test_a_namespace_imported_from_refnce_is_not_under_test():
    mine = SimpleNamespace(logz=logz, bar_update=lambda r_data, r_noise, F: F)
    impl = on_object("mine", mine)
    assert impl.logz.bar_update(np.zeros(1), np.zeros(1), 2.0) == 2.0
    with pytest.raises(NotProvided, match="logz.newton"):
        impl.logz.newton(np.zeros(1), np.zeros(1))
    with pytest.raises(UnusableError, match="provides none of the names"):
        on_object("mine", SimpleNamespace(logz=logz, nce=nce))


def test_a_bare_function_counts_beside_a_foreign_namespace():
    """As after ``from torch import optim``."""
    mine = SimpleNamespace(
        optim=SimpleNamespace(SGD=None), sgd=lambda state, gradient, *, rate: (0, rate)
    )
    assert on_object("mine", mine).optim.sgd(None, 1.0, rate=0.5) == (0, 0.5)


# --- python -m refnce check


def results(
    path,
    *,
    change=lambda name, quantity, numbers: numbers,
    stems=("nce.float64", "logz.float64", "optim.float32"),
):
    """Write the right answers, each through ``change``, which returns None for none."""
    lines = ["# id, quantity, numbers", ""]
    for stem in stems:
        for row in (cases.FOLDER / f"{stem}.tsv").read_text().splitlines()[1:]:
            name, role, quantity, _, numbers, *_ = row.split("\t")
            if role == "out":
                answer = change(name, quantity, numbers)
                lines += [f"{name}\t{quantity}\t{answer}"] * (answer is not None)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def check(capsys, tmp_path):
    """``check(change, *options)`` returns status, output, errors for changed answers.

    ``change`` may also be the path of the results.
    """

    def run(change, *options):
        path = change
        if callable(change):
            path = results(tmp_path / "r.tsv", change=change)
        status = main(["check", str(path), *options])
        return status, *capsys.readouterr()

    return run


def test_right_results_pass(check):
    status, out, err = check(lambda name, quantity, numbers: numbers)
    assert status == 0 and not err and ", 0 failed, no flag skipped" in out
    assert "not provided" not in out and "incomplete" not in out


def test_a_wrong_number_is_named(check):
    def change(name, quantity, numbers):
        return "0x1.8p+1" if (name, quantity) == ("nce-003", "grad_F") else numbers

    status, out, _ = check(change)
    assert status == 1 and "at nce-003 (grad_F 3.0 for " in out and ", 1 failed" in out
    failures = json.loads(check(change, "--json")[1])["failures"]
    assert [(v["id"], v["quantity"], v["got"]) for v in failures] == [
        ("nce-003", "grad_F", "3.0")
    ]


def test_missing_answers_are_counted_and_exit_1_unless_partial(check):
    def one(name, quantity, numbers):
        return numbers if (name, quantity) == ("nce-004", "loss") else None

    status, out, _ = check(one)
    assert status == 1 and "1 answers, 0 failed" in out
    assert "not provided: nce.loss in float64 (494 cases)" in out
    assert "incomplete: nce.loss in float64: 494 of 495 answers are missing" in out
    assert "incomplete: nce.grad_F" not in out and "logz" not in out
    status, out, _ = check(one, "--partial", "--json")
    report = json.loads(out)
    assert status == 0 and len(report["incomplete"]) == 1
    assert report["missing"]["nce.grad_F in float64"] == 495


def test_a_quantity_that_is_not_answered_at_all_is_not_provided(check):
    status, out, _ = check(lambda n, q, x: None if q == "hess_F" else x)
    assert status == 0 and "not provided: nce.hess_F in float64 (495 cases)" in out


def test_levels_and_flags(check):
    """An answer 10 units off passes at level B; with its flag skipped it is left out."""
    case = suite("nce.float64").cases[0]
    loss = float(case.outputs["loss"].dec[0]) + 10 * case.outputs["loss"].unit[0]

    def change(name, quantity, numbers):
        return loss.hex() if (name, quantity) == (case.id, "loss") else numbers

    assert [check(change, "--level", level)[0] for level in "ABC"] == [1, 0, 0]
    assert check(change, "--skip-flags", ",".join(case.flags))[0] == 0
    status, _, err = check(change, "--skip-flags", "Odd")
    assert status == 2 and "no flag is called Odd" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "answer, status",
    [
        ("refused", 0),
        ("nan", 0),
        ("nan nan", 0),
        ("0x1p+0", 1),
        ("nan 0x1p+0", 1),
        ("", 1),
        (" ", 1),
    ],
)
def test_invalid_input_is_refused_by_the_word_or_by_nan(check, answer, status):
    assert check(lambda n, q, x: answer if x == "refused" else x)[0] == status


def test_valid_input_must_not_be_refused(check):
    assert check(lambda n, q, x: "refused" if n == "nce-001" else x)[0] == 1


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("nce-001 loss 0x1p+0", "line 1: 'nce-001 loss 0x1p+0' is not id, quantity"),
        ("nce-999\tloss\t0x1p+0", "no test vector asks 'nce-999' for 'loss'"),
        ("nce-001\tlosses\t0x1p+0", "no test vector asks 'nce-001' for 'losses'"),
        ("nce-001\tloss\t1.5", "'1.5' is no hexadecimal number such as 0x1.8p+1"),
        ("nce-001\tloss\t0x1p+99999", "is no hexadecimal number"),
        ("nce-001\tloss\t0x1p+0\n" * 2, "line 2: nce-001 loss is answered twice"),
        ("", "answers no test vector"),
        (b"\xff\xfe", "is not text"),
        (None, "No such file"),
    ],
)
def test_invalid_results_are_one_line_and_exit_2(check, tmp_path, line, complaint):
    path = tmp_path / "r.tsv"
    if line is not None:
        path.write_bytes(line if isinstance(line, bytes) else f"{line}\n".encode())
    status, out, err = check(path)
    assert status == 2 and not out and err.count("\n") == 1
    assert complaint in err and str(path) in err


def test_vectors_prints_the_folder(capsys):
    assert main(["vectors"]) == 0
    assert Path(capsys.readouterr().out.strip(), "nce.float64.json").is_file()


# --- Other languages


def compiled_c(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler (cc) here")
    options = ["-O2", "-Wall", "-Werror", "-o", tmp_path / "nce"]
    subprocess.run([compiler, *options, LANGUAGES / "nce.c", "-lm"], check=True)
    return [tmp_path / "nce"]


def javascript(tmp_path):
    node = shutil.which("node") or pytest.skip("no JavaScript (node) here")
    return [node, LANGUAGES / "logz.mjs"]


# What plain sums of sigmoids cannot do: they cancel, and are subnormal. Bisection on
# the logarithms fails where these cancel: on plateaus and in gaps.
HARD = {"Plateau", "Subnormal", "Underflow", "CountsCancel", "Gap", "Huge"}


@pytest.mark.parametrize(
    "program, stem, hard, count",
    [
        (compiled_c, "nce.float64", HARD, 1400),
        (javascript, "logz.float64", HARD | {"Ties", "Edge"}, 150),
    ],
)
def test_a_program_in_another_language(check, tmp_path, program, stem, hard, count):
    """It is right at level C, except in the regimes ``hard``."""
    command = [*program(tmp_path), cases.FOLDER / f"{stem}.tsv"]
    path = tmp_path / "r.tsv"
    with path.open("w") as out:
        subprocess.run(command, stdout=out, check=True)
    status, out, _ = check(path, "--level", "C", "--partial", "--json")
    report = json.loads(out)
    assert status == 1 and report["answers"] >= count
    assert {failure["flags"][0] for failure in report["failures"]} <= hard
    skip = "--skip-flags", ",".join(sorted(hard))
    assert check(path, "--level", "C", "--partial", *skip)[0] == 0


# --- Other libraries

NCE = {"nce.loss", "nce.grad_F", "nce.hess_F", "logz.bar_update"}
ADAPTERS = {
    "pytorch": ("torch", NCE | {"nce.grad_r", "nn.mlp"}),
    "jax_x64": ("jax", NCE | {"nce.grad_r"}),
    "pymbar_bar": ("pymbar", {"logz.newton", "logz.bisect", "logz.bar"}),
    "scipy_root": ("scipy", NCE | {"logz.newton"}),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters(name):
    """Ordinary numbers are right at level C, or declined; no library passes all."""
    library, functions = ADAPTERS[name]
    pytest.importorskip(library, reason=f"{library} is not installed here")
    report = conform(importlib.import_module(f"tests.adapters.{name}"), level="C")
    assert set(report.by_function()) == functions and report.failures
    wrong = [v for v in report.failures if v.flags[0] in ("Normal", "Kink")]
    assert [v for v in wrong if not v.note.startswith("raised")] == []


# --- pytest --impl

MINE = """
    import numpy as np

    def _mean(r, F, nu, sign):
        shift = np.asarray(F)[..., None] + np.log(nu)
        return np.logaddexp(0, sign * (shift - r)).mean(-1)

    class nce:
        @staticmethod
        def loss(r_data, r_noise, F, *, nu=1.0):
            data, noise = _mean(r_data, F, nu, 1), _mean(r_noise, F, nu, -1)
            return (data + nu * noise) / {half}
"""


@pytest.fixture
def run(pytester, monkeypatch):
    def runner(half, *options):
        mine = textwrap.dedent(MINE.replace("{half}", half))
        tests = "from tests.test_conformance import test_answers"
        pytester.makepyfile(mine=mine, test_it=tests)
        monkeypatch.syspath_prepend(pytester.path)
        sys.modules.pop("mine", None)
        plugins = "-p", "tests.conftest", "-p", "no:cacheprovider"
        chosen = *plugins, "--impl", "mine", "-k", "nce.float64"
        return pytester.runpytest_inprocess(*chosen, *options)

    return runner


def test_another_implementation_is_judged(run, pytester):
    result = run("2", "--level", "C", "--report", "report.json")
    result.assert_outcomes(failed=1, skipped=8)
    lines = ["*test vectors (mine)*", "nce.loss *", "*-> Weight (*): nu is not 1*"]
    result.stdout.fnmatch_lines(lines)
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["implementation"] == "mine"
    assert report["answers"] > 300 and len(report["failures"]) > 50


def test_known_failures_are_listed_and_must_fail(run, pytester):
    run("(1 + nu)", "--level", "C", "--report", "report.json")
    failures = json.loads((pytester.path / "report.json").read_text())["failures"]
    known = "".join(f"{v['id']} {v['quantity']}  # {v['flags'][0]}\n" for v in failures)
    file, options = pytester.path / "known.txt", (
        "--level",
        "C",
        "--xfails",
        "known.txt",
    )
    file.write_text("# what is known\n" + known)
    run("(1 + nu)", *options).assert_outcomes(passed=1, skipped=8)
    file.write_text("nce-001 loss\n" + known)
    result = run("(1 + nu)", *options)
    result.assert_outcomes(failed=1, skipped=8)
    message = "*no longer fail, take them out of --xfails: *nce-001*"
    result.stdout.fnmatch_lines([message])
    file.write_text("nce-001\n")
    assert run("2", *options).ret == pytest.ExitCode.USAGE_ERROR


def test_flags_are_skipped_by_name(run):
    skip = "--skip-flags", "BadInput,Huge,Infinite,Batched"
    result = run("(1 + nu)", "--level", "C", *skip)
    result.stdout.fnmatch_lines(["*skipped flags: BadInput, Batched, Huge, Infinite*"])
    run("2", "--skip-flags", "Odd").stdout.fnmatch_lines(["*no flag is called Odd*"])


# --- docs/conformance.md


def block(language):
    return PAGE.split(f"```{language}\n")[1].split("```")[0]


def test_the_example_of_the_page_prints_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine", None)
    printed = conform(importlib.import_module("mine"), level="C").text()
    for line in block("text").splitlines():
        assert line.strip() == "..." or line in printed, line


def test_the_numbers_of_the_page_are_right():
    assert (LANGUAGES / "nce.c").read_text().count("\n") < 80
    adapters = [LANGUAGES.parent / "adapters" / f"{name}.py" for name in ADAPTERS]
    assert all(path.read_text().count("\n") < 75 for path in adapters)
    count = sum(len(suite(stem).cases) for stem in STEMS)
    assert f"about {round(count, -2)} certified cases" in PAGE
