"""docs/dask.md: its blocks run, print what is shown, and agree with memory."""

import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import numpy as np
import pytest

from refnce import ence, expfam, logz, optim, train

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
pytest.importorskip("zarr", reason="zarr is not installed")

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "dask.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def blocks(title):
    """The code of a section, and what it prints."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    found = BLOCK.findall(section)
    code, text = ([x for kind, x in found if kind == k] for k in ("python", "text"))
    return code, "".join(text)


WRITE, SOLVE, OPEN = blocks("From a Zarr store to F")[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder with the two stores."""
    folder = tmp_path_factory.mktemp("stores")
    here = os.getcwd()
    try:
        os.chdir(folder)
        exec(WRITE, {})
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def run(store, monkeypatch, capsys):
    """``run(title)`` runs a section's blocks and returns their names."""
    monkeypatch.chdir(store)
    names = {}
    with dask.config.set(scheduler="threads"):
        exec(OPEN, names)

        def section(title):
            code, text = blocks(title)
            capsys.readouterr()
            exec(compile("".join(code), "docs/dask.md", "exec"), names)
            out = capsys.readouterr().out
            assert not text or out == text
            return names, out

        yield section


def test_from_a_store_to_F_on_a_cluster(store):
    pytest.importorskip("distributed", reason="distributed is not installed")
    (store / "solve.py").write_text(SOLVE)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "solve.py"]
    options = {"cwd": store, "env": os.environ | {"PYTHONPATH": path}, "text": True}
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    _, shown = blocks("From a Zarr store to F")
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


@pytest.mark.parametrize(
    "title",
    [
        "What is eager and what is lazy",
        "Fewer reads, and the size of chunks",
        "Runs sharded instead of samples",
        "One machine without Dask: np.memmap",
    ],
)
def test_section(run, title):
    run(title)


def test_progress_bar(run):
    assert "100% Completed" in run("Progress")[1]


def test_exponential_family_is_that_in_memory(run):
    run("Runs sharded instead of samples")
    names, _ = run("Exponential families")
    T = [x.compute() for x in names["T"]]
    zero = np.zeros(names["n"])
    gradient = expfam.profile_gradient(*T, names["theta"], zero, zero)
    hessian = expfam.profile_hessian(*T, names["theta"], zero, zero)
    assert abs(names["gradient"] - gradient).max() <= 1e-14
    assert abs(names["hessian"] - hessian).max() <= 1e-14


def test_reads_of_an_exponential_family(run):
    """Two for the gradient, two more with the Hessian, and an eighth for a sample."""
    names, _ = run("Runs sharded instead of samples")
    gradient, hessian = blocks("Exponential families")[0]
    count, lock = [0], Lock()

    def counted(x):
        with lock:
            count[0] += x.size
        return x

    def from_array(x, chunks):
        meta = np.empty((0, 0))
        return da.from_array(x, chunks=chunks).map_blocks(counted, meta=meta)

    names["da"] = SimpleNamespace(from_array=from_array, zeros=da.zeros)
    seen = []
    for code in (gradient, hessian):
        exec(code, names)
        seen.append(count[0] / (2 * names["n"] * 3))
    assert seen == [2.125, 4.125]


def test_training_is_that_in_memory(run):
    names, _ = run("Training on shards")
    x, y = (shard.compute() for shard in names["shards"])
    model, shapes = names["model"], names["shapes"]
    theta = names["Flat"](shapes).ravel(
        names["nn"].init_params(shapes, names["make_rng"](0))
    )
    method = train.Method("newton", F_first=True)
    training = train.Training(model, method, optim.sgd, rate=0.1)
    state = train.start(training, theta, np.asarray(0.0))
    for _ in range(10):
        state = train.step(state, x, y)
    assert abs(state.theta - names["theta"]).max() <= 1e-12
    assert abs(state.F - names["F"]) <= 1e-12


def test_refusals():
    r = da.from_array(np.array([1.0, np.nan, 0.5, 2.0]), chunks=2)
    T, zero = np.ones((4, 1)), np.zeros(4)
    with pytest.raises(TypeError, match=r"docs/dask\.md"):
        ence.loss(r, r, 0.0)
    with pytest.raises(TypeError, match=r"docs/dask\.md"):
        expfam.profile_gradient(T, T, np.ones(1), r, zero)
    with pytest.raises(ValueError, match="chunk 0, holds 1 NaN"):
        logz.newton(r, r)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        logz.newton(r[r > 0], r)
    with pytest.raises(ValueError, match=r"rechunk\({0: -1}\)"):
        logz.newton(r.reshape(2, 2), r)
    with pytest.raises(TypeError, match="int64"):
        logz.newton(da.ones(4, dtype="int64"), da.ones(4, dtype="int64"))
