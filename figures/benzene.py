"""Benzene in water: `chain` beside alchemlyb's BAR and MBAR, on alchemtest's data.

alchemlyb, alchemtest and pymbar are optional (extra freeenergy). They warn when they
are imported, log, and change the settings of other libraries. So they have a process of
their own, ``python -m figures.benzene``, whose last line is the numbers as JSON.
"""

import json
import math
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from refnce.freeenergy import chain

PACKAGES = "alchemlyb", "alchemtest", "pymbar"
LEGS = "Coulomb", "VDW"
KELVIN = 300


def compare(quick: bool) -> dict[str, Any]:
    """Each leg's free energy by every estimator, or why there is none.

    ``quick`` asks for the first leg without MBAR, whose compilation takes seconds.
    """
    command = [sys.executable, "-W", "ignore", "-m", "figures.benzene"]
    command += ["quick"] if quick else []
    options: Any = {"capture_output": True, "text": True}
    done = subprocess.run(command, cwd=Path(__file__).parents[1], **options)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"absent": " ".join(["alchemlyb failed:", *last])}
    return json.loads(done.stdout.splitlines()[-1])


def measure(quick: bool) -> dict[str, Any]:
    """What ``compare`` returns, in this process."""
    try:
        versions = {name: metadata.version(name) for name in PACKAGES}
    except metadata.PackageNotFoundError as error:
        return {"absent": f"{error.name} is not installed (extra freeenergy)"}
    files = import_module("alchemtest.gmx").load_benzene()["data"]
    legs = {leg: _leg(files[leg], quick) for leg in LEGS[: 1 if quick else None]}
    return {"absent": None, "versions": versions, "legs": legs}


def _leg(files: Any, quick: bool) -> dict[str, Any]:
    pandas, estimators = map(import_module, ("pandas", "alchemlyb.estimators"))
    extract = import_module("alchemlyb.parsing.gmx").extract_u_nk
    tables = [extract(path, T=KELVIN) for path in files]
    u = np.concatenate([table.to_numpy() for table in tables]).T
    ours = chain(u, [len(table) for table in tables])
    bar = estimators.BAR().fit(pandas.concat(tables))
    # alchemlyb has no errors of BAR beyond neighbours; users add these as squares.
    pairs = np.diagonal(bar.d_delta_f_.to_numpy(), 1)
    bars = np.diagonal(bar.delta_f_.to_numpy(), 1)
    found = {
        "chain": [ours.f[-1], ours.error[0, -1]],
        "BAR": [bar.delta_f_.iloc[0, -1], math.hypot(*pairs)],
    }
    if not quick:
        mbar = estimators.MBAR().fit(pandas.concat(tables))
        found["MBAR"] = [mbar.delta_f_.iloc[0, -1], mbar.d_delta_f_.iloc[0, -1]]
    return {
        "states": len(tables),
        "samples": [len(table) for table in tables],
        "total": {name: [float(x) for x in value] for name, value in found.items()},
        "pairs_off_BAR": float(abs(np.diff(ours.f) - bars).max()),
        "least_overlap": float(ours.overlap.min()),
        "least_ess": float(ours.ess.min()),
        "trusted": bool(ours.trusted),
    }


if __name__ == "__main__":
    print(json.dumps(measure("quick" in sys.argv)))
