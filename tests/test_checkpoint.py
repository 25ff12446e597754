"""Checkpoints: the same bits after any cut, nothing of another training or damaged."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import tests.gallery  # noqa: F401, which skips where the figures' libraries are missing

import safetensors.numpy

from figures import __main__ as command, checkpoint
from figures.io import FileError
from figures.mnist.gaussian import Gaussian
from figures.settings import Settings
from refnce import distributions, optim, train
from refnce.train import Method, Training, models
from refnce.train.fit import Batches, fit
from tests.real_mnist import FOLDER, REAL

ADAPTIVE = Method("bar", rate=0.1, optimizer=optim.adam)


def law(mean=0.0):
    return distributions.UnitGaussian(np.asarray([mean]))


def line(method=ADAPTIVE, optimizer=optim.adam, rate=0.05, runs=2, noise=0.0):
    model = models.exponential_family(law(), law(noise))
    training = Training(model, method, optimizer, rate)
    return train.start(training, np.zeros((runs, 1)), np.zeros(runs))


def batches(seed=3, n=30, data=None):
    return Batches(law(1.0) if data is None else data, law(), seed, (2,), n, 20)


def identity(state=None, draws=None, **more):
    state = state or line()
    start = {"training": state.training, "theta0": state.theta, "F0": state.F}
    return checkpoint.identity(**start, batches=draws or batches(), **more)


def train_on(path, begin, stop, own=None, every=1):
    """Train until ``stop``, with a checkpoint every so many steps and the losses."""
    own = own or identity(begin)
    state, rows = begin, {"loss": np.zeros((0, 2))}
    if path.exists():
        state, rows = checkpoint.load(path, begin, own)
    checkpoint.save(path, state, rows, own)
    for end in range(every, stop + every, every):
        if end > state.count:
            state, record = fit(state, batches(), min(end, stop))
            rows = {"loss": np.concatenate([rows["loss"], record.loss])}
            checkpoint.save(path, state, rows, own)
    return state, rows


def bits(training):
    """Every value of a state and its rows by name; an array by dtype, shape, digest."""
    state, rows = training
    return checkpoint.identity(state=state, rows=rows)


def momentum(state, gradient, *, rate, decay=0.9):
    """An optimizer whose state is a dict."""
    m = gradient if state is None else decay * state["m"] + gradient
    return {"m": m, "count": 1 if state is None else state["count"] + 1}, -rate * m


@pytest.mark.parametrize("cut", [1, 4, 6])
@pytest.mark.parametrize("optimizer", [optim.adam, optim.sgd, momentum])
def test_a_training_that_was_cut_resumes_to_the_same_bits(tmp_path, cut, optimizer):
    begin = functools.partial(line, Method("bar", optimizer=optimizer), optimizer)
    whole = bits(train_on(tmp_path / "whole", begin(), 9))
    train_on(tmp_path / "cut", begin(), cut)
    assert bits(train_on(tmp_path / "cut", begin(), 9)) == whole
    # What is finished is not done again.
    assert bits(train_on(tmp_path / "cut", begin(), 9)) == whole


KILLED = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[2])
from tests.test_checkpoint import *
train_on(pathlib.Path(sys.argv[1]), line(), 100000, every=20)
"""


def test_a_killed_training_loses_at_most_an_interval(tmp_path):
    """SIGKILL at a random moment of a training that writes all the time."""
    path, root = tmp_path / "training", Path(__file__).parent.parent
    rng = np.random.Generator(np.random.PCG64(os.getpid()))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(root)])
    try:
        deadline = time.monotonic() + 60.0
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.05 + 0.5 * rng.random())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = checkpoint.load(path, line(), identity())[0].count
    assert reached % 20 == 0
    resumed = train_on(path, line(), reached + 7, every=20)
    whole = train_on(tmp_path / "whole", line(), reached + 7, every=20)
    assert bits(resumed) == bits(whole)


def decayed(constant):
    """An optimizer that differs from another by the number it has bound."""
    return lambda state, gradient, *, rate: (state, -constant * rate * gradient)


def remembering(decay):
    return line(optimizer=functools.partial(momentum, decay=decay))


def ring(radius):
    return batches(data=distributions.RingMixture(2, 8, radius, sd=0.35))


ROWS = np.arange(99.0)[:, None]


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (line(rate=0.05), line(rate=0.06), "training.rate"),
        (line(), line(Method("bar", rate=0.2)), "training.method"),
        (line(optimizer=decayed(1)), line(optimizer=decayed(100)), "constant"),
        (remembering(0.9), remembering(0.99), "training.optimizer.keywords.decay"),
        (line(), line(noise=1.0), "training.model"),
        (line(), line(runs=3), "theta0"),
        (batches(), batches(seed=4), "batches.seed"),
        (batches(), batches(n=31), "batches.n"),
        (batches(), batches(data=law(2.0)), "batches.data.mean"),
        (batches(data=ROWS), batches(data=ROWS + 1e-12), "batches.data"),
        (ring(2.8), ring(6.0), "batches.data.radius"),
    ],
)
def test_another_training_is_refused_by_its_values(tmp_path, one, other, name):
    def parts(x):
        return identity(x) if isinstance(x, train.State) else identity(draws=x)

    path = tmp_path / "training"
    checkpoint.save(path, line(), {}, parts(one))
    checkpoint.load(path, line(), parts(one))
    with pytest.raises(FileError, match="is of another training") as error:
        checkpoint.load(path, line(), parts(other))
    message = str(error.value)
    assert str(path) in message and "remove it to start afresh" in message
    assert "\n" not in message and name in message


def test_the_identity_of_a_training_does_not_depend_on_what_was_computed():
    """Cached properties and the state of a generator are no part of it."""
    noise = Gaussian(np.zeros(2), np.eye(2))
    before = checkpoint.identity(noise=noise)
    noise.log_density(np.zeros((3, 2)))
    assert checkpoint.identity(noise=noise) == before


def promising_terabytes(good):
    """A header of a far larger array."""
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])
    header["0"]["shape"] = [999_999_999_999]
    header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + good[8 + size :]


DAMAGED = {
    "empty": lambda good: b"",
    "text": lambda good: b"theta = 1\n" * 100,
    "half": lambda good: good[: len(good) // 2],
    "longer": lambda good: good + b"\0",
    "no metadata": lambda good: safetensors.numpy.save({"0": np.zeros(2)}),
    "zip, as of npz": lambda good: b"PK\3\4" + good,
    "header": promising_terabytes,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "training"
    train_on(path, line(), 3)
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    with pytest.raises(FileError, match="remove it to start afresh") as error:
        checkpoint.load(path, line(), identity())
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_random_damage_is_seen(tmp_path):
    """300 files with flipped bytes: each is refused in one line."""
    path = tmp_path / "training"
    train_on(path, line(), 3)
    good, rng = path.read_bytes(), np.random.Generator(np.random.PCG64(0))
    for _ in range(300):
        content = bytearray(good)
        for place in rng.integers(len(good), size=rng.integers(1, 5)):
            content[place] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        with pytest.raises(FileError, match="remove it") as error:
            checkpoint.load(path, line(), identity())
        assert len(str(error.value).splitlines()) == 1


# Numbers of what a training found


def test_numbers_are_computed_once(tmp_path):
    path, calls = tmp_path / "found.json", []

    def compute():
        calls.append(1)
        return {"F": np.float64(0.1) + 0.2, "curve": np.arange(3)}

    own = checkpoint.identity(theta=np.ones(2))
    for resume, total in ((True, 1), (True, 1), (False, 2)):
        found = checkpoint.numbers(path, own, resume, compute)
        assert found == {"F": 0.3, "curve": [0, 1, 2]} and len(calls) == total
    other = checkpoint.identity(theta=np.zeros(2))
    checkpoint.numbers(path, other, True, compute)
    assert len(calls) == 3
    path.write_text("{")
    with pytest.raises(FileError, match="is damaged .* remove it to start afresh"):
        checkpoint.numbers(path, own, True, compute)


# The experiment on MNIST


@REAL
def test_mnist_training_resumes_to_the_same_bits(tmp_path, monkeypatch):
    """Stopped between two looks at held-out digits, it ends as one never stopped."""
    from figures.mnist import experiment

    def job(name):
        settings = Settings(quick=True, mnist=Path(FOLDER), work=tmp_path / name)
        return experiment.Job("BAR", 0, settings, 7)

    whole, look = experiment.work(job("whole")), experiment.Trainer.look

    def stopping(trainer):
        if trainer.state.count == 4:
            raise KeyboardInterrupt
        return look(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Trainer, "look", stopping)
        with pytest.raises(KeyboardInterrupt):
            experiment.work(job("stopped"))
    resumed = experiment.work(job("stopped"))
    for name in ("step", "loss", "F", "theta", "stops", "held_loss", "held_root"):
        assert np.array_equal(resumed[name], whole[name]), name


@REAL
def test_a_place_that_cannot_be_written_costs_no_step(tmp_path, monkeypatch):
    """B1: the first checkpoint is written before the first step."""
    from figures.mnist import experiment

    full = OSError(28, "No space left on device")
    monkeypatch.setattr(checkpoint, "save", Mock(side_effect=full))
    monkeypatch.setattr(experiment, "fit", None)
    settings = Settings(quick=True, mnist=Path(FOLDER), work=tmp_path)
    with pytest.raises(OSError, match="No space left"):
        experiment.work(experiment.Job("NCE", 0, settings, 1))


@REAL
def test_a_bad_checkpoint_of_mnist_is_one_line_before_any_work(tmp_path, capsys):
    """A quick run's file is not taken for that of the whole run, nor is a cut file."""
    from figures.mnist import experiment

    def run(*options):
        folders = "--mnist", FOLDER, "--out", str(tmp_path)
        return command.main(["fig06", "--steps", "1", "--resume", *folders, *options])

    settings = Settings(quick=True, mnist=Path(FOLDER), work=tmp_path / "mnist")
    job = experiment.Job("NCE", 0, settings, 1)
    experiment.work(job)
    path = experiment.path_of(job)
    assert run("--runs", "1") == 2
    err = capsys.readouterr().err
    assert "is of another training" in err and "batches.noise.mean" in err, err
    path.write_bytes(path.read_bytes()[:-100])
    assert run("--quick") == 2
    err = capsys.readouterr().err
    assert str(path) in err and "remove it to start afresh" in err
    assert err.count("\n") == 1 and err.startswith("figures: ")
