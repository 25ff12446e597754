"""The paper's empirical statements on Gaussians (Section 4.2, Appendix C).

As in test_experiments, verdicts are recomputed from figures/gallery/*.json, and a short
rerun with the same seed shows that these come from this code. Averages over phases of
a training are used rather than end points.
"""

import itertools

import numpy as np
import pytest

from tests.gallery import SOLVED, THREE, committed, common_steps, listed
from tests.gallery import appendix_C, experiment, section_4_2

from figures import fig03, gaussian1d, recording
from figures.settings import Settings
from refnce import optim, train
from refnce.train import models
from refnce.train.fit import Batches

SHORT = 40
# A rerun on another CPU differs by rounding, which a few steps hardly magnify.
DIGITS = 1e-5
HALF = "BAR, half step"
RATE_10, RATE_100 = "NCE, F rate 10x", "NCE, F rate 100x"
both_data = pytest.mark.parametrize("data", ["fresh", "fixed"])


@pytest.fixture(scope="module")
def line():
    """The committed numbers of Figures 8, 9, 10 by distance."""
    names = {1: "fig08", 4: "fig09", 16: "fig10"}
    return {d: committed(name) for d, name in names.items()}


def phase(numbers, methods, start, stop, data="fresh"):
    """By method the mean distance (runs,) over the kept steps in [start, stop)."""
    step = np.asarray(numbers["step"])
    kept, curves = (step >= start) & (step < stop), numbers[data]
    return {m: np.asarray(curves[m]["distance"])[kept].mean(axis=0) for m in methods}


def matches(rerun, numbers, methods, data=None):
    """The rerun's distances at its kept steps are the committed ones."""
    here, there = common_steps(rerun, numbers)
    assert len(here) >= 12
    ours, theirs = (x[data] if data else x for x in (rerun, numbers))
    for method in methods:
        a, b = (np.asarray(x[method]["distance"]) for x in (ours, theirs))
        np.testing.assert_allclose(a[here], b[there], rtol=DIGITS, atol=DIGITS)


@pytest.mark.parametrize("distance", [1, 4, 16])
def test_line_reruns(line, distance):
    rerun = gaussian1d.setting(Settings(), float(distance), steps=SHORT)
    whole = {"steps": gaussian1d.STEPS, "runs": gaussian1d.RUNS}
    assert line[distance]["setting"] == rerun["setting"] | whole
    for numbers in (line[distance], *([committed("fig02")] if distance == 16 else [])):
        for data in ("fresh", "fixed"):
            matches(rerun, numbers, gaussian1d.METHODS, data)


PANELS = [("rate 0.1", 0.1, "noise", 0), ("rate 0.1, random start", 0.1, "random", 1)]
PANELS += [("rate 1", 1.0, "noise", 2)]


@pytest.mark.parametrize(("panel", "rate", "start", "stream"), PANELS)
def test_sixteen_dimensions_rerun(panel, rate, start, stream):
    rerun = fig03.curves(Settings(), fig03.RUNS, SHORT, rate, start, stream=stream)
    matches(rerun, committed("fig03")[panel], fig03.methods(rate))


@section_4_2(
    "at a distance of 16 BAR and binary search do much better than vanilla NCE (Figure"
    " 2)",
)
@both_data
def test_chasm_better_than_nce(line, evidence, data):
    start = phase(line[16], ["NCE"], 0, 1, data)["NCE"].mean()
    means = phase(line[16], (*THREE, HALF), 500, 1000, data)
    label = f"{data} data, distance at steps 500-1000 from {start:.0f}: "
    evidence(label + listed(means, ".0f"))
    for method in (*SOLVED, HALF):
        assert np.max(means[method]) < np.min(means["NCE"])
    # "much": at least three times the way that NCE has gone
    gone = {m: start - v.mean() for m, v in means.items()}
    assert min(gone[m] for m in SOLVED) > 3.0 * gone["NCE"]


@section_4_2(
    "at a distance of 16 binary search shows the best performance (Figure 2)",
    verdict="not reproduced",
    why="BAR as printed (full steps) is nearer to theta* in the mean, while it"
    " zigzags; binary search is best only against BAR with half steps, and stalls at"
    " theta = 4, where the gradient after the solve is 1e-10",
)
@both_data
def test_chasm_ranking(line, evidence, data):
    mean_of_2, search = "BAR, mean of 2 steps", "binary search"
    means = phase(line[16], (*gaussian1d.METHODS, mean_of_2), 500, 1000, data)
    shown = {m: means[m] for m in ("BAR", mean_of_2, search)}
    evidence(f"{data} data: " + listed(shown, ".0f"))
    assert means["BAR"].mean() < means[search].mean()
    assert np.all(means[mean_of_2] < means[search])
    assert np.max(means[search]) < np.min(means[HALF])
    theta = np.asarray(line[16][data][search]["theta"])
    assert np.all(theta[2:] < 4.5)
    # What brings BAR nearer is transit, not convergence: on separable batches theta
    # grows on, past theta*.
    longer = committed("fig02")["longer"]
    theta, steps = np.asarray(longer["theta"]), longer["step"][-1] + 1
    end, half = theta[-1], theta[len(theta) // 2]
    told = f"theta {end.mean():.1f} of theta* = 16, and growing"
    evidence(f"BAR after {steps} steps: {told}")
    assert end.mean() > 16.0 and np.all(end > half)


def spread_of_runs(line, methods):
    """Standard deviation over the runs, from step 500 on, by method and distance."""
    late, spread = np.asarray(line[1]["step"]) >= 500, {}
    for m, d in ((m, d) for d in (1, 16) for m in methods):
        values = np.asarray(line[d]["fresh"][m]["distance"])
        spread[m, d] = values[late].std(axis=1).mean()
    return spread


@section_4_2(
    "binary search has a high variance at a distance of 16 and a much lower one at"
    " good overlap",
)
def test_variance_of_binary_search(line, evidence):
    spread = spread_of_runs(line, ("NCE", "binary search"))
    evidence(", ".join(f"{m} at {d}: {s:.2g}" for (m, d), s in spread.items()))
    assert spread["binary search", 16] > 10.0 * spread["binary search", 1]
    assert spread["binary search", 16] > 10.0 * spread["NCE", 16]


@section_4_2(
    "BAR has a low variance both at a distance of 16 and at good overlap",
    verdict="not reproduced",
    why="at a distance of 16 BAR as printed swings by tens of units with period 2 and"
    " varies more from run to run than binary search; only half steps have a low"
    " variance in both settings",
)
def test_variance_of_bar(line, evidence):
    spread = spread_of_runs(line, ("BAR", HALF, "binary search"))
    evidence(", ".join(f"{m} at {d}: {s:.2g}" for (m, d), s in spread.items()))
    assert spread["BAR", 16] > 5.0 * spread["binary search", 16]
    assert spread[HALF, 16] < spread["binary search", 16]
    assert spread[HALF, 1] < 0.1 and spread["BAR", 1] < 0.1


@appendix_C(
    "all experiments on the line show an improvement of BAR and binary search over NCE"
    " (Figures 8-10)",
)
@pytest.mark.parametrize("distance", [1, 4, 16])
@both_data
def test_approach_is_faster(line, evidence, distance, data):
    """On the way: 10 steps at distance 1, where all arrive within 30, else 200."""
    means = phase(line[distance], THREE, 0, 10 if distance == 1 else 200, data)
    evidence(f"distance {distance}, {data}: " + listed(means, ".3g"))
    assert all(np.all(means[m] < means["NCE"]) for m in SOLVED)


@appendix_C(
    "at a distance of 1 BAR and binary search jump towards the right Z in their first"
    " steps (Figure 8)",
)
def test_jump(line, evidence):
    assert list(line[1]["step"][:2]) == [0, 1]
    curves, F_star = line[1]["fresh"], line[1]["F_star"]
    gone = {m: np.asarray(curves[m]["F"])[1] / F_star for m in THREE}
    evidence("part of F* after the first update of F: " + listed(gone, ".2f"))
    assert gone["BAR"] > 0.5 and gone["binary search"] > 0.5 and gone["NCE"] < 0.2


@appendix_C(
    "on Figure 9 the parameter distance of BAR is lower than that of binary search",
    verdict="not reproduced",
    why="at a distance of 4 binary search is nearer on the whole way, and over 40 runs"
    " at the noise floor too (5 runs cannot tell). Half steps of BAR end nearer than"
    " binary search on fresh data, because they average batches",
)
def test_figure_nine(line, evidence):
    shown = "BAR", HALF, "binary search"
    way, floor = (phase(line[4], shown, *steps) for steps in ((0, 300), (700, 1000)))
    fixed = phase(line[4], shown, 0, 200, "fixed")
    tables = {"steps 0-300": way, "700-1000": floor, "0-200, fixed data": fixed}
    for name, table in tables.items():
        evidence(f"{name}: " + listed(table, ".3f"))
    assert all(np.all(t["binary search"] < t["BAR"]) for t in (way, fixed))
    assert floor[HALF].mean() < floor["binary search"].mean()
    many = noise_floor(4.0, runs=40, steps=1000, first=300)
    gap = many[:, 0] - many[:, 1]
    error, (bar, search) = gap.std() / np.sqrt(len(gap)), many.mean(axis=0)
    told = f"BAR {bar:.3f}, binary search {search:.3f}"
    off = f"{gap.mean():.4f} +- {error:.4f}"
    evidence(f"40 runs from the optimum on, steps 300-1000: {told}, difference {off}")
    assert gap.mean() > 2.0 * error


def distances(methods, start, steps, batches, **options):
    """|[theta, F] - [theta*, F*]| (steps, runs) where theta's gradient is taken."""
    model = models.exponential_family(batches.data, batches.noise)
    states = {
        name: train.start(train.Training(model, method, **options), *start)
        for name, method in methods.items()
    }
    source, keep = map(batches, itertools.count()), list(range(steps))
    paths = recording.record(Settings(), "", states, source, keep)
    theta_star, F_star = batches.data.theta[0], batches.data.log_z
    return {
        name: np.hypot(path["theta"][..., 0] - theta_star, path["F"] - F_star)
        for name, path in paths.items()
    }


def noise_floor(distance, runs, steps, first):
    """Mean distance (runs, 2) of BAR and of binary search to the optimum.

    Over the steps from ``first`` on, from the optimum, where the way there no longer
    matters.
    """
    batches = Batches(*gaussian1d.laws(distance), 9, (runs,), 512, 512)
    start = np.full((runs, 1), batches.data.theta), np.full(runs, batches.data.log_z)
    methods = {name: gaussian1d.METHODS[name] for name in SOLVED}
    found = distances(methods, start, steps, batches, xtol=gaussian1d.XTOL)
    return np.stack([found[name][first:].mean(axis=0) for name in SOLVED], axis=1)


@experiment(
    "Section 1",
    "a higher learning rate of F improves NCE",
    verdict="holds corrected",
    why="at distances 4 and 16 and in 16 dimensions at rate 0.1; at a distance of 1 a"
    " rate of 10 is over the stability limit 2/(d2L/dF2) and F oscillates",
)
def test_higher_rate_of_F(line, evidence):
    pair = "NCE", RATE_10
    for d in (4, 16):
        means = phase(line[d], pair, 0, 1000)
        evidence(f"distance {d}: " + listed(means, ".3g"))
        assert np.all(means[RATE_10] < means["NCE"])
    wide = committed("fig03")["rate 0.1"]
    ends = {m: np.asarray(wide[m]["distance"])[-1] for m in (*pair, RATE_100)}
    evidence("16 dimensions: " + listed(ends, ".3g"))
    assert np.all(ends[RATE_100] < ends[RATE_10])
    assert np.all(ends[RATE_10] < ends["NCE"])
    means = phase(line[1], pair, 100, 1000)
    evidence("distance 1: " + listed(means, ".2g"))
    assert np.all(means[RATE_10] > 3.0 * means["NCE"])


@section_4_2(
    "in 16 dimensions BAR and binary search converge much quicker than NCE, a higher F"
    " rate lies between (Figure 3)",
    verdict="holds corrected",
    why="at the paper's rate 0.1 when theta and F start at the noise's parameters; at"
    " rate 1, or from a start drawn from N(0, 1), NCE with 10 times the rate on F ends"
    " nearest",
)
def test_sixteen_dimensions(evidence):
    numbers, ends = committed("fig03"), {}
    others = "rate 0.1, random start", "rate 1"
    for panel in ("rate 0.1", *others):
        last = {
            m: np.asarray(numbers[panel][m]["distance"])[-5:] for m in fig03.methods(1)
        }
        ends[panel] = {m: v.mean(axis=0) for m, v in last.items()}
        evidence(f"{panel}: " + listed(ends[panel], ".2g"))
    good = ends["rate 0.1"]
    for method in (*SOLVED, HALF):
        assert np.all(good[method] < good[RATE_100])
    assert np.all(good[RATE_100] < good[RATE_10])
    assert np.all(good[RATE_10] < good["NCE"])
    assert good["NCE"].mean() > 3.0 * max(good[m].mean() for m in SOLVED)
    for panel in others:
        for method in SOLVED:
            assert ends[panel][RATE_10].mean() < ends[panel][method].mean()


@section_4_2("other optimizers show similar trends as long as F is handled separately")
@pytest.mark.parametrize("distance", [4.0, 16.0])
@pytest.mark.parametrize(("optimizer", "rate"), [(optim.adam, 0.05), (optim.ngd, 0.1)])
def test_other_optimizers(evidence, distance, optimizer, rate):
    batches = Batches(*gaussian1d.laws(distance), 7, (5,), 512, 512)
    start = np.zeros((5, 1)), np.zeros(5)
    methods = {name: train.Method(name) for name in ("gradient", "bar")}
    methods["newton"] = train.Method("newton", F_first=True)
    options = {"optimizer": optimizer, "rate": rate, "xtol": 1e-9}
    found = distances(methods, start, 200, batches, **options)
    total = {name: values.mean(axis=0) for name, values in found.items()}
    label = f"{optimizer.__name__}, distance {distance:g}, mean over 200 steps: "
    evidence(label + listed(total, ".4g"))
    assert all(np.all(total[m] < total["gradient"]) for m in ("bar", "newton"))
