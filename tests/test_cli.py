"""``python -m refnce solve``: output, exit status, and one line for each bad input."""

import gzip
import io
import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from refnce import logz
from refnce.__main__ import main

R_DATA = np.random.Generator(np.random.PCG64(1)).normal(1.0, 1.0, size=40)
R_NOISE = np.random.Generator(np.random.PCG64(2)).normal(-1.0, 1.0, size=60)
TEXT = "\n".join(map(repr, R_NOISE.tolist()))


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "data.npy", R_DATA)
    (tmp_path / "noise.txt").write_text(TEXT)
    return str(tmp_path / "data.npy"), str(tmp_path / "noise.txt")


@pytest.fixture
def solve(capsys):
    """Returns (exit status, standard output, standard error) of the command."""

    def run(*arguments):
        try:
            status = main(["solve", *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def assert_refused(result, *complaints):
    """One line on standard error, nothing on standard output, exit status 2."""
    status, out, err = result
    assert status == 2 and out == "" and err.count("\n") == 1
    assert all(complaint in err for complaint in complaints), err


@pytest.mark.parametrize("method", ["newton", "bisect", "bar"])
def test_prints_what_the_solver_returns(solve, files, method):
    status, out, err = solve(*files, "--method", method, "--nu", 2.5, "--json")
    expected = getattr(logz, method)(R_DATA, R_NOISE, nu=2.5)
    assert status == 0 and err == ""
    fields = "F", "standard_error", "overlap", "evaluations"
    record = {field: getattr(expected, field).item() for field in fields}
    record |= {"trusted": True, "status": "CONVERGED", "n": 40, "m": 60, "nu": 2.5}
    assert json.loads(out) == record


def test_prints_a_table_with_every_digit_of_F(solve, files):
    status, out, _ = solve(*files)
    rows = {line[:16].strip(): line[16:] for line in out.splitlines()}
    expected = logz.newton(R_DATA, R_NOISE)
    assert status == 0
    names = "F", "standard error", "overlap", "trusted", "evaluations", "status"
    assert tuple(rows) == (*names, "n", "m", "nu") and rows["trusted"] == "True"
    assert float(rows["F"]) == float(expected.F) and rows["status"] == "CONVERGED"
    assert float(rows["standard error"]) == float(expected.standard_error)


def saved(folder, forward, reverse):
    np.save(folder / "forward.npy", forward)
    np.save(folder / "reverse.npy", reverse)
    return folder / "forward.npy", folder / "reverse.npy"


def test_work_values_give_the_free_energy_difference(solve, tmp_path):
    """u_0 = x^2/2 and u_1 = (x - d)^2/2 + c have Delta f = c exactly."""
    d, c = 1.0, 3.0
    rng = np.random.Generator(np.random.PCG64(3))
    x_0, x_1 = rng.normal(size=4000), d + rng.normal(size=1000)
    forward = ((x_0 - d) ** 2 - x_0**2) / 2 + c
    reverse = (x_1**2 - (x_1 - d) ** 2) / 2 - c
    paths = saved(tmp_path, forward, reverse)
    status, out, _ = solve(*paths, "--work", "--json")
    found = json.loads(out)
    assert status == 0 and (found["n"], found["m"], found["nu"]) == (1000, 4000, 4.0)
    assert abs(found["Delta_f"] - c) <= 4 * found["standard_error"] < 0.2
    assert found["Delta_f"] == -float(logz.newton(reverse, -forward, nu=4.0).F)
    assert solve(*paths, "--work")[1].startswith("Delta f ")


def test_a_run_without_a_root_exits_1(solve, tmp_path):
    path = tmp_path / "both"
    path.write_text("-inf\n-inf")
    status, out, err = solve(path, path, "--json")
    found = json.loads(out)
    assert status == 1 and err == ""
    assert found["F"] is None and found["status"] == "NO_ROOT" and not found["trusted"]
    status, out, _ = solve(path, path)
    assert status == 1 and "-inf" in out and "trusted         False" in out


def test_a_cycle_exits_1(solve, tmp_path):
    (tmp_path / "data").write_text("50\n60")
    (tmp_path / "noise").write_text("-50\n-55\n-70")
    result = solve(tmp_path / "data", tmp_path / "noise", "--method", "bar")
    assert result[0] == 1 and "CYCLE" in result[1]


def test_float32_files_are_solved_in_float64(solve, tmp_path, files):
    single = R_DATA.astype(np.float32)
    np.save(tmp_path / "single.npy", single)
    status, out, _ = solve(tmp_path / "single.npy", files[1], "--json")
    expected = logz.newton(single.astype(np.float64), R_NOISE)
    assert status == 0 and json.loads(out)["F"] == expected.F


def test_text_may_have_comments_and_be_compressed(solve, tmp_path, files):
    path = tmp_path / "noise.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write("# log-ratios\n\n" + TEXT.replace("\n", "  # one\n", 1))
    assert solve(files[0], path) == solve(*files)


def test_a_column_of_a_table(solve, tmp_path):
    """Time and value: without the choice no number is taken for a log-ratio."""
    (tmp_path / "data").write_text("# t r\n0 1.5\n10 1.2\n20 0.9\n")
    (tmp_path / "noise").write_text("a 0.1\n\nb -0.2\nc 0.3")
    paths = tmp_path / "data", tmp_path / "noise"
    status, out, _ = solve(*paths, "--column", 2, "--json")
    assert status == 0 and abs(json.loads(out)["F"] - 0.632189263358198) < 1e-15
    for column, where in ((-1, "line 2 has 2"), (1, "'a' is no"), (3, "line 2 has 2")):
        assert_refused(solve(*paths, "--column", column), where)
    (tmp_path / "noise").write_text("0 0.1\n10 -0.2\n20")  # its last line was cut
    assert_refused(solve(*paths, "--column", 2), "noise", "line 3 has 1 columns")


def test_standard_input(solve, files, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(TEXT))
    assert solve(files[0], "-") == solve(*files)
    assert_refused(solve("-", "-"), "can be one of the two")
    assert_refused(solve(*files, "--column", 2), files[1], "line 1 has 1 columns")


@pytest.mark.parametrize("units", ["kJ/mol", "kcal/mol"])
def test_work_in_units(solve, tmp_path, units):
    """At 300 K kT is 2.494338785445972 kJ/mol, and a calorie is 4.184 J."""
    kT = 2.494338785445972 / (4.184 if units == "kcal/mol" else 1.0)
    paths = saved(tmp_path, R_DATA, -R_NOISE)
    plain = json.loads(solve(*paths, "--work", "--json")[1])
    options = "--work", "--units", units, "--temperature", 300, "--json"
    paths = saved(tmp_path, kT * R_DATA, -kT * R_NOISE)
    found = json.loads(solve(*paths, *options)[1])
    for key in ("Delta_f", "standard_error"):
        assert abs(found[key] - kT * plain[key]) <= 1e-14 * abs(found[key])
    assert found["units"] == units
    assert found["overlap"] == pytest.approx(plain["overlap"])


def test_a_result_that_is_not_to_be_trusted_exits_3(solve, tmp_path, files):
    np.save(tmp_path / "far.npy", R_DATA + 60.0)
    status, out, err = solve(tmp_path / "far.npy", files[1])
    assert status == 3 and "trusted         False" in out and err.count("\n") == 1
    assert "the overlap is under 0.01" in err
    np.save(tmp_path / "wrong-sign.npy", R_NOISE)
    status, _, err = solve(*2 * [tmp_path / "wrong-sign.npy"], "--work")
    assert status == 3 and "second law" in err


def archive():
    file = io.BytesIO()
    np.savez(file, a=R_DATA)
    return file.getvalue()


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


def header(text):
    """A .npy file with the header ``text`` and two numbers."""
    text = text.ljust(117) + "\n"
    size = len(text).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + size + text.encode() + bytes(16)


def header_of_shape(shape):
    return header(repr({"descr": "<f8", "fortran_order": False, "shape": shape}))


NOT_NPY = "cannot be read: "
BAD_FILES = [
    ("gone.txt", None, "No such file or directory"),
    ("gone.npy", None, "not a regular file"),
    ("empty.txt", " \n ", "holds 0 numbers"),
    ("words.txt", "# a\n1\nfour", "line 3: 'four' is no number"),
    ("grouped.txt", "1\n1_000", "line 2: '1_000' is no number"),
    ("cut.txt", "1\n2\n1.5e", "line 3: '1.5e' is no number"),
    ("table.txt", "0 1.5\n10 1.2", "line 1 has 2 columns; --column chooses one"),
    ("row.txt", "1 2 3", "line 1 has 3 columns"),
    ("part.txt", "0 1\n1 2\n2", "line 1 has 2 columns"),
    ("ragged.txt", "1\n\n2 3", "line 3 has 2 columns"),
    ("large.txt", "1\n1e400", "line 2: '1e400' is no number"),
    ("zeros.txt", bytes(300_000), "is no number"),
    ("nan.txt", "1\nnan\n2\nNaN", "holds 4 numbers, 2 of them NaN"),
    ("cut.gz", gzip.compress(b"1\n" * 99)[:-4], "cannot be read: Compressed file"),
    ("bytes.txt", b"\xff\xfe\x00", "or text with one number a line"),
    ("archive.npz", archive(), "A file is .npy (one axis of"),
    ("upper.NPY", b"\x93NUMPY\x01\x00", "A file is .npy (one axis of"),
    ("empty.npy", np.zeros(0), "holds 0 numbers"),
    ("cut.npy", b"", NOT_NPY),
    ("text.npy", "1 2 3", NOT_NPY),
    ("pickle.npy", pickle.dumps(Bomb()), NOT_NPY),
    ("object.npy", np.asarray([Bomb()], dtype=object), NOT_NPY),
    ("promise.npy", header_of_shape((10**15,)), NOT_NPY),
    ("endless.npy", header_of_shape((2**70,)), NOT_NPY),
    ("true.npy", header_of_shape((True,)), NOT_NPY),
    ("open.npy", header("{'descr': '<f8', 'fortran_order': False, "), NOT_NPY),
    ("keys.npy", header("{1: 1, 'a': 2}"), NOT_NPY),
    ("list.npy", header("{[]: 1}"), NOT_NPY),
    ("dashes.npy", header("-" * 9000), NOT_NPY),
    ("archive.npy", archive(), NOT_NPY),
    ("zip.npy", b"PK\x03\x04garbage", NOT_NPY),
    ("short.npy", header_of_shape((3,)), NOT_NPY),
    ("integer.npy", np.arange(3), "holds int64"),
    ("complex.npy", np.zeros(3, dtype=complex), "holds complex128"),
    ("half.npy", np.zeros(3, dtype=np.float16), "holds float16"),
    ("table.npy", np.zeros((3, 2)), "shape (3, 2)"),
    ("number.npy", np.asarray(1.0), "shape ()"),
]


@pytest.mark.parametrize("file", BAD_FILES, ids=[row[0] for row in BAD_FILES])
@pytest.mark.parametrize("side", [0, 1])
def test_invalid_file_is_refused(solve, tmp_path, files, file, side):
    name, content, complaint = file
    paths = list(files)
    paths[side] = str(write(tmp_path / name, content))
    assert_refused(solve(*paths), complaint, paths[side])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--nu", "0"], "nu must be a number > 0, from 1e-30 to 1e30"),
        (["--nu", "inf"], "nu must be a number > 0, from 1e-30 to 1e30"),
        (["--nu", "two"], "invalid float value: 'two'"),
        (["--work", "--nu", "2"], "leave out --nu"),
        (["--method", "guess"], "invalid choice: 'guess'"),
        (["--backend", "torch"], "invalid choice: 'torch'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--units", "kJ/mol", "--work"], "needs --work and --temperature"),
        (["--units", "kJ/mol", "--temperature", "300"], "needs --work"),
        (["--temperature", "300", "--work"], "needs --work and --temperature"),
        (["--units", "kcal/mol", "--temperature", "-1", "--work"], "must be > 0"),
    ],
)
def test_invalid_option_is_refused(solve, files, options, complaint):
    assert_refused(solve(*files, *options), complaint)


def test_a_library_that_is_not_installed_is_named(solve, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert_refused(solve(*files, "--backend", "cupy"), "cupy is not installed")


def test_as_a_process(files):
    command = [sys.executable, "-W", "error", "-m", "refnce"]
    run = [*command, "solve", *files, "--json"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["F"] == float(logz.newton(R_DATA, R_NOISE).F)
    done = subprocess.run(command, capture_output=True, text=True)
    assert_refused((done.returncode, done.stdout, done.stderr))
    with open("/dev/full", "w") as full:  # an output that cannot be written
        done = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True)
    assert_refused((done.returncode, "", done.stderr), "No space left")


def test_a_pipe_called_npy_is_refused_before_it_is_opened(files, tmp_path):
    """To open it would wait for a writer for ever."""
    os.mkfifo(tmp_path / "pipe.npy")
    run = [sys.executable, "-m", "refnce", "solve", tmp_path / "pipe.npy", files[1]]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert_refused((done.returncode, done.stdout, done.stderr), "not a regular file")


@pytest.mark.parametrize("command", ["solve", "check"])
def test_a_file_without_end_is_refused_within_4_GiB(files, command):
    """/dev/zero is one line. To read all of it would end in a MemoryError."""
    limited = ["sh", "-c", 'ulimit -v 4194304 && exec "$@"', "sh", sys.executable]
    more = [files[1]] if command == "solve" else []
    run = [*limited, "-m", "refnce", command, "/dev/zero", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, text=True, env=environment)
    result = done.returncode, done.stdout, done.stderr
    assert_refused(result, "/dev/zero", "line 1: ", "\\x00\\x00")


def test_an_interrupt_is_one_line(files):
    """Ctrl-C while standard input is awaited."""
    run = [sys.executable, "-c", INTERRUPTED, *files]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(run, stdout=subprocess.PIPE, **pipes) as process:
        assert process.stdout.read(6) == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "refnce: interrupted\n")


# A shell's background process ignores SIGINT, and so would its children.
INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from refnce import __main__ as command

class Input:
    def readline(self, size):
        print("ready", flush=True)
        return sys.__stdin__.readline(size)

sys.stdin = Input()
sys.exit(command.main(["solve", sys.argv[1], "-"]))
"""


def test_a_closed_standard_output_is_an_error(files):
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "refnce"]
    done = subprocess.run([*closed, "solve", *files], capture_output=True, text=True)
    assert_refused((done.returncode, done.stdout, done.stderr), "output is closed")


def test_the_help_says_what_the_standard_error_assumes(solve):
    status, out, _ = solve("--help")
    assert status == 0 and "assumes independent samples" in " ".join(out.split())
