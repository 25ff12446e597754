"""``python -m refnce chain``: output, exit status, and one line for each bad input."""

import gzip
import json

import numpy as np
import pytest

from refnce.__main__ import main
from refnce.freeenergy import chain

# Harmonic oscillators, u_k = a_k x^2/2, with f_k - f_0 = log(a_k/a_0)/2.
A, COUNTS = np.array([1.0, 2.0, 4.0]), [200, 120, 160]
RNG = np.random.Generator(np.random.PCG64(4))
TABLES = [np.outer(RNG.normal(size=n) ** 2 / a, A / 2) for n, a in zip(COUNTS, A)]
OPTIONS = [{}, {"independent": True}, {"chains": 4}]


@pytest.fixture
def run(tmp_path, capsys):
    """Returns (exit status, standard output, standard error) for tables and options."""

    def run(tables, *options):
        files = []
        for k, table in enumerate(tables):
            files.append(str(tmp_path / f"state{k}.npy"))
            np.save(files[-1], table)
        return command(capsys, *files, *options)

    return run


def command(capsys, *arguments):
    try:
        status = main(["chain", *map(str, arguments)])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def assert_refused(result, *complaints):
    """One line on standard error, nothing on standard output, exit status 2."""
    status, out, err = result
    assert status == 2 and out == "" and err.count("\n") == 1
    assert all(complaint in err for complaint in complaints), err


def changed(k, rows, column, value):
    """TABLES with ``value`` in ``rows`` of a column of state k."""
    tables = [table.copy() for table in TABLES]
    tables[k][rows, column] = value
    return tables


@pytest.mark.parametrize("keywords", OPTIONS, ids=str)
def test_prints_what_chain_returns(run, keywords):
    options = ["--independent"] if keywords.get("independent") else []
    options += ["--chains", "4"] if "chains" in keywords else []
    status, out, err = run(TABLES, *options, "--json")
    z = chain(np.concatenate(TABLES).T, COUNTS, **keywords)
    assert (status, err) == (0, "")
    record = {x: getattr(z, x).tolist() for x in ("f", "error", "overlap", "ess")}
    record |= {"status": 2 * ["CONVERGED"], "counts": COUNTS, "trusted": True}
    record |= {"total": z.f[-1], "total_error": z.error[0, -1]}
    assert json.loads(out) == record


def test_prints_states_pairs_and_the_total(run):
    status, out, _ = run(TABLES, "--independent")
    z = chain(np.concatenate(TABLES).T, COUNTS, independent=True)
    states, pairs, total = out.rstrip().split("\n\n")
    header, *rows = (line.split() for line in states.splitlines())
    assert status == 0
    assert header == ["state", "f", "error", "samples", "effective"]
    for k, row in enumerate(rows):
        numbers = f"{z.f[k]:.6f}", f"{z.error[0, k]:.6f}"
        assert row == [f"{k}", *numbers, f"{COUNTS[k]}", f"{COUNTS[k]:.1f}"]
    header, *rows = (line.split() for line in pairs.splitlines())
    assert header == ["pair", "difference", "error", "overlap", "status"]
    for k, row in enumerate(rows):
        numbers = z.f[k + 1] - z.f[k], z.error[k, k + 1], z.overlap[k]
        assert row == [f"{k}-{k + 1}", *(f"{x:.6f}" for x in numbers), "CONVERGED"]
    assert total.split() == ["total", f"{z.f[2]:.6f}", f"{z.error[0, 2]:.6f}"]


def test_text_compressed_text_and_npy_are_one(run, tmp_path, capsys):
    paths = [tmp_path / name for name in ("0.txt", "1.gz", "2.npy")]
    text = ["\n".join(" ".join(map(repr, row)) for row in x.tolist()) for x in TABLES]
    paths[0].write_text("# u_0 u_1 u_2\n\n" + text[0].replace("\n", "  # one\n", 1))
    paths[1].write_bytes(gzip.compress(text[1].encode()))
    np.save(paths[2], TABLES[2])
    expected = run(TABLES)
    assert command(capsys, *paths) == expected and expected[0] == 0


def test_what_is_not_read_may_be_nan(run, tmp_path, capsys):
    """States 0 and 2 are no neighbours. The word nan stands for it in text."""
    tables = changed(0, slice(None), 2, np.nan)
    tables[2][:, 0] = np.nan
    assert run(tables) == run(TABLES)
    paths = [tmp_path / f"{k}.txt" for k in range(3)]
    for path, table in zip(paths, tables):
        np.savetxt(path, table, fmt="%.17g")
    assert command(capsys, *paths) == run(TABLES)


def test_an_impossible_sample_is_inf(run):
    tables = changed(0, 5, 1, np.inf)
    status, out, err = run(tables, "--json")
    z = chain(np.concatenate(tables).T, COUNTS)
    assert (status, err) == (0, "") and json.loads(out)["f"] == z.f.tolist()


def test_a_pair_without_a_root_exits_1(run):
    """No sample of states 1 and 2 is possible at the other state."""
    tables = changed(1, slice(None), 2, np.inf)
    tables[2][:, 1] = np.inf
    status, out, err = run(tables, "--json")
    found = json.loads(out)
    assert status == 1 and found["status"] == ["CONVERGED", "NO_ROOT"]
    assert found["total"] is None and found["error"][0][2] is None
    assert not found["trusted"] and "states 1 and 2 is nan" in err
    assert "state 1 has nan effective" in err and err.count("\n") == 3
    assert run(tables)[0] == 1 and "NO_ROOT" in run(tables)[1]


def test_low_overlap_exits_3_and_names_the_pair(run):
    tables = changed(1, slice(None), 2, TABLES[1][:, 2] + 20.0)
    tables[2][:, 1] += 20.0
    status, out, err = run(tables, "--independent")
    assert status == 3 and err.count("\n") == 1 and out.count("CONVERGED") == 2
    assert "the overlap of states 1 and 2 is" in err and "not >= 0.01" in err


def test_few_effective_samples_exit_3_and_name_the_state(run):
    """State 1 repeats 20 samples, 6 times each, one after the other."""
    tables = [*TABLES]
    tables[1] = np.repeat(tables[1][:20], 6, axis=0)
    status, _, err = run(tables)
    assert status == 3 and err.count("\n") == 1
    assert "state 1 has" in err and "effective samples, not >= 50" in err
    assert run(tables, "--independent")[0] == 0
    status, out, err = run([table[:1] for table in TABLES], "--json")
    assert status == 3 and json.loads(out)["total_error"] is None
    assert "state 0 has" in err and "state 2 has" in err and err.count("\n") == 3


BAD_TEXT = [
    ("", "holds 0 numbers; at least one row is needed"),
    ("1 2 3\n1 2\n", "cannot be read: line 2 has 2 columns; the first row has 3"),
    ("1 2 3\n1 2 1_000\n", "line 2: '1_000' is no number"),
    ("1 2 1e400\n", "line 1: '1e400' is no number"),
    ("1 2\n", "has 2 columns, not 3: 3 files are 3 states"),
    ("1 2 3 4\n", "has 4 columns, not 3: 3 files are 3 states"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD_TEXT)
def test_a_bad_table_is_refused(run, tmp_path, capsys, text, complaint):
    run(TABLES)
    (tmp_path / "bad.txt").write_text(text)
    paths = tmp_path / "state0.npy", tmp_path / "bad.txt", tmp_path / "state2.npy"
    assert_refused(command(capsys, *paths), complaint, "bad.txt")


def test_a_bad_array_is_refused(run):
    first, _, last = TABLES
    assert_refused(run([first, last[:, 0], last]), "state1.npy", "of shape (160,)")
    assert_refused(run([first, last.astype(int), last]), "holds int64")
    assert_refused(run([first, last[:, :2], last]), "state1.npy has 2 columns, not 3")
    assert_refused(run([first, last[:0], last]), "state1.npy holds 0 numbers")


def test_bad_input_is_refused(run, tmp_path, capsys):
    assert_refused(run(TABLES[:1]), "at least two files")
    assert_refused(run([]), "FILE")
    assert_refused(command(capsys, tmp_path / "a", tmp_path / "b"), "No such file")
    assert_refused(
        run(changed(1, 7, 2, np.nan)), "1 samples of state 1 that are not", "at 1 and 2"
    )
    assert_refused(run(changed(2, 7, 2, np.inf)), "a sample's own state", "of state 2")
    assert_refused(run(TABLES, "--chains", 7), "counts[0]", "multiple of chains = 7")
    assert_refused(run(TABLES, "--chains", 0), "chains must be")
