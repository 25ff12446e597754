"""The paper's empirical statements on convex problems.

Every verdict is recomputed from figures/gallery/*.json. A short rerun repeats the first
steps with the same seed: it shows that the committed numbers come from this code.
Averages over phases of a training are used rather than end points.
"""

import json
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest

from refnce import optim, train
from refnce.train import models
from refnce.train.fit import Batches, fit

for name in ("matplotlib", "tqdm", "safetensors", "arviz_stats"):
    why = f"the figures need {name}: pip install 'refnce[figures]'"
    pytest.importorskip(name, reason=why)

from figures import AVAILABLE, ON_MNIST, fig01, fig03, fig07, gaussian1d  # noqa: E402
from figures.settings import Settings  # noqa: E402

GALLERY = Path(__file__).parent.parent / "figures" / "gallery"
SETTINGS = Settings()
SHORT = 40
# A rerun on another CPU differs by rounding, which a few steps hardly magnify.
DIGITS = 1e-5

claim = pytest.mark.claim


def committed(name):
    return json.loads((GALLERY / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def line():
    """The committed numbers of Figures 8, 9, 10 by distance."""
    return {
        d: committed(name) for d, name in ((1, "fig08"), (4, "fig09"), (16, "fig10"))
    }


def distances(numbers, method, data="fresh"):
    """(K, runs) and the steps."""
    return np.asarray(numbers[data][method]["distance"]), np.asarray(numbers["step"])


def phase(numbers, method, start, stop, data="fresh"):
    """Mean distance (runs,) over the kept steps in [start, stop)."""
    values, step = distances(numbers, method, data)
    return values[(step >= start) & (step < stop)].mean(axis=0)


# The committed numbers come from this code


@pytest.mark.parametrize("name", AVAILABLE)
def test_provenance(name):
    numbers = committed(name)
    origin = numbers["provenance"]
    assert numbers["figure"] == name
    if name in ON_MNIST:  # these take the folder, and were resumed after a kill
        assert re.fullmatch(
            r"python -m figures fig06 fig13 --mnist \S+ --out figures/gallery --resume",
            origin["command"],
        )
    else:
        assert origin["command"] == "python -m figures --out figures/gallery"
    assert (origin["seed"], origin["quick"], origin["backend"]) == (0, False, "numpy")
    assert origin["source"] and origin["device"] and origin["versions"]["numpy"]
    assert (
        origin["wall_seconds"] >= 0
    )  # two figures of one training share it: the second takes no time
    assert (GALLERY / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def matches(rerun, numbers, fields):
    """The rerun's kept steps are the committed ones, number for number."""
    common = [k for k in rerun["step"] if k in numbers["step"]]
    assert len(common) >= 12
    here, there = (
        [list(table["step"]).index(k) for k in common] for table in (rerun, numbers)
    )
    for field in fields:
        a, b = rerun, numbers
        for key in field:
            a, b = a[key], b[key]
        np.testing.assert_allclose(
            np.asarray(a)[here], np.asarray(b)[there], rtol=DIGITS, atol=DIGITS
        )


@pytest.mark.parametrize("distance", [1, 4, 16])
def test_line_reruns(line, distance):
    rerun = gaussian1d.setting(SETTINGS, float(distance), steps=SHORT)
    fields = [
        (data, method, "distance")
        for data in ("fresh", "fixed")
        for method in gaussian1d.METHODS
    ]
    matches(rerun, line[distance], fields)
    assert line[distance]["setting"] == {
        **rerun["setting"],
        "steps": gaussian1d.STEPS,
        "runs": gaussian1d.RUNS,
    }
    if distance == 16:
        matches(rerun, committed("fig02"), fields)


@pytest.mark.parametrize(
    ("panel", "rate", "start", "stream"),
    [
        ("rate 0.1", 0.1, "noise", 0),
        ("rate 0.1, random start", 0.1, "random", 1),
        ("rate 1", 1.0, "noise", 2),
    ],
)
def test_sixteen_dimensions_rerun(panel, rate, start, stream):
    rerun = fig03.curves(SETTINGS, fig03.RUNS, SHORT, rate, start, stream=stream)
    matches(
        rerun,
        committed("fig03")[panel],
        [(method, "distance") for method in fig03.methods(rate)],
    )


# Section 4.1: F alone


@pytest.fixture(scope="module")
def ring():
    """Figure 1's samples: r_data, r_noise (100, 512), as the figure draws them."""
    return fig01.log_ratios(
        SETTINGS, fig01.BATCH, fig01.RUNS, fig01.SIZES.index(fig01.BATCH)
    )


def counts(method, kind, n=fig01.BATCH, F0=0.0):
    rows = committed("fig01")["updates"]
    row = next(
        r
        for r in rows
        if (r["method"], r["kind"], r["n"]) == (method, kind, n)
        and r["F0"] in (F0, None)
    )
    return {int(k): times for k, times in row["off_root"].items()}


def rerun_bar(impl, r_data, r_noise, updates):
    path = [np.zeros(len(r_data))]
    for _ in range(updates):
        path.append(np.asarray(impl.logz.bar_update(r_data, r_noise, path[-1])))
    return np.stack(path)


@claim(
    "Section 4.1",
    "for almost all of 100 runs BAR converges to a precision of 1e-6 in fewer than 6"
    " updates",
    kind="experiment",
    verdict="holds corrected",
    why=(
        "it depends on the tolerance and n, not on F0: with 512 samples about 6 in 10"
        " runs for an error of 1e-6, 9 in 10 for 1e-6 |F|; with 2048 samples all of"
        " them for 1e-6 |F|"
    ),
    where="logz.bar_update",
)
def test_bar_in_fewer_than_six_updates(impl, evidence, ring):
    share = {
        (kind, n): fig01.under(counts("BAR", kind, n), 6)
        for kind in ("absolute", "relative")
        for n in fig01.SIZES
    }
    evidence(
        "; ".join(f"{100 * s:.0f}% ({kind}, n = {n})" for (kind, n), s in share.items())
    )
    assert 0.4 < share["absolute", 512] < 0.8 < share["relative", 512] < 0.95
    assert share["relative", 2048] > 0.99 > share["absolute", 2048]
    assert share["absolute", 128] < share["absolute", 512] < share["absolute", 2048]
    far = [fig01.under(counts("BAR", "absolute", F0=F0), 6) for F0 in fig01.STARTS]
    assert max(far) - min(far) < 0.15
    # The rerun counts the same; on another CPU a run at the very edge may fall on
    # either side.
    root = np.asarray(impl.logz.newton(*ring).F)
    again = np.mean(np.abs(rerun_bar(impl, *ring, 5)[-1] - root) <= 1e-6)
    assert again == pytest.approx(share["absolute", 512], abs=0.02)


@claim(
    "Section 4.1",
    "binary search takes around 20 steps to the same accuracy",
    kind="experiment",
    where="nce.grad_F",
)
def test_binary_search_in_about_twenty(impl, evidence, ring):
    absolute, relative = (
        counts("binary search", kind) for kind in ("absolute", "relative")
    )
    median = [
        float(np.median(np.repeat(list(c), list(c.values()))))
        for c in (absolute, relative)
    ]
    evidence(f"median {median[0]:g} steps to 1e-6, {median[1]:g} to 1e-6 |F|")
    assert all(15 <= m <= 25 for m in median)
    assert fig01.under(absolute, 26) == fig01.under(relative, 26) == 1.0
    # rerun: 25 halvings of the bracket by the sign of dL/dF
    r_data, r_noise = ring
    lo, hi = np.minimum(r_data.min(-1), r_noise.min(-1)), np.maximum(
        r_data.max(-1), r_noise.max(-1)
    )
    for _ in range(25):
        middle = 0.5 * (lo + hi)
        rising = np.asarray(impl.nce.grad_F(r_data, r_noise, middle)) > 0
        lo, hi = np.where(rising, lo, middle), np.where(rising, middle, hi)
    assert (
        np.max(
            np.abs(0.5 * (lo + hi) - np.asarray(impl.logz.newton(r_data, r_noise).F))
        )
        <= 1e-6
    )


@claim(
    "Section 4",
    "binary search may stop when it returns the same value consecutively within a"
    " threshold",
    kind="experiment",
    where="nce.grad_F",
)
def test_stopping_rule(impl, evidence, ring):
    """The root is within |difference of two midpoints| of the later one.

    It lies in their half-bracket.
    """
    r_data, r_noise = ring
    root = np.asarray(impl.logz.newton(r_data, r_noise).F)
    lo, hi = np.minimum(r_data.min(-1), r_noise.min(-1)), np.maximum(
        r_data.max(-1), r_noise.max(-1)
    )
    middle, worst = 0.5 * (lo + hi), 0.0
    for _ in range(30):
        rising = np.asarray(impl.nce.grad_F(r_data, r_noise, middle)) > 0
        lo, hi = np.where(rising, lo, middle), np.where(rising, middle, hi)
        before, middle = middle, 0.5 * (lo + hi)
        worst = max(
            worst, float(np.max(np.abs(middle - root) / np.abs(middle - before)))
        )
    evidence(
        f"the error is at most {worst:.4f} of the last change, over 30 halvings of 100"
        " runs"
    )
    assert worst <= 1.0 + 1e-6  # the root's own units against a bracket of 5e-8


@claim(
    "Section 4.1",
    "BAR and binary search converge faster than NCE where F is the only parameter",
    kind="experiment",
)
def test_faster_than_nce(evidence):
    paths = committed("fig01")["trajectories"]
    worst = {name: paths[name]["off_root"]["worst"] for name in paths}
    best_nce = min(
        paths[name]["off_root"]["median"][30 // paths[name]["every"]]
        for name in ("NCE", "NCE, F rate 10x")
    )
    evidence(
        f"after 10 BAR updates at most {worst['BAR'][10]:.1g} off, after 30 halvings"
        f" {worst['binary search'][29]:.1g}, "
    )
    evidence(f"after 30 NCE steps at best a median of {best_nce:.1g}")
    assert (
        worst["BAR"][10] < 1e-3 * best_nce
        and worst["binary search"][29] < 1e-1 * best_nce
    )


# Section 4.2 and Appendix C: Gaussians on the line


@claim(
    "Section 4.2",
    "at a distance of 16 BAR and binary search do much better than vanilla NCE"
    " (Figure 2)",
    kind="experiment",
)
@pytest.mark.parametrize("data", ["fresh", "fixed"])
def test_chasm_better_than_nce(line, evidence, data):
    start = distances(line[16], "NCE", data)[0][0].mean()
    means = {
        m: phase(line[16], m, 500, 1000, data)
        for m in ("NCE", "BAR", "BAR, half step", "binary search")
    }
    evidence(
        f"{data} data, distance at steps 500-1000 from {start:.0f}: "
        + ", ".join(f"{m} {v.mean():.0f}" for m, v in means.items())
    )
    for method in ("BAR", "BAR, half step", "binary search"):
        assert np.max(means[method]) < np.min(means["NCE"])
    # "much": at least three times the way that NCE has gone
    for method in ("BAR", "binary search"):
        assert start - means[method].mean() > 3.0 * (start - means["NCE"].mean())


@claim(
    "Section 4.2",
    "at a distance of 16 binary search shows the best performance (Figure 2)",
    kind="experiment",
    verdict="not reproduced",
    why=(
        "BAR as printed (full steps) is nearer to theta* in the mean, while it zigzags;"
        " binary search is best only against BAR with half steps, and stalls at theta ="
        " 4, where the gradient after the solve is 1e-10"
    ),
)
@pytest.mark.parametrize("data", ["fresh", "fixed"])
def test_chasm_ranking(line, evidence, data):
    means = {m: phase(line[16], m, 500, 1000, data) for m in gaussian1d.METHODS}
    middle = phase(line[16], "BAR, mean of 2 steps", 500, 1000, data)
    evidence(
        f"{data} data: BAR {means['BAR'].mean():.0f} (mean of two steps"
        f" {middle.mean():.0f}), binary search {means['binary search'].mean():.0f}"
    )
    assert means["BAR"].mean() < means["binary search"].mean()
    assert np.all(middle < means["binary search"])
    assert np.max(means["binary search"]) < np.min(means["BAR, half step"])
    theta = np.asarray(line[16][data]["binary search"]["theta"])
    assert np.all(theta[2:] < 4.5)
    # What brings BAR nearer is transit, not convergence: on separable batches theta
    # grows on, past theta*.
    longer = committed("fig02")["longer"]
    theta = np.asarray(longer["theta"])
    end, half = theta[-1], theta[len(theta) // 2]
    evidence(
        f"BAR after {longer['step'][-1] + 1} steps: theta {end.mean():.1f} of theta* ="
        " 16, and growing"
    )
    assert end.mean() > 16.0 and np.all(end > half)


@claim(
    "Section 4.2",
    "binary search has a high variance at a distance of 16 and a much lower one at good"
    " overlap",
    kind="experiment",
)
def test_variance_of_binary_search(line, evidence):
    spread = {}
    for d in (1, 16):
        for method in ("NCE", "binary search"):
            values, step = distances(line[d], method)
            spread[method, d] = values[step >= 500].std(axis=1).mean()
    evidence(
        f"standard deviation over runs {spread['binary search', 16]:.2g} at 16,"
        f" {spread['binary search', 1]:.2g} at 1; "
    )
    evidence(f"NCE's at 16: {spread['NCE', 16]:.1g}")
    assert spread["binary search", 16] > 10.0 * spread["binary search", 1]
    assert spread["binary search", 16] > 10.0 * spread["NCE", 16]


@claim(
    "Section 4.2",
    "BAR has a low variance both at a distance of 16 and at good overlap",
    kind="experiment",
    verdict="not reproduced",
    why=(
        "at a distance of 16 BAR as printed swings by tens of units with period 2 and"
        " varies more from run to run than binary search; only half steps have a low"
        " variance in both settings"
    ),
)
def test_variance_of_bar(line, evidence):
    spread = {}
    for d in (1, 16):
        for method in ("BAR", "BAR, half step", "binary search"):
            values, step = distances(line[d], method)
            spread[method, d] = values[step >= 500].std(axis=1).mean()
    evidence(", ".join(f"{m} at {d}: {s:.2g}" for (m, d), s in spread.items()))
    assert spread["BAR", 16] > 5.0 * spread["binary search", 16]
    assert spread["BAR, half step", 16] < spread["binary search", 16]
    assert spread["BAR, half step", 1] < 0.1 and spread["BAR", 1] < 0.1


@claim(
    "Appendix C",
    "all experiments on the line show an improvement of BAR and binary search over NCE"
    " (Figures 8-10)",
    kind="experiment",
)
@pytest.mark.parametrize("distance", [1, 4, 16])
@pytest.mark.parametrize("data", ["fresh", "fixed"])
def test_approach_is_faster(line, evidence, distance, data):
    """On the way: 10 steps at distance 1, where all arrive within 30, else 200."""
    stop = 10 if distance == 1 else 200
    means = {
        m: phase(line[distance], m, 0, stop, data)
        for m in ("NCE", "BAR", "binary search")
    }
    evidence(
        f"distance {distance}, {data}: "
        + ", ".join(f"{m} {v.mean():.3g}" for m, v in means.items())
    )
    assert np.all(means["BAR"] < means["NCE"]) and np.all(
        means["binary search"] < means["NCE"]
    )


@claim(
    "Appendix C",
    "at a distance of 1 BAR and binary search jump towards the right Z in their first"
    " steps (Figure 8)",
    kind="experiment",
)
def test_jump(line, evidence):
    numbers = line[1]
    assert list(numbers["step"][:2]) == [0, 1]
    gone = {
        m: np.asarray(numbers["fresh"][m]["F"])[1] / numbers["F_star"]
        for m in ("NCE", "BAR", "binary search")
    }
    evidence(
        "part of F* after the first update of F: "
        + ", ".join(f"{m} {g:.2f}" for m, g in gone.items())
    )
    assert gone["BAR"] > 0.5 and gone["binary search"] > 0.5 and gone["NCE"] < 0.2


@claim(
    "Appendix C",
    "on Figure 9 the parameter distance of BAR is lower than that of binary search",
    kind="experiment",
    verdict="not reproduced",
    why=(
        "at a distance of 4 binary search is nearer on the whole way, and over 40 runs"
        " at the noise floor too (5 runs cannot tell). Half steps of BAR end nearer"
        " than binary search on fresh data, because they average batches"
    ),
)
def test_figure_nine(line, evidence):
    way = {m: phase(line[4], m, 0, 300) for m in gaussian1d.METHODS}
    floor = {m: phase(line[4], m, 700, 1000) for m in gaussian1d.METHODS}
    fixed = {m: phase(line[4], m, 0, 200, "fixed") for m in gaussian1d.METHODS}
    for name, table in (
        ("steps 0-300", way),
        ("700-1000", floor),
        ("0-200, fixed data", fixed),
    ):
        evidence(
            f"{name}: "
            + ", ".join(
                f"{m} {table[m].mean():.3f}"
                for m in ("BAR", "BAR, half step", "binary search")
            )
        )
    assert np.all(way["binary search"] < way["BAR"]) and np.all(
        fixed["binary search"] < fixed["BAR"]
    )
    assert floor["BAR, half step"].mean() < floor["binary search"].mean()
    many = noise_floor(4.0, runs=40, steps=1000, first=300)
    gap = many[:, 0] - many[:, 1]
    error = gap.std() / np.sqrt(len(gap))
    evidence(
        f"40 runs from the optimum on, steps 300-1000: BAR {many[:, 0].mean():.3f},"
        f" binary search {many[:, 1].mean():.3f}, difference {gap.mean():.4f} +-"
        f" {error:.4f}"
    )
    assert gap.mean() > 2.0 * error


def distances_of_a_training(method, start, steps, batches, **options):
    """|[theta, F] - [theta*, F*]| (steps, runs) where theta's gradient is taken."""
    data, noise = batches.data, batches.noise
    model = models.exponential_family(data, noise)
    state = train.start(train.Training(model, method, **options), *start)
    thetas, Fs = [], []

    def keep(before, after, x, y):
        thetas.append(before.theta[:, 0])
        Fs.append(after.F if method.F_first else before.F)

    fit(state, batches, steps, record_every=(), callback=keep)
    off = np.stack(thetas) - data.theta[0], np.stack(Fs) - data.log_z
    return np.hypot(*off)


def noise_floor(distance, runs, steps, first):
    """Mean distance (runs, 2) of BAR and of binary search to the optimum.

    Over the steps from ``first`` on, from the optimum, where the way there no longer
    matters.
    """
    batches = Batches(*gaussian1d.laws(distance), 9, (runs,), 512, 512)
    start = np.full((runs, 1), batches.data.theta), np.full(runs, batches.data.log_z)
    found = [
        distances_of_a_training(
            gaussian1d.METHODS[name], start, steps, batches, xtol=gaussian1d.XTOL
        )
        for name in ("BAR", "binary search")
    ]
    return np.stack([distance[first:].mean(axis=0) for distance in found], axis=1)


@claim(
    "Section 1",
    "a higher learning rate of F improves NCE",
    kind="experiment",
    verdict="holds corrected",
    why=(
        "at distances 4 and 16 and in 16 dimensions at rate 0.1; at a distance of 1 a"
        " rate of 10 is over the stability limit 2/(d2L/dF2) and F oscillates"
    ),
)
def test_higher_rate_of_F(line, evidence):
    for d, stop in ((4, 1000), (16, 1000)):
        plain, higher = (phase(line[d], m, 0, stop) for m in ("NCE", "NCE, F rate 10x"))
        evidence(f"distance {d}: {plain.mean():.3g} to {higher.mean():.3g}")
        assert np.all(higher < plain)
    wide = committed("fig03")["rate 0.1"]
    ends = [
        np.asarray(wide[m]["distance"])[-1]
        for m in ("NCE", "NCE, F rate 10x", "NCE, F rate 100x")
    ]
    evidence("16 dimensions: " + " to ".join(f"{e.mean():.3g}" for e in ends))
    assert np.all(ends[2] < ends[1]) and np.all(ends[1] < ends[0])
    plain, higher = (phase(line[1], m, 100, 1000) for m in ("NCE", "NCE, F rate 10x"))
    evidence(f"distance 1: {plain.mean():.2g} to {higher.mean():.2g}")
    assert np.all(higher > 3.0 * plain)


@claim(
    "Section 4.2",
    "in 16 dimensions BAR and binary search converge much quicker than NCE, a higher F"
    " rate lies between (Figure 3)",
    kind="experiment",
    verdict="holds corrected",
    why=(
        "at the paper's rate 0.1 when theta and F start at the noise's parameters; at"
        " rate 1, or from a start drawn from N(0, 1), NCE with 10 times the rate on F"
        " ends nearest"
    ),
)
def test_sixteen_dimensions(evidence):
    numbers = committed("fig03")
    ends = {
        panel: {
            m: np.asarray(numbers[panel][m]["distance"])[-5:].mean(axis=0)
            for m in fig03.methods(1.0)
        }
        for panel in ("rate 0.1", "rate 0.1, random start", "rate 1")
    }
    for panel, table in ends.items():
        evidence(
            f"{panel}: " + ", ".join(f"{m} {v.mean():.2g}" for m, v in table.items())
        )
    good = ends["rate 0.1"]
    for method in ("BAR", "BAR, half step", "binary search"):
        assert np.all(good[method] < good["NCE, F rate 100x"])
    assert np.all(good["NCE, F rate 100x"] < good["NCE, F rate 10x"]) and np.all(
        good["NCE, F rate 10x"] < good["NCE"]
    )
    assert good["NCE"].mean() > 3.0 * max(
        good["BAR"].mean(), good["binary search"].mean()
    )
    for panel in ("rate 0.1, random start", "rate 1"):
        for method in ("BAR", "binary search"):
            assert ends[panel]["NCE, F rate 10x"].mean() < ends[panel][method].mean()


@claim(
    "Section 4.2",
    "other optimizers show similar trends as long as F is handled separately",
    kind="experiment",
)
@pytest.mark.parametrize("distance", [4.0, 16.0])
@pytest.mark.parametrize(("optimizer", "rate"), [(optim.adam, 0.05), (optim.ngd, 0.1)])
def test_other_optimizers(evidence, distance, optimizer, rate):
    batches = Batches(*gaussian1d.laws(distance), 7, (5,), 512, 512)
    methods = [train.Method("gradient"), train.Method("bar")]
    methods.append(train.Method("newton", F_first=True))
    total = []
    for method in methods:
        start, options = (np.zeros((5, 1)), np.zeros(5)), {"optimizer": optimizer}
        options |= {"rate": rate, "xtol": 1e-9}
        found = distances_of_a_training(method, start, 200, batches, **options)
        total.append(found.mean(axis=0))
    evidence(
        f"{optimizer.__name__}, distance {distance:g}, mean over 200 steps: NCE, BAR,"
        " root " + ", ".join(f"{t:.4g}" for t in np.mean(total, axis=1))
    )
    assert np.all(total[1] < total[0]) and np.all(total[2] < total[0])


# Section 4.1 and Appendix B: BAR with little overlap


@claim(
    "Figure 7",
    "BAR oscillates around the true value where data and noise overlap little",
    kind="experiment",
    where="logz.bar",
)
def test_oscillation(impl, evidence):
    numbers = committed("fig07")
    status = dict(zip(numbers["distance"], numbers["status"], strict=True))
    assert set(status[4]) == {"0"}
    for d in range(10, 17):
        assert set(status[d]) == {"3"}  # CYCLE
    r_data, r_noise = fig07.log_ratios(Settings(runs=2), 2)
    r_data, r_noise = r_data[-1], r_noise[-1]  # distance 16
    root, path = np.asarray(impl.logz.newton(r_data, r_noise).F), rerun_bar(
        impl, r_data, r_noise, 30
    )
    side = np.sign(path - root)
    assert np.all(side[1:] == -side[:-1])
    off = np.abs(path[-1] - root)
    evidence(
        f"distance 16: the sides alternate for 30 updates and end {off.min():.0f} off;"
        " from distance 10 on every run cycles"
    )
    assert np.all(off > 50.0)


@claim(
    "Figure 7",
    "an update is no further from the optimal value than the value before it",
    kind="experiment",
    where="logz.bar_update",
)
def test_no_further(impl, evidence):
    assert committed("fig07")["worst_growth_in_ulps"] <= 4.0
    r_data, r_noise = fig07.log_ratios(Settings(runs=3), 3)
    root = np.asarray(impl.logz.newton(r_data, r_noise).F)
    F, worst = np.zeros(root.shape), -np.inf
    for _ in range(15):
        after = np.asarray(impl.logz.bar_update(r_data, r_noise, F))
        size = np.maximum(np.abs(after), np.abs(root))
        worst = max(
            worst,
            float(
                np.max((np.abs(after - root) - np.abs(F - root)) / (impl.eps * size))
            ),
        )
        F = after
    evidence(f"the error grew by at most {worst:.2g} eps |F|, distances 4 to 16")
    assert worst <= 8.0  # four units each for the update and the root


@claim(
    "Section 4.1",
    "the oscillation comes from the limits of numerical precision",
    kind="experiment",
    verdict="not reproduced",
    why=(
        "the same updates in 60 digits oscillate the same: h' is within 1e-4 of 2 at"
        " the root, so an update mirrors F at it"
    ),
)
def test_oscillation_in_sixty_digits(evidence):
    r_data, r_noise = (r[-1, 0, :64] for r in fig07.log_ratios(Settings(runs=1), 1))
    with mpmath.workdps(60):
        data, noise = ([mpmath.mpf(float(v)) for v in r] for r in (r_data, r_noise))

        def means(F):
            A = mpmath.fsum(1 / (1 + mpmath.exp(v - F)) for v in data) / len(data)
            return A, mpmath.fsum(1 / (1 + mpmath.exp(F - v)) for v in noise) / len(
                noise
            )

        path = [mpmath.mpf(0)]
        for _ in range(20):
            A, B = means(path[-1])
            path.append(path[-1] - mpmath.log(A) + mpmath.log(B))
        moves = [b - a for a, b in zip(path[1:-1], path[2:], strict=True)]
        assert all(a * b < 0 for a, b in zip(moves[:-1], moves[1:], strict=True))
        shrink = abs(moves[-1] / moves[-2])
        evidence(
            "60 digits, distance 16: update 20 still moves F by"
            f" {float(abs(moves[-1])):.0f}, {float(shrink):.4f} of the one before"
        )
        assert abs(moves[-1]) > 50 and shrink > 0.9
    slope = np.asarray(committed("fig07")["slope"])[-1]
    assert np.all(np.abs(slope - 2.0) < 1e-4)
