"""The figures' command line: whole files with provenance, one line for bad input, nothing half-written after an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "matplotlib", reason="the figures need matplotlib: pip install 'refnce[figures]'"
)
pytest.importorskip(
    "tqdm", reason="the figures need tqdm: pip install 'refnce[figures]'"
)


import figures  # noqa: E402
from figures import __main__ as command  # noqa: E402
from figures import mnist_experiment, output, recording  # noqa: E402
from figures.mnist import files as mnist_files  # noqa: E402
from figures.settings import Settings  # noqa: E402
from refnce import files  # noqa: E402
from tests.real_mnist import FOLDER, REAL  # noqa: E402

ROOT = Path(__file__).parent.parent


def test_quick_run_of_all(tmp_path):
    start = time.perf_counter()
    assert command.main(["--quick", "--out", str(tmp_path)]) == 0
    assert (
        time.perf_counter() - start < 120.0
    )  # 30 s on a quiet machine; a loaded one must not fail the tests
    made = [
        name
        for name in figures.AVAILABLE
        if name not in figures.ON_MNIST or mnist_files.find() is not None
    ]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted(
        f"{n}.{e}" for n in made for e in ("json", "png")
    )
    for name in made:
        numbers = json.loads((tmp_path / f"{name}.json").read_text())
        origin = numbers["provenance"]
        assert numbers["figure"] == name
        assert origin["command"] == f"python -m figures --quick --out {tmp_path}"
        assert (origin["seed"], origin["quick"], origin["backend"]) == (
            0,
            True,
            "numpy",
        )
        assert (
            origin["versions"]["numpy"] == np.__version__
            and origin["wall_seconds"] >= 0
        )
        picture = (tmp_path / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82")


def numbers_of(path, *arguments):
    assert command.main(["--quick", "--out", str(path), *arguments]) == 0
    numbers = json.loads((path / f"{arguments[0]}.json").read_text())
    del numbers["provenance"]
    return numbers


def test_seed_and_runs(tmp_path):
    first = numbers_of(tmp_path, "fig07", "--runs", "2")
    assert numbers_of(tmp_path, "fig07", "--runs", "2") == first
    assert numbers_of(tmp_path, "fig07", "--runs", "2", "--seed", "1") != first
    assert len(first["last_error"][0]) == 2


def test_same_numbers_on_another_backend(tmp_path):
    """The same draws on every backend: the curves agree to the last of the seven digits that are written."""
    pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    here = numbers_of(tmp_path, "fig08", "--runs", "2")
    there = numbers_of(
        tmp_path, "fig08", "--runs", "2", "--backend", "array_api_strict"
    )
    for data in ("fresh", "fixed"):
        for method, curves in here[data].items():
            np.testing.assert_allclose(
                curves["distance"], there[data][method]["distance"], rtol=1e-6
            )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fig99"], "unknown figure 'fig99'"),
        (["fig06", "--mnist", "/nowhere"], "--mnist: "),
        (["fig06", "--width", "wide"], "invalid choice: 'wide'"),
        (["fig13", "--steps", "0"], "whole number >= 1; got '0'"),
        (["--seed", "-1"], "whole number >= 0; got '-1'"),
        (["--seed", "x"], "whole number >= 0; got 'x'"),
        (["--runs", "0"], "whole number >= 1; got '0'"),
        (["--runs", "2.5"], "whole number >= 1; got '2.5'"),
        (["--backend", "abacus"], "backend must be one of"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--out", str(Path(__file__))], "cannot be written"),
        (["--out", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, says):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert (
        out == ""
        and says in err
        and err.count("\n") == 1
        and err.startswith("figures: ")
    )


def test_folder_that_turns_unwritable(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    assert (
        command.main(["fig07", "--quick", "--runs", "1", "--out", str(tmp_path)]) == 2
    )
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "full")])
def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    target = tmp_path / "fig01.json"
    files.write(target, b"old")

    def interrupted(*_):
        raise error

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        files.write(target, b"new")
    assert [p.name for p in tmp_path.iterdir()] == [
        "fig01.json"
    ] and target.read_bytes() == b"old"


@pytest.fixture
def interrupt():
    """Run a program, send it a signal a while after a file is there; its status and what it and its children say on stderr.

    What a shell starts in the background ignores SIGINT, and so would the children of these tests.
    """

    def interrupted(run, awaited, number, after=0.0, **environment):
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(
            run, cwd=ROOT, env={**os.environ, **environment}, **pipes
        )
        with process:
            try:
                deadline = time.monotonic() + 120.0
                while not awaited.exists() and time.monotonic() < deadline:
                    assert process.poll() is None, process.stderr.read()
                    time.sleep(0.05)
                time.sleep(after)
                process.send_signal(number)
                _, err = process.communicate(
                    timeout=30
                )  # which waits for its children too: they hold the same pipe
            finally:
                process.kill()
        return process.returncode, err

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield interrupted
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing_half_written(tmp_path, interrupt, number):
    """A signal while Figure 5, of minutes, is made after Figure 7: status 130, one line, Figure 7 whole, nothing of Figure 5."""
    run = [
        sys.executable,
        "-m",
        "figures",
        "fig07",
        "fig05",
        "--runs",
        "2",
        "--out",
        str(tmp_path),
    ]
    status, err = interrupt(
        run, tmp_path / "fig07.png", number, after=0.5, OMP_NUM_THREADS="1"
    )
    assert status == 130
    assert err == "figures: interrupted; the files written so far are whole\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig07.json", "fig07.png"]
    assert json.loads((tmp_path / "fig07.json").read_text())["figure"] == "fig07"


LONG_JOBS = """
import pathlib, sys, time
from figures.parallel import side_by_side

def work(name):
    pathlib.Path(name).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(side_by_side(work, [f"{sys.argv[1]}/job{k}" for k in range(9)]))
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="one processor: no workers",
)
def test_workers_in_the_middle_of_a_job_end_with_their_parent_s_interruption(
    tmp_path, interrupt
):
    """And none goes on with the next job, which may lie in its queue already: a second later all are gone."""
    (tmp_path / "long_jobs.py").write_text(LONG_JOBS)
    run = [sys.executable, str(tmp_path / "long_jobs.py"), str(tmp_path)]
    _, err = interrupt(run, tmp_path / "job1", signal.SIGINT, PYTHONPATH=str(ROOT))
    assert (tmp_path / "job1").exists() and err.endswith("KeyboardInterrupt\n")


def test_json_is_plain_short_and_exact():
    numbers = {
        "a": np.array([[1.0, 2.0 / 3.0], [np.inf, -0.0]]),
        "b": {"n": np.int64(3), "t": (1, 2)},
        "e": {},
        "s": "x",
    }
    text = output.to_json(numbers).decode()
    assert json.loads(text) == {
        "a": [[1.0, 0.6666667], [None, 0.0]],
        "b": {"n": 3, "t": [1, 2]},
        "e": {},
        "s": "x",
    }
    assert "[1.0, 0.6666667]" in text.replace("\n", "")


def test_kept_shows_both_ends_of_a_two_cycle():
    for steps, count in ((1000, 50), (2000, 60), (200, 50), (7, 50)):
        kept = recording.kept(steps, count)
        assert kept[0] == 0 and kept[-1] == steps - 1 and kept == sorted(set(kept))
        assert all(k - 1 in kept or k + 1 in kept for k in kept)


def test_draws_do_not_depend_on_blocks():
    """``fresh`` draws in blocks; step by step from the same streams gives the same batches."""
    from refnce import distributions

    data, noise = distributions.UnitGaussian(np.ones(2)), distributions.UnitGaussian(
        np.zeros(2)
    )
    settings = Settings(seed=4)
    source = recording.fresh(settings, data, noise, settings.generators(1, 2), 3, 5)
    rng = settings.generators(1, 2)
    for _, (x, y) in zip(range(20), source, strict=False):
        assert np.array_equal(x, data.sample(rng[0], 3, 5)) and np.array_equal(
            y, noise.sample(rng[1], 3, 5)
        )


def test_a_figure_that_only_numpy_makes_says_so(tmp_path):
    assert (
        command.main(
            [
                "beyond01",
                "--quick",
                "--runs",
                "1",
                "--backend",
                "array_api_strict",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert (
        json.loads((tmp_path / "beyond01.json").read_text())["provenance"]["backend"]
        == "numpy"
    )


def test_gallery_is_complete_and_small():
    gallery = ROOT / "figures" / "gallery"
    names = {p.name for p in gallery.iterdir()}
    assert names == {
        "README.md",
        *(f"{n}.{e}" for n in figures.AVAILABLE for e in ("json", "png")),
    }
    assert sum(p.stat().st_size for p in gallery.glob("*.json")) < 3_000_000
    page = (gallery / "README.md").read_text()
    for name in figures.AVAILABLE:
        assert f"({name}.png)" in page and f"({name}.json)" in page


def test_without_mnist(tmp_path, monkeypatch, capsys):
    """Asked for by name it is an error with the remedy; else the others are made and a line says what is left out."""
    monkeypatch.delenv("REFNCE_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        command.parse(["fig06", "--out", str(tmp_path)])
    assert (
        stop.value.code == 2
        and "need MNIST: give --mnist DIR" in capsys.readouterr().err
    )
    options = command.parse(["--out", str(tmp_path)])
    assert options.names == [
        name for name in figures.AVAILABLE if name not in figures.ON_MNIST
    ]
    assert "fig06 and fig13 are left out, for want of MNIST" in capsys.readouterr().out


@REAL
def test_mnist_training_resumes_to_the_same_bits(tmp_path):
    """Killed between two looks at held-out digits, a training goes on from its checkpoint to the numbers of one never stopped."""
    settings = Settings(quick=True, mnist=Path(FOLDER), work=tmp_path / "whole")
    whole = mnist_experiment.work(mnist_experiment.Job("BAR", 0, settings, 7, 0))
    again = mnist_experiment.replace(settings, work=tmp_path / "stopped")
    job = mnist_experiment.Job("BAR", 0, again, 7, 0)
    real, looks = mnist_experiment._held_out, []

    def stopping(*arguments):
        look = real(*arguments)

        def once(model, state):
            looks.append(state.count)
            if state.count == 4:
                raise KeyboardInterrupt
            return look(model, state)

        return once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_experiment, "_held_out", stopping)
        with pytest.raises(KeyboardInterrupt):
            mnist_experiment.work(job)
    assert looks[-1] == 4
    resumed = mnist_experiment.work(job)
    for name in ("step", "loss", "F", "theta", "held_loss", "held_root"):
        assert np.array_equal(resumed[name], whole[name]), name
