"""The paper's statements on MNIST (Section 4.3, Figures 6 and 13).

As in test_experiments, verdicts are recomputed from figures/gallery/*.json. The rerun
of the first steps needs the digits. Training is chaotic: other roundings, of another
version of the convolution, gave other numbers after 60 to 180 of the 240 steps. The
thresholds hold for the figures of both versions, 05c890f and the one committed.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.gallery import GALLERY, SOLVED, THREE, committed, common_steps, section_4_3

from figures import fig06
from figures.mnist import experiment as trainings
from figures.settings import Settings
from tests.real_mnist import FOLDER, REAL

DESCENT = "NCE, F by descent, rate 1"  # BAR's rate, as the paper says of its higher one


@pytest.fixture(scope="module")
def losses():
    return committed("fig06")


def held(numbers, name, look=-1):
    """log10 of the loss (runs,) at a look at held-out samples."""
    return np.log10(np.asarray(numbers["curves"][name]["held_loss"][look], dtype=float))


def rounded(table, digits):
    return ", ".join(f"{name} {v.round(digits)}" for name, v in table.items())


@REAL
@pytest.mark.parametrize("name", THREE)
def test_the_first_steps_rerun(losses, monkeypatch, tmp_path, name):
    """Six steps of the first seed.

    float32 on another CPU rounds otherwise, which Adam at its first steps magnifies.
    """
    monkeypatch.setattr(trainings, "HELD", 8)
    settings = Settings(mnist=Path(FOLDER), work=tmp_path)
    found = trainings.work(trainings.Job(name, 0, settings, 6))
    pairs = list(zip(*common_steps(found, losses["curves"]), strict=True))
    assert len(pairs) >= 3
    for k, j in pairs:
        loss, F = (losses["curves"][name][what][j][0] for what in ("loss", "F"))
        assert abs(found["loss"][k] / loss - 1.0) <= 1e-3
        assert abs(found["F"][k] - F) <= 1e-3


def test_the_gallery_s_table_is_that_of_its_numbers(losses):
    assert fig06.table(losses) in (GALLERY / "README.md").read_text()


@section_4_3(
    "on MNIST BAR and binary search reach losses two to three orders of magnitude"
    " under NCE's (Figure 6)",
    verdict="holds corrected",
    why="true of the batch whose root F is (three orders and more for binary search),"
    " because a network separates batches; BAR's batches swing between 1e-12 or less"
    " and 1, their median not under NCE's. On held-out digits neither is steadily"
    " better",
)
def test_orders_of_magnitude(evidence, losses):
    names = trainings.METHODS
    late = {name: np.median(fig06.late(losses, name), axis=0) for name in names}
    evidence("median log10 loss of batches, second half: " + rounded(late, 1))
    own = {name: held(losses, name) for name in names}
    evidence("held-out, at the method's F: " + rounded(own, 1))
    assert np.all(late["binary search"] < late["NCE"] - 3.0)
    bar = fig06.late(losses, "BAR")
    assert np.all(bar.min(axis=0) < -10.0) and np.all(bar.max(axis=0) > -0.1)
    assert np.all(late["BAR"] > late["NCE"])
    # Of the last two looks at held-out digits, with two seeds, NCE wins some against
    # each and never loses by as much as claimed.
    for name in SOLVED:
        last = slice(-2, None)
        gains = held(losses, "NCE", last) - held(losses, name, last)
        assert np.any(gains < 0.0) and np.all(gains < 2.0)


@section_4_3(
    "on MNIST NCE with a higher rate of F, the one that BAR has, does better than NCE"
    " and worse than BAR and binary search",
    verdict="holds corrected",
    why="on the way (steps 60 to 120), there no worse than BAR; in the end it is no"
    " better than NCE. Only binary search stays under both, on its own batches",
)
def test_higher_rate_of_F_on_mnist(evidence, losses):
    medians = []
    for steps in ((60, 120), (180, 240)):
        found = {name: fig06.losses(losses, name, *steps) for name in (*THREE, DESCENT)}
        found = {name: np.median(v, axis=0) for name, v in found.items()}
        label = "median log10 loss, steps {} to {}: ".format(*steps)
        evidence(label + rounded(found, 2))
        assert np.all(found["binary search"] < found[DESCENT] - 2.0)
        medians.append(found)
    way, end = medians
    assert np.all(way[DESCENT] < way["NCE"] - 0.3)
    assert np.all(np.abs(way["BAR"] - way[DESCENT]) < 0.3)
    assert np.all(np.abs(end[DESCENT] - end["NCE"]) < 0.6)


def test_settings_are_those_of_the_code(losses):
    setting = losses["setting"]
    assert setting["steps"] == trainings.STEPS["narrow"]
    assert setting["runs"] == trainings.RUNS
    assert setting["batch"] == trainings.BATCH
