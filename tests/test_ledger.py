"""The ledger of claims: verdicts, CLAIMS.md, and runs on other implementations."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refnce.conformance.surface import Impl, NotProvided
from tests import claims
from tests.claims import Claim, Record
from tests.conftest import on_module

SAMPLES = Path(__file__).parent / "samples"
HOLDS, FAILS, SURFACE = (
    (SAMPLES / f"{name}.py").read_text() for name in ("holds", "fails", "surface")
)
LINE = (
    "- **Lemma 3.2** (theorem, holds): x\\*x is 1. "
    "`nce.loss`, [`test_one`](test_a.py#L6)"
)
ERROR = (
    "- **Eq. 9** (printed error): 1 = 2. Right: 1 = 1. [`test_printed`](test_a.py#L13)"
)
OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED
USAGE_ERROR = pytest.ExitCode.USAGE_ERROR
PAIR = np.zeros(1), np.zeros(2)


@pytest.fixture
def run(pytester):
    """Run pytest with this plugin over test files given by name, in this process."""

    def runner(*args, **files):
        for name, text in files.items():
            pytester.makepyfile(**{name: text})
        plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
        return pytester.runpytest_inprocess(*plugins, *args)

    return runner


@pytest.fixture
def table(pytester):
    return pytester.path / "CLAIMS.md"


def test_claims_follow_the_paper():
    labels = ["Test vectors", "Eq. 13", "Figure 7", "Section 4.2, 1-d", "Eq. 4"]
    tests = {x: Record([Claim(x, "s", "theorem")]) for x in labels}
    tests["p"] = Record([claims.printed_error("after Eq. 1", printed="", right="")])
    found = [row.claim for row in claims.rows(tests)]
    order = ["Eq. 4", "Section 4.2, 1-d", "Eq. 13", "Figure 7", "Test vectors"]
    assert [claim.label for claim in found] == [*order, "after Eq. 1"]
    assert found[1].heading == "Section 4: Experimental results"
    assert found[4].heading == "Not in the paper"


# CLAIMS.md


def test_full_run_prints_writes_and_compares(run, table):
    result = run("--write-claims", test_a=HOLDS)
    result.assert_outcomes(passed=3)
    expected = [
        "*ledger of claims (refnce on numpy)*",
        "holds *Lemma 3.2: x[*]x is 1 [[]theorem, 2 tests[]]",
        "*measured 1",
        "*measured -1",
        "holds corrected *Eq. 9: 1 = 2 [[]printed error, 1 test[]]",
        "ledger: 1 holds, 1 holds corrected",
    ]
    result.stdout.fnmatch_lines(expected)
    written = table.read_text().splitlines()
    assert LINE in written and ERROR in written
    assert "measured" not in table.read_text()
    assert run().ret == OK
    table.unlink()
    assert run().ret == FAILED


@pytest.mark.parametrize(
    ("word", "other"), [("Lemma 3.2", "Lemma 3"), ("is 1", "is 2"), (", holds)", ")")]
)
def test_changed_claim_fails_only_a_full_run(run, table, word, other):
    assert run("--write-claims", test_a=HOLDS).ret == OK
    table.write_text(table.read_text().replace(word, other))
    result = run()
    result.assert_outcomes(passed=3, failed=1)
    changes = ["*CLAIMS.md differs from this run*", f"*-- *{other}*", f"*+- *{word}*"]
    result.stdout.fnmatch_lines(changes)
    assert run("-k", "test_one").ret == run("test_a.py").ret == OK


def test_moved_lines_pass_and_a_collection_renews_them(run, table):
    assert run("--write-claims", test_a=HOLDS).ret == OK
    result = run(test_a="# two\n# lines\n" + HOLDS)
    assert result.ret == OK
    result.stdout.fnmatch_lines(["*links in CLAIMS.md have moved: *--collect-only *"])
    before = table.read_text()
    run("--collect-only", "--write-claims", "test_a.py")
    renewed = before.replace("#L6)", "#L8)").replace("#L13)", "#L15)")
    assert table.read_text() == renewed != before


def test_failed_claim_is_not_written(run, table):
    result = run("--write-claims", test_a=HOLDS, test_b=FAILS)
    result.assert_outcomes(passed=3, failed=2)
    lines = ["*not written*", "FAILED *Eq. 3: two is one*", "*test_b.py::test_two"]
    result.stdout.fnmatch_lines(lines)
    assert not table.exists()


NARROW = ["-k one", "test_a.py", "--backend=array_api_strict"]


@pytest.mark.parametrize("option", [*NARROW, "--deselect=test_a.py::test_printed"])
def test_narrowed_run_is_not_written(run, table, option):
    assert run("--write-claims", option, test_a=HOLDS).ret == FAILED
    assert not table.exists()


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        ('x < 0 and pytest.skip("none")', "not checked", "1 of 2 tests: none"),
        ('x < 0 and pytest.xfail("known")', "not checked", "*: expected to fail"),
        ("pytest.importorskip('none')", "not checked", "2 of *: could not import*"),
        ("assert x == 1", "FAILED", "*test_one[[]-1[]]"),
        ("request.getfixturevalue('broken')", "FAILED", "*test_one*"),
    ],
)
def test_outcome_of_one_test_decides(run, table, body, verdict, reason):
    assert run("--write-claims", test_a=HOLDS).ret == OK
    result = run(test_a=HOLDS.replace("assert x * x == 1", body))
    result.stdout.fnmatch_lines([f"{verdict} *Lemma 3.2*", f"*{reason}"])
    assert result.ret == FAILED


@pytest.mark.parametrize(
    ("args", "reason"), [(["-k", "not one"], "deselected"), (["-x"], "did not run")]
)
def test_claim_left_out_is_not_checked(run, args, reason):
    lines = ["not checked *Lemma 3.2*", f"*2 of 2 tests: {reason}"]
    run(*args, test_0=FAILS, test_a=HOLDS).stdout.fnmatch_lines(lines)


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        ('"L", kind="theorem"', "*missing 1 required positional argument*"),
        ('"L", "s", kind="guess"', "*kind must be one of *; got 'guess'*"),
        ('"L", "s", kind="theorem", verdict="maybe"', "*verdict must be *'maybe'*"),
        ('"L", "s", kind="theorem", verdict="not reproduced"', "*needs why=*"),
        ('"Lemma 3.2", "x*x is 1", kind="experiment"', "*'experiment'*'theorem'*"),
    ],
)
def test_invalid_declaration_is_a_usage_error(run, declaration, complaint):
    test = f"import pytest\n\n@pytest.mark.claim({declaration})\ndef test_it(): pass\n"
    result = run(test_a=HOLDS, test_b=test)
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_workers_of_xdist_report_to_one_ledger(run, table):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    assert run("--write-claims", test_a=HOLDS).ret == OK
    before = table.read_text()
    result = run("-n2", "--write-claims")
    assert result.ret == OK and table.read_text() == before
    result.stdout.fnmatch_lines(["*measured *", "ledger: 1 holds, 1 holds corrected"])
    lines = ["not checked *Lemma 3.2*", "*2 of 2 tests: deselected"]
    run("-n2", "-k", "not one").stdout.fnmatch_lines(lines)


# Other implementations


def test_refnce_passes_on_another_array_library(run):
    result = run("--backend", "array_api_strict", test_a=SURFACE)
    result.assert_outcomes(passed=3, deselected=1)
    lines = ["*array_api_strict*", "not checked *Section 4:*", "ledger: 3 holds, 1 *"]
    result.stdout.fnmatch_lines(lines)


def test_other_implementation_is_judged_by_what_it_provides(run):
    result = run("--impl", "tests.samples.theirs", test_a=SURFACE)
    result.assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
    lines = ["holds *Eq. 3: *", "not checked *Eq. 4: *", "FAILED *Eq. 10: *"]
    more = ["not provided: nce.hess_F (1 test)", "ledger: 1 FAILED, 1 holds, 2 not *"]
    result.stdout.fnmatch_lines([*lines, *more])


def test_submodules_of_a_package_are_found(pytester, monkeypatch):
    monkeypatch.syspath_prepend(pytester.path)
    package = pytester.mkpydir("theirs_in_a_package")
    (package / "logz.py").write_text("def newton(*r, **options): return 7.0\n")
    found = on_module("theirs_in_a_package").logz.newton(*PAIR, xtol=1e-3)
    assert found.F == 7.0
    with pytest.raises(NotProvided, match=r"logz.newton\(\).status"):
        found.converged  # noqa: B018


def test_asarray_of_the_module_makes_its_arguments_and_eps():
    theirs = SimpleNamespace(hess_F=lambda r_data, r_noise, F: r_data.dtype.itemsize)
    theirs.asarray = lambda x: x.astype(np.float32)
    impl = Impl(theirs)
    assert impl.eps == 2.0**-23 and impl.nce.hess_F(*PAIR, 0.0) == 4


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--impl", "no_such_module"], "*--impl no_such_module: No module named*"),
        (["--impl", "string"], "*provides none of the names of the oracle surface*"),
        (["--impl=refnce", "--backend=array_api_strict"], "*--backend is for refnce*"),
        (["--backend", "abacus"], "*invalid choice: 'abacus'*"),
    ],
)
def test_invalid_option_is_a_usage_error(run, args, complaint):
    result = run(*args, test_a=SURFACE)
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_name_outside_the_surface_is_an_error_of_the_test(impl):
    with pytest.raises(AttributeError, match="no attribute 'log_z'"):
        impl.nce.log_z  # noqa: B018
    with pytest.raises(NotProvided, match=r"logz.newton\(\).value"):
        impl.logz.newton(*PAIR).value  # noqa: B018
