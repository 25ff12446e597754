"""``freeenergy.chain`` on real data, against pymbar and against blocks of trajectories.

The data are those of alchemtest, read by alchemlyb (extra ``freeenergy``) in the lines
of docs/free-energies.md. They are fixed and nothing is drawn: a test that passes once
fails only after a change of code. ``pytest -rP`` shows what the tests measured.
"""

import importlib
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from refnce.__main__ import main
from refnce.freeenergy import chain

# pandas, pymbar and alchemlyb warn of their own futures.
pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = Path(__file__).parent.parent / "docs" / "free-energies.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
READ, SOLVE, WRITE = [code for language, code in BLOCKS if language == "python"]
# Engine, data set of alchemtest, leg.
GROMACS = [("gmx", "benzene", "Coulomb"), ("gmx", "benzene", "VDW")]
GROMACS += [("gmx", "ethanol", "Coulomb"), ("gmx", "ethanol", "VDW")]
GROMACS += [("gmx", "ABFE", "complex"), ("gmx", "ABFE", "ligand")]
WATER = ("with_potential", "with_total", "without")
GROMACS += [("gmx", f"water_particle_{x}_energy", "AllStates") for x in WATER]
EXPANDED = [("gmx", f"expanded_ensemble_case_{k}", "AllStates") for k in (1, 2, 3)]
STEPS = ("decharge", "recharge", "vdw")
BACE = [f"{x} {y}" for x in ("complex", "solvated") for y in STEPS]
AMBER = [("amber", "bace_example", leg) for leg in BACE]
AMBER += [("amber", "tyk2_example", leg) for leg in ("complex", "solvated")]
NAMD = [("namd", "idws", "forward"), ("namd", "tyr2ala", "forward")]
NAMD += [("namd", "restarted", "both"), ("namd", "restarted_reversed", "both")]
LEGS = [*GROMACS, *EXPANDED, *AMBER, *NAMD, ("gomc", "benzene", "all")]


@pytest.fixture(scope="module")
def peers():
    """The libraries, which are slow to import; silent."""
    for name in ("alchemlyb", "alchemtest", "pymbar"):
        why = f"{name} is not installed (extra freeenergy)"
        pytest.importorskip(name, reason=why)
    logger = importlib.import_module("loguru").logger  # alchemlyb's
    logger.disable("alchemlyb")
    yield
    logger.enable("alchemlyb")


@cache
def solved(engine, name, leg):
    """The names of the page's lines: u_nk, states, counts, z."""
    space = {"files": files_of(engine, name, leg)}
    read = READ.replace("parsing.gmx", f"parsing.{engine}")
    if name == "bace_example":
        read = read.replace("T=300", "T=298.0")
    if engine == "namd":
        read = read.rpartition("u_nk =")[0] + "u_nk = extract_u_nk(files, T=300)"
    exec(read, space)
    if name == "tyr2ala":  # a file for each direction, with the same index
        exec(read, backward := {"files": files_of(engine, name, "backward")})
        space["u_nk"] = space["u_nk"].combine_first(backward["u_nk"])
    exec(SOLVE.replace("print(", "text = ("), space)
    return space


def files_of(engine, name, leg):
    module = importlib.import_module(f"alchemtest.{engine}")
    files = getattr(module, f"load_{name}")().data
    for key in leg.split():
        files = files[key] if isinstance(files, dict) else files
    return files


def samples_of(space):
    """u (K, N) and counts, as SOLVE hands them to chain."""
    u_nk = space["u_nk"].sort_index(level=space["states"])
    return u_nk[space["counts"].index].to_numpy().T, space["counts"].to_list()


def pairs_of(u, counts):
    """Forward and reverse work of every pair."""
    states = np.split(u, np.cumsum(counts)[:-1], axis=-1)
    for k in range(len(counts) - 1):
        yield states[k][k + 1] - states[k][k], states[k + 1][k] - states[k + 1][k + 1]


@pytest.mark.parametrize("leg", LEGS, ids="-".join)
def test_differences_are_those_of_pymbar(peers, leg):
    """Per pair to 1e-12 kT, at pymbar's tolerance of 1e-13."""
    bar = importlib.import_module("pymbar").bar
    z, worst = (space := solved(*leg))["z"], 0.0
    assert not z.status.any()
    for k, pair in enumerate(pairs_of(*samples_of(space))):
        with np.errstate(all="ignore"):  # pymbar changes it for good
            found = bar(*pair, relative_tolerance=1e-13)["Delta_f"]
        worst = max(worst, abs(z.f[k + 1] - z.f[k] - found))
    print(f"{worst:.0e} kT")
    assert worst <= 1e-12


@pytest.mark.parametrize(
    ("leg", "total", "error"), [("Coulomb", 3.0444, 0.0218), ("VDW", -3.0329, 0.0482)]
)
def test_benzene_in_water(peers, leg, total, error):
    space = solved("gmx", "benzene", leg)
    assert space["text"] == f"{total:.4f} +- {error:.4f} kT, trusted: True"
    if leg == "Coulomb":
        assert space["text"] in PAGE.read_text("utf-8")


BLOCKS_A_LEG = 20


def test_errors_are_the_scatter_of_blocks(peers):
    """Blocks of a trajectory scatter as the error of each block says.

    The ratio is the root mean square, over 9 legs of 20 blocks, of (total of a block -
    mean of blocks)/error. The mean takes a degree of freedom from each leg: 171 remain.
    Were errors exact and blocks independent, the ratio would be 1 +- 0.054, and outside
    0.85 to 1.15 once in 180 new sets of data. That of the squares of the pairs' errors,
    if 1.24 as here, would be under 1.15 once in 11.

    Correlation within a block is in its error, estimated from that block alone.
    Correlation of blocks is not accounted for. It is weak: only in ABFE's complex is
    the time of correlation, up to 18 samples, not short against a block, of 50.
    """
    ours, squares = [], []
    for leg in GROMACS:
        u, counts = samples_of(solved(*leg))
        sizes = [n // BLOCKS_A_LEG for n in counts]
        states = np.split(u, np.cumsum(counts)[:-1], axis=-1)
        cut = [x[:, : n * BLOCKS_A_LEG] for x, n in zip(states, sizes, strict=True)]
        cut = [x.reshape(len(x), BLOCKS_A_LEG, -1) for x in cut]
        z = chain(np.concatenate(cut, axis=-1).swapaxes(0, 1).copy(), sizes)
        total = z.f[:, -1] - z.f[:, -1].mean()
        ours += [total / z.error[:, 0, -1]]
        pairs = np.diagonal(z.error, 1, axis1=-2, axis2=-1)
        squares += [total / np.linalg.vector_norm(pairs, axis=-1)]
    freedom = len(GROMACS) * (BLOCKS_A_LEG - 1)
    ratio, naive = (
        np.sqrt((np.stack(x) ** 2).sum() / freedom) for x in (ours, squares)
    )
    print(f"{ratio:.3f}; with the squares of the pairs' errors {naive:.2f}")
    assert 0.85 <= ratio <= 1.15 < naive


def test_the_command_line_prints_the_same(peers, tmp_path, capsys, monkeypatch):
    space = dict(solved("gmx", "benzene", "Coulomb"))
    monkeypatch.chdir(tmp_path)
    exec(WRITE, space)
    assert main(["chain", *sorted(str(path) for path in tmp_path.glob("*.npy"))]) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert float(total[1]) == pytest.approx(space["z"].f[-1], abs=1e-6)
    assert float(total[2]) == pytest.approx(space["z"].error[0, -1], abs=1e-6)
