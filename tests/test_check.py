"""``python -m refnce check``: the verdicts on results as text, from any language."""

import shutil
import subprocess
from pathlib import Path

import pytest

from refnce.__main__ import main
from refnce.conformance import cases
from refnce.conformance.check import check as checked
from refnce.conformance.report import Report

LANGUAGES = Path(__file__).parent / "languages"


def results(path, change):
    """Write the right answers, each through ``change``, which returns None for none."""
    lines = ["# id, quantity, numbers", ""]
    for stem in ("nce.float64", "logz.float64", "optim.float32"):
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
        path = results(tmp_path / "r.tsv", change) if callable(change) else change
        try:
            status = main(["check", str(path), *options])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_right_results_pass(check):
    status, out, err = check(lambda name, quantity, numbers: numbers)
    assert status == 0 and not err and ", 0 failed, no flag skipped" in out
    assert "not provided" not in out and "incomplete" not in out


def test_a_wrong_number_is_named(check):
    def change(*answer):
        return "0x1.8p+1" if answer[:2] == ("nce-003", "grad_F") else answer[2]

    status, out, _ = check(change)
    assert status == 1 and "at nce-003 (grad_F 3.0 for " in out and ", 1 failed" in out


def test_missing_answers_are_counted_and_exit_1_unless_partial(check):
    def one(name, quantity, numbers):
        return numbers if (name, quantity) == ("nce-004", "loss") else None

    status, out, _ = check(one)
    assert status == 1 and "1 answers, 0 failed" in out
    assert "not provided: nce.loss (512 cases)" in out
    assert "not provided: nce.grad_F (513 cases)" in out
    assert "incomplete: nce.loss" in out
    assert "incomplete: nce.grad_F" not in out and "logz" not in out
    assert check(one, "--partial")[0] == 0


def test_a_quantity_that_is_not_answered_at_all_is_not_provided(check):
    status, out, _ = check(lambda n, q, x: None if q == "hess_F" else x)
    assert status == 0 and "not provided: nce.hess_F (513 cases)" in out


def test_levels_and_flags(check):
    """An answer 10 units off passes at level B; if its flag is skipped, at all."""
    case = cases.load(cases.FOLDER / "nce.float64.json").cases[0]
    loss = float(case.outputs["loss"].dec[0]) + 10 * case.outputs["loss"].unit[0]

    def change(name, quantity, numbers):
        return loss.hex() if (name, quantity) == (case.id, "loss") else numbers

    assert [check(change, "--level", level)[0] for level in "ABC"] == [1, 0, 0]
    assert check(change, "--skip-flags", ",".join(case.flags))[0] == 0
    status, _, err = check(change, "--skip-flags", "Odd")
    assert status == 2 and "no flag is called Odd" in err and err.count("\n") == 1


@pytest.mark.parametrize("answer", ["refused", "nan", "-nan(ind) nan(0x123)"])
def test_invalid_input_is_refused_by_the_word_or_by_nan(check, answer):
    assert check(lambda n, q, x: answer if x == "refused" else x)[0] == 0


@pytest.mark.parametrize("answer", ["0x1p+0", "nan 0x1p+0", "", " "])
def test_a_number_or_nothing_refuses_no_input(check, answer):
    assert check(lambda n, q, x: answer if x == "refused" else x)[0] == 1


def test_valid_input_must_not_be_refused(check):
    assert check(lambda n, q, x: "refused" if n == "nce-001" else x)[0] == 1


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("nce-001 loss 0x1p+0", "asks 'nce-001 loss 0x1p+0' for ''; a line is id"),
        ("nce-999\tloss\t0x1p+0", "no test vector asks 'nce-999' for 'loss'"),
        ("nce-001\tlosses\t0x1p+0", "no test vector asks 'nce-001' for 'losses'"),
        ("nce-001\tloss\t1.5", "'1.5' is no hexadecimal number such as 0x1.8p+1"),
        ("nce-001\tloss\t0x1p+99999", "is no hexadecimal number"),
        ("id\tquantity\tnumbers", "for 'quantity'; a line is id, quantity and numbers"),
        ("nce-001\tin\tr_data\t6", "asks 'nce-001' for 'in'; a line is id"),
        (b"\0" * 9, "no test vector asks '\\x00"),
        ("", "answers no test vector"),
        (b"\xff\xfe", "no test vector asks '\\\\xff\\\\xfe' for ''"),
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


def test_other_lines_are_listed_below_the_verdicts(check, tmp_path):
    """A byte-order mark is none, and only a line feed ends a line."""
    lines = "nce-001\tloss\t1.5", "logz-250\tconverged\tTrue", "id\tquantity"
    twice = "nce-002\tloss\t0x1p+0\x85\x0b"
    path = tmp_path / "r.tsv"
    path.write_text("\ufeff" + "\r\n".join((*lines, twice, twice)), "utf-8")
    status, out, _ = check(path, "--partial")
    assert status == 1 and "\n2 answers, 1 failed" in out
    for complaint in ("1: '1.5' is no", "3: no test", "5: nce-002 loss is answered"):
        assert f"\nnot read: {path}, line {complaint}" in out


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


PROGRAMS = [(compiled_c, "nce.float64", HARD, 1400)]
PROGRAMS += [(javascript, "logz.float64", HARD | {"Ties", "Edge"}, 150)]


@pytest.mark.parametrize("program, stem, hard, count", PROGRAMS)
def test_a_program_in_another_language(check, tmp_path, program, stem, hard, count):
    """It is right at level C, except in the regimes ``hard``."""
    command = [*program(tmp_path), cases.FOLDER / f"{stem}.tsv"]
    path = tmp_path / "r.tsv"
    with path.open("w") as out:
        subprocess.run(command, stdout=out, check=True)
    report = checked(path, Report("C"))
    assert len(report.verdicts) >= count
    assert {verdict.flags[0] for verdict in report.failures} <= hard
    assert check(path, "--level", "C", "--partial")[0] == 1
    skip = "--skip-flags", ",".join(sorted(hard))
    assert check(path, "--level", "C", "--partial", *skip)[0] == 0
