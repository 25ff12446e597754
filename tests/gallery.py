"""What the tests of the paper's experiments share: the gallery's committed numbers."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

for name in ("matplotlib", "tqdm", "safetensors", "arviz_stats"):
    why = f"the figures need {name}: pip install 'refnce[figures]'"
    pytest.importorskip(name, reason=why)

GALLERY = Path(__file__).parent.parent / "figures" / "gallery"
SOLVED = ("BAR", "binary search")
THREE = ("NCE", *SOLVED)
experiment = partial(pytest.mark.claim, kind="experiment")
section_4_1 = partial(experiment, "Section 4.1")
section_4_2 = partial(experiment, "Section 4.2")
section_4_3 = partial(experiment, "Section 4.3")
section_5 = partial(experiment, "Section 5")
appendix_C = partial(experiment, "Appendix C")


def committed(name):
    return json.loads((GALLERY / f"{name}.json").read_text())


def listed(table, digits):
    """The mean of each entry, for the evidence: ``BAR 0.12, NCE 0.34``."""
    return ", ".join(f"{name} {np.mean(v):{digits}}" for name, v in table.items())


def common_steps(rerun, numbers):
    """The indices in both of the kept steps that both have."""
    here, there = list(rerun["step"]), list(numbers["step"])
    common = [k for k in here if k in there]
    return [here.index(k) for k in common], [there.index(k) for k in common]
