"""The paper's statements on MNIST (Section 4.3, Figures 6 and 13).

As in test_experiments, verdicts are recomputed from figures/gallery/*.json. The rerun
of the first steps needs the digits. Training is chaotic: other roundings, of another
version of the convolution, gave other numbers after 60 to 180 of the 240 steps. The
thresholds hold for the figures of both versions, 05c890f and the one committed.
"""

import json
from pathlib import Path

import numpy as np
import pytest

for name in ("matplotlib", "tqdm", "safetensors", "arviz_stats"):
    why = f"the figures need {name}: pip install 'refnce[figures]'"
    pytest.importorskip(name, reason=why)

from figures import fig06, fig13  # noqa: E402
from figures.mnist import experiment  # noqa: E402
from figures.settings import Settings  # noqa: E402
from tests.real_mnist import FOLDER, REAL  # noqa: E402

GALLERY = Path(__file__).parent.parent / "figures" / "gallery"
SOLVED = ("BAR", "binary search")
DESCENT = (  # the rate that BAR has, as the paper says of its higher one
    "NCE, F by descent, rate 1"
)
claim = pytest.mark.claim


@pytest.fixture(scope="module")
def losses():
    return json.loads((GALLERY / "fig06.json").read_text())


@pytest.fixture(scope="module")
def images():
    return json.loads((GALLERY / "fig13.json").read_text())


def held(numbers, name, what="held_loss", look=-1):
    """log10 (runs,) at a look at held-out samples."""
    return np.log10(np.asarray(numbers["curves"][name][what][look], dtype=float))


@REAL
@pytest.mark.parametrize("name", ["NCE", "BAR", "binary search"])
def test_the_first_steps_rerun(losses, monkeypatch, tmp_path, name):
    """Six steps of the first seed.

    float32 on another CPU rounds otherwise, which Adam at its first steps magnifies.
    """
    monkeypatch.setattr(experiment, "HELD", 8)
    settings = Settings(mnist=Path(FOLDER), work=tmp_path)
    found = experiment.work(experiment.Job(name, 0, settings, 6))
    curve = losses["curves"][name]
    common = [
        step for step in found["step"].tolist() if step in losses["curves"]["step"]
    ]
    assert len(common) >= 3
    for step in common:
        k, j = found["step"].tolist().index(step), losses["curves"]["step"].index(step)
        assert abs(found["loss"][k] / curve["loss"][j][0] - 1.0) <= 1e-3
        assert abs(found["F"][k] - curve["F"][j][0]) <= 1e-3


def test_the_gallery_s_table_is_that_of_its_numbers(losses):
    assert fig06.table(losses) in (GALLERY / "README.md").read_text()


@claim(
    "Section 4.3",
    "on MNIST BAR and binary search reach losses two to three orders of magnitude under"
    " NCE's (Figure 6)",
    kind="experiment",
    verdict="holds corrected",
    why=(
        "true of the batch whose root F is (three orders and more for binary search),"
        " because a network separates batches; BAR's batches swing between 1e-12 or"
        " less and 1, their median not under NCE's. On held-out digits neither is"
        " steadily better"
    ),
)
def test_orders_of_magnitude(evidence, losses):
    late = {
        name: np.median(fig06.late(losses, name), axis=0) for name in experiment.METHODS
    }
    evidence(
        "median log10 loss of batches, second half: "
        + ", ".join(f"{name} {v.round(1)}" for name, v in late.items())
    )
    own = {name: held(losses, name) for name in experiment.METHODS}
    evidence(
        "held-out, at the method's F: "
        + ", ".join(f"{name} {v.round(1)}" for name, v in own.items())
    )
    assert np.all(late["binary search"] < late["NCE"] - 3.0)
    bar = fig06.late(losses, "BAR")
    assert np.all(bar.min(axis=0) < -10.0) and np.all(bar.max(axis=0) > -0.1)
    assert np.all(late["BAR"] > late["NCE"])
    # Of the last two looks at held-out digits, with two seeds, NCE wins some against
    # each and never loses by as much as claimed.
    for name in SOLVED:
        gains = np.concatenate(
            [
                held(losses, "NCE", look=look) - held(losses, name, look=look)
                for look in (-2, -1)
            ]
        )
        assert np.any(gains < 0.0) and np.all(gains < 2.0)


@claim(
    "Section 4.3",
    "on MNIST NCE with a higher rate of F, the one that BAR has, does better than NCE"
    " and worse than BAR and binary search",
    kind="experiment",
    verdict="holds corrected",
    why=(
        "on the way (steps 60 to 120), there no worse than BAR; in the end it is no"
        " better than NCE. Only binary search stays under both, on its own batches"
    ),
)
def test_higher_rate_of_F_on_mnist(evidence, losses):
    for start, stop in ((60, 120), (180, 240)):
        found = {
            name: np.median(fig06.losses(losses, name, start, stop), axis=0)
            for name in ("NCE", DESCENT, *SOLVED)
        }
        evidence(
            f"median log10 loss, steps {start} to {stop}: "
            + ", ".join(f"{k} {v.round(2)}" for k, v in found.items())
        )
        if start == 60:
            assert np.all(found[DESCENT] < found["NCE"] - 0.3) and np.all(
                np.abs(found["BAR"] - found[DESCENT]) < 0.3
            )
        else:
            assert np.all(np.abs(found[DESCENT] - found["NCE"]) < 0.6)
        assert np.all(found["binary search"] < found[DESCENT] - 2.0)


def test_settings_are_those_of_the_code(losses, images):
    setting = losses["setting"]
    assert (setting["steps"], setting["runs"], setting["batch"]) == (
        experiment.STEPS["narrow"],
        experiment.RUNS,
        experiment.BATCH,
    )
    here = images["setting"]  # whose steps are those of the sampler
    assert {key: here[key] for key in setting if key != "steps"} == {
        key: x for key, x in setting.items() if key != "steps"
    }
    assert (here["chains"], here["steps"], here["warmup"]) == (
        fig13.CHAINS,
        fig13.STEPS,
        fig13.WARMUP,
    )
