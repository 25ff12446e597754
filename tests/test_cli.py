"""``python -m refnce solve``: its output, its exit status, and one line for every bad input."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from refnce import logz
from refnce.__main__ import main

R_DATA = np.random.Generator(np.random.PCG64(1)).normal(1.0, 1.0, size=40)
R_NOISE = np.random.Generator(np.random.PCG64(2)).normal(-1.0, 1.0, size=60)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "data.npy", R_DATA)
    (tmp_path / "noise.txt").write_text(
        "\n".join(" ".join(map(repr, row)) for row in R_NOISE.reshape(6, 10).tolist())
    )
    return str(tmp_path / "data.npy"), str(tmp_path / "noise.txt")


def solve(capsys, *arguments):
    """(exit status, standard output, standard error) of the command."""
    return run(capsys, "solve", *arguments)


def run(capsys, *arguments):
    try:
        status = main([*map(str, arguments)])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("method", ["newton", "bisect", "bar"])
def test_prints_what_the_solver_returns(capsys, files, method):
    status, out, err = solve(capsys, *files, "--method", method, "--nu", 2.5, "--json")
    expected = getattr(logz, method)(R_DATA, R_NOISE, nu=2.5)
    assert status == 0 and err == ""
    assert json.loads(out) == {
        "F": float(expected.F),
        "standard_error": float(expected.standard_error),
        "overlap": float(expected.overlap),
        "trusted": True,
        "evaluations": int(expected.evaluations),
        "status": "CONVERGED",
        "n": 40,
        "m": 60,
        "nu": 2.5,
    }


def test_prints_a_table_with_every_digit_of_F(capsys, files):
    status, out, _ = solve(capsys, *files)
    rows = dict(
        line.split(None, 1)
        for line in out.replace("standard error", "standard_error").splitlines()
    )
    expected = logz.newton(R_DATA, R_NOISE)
    assert status == 0
    assert list(rows) == ["F", "standard_error", "overlap", "evaluations", "status"]
    assert float(rows["F"]) == float(expected.F)
    assert (
        rows["standard_error"] == f"{float(expected.standard_error):.6g}"
        and rows["status"] == "CONVERGED"
    )


def test_work_values_give_the_free_energy_difference(capsys, tmp_path):
    """Two Gaussian wells a distance d apart and an offset: u_0 = x^2/2, u_1 = (x - d)^2/2 + c, so Delta f = c exactly."""
    d, c = 1.0, 3.0
    rng = np.random.Generator(np.random.PCG64(3))
    x_0, x_1 = rng.normal(size=4000), d + rng.normal(size=1000)
    forward = ((x_0 - d) ** 2 - x_0**2) / 2 + c
    reverse = (x_1**2 - (x_1 - d) ** 2) / 2 - c
    np.save(tmp_path / "forward.npy", forward)
    np.save(tmp_path / "reverse.npy", reverse)
    status, out, _ = solve(
        capsys, tmp_path / "forward.npy", tmp_path / "reverse.npy", "--work", "--json"
    )
    found = json.loads(out)
    assert status == 0 and (found["n"], found["m"], found["nu"]) == (1000, 4000, 4.0)
    assert abs(found["Delta_f"] - c) <= 4 * found["standard_error"] < 0.2
    assert found["Delta_f"] == -float(logz.newton(reverse, -forward, nu=4.0).F)
    assert (
        "Delta f"
        in solve(capsys, tmp_path / "forward.npy", tmp_path / "reverse.npy", "--work")[
            1
        ]
    )


def test_a_run_without_a_root_exits_1(capsys, tmp_path):
    for name in ("data", "noise"):
        (tmp_path / name).write_text("-inf -inf")
    status, out, err = solve(capsys, tmp_path / "data", tmp_path / "noise", "--json")
    found = json.loads(out)
    assert status == 1 and err == ""
    assert found["F"] is None and found["status"] == "NO_ROOT" and not found["trusted"]
    status, out, _ = solve(capsys, tmp_path / "data", tmp_path / "noise")
    assert status == 1 and "-inf" in out and "do not rely on it" in out


def test_a_cycle_exits_1(capsys, tmp_path):
    (tmp_path / "data").write_text("50 60")
    (tmp_path / "noise").write_text("-50 -55 -70")
    status, out, _ = solve(
        capsys, tmp_path / "data", tmp_path / "noise", "--method", "bar"
    )
    assert status == 1 and "CYCLE" in out


def test_float32_files_and_another_backend(capsys, tmp_path, files):
    np.save(tmp_path / "single.npy", R_DATA.astype(np.float32))
    status, out, _ = solve(
        capsys,
        tmp_path / "single.npy",
        files[1],
        "--json",
        "--backend",
        "array_api_strict",
    )
    expected = logz.newton(R_DATA.astype(np.float32).astype(np.float64), R_NOISE).F
    assert status == 0
    # The same arithmetic, summed in another order: a root is within 4 units on each, 2 eps each near 1 (|F| < 1 here).
    assert abs(json.loads(out)["F"] - expected) <= 16 * 2.0**-52


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    return path


class Bomb:
    """Unpickling it would end the test run."""

    def __reduce__(self):
        return (sys.exit, (99,))


def header_that_promises(shape):
    return header_of(repr({"descr": "<f8", "fortran_order": False, "shape": shape}))


def header_of(text):
    text = text.ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + len(text).to_bytes(2, "little")
        + text.encode()
        + bytes(16)
    )


BAD_FILES = [
    ("gone.txt", None, "No such file or directory"),
    ("empty.txt", " \n ", "holds no numbers"),
    ("words.txt", "1 2\n3 four", "line 2: 'four' is not a number"),
    ("nan.txt", "1 nan 2 NaN", "holds 2 NaN among 3 numbers".replace("3", "4")),
    ("bytes.txt", b"\xff\xfe\x00", "neither text nor named .npy"),
    ("empty.npy", np.zeros(0), "holds no numbers"),
    ("cut.npy", b"", "is not a .npy file"),
    ("text.npy", "1 2 3", "is not a .npy file"),
    ("pickle.npy", pickle.dumps(Bomb()), "is not a .npy file"),
    ("object.npy", np.asarray([Bomb()], dtype=object), "is not a .npy file"),
    ("promise.npy", header_that_promises((10**15,)), "is not a .npy file"),
    ("endless.npy", header_that_promises((2**70,)), "is not a .npy file"),
    ("true.npy", header_that_promises((True,)), "is not a .npy file"),
    (
        "open.npy",
        header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (3,"),
        "is not a .npy file",
    ),
    ("keys.npy", header_of("{1: 1, 'a': 2}"), "is not a .npy file"),
    ("list.npy", header_of("{[]: 1}"), "is not a .npy file"),
    ("dashes.npy", header_of("-" * 9000), "is not a .npy file"),
    ("zip.npy", b"PK\x03\x04garbage", "is an archive"),
    ("short.npy", header_that_promises((3,)), "is not a .npy file"),
    ("integer.npy", np.arange(3), "holds int64"),
    ("complex.npy", np.zeros(3, dtype=complex), "holds complex128"),
    ("half.npy", np.zeros(3, dtype=np.float16), "holds float16"),
    ("table.npy", np.zeros((3, 2)), "shape (3, 2)"),
    ("number.npy", np.asarray(1.0), "shape ()"),
]


@pytest.mark.parametrize(
    ("name", "content", "complaint"), BAD_FILES, ids=[row[0] for row in BAD_FILES]
)
@pytest.mark.parametrize("side", ["data", "noise"])
def test_a_bad_file_is_one_line_and_exit_2(
    capsys, tmp_path, files, name, content, complaint, side
):
    bad = str(write(tmp_path / name, content))
    status, out, err = solve(
        capsys, *((bad, files[1]) if side == "data" else (files[0], bad))
    )
    assert status == 2 and out == ""
    assert complaint in err and bad in err and err.count("\n") == 1


def test_an_output_that_cannot_be_written_is_exit_2(files):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "refnce", "solve", *files]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (
        done.returncode == 2
        and "No space left" in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_an_archive_is_refused(capsys, tmp_path, files):
    with open(tmp_path / "archive.npy", "wb") as file:
        np.savez(file, a=R_DATA)
    status, _, err = solve(capsys, tmp_path / "archive.npy", files[1])
    assert status == 2 and "archive of several arrays" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--nu", "0"], "nu must be a number > 0, from 1e-30 to 1e30"),
        (["--nu", "inf"], "nu must be a number > 0, from 1e-30 to 1e30"),
        (["--nu", "two"], "invalid float value: 'two'"),
        (["--work", "--nu", "2"], "leave out --nu"),
        (["--method", "guess"], "invalid choice: 'guess'"),
        (["--backend", "abacus"], "invalid choice: 'abacus'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_2(capsys, files, options, complaint):
    status, out, err = solve(capsys, *files, *options)
    assert status == 2 and out == ""
    assert complaint in err and err.count("\n") == 1


def test_a_library_that_is_not_installed_is_one_line_and_exit_2(
    capsys, files, monkeypatch
):
    monkeypatch.setitem(sys.modules, "cupy", None)
    status, _, err = solve(capsys, *files, "--backend", "cupy")
    assert status == 2 and "CuPy is not installed" in err and err.count("\n") == 1


def test_as_a_process(files):
    run = [sys.executable, "-W", "error", "-m", "refnce"]
    done = subprocess.run(
        [*run, "solve", *files, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0 and json.loads(done.stdout)["F"] == float(
        logz.newton(R_DATA, R_NOISE).F
    )
    assert done.stderr == ""
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
