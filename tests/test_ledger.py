"""The ledger itself: failing, skipped, deselected and contradictory claims, a drifted CLAIMS.md, other implementations."""

from __future__ import annotations

import textwrap

import pytest

HOLDS = """
    import pytest

    @pytest.mark.claim("Lemma 1", "one is one", kind="theorem", where="nce.loss")
    @pytest.mark.parametrize("x", [1, 2])
    def test_one(x, evidence):
        evidence(f"measured {x}")
        assert x == x

    @pytest.mark.printed_error("Eq. 9", printed="1 = 2", right="1 = 1")
    def test_printed():
        assert 1 != 2
"""
FAILS = """
    import pytest

    @pytest.mark.claim("Lemma 2", "two is one", kind="experiment", verdict="not reproduced", why="it is two")
    def test_two():
        assert 2 == 1
"""


@pytest.fixture
def run(pytester):
    """Run pytest with this plugin over test files given by name, in this process."""

    def runner(*args, **files):
        for name, text in files.items():
            pytester.makepyfile(**{name: textwrap.dedent(text)})
        return pytester.runpytest_inprocess(
            "-p", "tests.conftest", "-p", "no:cacheprovider", *args
        )

    return runner


def stored(pytester):
    return (pytester.path / "CLAIMS.md").read_text()


def test_the_ledger_is_printed_written_and_compared(run, pytester):
    result = run("--write-claims", test_a=HOLDS)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*ledger of claims (refnce on numpy)*",
            "holds *Lemma 1: one is one [[]theorem, 2 tests[]]",
            "*measured 1",
            "*measured 2",
            "holds corrected *Eq. 9: 1 = 2 [[]printed error, 1 test[]]",
            "ledger: 1 holds, 1 holds corrected",
        ]
    )
    assert (
        "| Lemma 1 | one is one | **holds** | `nce.loss` | `test_a.py::test_one` |"
        in stored(pytester)
    )
    assert "| Eq. 9 | 1 = 2 | 1 = 1 | `test_a.py::test_printed` |" in stored(pytester)
    assert "measured" not in stored(pytester)
    assert run().ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("Lemma 1", "Lemma 3"),
        ("one is one", "one is two"),
        ("**holds**", "**not checked**"),
    ],
)
def test_a_drifted_table_fails_a_full_run_alone(run, pytester, word, other):
    assert run("--write-claims", test_a=HOLDS).ret == pytest.ExitCode.OK
    (pytester.path / "CLAIMS.md").write_text(stored(pytester).replace(word, other))
    result = run()
    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*CLAIMS.md differs from this run*", f"*-| *{other}*", f"*+| *{word}*"]
    )
    assert run("-k", "test_one").ret == pytest.ExitCode.OK
    assert run("test_a.py").ret == pytest.ExitCode.OK


def test_a_missing_table_fails_a_full_run(run):
    assert run(test_a=HOLDS).ret == pytest.ExitCode.TESTS_FAILED


def test_a_failing_claim_is_failed_whatever_its_verdict_and_is_never_written(
    run, pytester
):
    result = run("--write-claims", test_a=HOLDS, test_b=FAILS)
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*CLAIMS.md is not written*",
            "FAILED *Lemma 2: two is one*",
            "*test_b.py::test_two",
        ]
    )
    assert not (pytester.path / "CLAIMS.md").exists()


def test_one_failure_outweighs_what_passed(run):
    failing = HOLDS.replace("assert x == x", "assert x == 1")
    run(test_a=failing).stdout.fnmatch_lines(
        ["FAILED *Lemma 1*", "*test_one[[]2[]]", "ledger: 1 FAILED, 1 holds corrected"]
    )


def test_an_error_in_a_fixture_fails_the_claim(run):
    before = HOLDS.replace("assert x == x", "pass").replace(
        "(x, evidence)", "(x, evidence, broken)"
    )
    run(
        test_a=before
        + "\n    @pytest.fixture\n    def broken():\n        yield\n        raise OSError\n"
    ).stdout.fnmatch_lines(["FAILED *Lemma 1*"])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ('pytest.skip("no device")', "no device"),
        ('pytest.xfail("known")', "expected to fail"),
        ("pytest.importorskip('no_such_module')", "could not import*"),
    ],
)
def test_a_skipped_claim_is_not_checked(run, pytester, how, reason):
    assert run("--write-claims", test_a=HOLDS).ret == pytest.ExitCode.OK
    result = run(test_a=HOLDS.replace("assert x == x", f"if x == 2: {how}"))
    result.stdout.fnmatch_lines(
        [
            "not checked *Lemma 1*",
            f"*1 of 2 tests: {reason}",
            "ledger: 1 holds corrected, 1 not checked",
        ]
    )
    assert (
        result.ret == pytest.ExitCode.TESTS_FAILED
    )  # the stored table says that it holds


def test_a_deselected_claim_is_not_checked(run):
    run("-k", "not one", test_a=HOLDS).stdout.fnmatch_lines(
        ["not checked *Lemma 1*", "*2 of 2 tests: deselected"]
    )


def test_a_claim_that_an_early_stop_left_out_is_not_checked(run):
    result = run("-x", test_a=FAILS, test_b=HOLDS)
    result.stdout.fnmatch_lines(["not checked *Lemma 1*", "*2 of 2 tests: did not run"])


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        (
            '"L", "s", kind="guess"',
            "*kind must be one of theorem, experiment; got 'guess'*",
        ),
        (
            '"L", "s", kind="theorem", verdict="maybe"',
            "*verdict must be one of *; got 'maybe'*",
        ),
        ('"L", "s", kind="theorem", verdict="not reproduced"', "*needs why=*"),
        (
            '"L", kind="theorem"',
            "*missing 1 required positional argument: 'statement'*",
        ),
        (
            '"Lemma 1", "one is one", kind="experiment"',
            "*kind is 'experiment' at test_b.py::test_it, 'theorem' at *test_one*",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_stops_the_run(run, declaration, complaint):
    other = f"import pytest\n\n@pytest.mark.claim({declaration})\ndef test_it(): pass\n"
    result = run(test_a=HOLDS, test_b=other)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_a_narrowed_run_writes_nothing(run, pytester):
    for args in (
        ["-k", "one"],
        ["test_a.py"],
        ["--backend", "array_api_strict"],
        ["--deselect", "test_a.py::test_printed"],
    ):
        assert (
            run("--write-claims", *args, test_a=HOLDS).ret
            == pytest.ExitCode.TESTS_FAILED
        )
        assert not (pytester.path / "CLAIMS.md").exists()


def test_workers_of_xdist_report_to_one_ledger(run, pytester):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    assert run("--write-claims", test_a=HOLDS).ret == pytest.ExitCode.OK
    before = stored(pytester)
    result = run("-n2", "--write-claims")
    assert result.ret == pytest.ExitCode.OK and stored(pytester) == before
    result.stdout.fnmatch_lines(["*measured *", "ledger: 1 holds, 1 holds corrected"])
    run("-n2", "-k", "not one").stdout.fnmatch_lines(
        ["not checked *Lemma 1*", "*2 of 2 tests: deselected"]
    )


# Other implementations: the claims below are true of BAR, whoever computes it.

CLAIMS = """
    import numpy as np, pytest

    r_data, r_noise = np.asarray([0.5, 2.0]), np.asarray([-1.0, 0.0, 1.0])

    @pytest.mark.claim("Eq. 1", "the loss at F far below is that of the noise", kind="theorem")
    def test_loss(impl):
        F = -50.0
        assert abs(float(impl.nce.loss(r_data, r_noise, F)) - np.mean(r_noise - F) / 2) <= 100 * impl.eps

    @pytest.mark.claim("Eq. 10", "BAR leads towards the root", kind="theorem")
    def test_update(impl):
        root = impl.logz.bisect(r_data, r_noise).F
        assert abs(impl.logz.bar_update(r_data, r_noise, 3.0) - root) < abs(3.0 - root)

    @pytest.mark.claim("LogZ", "an exact root is CONVERGED", kind="theorem")
    def test_status(impl):
        assert impl.logz.bisect(r_data, r_noise).converged

    @pytest.mark.claim("Eq. 4", "the second derivative is positive", kind="theorem")
    def test_curvature(impl):
        assert impl.nce.hess_F(r_data, r_noise, 0.0, nu=2.0) > 0

    @pytest.mark.claim("elsewhere", "a claim that no implementation is asked for", kind="theorem")
    def test_nothing():
        pass
"""
# Bare names where they are unambiguous, a namespace for the others, a solver that returns F alone, no nu, no hess_F.
OTHER = """
    import math

    class nce:
        def loss(r_data, r_noise, F):
            softplus = lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x)))
            data, noise = [softplus(F - r) for r in r_data], [softplus(r - F) for r in r_noise]
            return (sum(data) / len(data) + sum(noise) / len(noise)) / 2

    def shares(r_data, r_noise, F):
        A = sum(1 / (1 + math.exp(r - F)) for r in r_data) / len(r_data)
        B = sum(1 / (1 + math.exp(F - r)) for r in r_noise) / len(r_noise)
        return A, B

    def bar_update(r_data, r_noise, F):
        A, B = shares(r_data, r_noise, F)
        return F - math.log(A) + math.log(B)

    def bisect(r_data, r_noise):
        lo, hi = -10.0, 10.0
        for _ in range(60):
            middle = (lo + hi) / 2
            A, B = shares(r_data, r_noise, middle)
            lo, hi = (middle, hi) if A < B else (lo, middle)
        return lo
"""


@pytest.fixture
def other(pytester, monkeypatch):
    """Put a module ``theirs`` where --impl finds it, under a name of its own each time."""
    monkeypatch.syspath_prepend(pytester.path)

    def write(text):
        name = f"theirs{abs(hash(text))}"
        pytester.makepyfile(**{name: textwrap.dedent(text)})
        return name

    return write


def test_refnce_passes_on_a_second_array_library(run):
    result = run("--backend", "array_api_strict", test_a=CLAIMS)
    result.assert_outcomes(passed=4, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "*refnce on array_api_strict*",
            "not checked *elsewhere: *",
            "ledger: 4 holds, 1 not checked",
        ]
    )


def test_another_implementation_is_judged_by_what_it_provides(run, other):
    result = run("--impl", other(OTHER), test_a=CLAIMS)
    result.assert_outcomes(passed=2, skipped=2, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "holds *Eq. 1: *",
            "not checked *Eq. 4: *",
            "*not provided: nce.hess_F",
            "holds *Eq. 10: *",
            "not checked *LogZ: *",
            "not provided: logz.bisect().status (1 test), nce.hess_F (1 test)",
            "ledger: 2 holds, 3 not checked",
        ]
    )


def test_a_wrong_sign_fails_its_claim_and_no_other(run, other):
    wrong = OTHER.replace(
        "F - math.log(A) + math.log(B)", "F + math.log(A) - math.log(B)"
    )
    result = run("--impl", other(wrong), test_a=CLAIMS)
    result.assert_outcomes(passed=1, failed=1, skipped=2, deselected=1)
    result.stdout.fnmatch_lines(["holds *Eq. 1: *", "FAILED *Eq. 10: *"])


def test_an_argument_that_is_lacking_is_not_provided(run, other):
    more = OTHER.replace(
        "class nce:", "class nce:\n        def hess_F(r_data, r_noise, F): return 1.0\n"
    )
    run("--impl", other(more), test_a=CLAIMS).stdout.fnmatch_lines(
        ["*not provided: nce.hess_F(nu=)"]
    )
    more = more.replace("hess_F(r_data, r_noise, F)", "hess_F(r_data, r_noise, F, nu)")
    run("--impl", other(more), test_a=CLAIMS).stdout.fnmatch_lines(["holds *Eq. 4: *"])


def test_asarray_of_the_module_makes_its_arguments_and_its_eps(run, other):
    module = """
        import numpy as np
        def asarray(x): return x.astype(np.float32)
        def hess_F(r_data, r_noise, F): return r_data.dtype.itemsize
    """
    test = """
        import numpy as np
        def test_it(impl):
            assert impl.eps == 2.0**-23
            assert impl.nce.hess_F(np.zeros(2), np.zeros(2), 0.0, nu=1.0) == 4
    """
    run("--impl", other(module), test_a=test).assert_outcomes(passed=1)


def test_submodules_of_a_package_are_found(run, pytester, monkeypatch):
    monkeypatch.syspath_prepend(pytester.path)
    package = pytester.mkpydir("theirs_in_a_package")
    (package / "logz.py").write_text(
        "def newton(r_data, r_noise, **options):\n    return 7.0\n"
    )
    test = """
        import numpy as np
        def test_it(impl):
            assert impl.logz.newton(np.zeros(1), np.zeros(1), xtol=1e-3).F == 7.0
    """
    run("--impl", "theirs_in_a_package", test_a=test).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--impl", "no_such_module"], "*--impl no_such_module cannot be imported*"),
        (["--impl", "string"], "*provides none of the names of the oracle surface*"),
        (
            ["--impl", "refnce", "--backend", "array_api_strict"],
            "*--backend is for refnce itself*",
        ),
        (["--backend", "abacus"], "*invalid choice: 'abacus'*"),
    ],
)
def test_a_wrong_choice_is_a_usage_error(run, args, complaint):
    result = run(*args, test_a=CLAIMS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_a_name_beside_the_surface_is_an_error_of_the_test(impl):
    with pytest.raises(AttributeError, match="nce.log_z is not on the oracle surface"):
        impl.nce.log_z  # noqa: B018
    with pytest.raises(AttributeError, match="LogZ has no field value"):
        import numpy as np

        impl.logz.newton(np.zeros(1), np.zeros(1)).value  # noqa: B018
