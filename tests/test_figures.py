"""The command line of the figures: whole files, provenance, clear errors, signals."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

from tests import needs_docstrings
from tests.gallery import GALLERY  # or skips

import figures
from figures import __main__ as command, io as figures_io, recording
from figures.mnist import files as mnist_files
from figures.settings import Settings
from refnce import distributions

ROOT = Path(__file__).parent.parent


def run(folder, *arguments):
    """The numbers of the first figure named, without their provenance."""
    assert command.main(["--quick", "--out", str(folder), *arguments]) == 0
    numbers = json.loads((folder / f"{arguments[0]}.json").read_text())
    del numbers["provenance"]
    return numbers


@needs_docstrings
def test_quick_run_of_all(tmp_path):
    assert command.main(["--quick", "--out", str(tmp_path)]) == 0
    mnist = mnist_files.find() is not None
    made = [name for name in figures.AVAILABLE if mnist or name not in figures.ON_MNIST]
    files = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert files == sorted(f"{name}.{e}" for name in made for e in ("json", "png"))
    for name in made:
        numbers = json.loads((tmp_path / f"{name}.json").read_text())
        origin = numbers["provenance"]
        assert numbers["figure"] == name
        assert origin["command"] == f"python -m figures --quick --out {tmp_path}"
        told = origin["seed"], origin["quick"], origin["backend"]
        assert told == (0, True, "numpy")
        assert origin["versions"]["numpy"] == np.__version__
        assert origin["wall_seconds"] >= 0
        picture = (tmp_path / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82")


def test_seed_and_runs(tmp_path):
    first = run(tmp_path, "fig07", "--runs", "2")
    assert run(tmp_path, "fig07", "--runs", "2") == first
    assert run(tmp_path, "fig07", "--runs", "2", "--seed", "1") != first
    assert len(first["last_error"][0]) == 2


def test_same_numbers_on_another_backend(tmp_path):
    """The draws are the same: curves agree to the last of the seven digits written."""
    here = run(tmp_path, "fig08", "--runs", "2")
    there = run(tmp_path, "fig08", "--runs", "2", "--backend", "array_api_strict")
    for data in ("fresh", "fixed"):
        for method, curves in here[data].items():
            distances = curves["distance"], there[data][method]["distance"]
            np.testing.assert_allclose(*distances, rtol=1e-6)


def test_a_figure_that_only_numpy_makes_says_so(tmp_path):
    run(tmp_path, "beyond01", "--runs", "1", "--backend", "array_api_strict")
    origin = json.loads((tmp_path / "beyond01.json").read_text())["provenance"]
    assert origin["backend"] == "numpy"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fig99"], "unknown figure 'fig99'"),
        (["fig06", "--mnist", "/nowhere"], "--mnist: "),
        (["fig06", "--width", "wide"], "invalid choice: 'wide'"),
        (["fig13", "--steps", "0"], "whole number >= 1; got '0'"),
        (["--seed", "-1"], "whole number >= 0; got '-1'"),
        (["--seed", "1_0"], "whole number >= 0; got '1_0'"),
        (["--runs", "0"], "whole number >= 1; got '0'"),
        (["--runs", "2.5"], "whole number >= 1; got '2.5'"),
        (["--backend", "abacus"], "backend must be one of"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--out", str(Path(__file__))], "cannot be written"),
        (["--out", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_invalid_arguments_are_one_line_and_status_2(capsys, arguments, says):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    assert says in err and err.count("\n") == 1 and err.startswith("figures: ")


def test_without_mnist(tmp_path, monkeypatch, capsys):
    """An error if its figures were named; else they are left out with a line."""
    monkeypatch.delenv("REFNCE_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        command.parse(["fig06", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "need MNIST: give --mnist DIR" in capsys.readouterr().err
    options = command.parse(["--out", str(tmp_path)])
    others = [name for name in figures.AVAILABLE if name not in figures.ON_MNIST]
    assert options.names == others
    told = "fig06, fig13 and beyond03 are left out, for want of MNIST"
    assert told in capsys.readouterr().out


# Files


FULL = OSError(28, "No space left on device")


def test_a_folder_that_turns_unwritable(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures_io.os, "replace", Mock(side_effect=FULL))
    arguments = ["fig07", "--quick", "--runs", "1", "--out", str(tmp_path)]
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert err == f"figures: cannot write {tmp_path}/fig07.json: {FULL.strerror}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, FULL])
def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    target = tmp_path / "fig01.json"
    figures_io.write_atomic(target, b"old")
    monkeypatch.setattr(figures_io.os, "replace", Mock(side_effect=error))
    with pytest.raises(BaseException):  # noqa: B017, PT011
        figures_io.write_atomic(target, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["fig01.json"]
    assert target.read_bytes() == b"old"


def test_a_file_has_the_permissions_of_any_other(tmp_path):
    figures_io.write_atomic(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_the_numbers_are_written_before_the_picture_is_drawn(tmp_path, monkeypatch):
    from figures import fig07

    (tmp_path / "fig07.png").write_bytes(b"of other numbers")
    monkeypatch.setattr(fig07, "draw", Mock(side_effect=RuntimeError("no picture")))
    with pytest.raises(RuntimeError, match="no picture"):
        run(tmp_path, "fig07", "--runs", "1")
    assert [p.name for p in tmp_path.iterdir()] == ["fig07.json"]


def test_the_environment_of_a_notebook_does_not_matter(tmp_path):
    """A backend of matplotlib that is missing, and an output that is ASCII alone."""
    folder = tmp_path / "\u0444\u0438\u0433"
    arguments = ["fig07", "--quick", "--runs", "1", "--out", str(folder)]
    changed = {"MPLBACKEND": "no_such_backend", "PYTHONIOENCODING": "cp1252"}
    options = {"cwd": ROOT, "env": os.environ | changed, "capture_output": True}
    done = subprocess.run([sys.executable, "-m", "figures", *arguments], **options)
    assert done.returncode == 0, done.stderr
    assert (folder / "fig07.png").exists() and b"???/fig07.png" in done.stdout


def test_printing_never_ends_the_work():
    full = Mock(encoding="utf-8", write=Mock(side_effect=FULL))
    closed = io.StringIO()
    closed.close()
    for output in (closed, full):
        command.say("text", output)


def test_source_is_the_commit_of_the_repository_that_holds_figures(tmp_path):
    def git(*arguments):
        run = ["git", "-c", "user.name=a", "-c", "user.email=a", *arguments]
        subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)

    assert figures_io._source(tmp_path) is None
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert len(figures_io._source(tmp_path)) == 12
    (tmp_path / "setup.cfg").write_text("")
    assert figures_io._source(tmp_path).endswith("-dirty")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert figures_io._source(inside) is None


def test_json_is_plain_short_and_exact():
    numbers = {"a": np.array([[1.0, 2.0 / 3.0], [np.inf, -0.0]])}
    numbers |= {"b": {"n": np.int64(3), "t": (1, 2)}, "e": {}, "s": "x"}
    text = figures_io.to_json(numbers).decode()
    a = [[1.0, 0.6666667], [None, 0.0]]
    assert json.loads(text) == {"a": a, "b": {"n": 3, "t": [1, 2]}, "e": {}, "s": "x"}
    assert "[1.0, 0.6666667]" in text.replace("\n", "")


# Signals


@pytest.fixture
def interrupt():
    """Run a program and send it a signal a while after a file exists.

    Returns its status and what it and its children say on standard error. What a shell
    starts in the background ignores SIGINT, and so would the children of these tests.
    """

    def interrupted(run, awaited, number, after=0.0, **environment):
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        options = {"cwd": ROOT, "env": os.environ | environment}
        process = subprocess.Popen(run, **options, **pipes)
        with process:
            try:
                deadline = time.monotonic() + 120.0
                while not awaited.exists() and time.monotonic() < deadline:
                    assert process.poll() is None, process.stderr.read()
                    time.sleep(0.05)
                time.sleep(after)
                process.send_signal(number)
                # This waits for its children too: they hold the same pipe.
                _, err = process.communicate(timeout=30)
            finally:
                process.kill()
        return process.returncode, err

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield interrupted
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing_half_written(tmp_path, interrupt, number):
    """A signal while Figure 5 is made after Figure 7: Figure 7 is whole, one line."""
    run = [sys.executable, *"-m figures fig07 fig05 --runs 2 --out".split(), tmp_path]
    options = {"after": 0.5, "OMP_NUM_THREADS": "1"}
    status, err = interrupt(run, tmp_path / "fig07.png", number, **options)
    assert status == 130
    assert err == "figures: interrupted; the files written so far are whole\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig07.json", "fig07.png"]
    assert json.loads((tmp_path / "fig07.json").read_text())["figure"] == "fig07"


LONG_JOBS = """
import pathlib, sys, time
from figures.parallel import parallel_map

def work(name):
    pathlib.Path(name).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(parallel_map(work, [f"{sys.argv[1]}/job{k}" for k in range(9)]))
"""


ALONE = not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2


@pytest.mark.skipif(ALONE, reason="one processor: no workers")
def test_workers_in_the_middle_of_a_job_end_with_their_parent(tmp_path, interrupt):
    """None goes on with the next job, which may be in its queue already."""
    (tmp_path / "long_jobs.py").write_text(LONG_JOBS)
    run = [sys.executable, str(tmp_path / "long_jobs.py"), str(tmp_path)]
    _, err = interrupt(run, tmp_path / "job1", signal.SIGINT, PYTHONPATH=str(ROOT))
    assert (tmp_path / "job1").exists() and err.endswith("KeyboardInterrupt\n")


# Batches of the convex figures, and the gallery


def test_kept_shows_both_ends_of_a_two_cycle():
    for steps, count in ((1000, 50), (2000, 60), (200, 50), (7, 50)):
        kept = recording.kept(steps, count)
        assert kept[0] == 0 and kept[-1] == steps - 1 and kept == sorted(set(kept))
        assert all(k - 1 in kept or k + 1 in kept for k in kept)


def test_draws_do_not_depend_on_blocks():
    """``fresh`` draws in blocks; step by step the streams give the same batches."""
    data, noise = map(distributions.UnitGaussian, (np.ones(2), np.zeros(2)))
    settings = Settings(seed=4)
    source = recording.fresh(settings, data, noise, settings.generators(1, 2), 3, 5)
    rng = settings.generators(1, 2)
    for _, (x, y) in zip(range(20), source, strict=False):
        assert np.array_equal(x, data.sample(rng[0], 3, 5))
        assert np.array_equal(y, noise.sample(rng[1], 3, 5))


def test_gallery_is_complete_and_small():
    made = {f"{n}.{e}" for n in figures.AVAILABLE for e in ("json", "png")}
    assert {p.name for p in GALLERY.iterdir()} == {"README.md"} | made
    assert sum(p.stat().st_size for p in GALLERY.glob("*.json")) < 4_000_000
    page = (GALLERY / "README.md").read_text()
    for name in figures.AVAILABLE:
        assert f"({name}.png)" in page and f"({name}.json)" in page


def test_provenance_names_the_version_of_cupy(monkeypatch):
    """C3: that of the module, as its distribution may be cupy-cuda12x."""
    cupy = MagicMock()
    cupy.__version__ = "14.2.0"
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    versions = figures_io.provenance(Settings(backend="cupy"), "", 0.0)["versions"]
    assert versions["cupy"] == "14.2.0"
