"""The conformance run: on refnce, on other modules, and by ``pytest --impl``."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from refnce import logz, nce
from refnce.conformance import cases, conform
from refnce.conformance.cases import InputError
from refnce.conformance.score import score_function
from refnce.conformance.surface import SUITES, Impl, NotProvided

LANGUAGES = Path(__file__).parent / "languages"
PAGE = (Path(__file__).parent.parent / "docs" / "conformance.md").read_text("utf-8")
CALLS = {
    f"{suite.name}.{suite.dtype}-{label}": (suite, label)
    for suite in cases.suites()
    for label in SUITES[suite.name]
}


@pytest.mark.claim(
    "Test vectors",
    "every function of the oracle surface except expfam.covariance answers the"
    " certified test vectors, each within 4 of its units",
    kind="theorem",
    where="refnce.conformance",
)
@pytest.mark.parametrize("call", CALLS)
def test_answers(impl, request, pytestconfig, call):
    suite, label = CALLS[call]
    verdicts = list(score_function(impl, suite, label, pytestconfig.option.skip_flags))
    lacking = {verdict.note for verdict in verdicts if np.isnan(verdict.error)}
    if label in lacking:
        raise NotProvided(label)
    if pytestconfig.option.impl is None:
        assert lacking <= {"logz.bar: not converged, no root claimed"}
    oracle = pytestconfig.pluginmanager.get_plugin("oracle")
    oracle.judge(verdicts, request.node.user_properties)


# --- Which functions of a module are under test


def test_a_name_offered_twice_is_refused():
    mine = SimpleNamespace(bar_update=lambda r_data, r_noise, F: F)
    mine.logz = SimpleNamespace(bar_update=lambda r_data, r_noise, F: F)
    with pytest.raises(InputError, match="offers bar_update twice"):
        Impl(mine)
    mine.bar_update = mine.logz.bar_update  # the same function under two names
    assert Impl(mine).logz.bar_update(0.0, 0.0, 2.0) == 2.0


def test_a_namespace_imported_from_refnce_is_not_under_test():
    mine = SimpleNamespace(logz=logz, bar_update=lambda r_data, r_noise, F: F)
    impl = Impl(mine)
    assert impl.logz.bar_update(np.zeros(1), np.zeros(1), 2.0) == 2.0
    with pytest.raises(NotProvided, match="logz.newton"):
        impl.logz.newton(np.zeros(1), np.zeros(1))
    with pytest.raises(InputError, match="provides none of the names"):
        Impl(SimpleNamespace(logz=logz, nce=nce))


def test_a_name_that_is_nearly_right_is_hinted_at():
    mine = SimpleNamespace(sgd=lambda state, g, *, rate: (0, -rate * g), grad_f=0)
    out = conform(mine).text()
    assert "nce.grad_F (513 cases); there is grad_f, which must be nce.grad_F\n" in out


def test_a_bare_function_counts_beside_a_foreign_namespace():
    """As after ``from torch import optim``."""
    mine = SimpleNamespace(sgd=lambda state, gradient, *, rate: (0, rate))
    mine.optim = SimpleNamespace(SGD=None)
    assert Impl(mine).optim.sgd(np.zeros(3), np.zeros(3), rate=0.5) == (0.5, 0.5)


# --- Other libraries

NCE = {"nce.loss", "nce.grad_F", "nce.hess_F", "logz.bar_update"}
ADAPTERS = {
    "pytorch": ("torch", NCE | {"nce.grad_r", "nn.mlp"}),
    "jax_x64": ("jax", NCE | {"nce.grad_r"}),
    "pymbar_bar": ("pymbar", {"logz.newton", "logz.bisect", "logz.bar"}),
    "scipy_root": ("scipy", NCE | {"logz.newton"}),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters(name):
    """Ordinary numbers are right at level C, or declined; no library passes all."""
    library, functions = ADAPTERS[name]
    pytest.importorskip(library, reason=f"{library} is not installed here")
    report = conform(importlib.import_module(f"tests.adapters.{name}"), level="C")
    assert set(report.by_function()) == functions and report.failures
    wrong = [v for v in report.failures if v.flags[0] in ("Normal", "Kink")]
    assert [v for v in wrong if not v.note.startswith("raised")] == []


# --- pytest --impl

MINE = """
    import numpy as np

    def _mean(r, F, nu, sign):
        shift = np.asarray(F)[..., None] + np.log(nu)
        return np.logaddexp(0, sign * (shift - r)).mean(-1)

    class nce:
        @staticmethod
        def loss(r_data, r_noise, F, *, nu=1.0):
            data, noise = _mean(r_data, F, nu, 1), _mean(r_noise, F, nu, -1)
            return (data + nu * noise) / {half}
"""


@pytest.fixture
def run(pytester, monkeypatch):
    def runner(half, *options):
        tests = "from tests.test_conformance import test_answers"
        pytester.makepyfile(mine=MINE.replace("{half}", half), test_it=tests)
        monkeypatch.syspath_prepend(pytester.path)
        sys.modules.pop("mine", None)
        plugins = "-p", "tests.conftest", "-p", "no:cacheprovider"
        chosen = *plugins, "--impl", "mine", "-k", "nce.float64"
        return pytester.runpytest_inprocess(*chosen, *options)

    return runner


def test_another_implementation_is_judged(run, pytester):
    result = run("2", "--level", "C", "--report", "report.json")
    result.assert_outcomes(failed=1, skipped=8)
    lines = ["*test vectors (mine)*", "nce.loss *", "*-> Weight (*): nu is not 1*"]
    result.stdout.fnmatch_lines(lines)
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["implementation"] == "mine"
    assert report["answers"] > 300 and len(report["failures"]) > 50


def test_known_failures_are_listed_and_must_fail(run, pytester):
    run("(1 + nu)", "--level", "C", "--report", "report.json")
    failures = json.loads((pytester.path / "report.json").read_text())["failures"]
    known = "".join(f"{v['id']} {v['quantity']}  # {v['flags'][0]}\n" for v in failures)
    file, options = pytester.path / "known.txt", "--level C --xfails known.txt".split()
    file.write_text("# what is known\n" + known)
    run("(1 + nu)", *options).assert_outcomes(passed=1, skipped=8)
    file.write_text("nce-001 loss\n" + known)
    result = run("(1 + nu)", *options)
    result.assert_outcomes(failed=1, skipped=8)
    message = "*no longer fail, take them out of --xfails: *nce-001*"
    result.stdout.fnmatch_lines([message])
    file.write_text("nce-001\n")
    assert run("2", *options).ret == pytest.ExitCode.USAGE_ERROR


def test_flags_are_skipped_by_name(run):
    skip = "--skip-flags", "BadInput,Huge,Infinite,Batched"
    result = run("(1 + nu)", "--level", "C", *skip)
    result.stdout.fnmatch_lines(["*skipped flags: BadInput, Batched, Huge, Infinite*"])
    run("2", "--skip-flags", "Odd").stderr.fnmatch_lines(["*no flag is called Odd*"])


# --- docs/conformance.md


def block(language):
    return PAGE.split(f"```{language}\n")[1].split("```")[0]


def test_the_example_of_the_page_prints_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine", None)
    printed = conform(importlib.import_module("mine"), level="C").text()
    for line in block("text").splitlines():
        assert line.strip() == "..." or line in printed, line


@pytest.mark.parametrize(
    ("function", "status"),
    [(nce.loss, 0), (None, 1), (Mock(side_effect=NotImplementedError), 1)],
    ids=["right", "misspelt", "not implemented"],
)
def test_the_line_for_ci_asks_for_what_must_be_checked(monkeypatch, function, status):
    """It is green only where nce.loss was checked."""
    (line,) = re.findall(r'python -c "(.*)"', block("yaml"))
    mine = SimpleNamespace(sgd=lambda state, g, *, rate: (state, -rate * g))
    mine.nce = SimpleNamespace(**{"loss" if function else "Loss": function})
    monkeypatch.setitem(sys.modules, "mine", mine)
    with pytest.raises(SystemExit) as stop:
        exec(line, {"exit": sys.exit})
    assert int(stop.value.code) == status


def test_the_numbers_of_the_page_are_right():
    assert (LANGUAGES / "nce.c").read_text().count("\n") < 80
    adapters = [LANGUAGES.parent / "adapters" / f"{name}.py" for name in ADAPTERS]
    assert all(path.read_text().count("\n") < 75 for path in adapters)
    count = sum(len(suite.cases) for suite in cases.suites())
    assert f"about {round(count, -2)} certified cases" in PAGE
