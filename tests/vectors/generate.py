"""``python -m tests.vectors.generate [--check]``: write or compare the vectors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tests.vectors import families, layers, ratios
from tests.vectors.flags import FLAGS
from tests.vectors.records import Suite

FOLDER = Path(__file__).parent.parent.parent / "refnce" / "conformance" / "data"

# Each paragraph is one entry of the files.
CONVENTIONS = """
r = log p~ - log q on data (n of them) and on noise (m); the last axis is samples,
leading axes are independent runs

s_data = 1/(1 + exp(r_data - F - log nu)), s_noise = 1/(1 + exp(F + log nu -
r_noise)), A = mean s_data, B = mean s_noise

loss = (mean -log(1 - s_data) + nu mean -log(1 - s_noise))/(1 + nu)

grad_F = dloss/dF = (A - nu B)/(1 + nu)

hess_F = (mean s_data (1 - s_data) + nu mean s_noise (1 - s_noise))/(1 + nu)

grad_r_data = dloss/dr_data, grad_r_noise = dloss/dr_noise, one for each sample

bar_update = F - log A + log B + log nu

root: the F with A = nu B; where there is none its limit, -inf or +inf, or nan

standard_error = sqrt(var(s_data)/n + nu^2 var(s_noise)/m)/((1 + nu) hess_F) at the
root, var with denominator n (m); nan where n or m is 1

overlap = (1 + nu)^2/nu hess_F at the root

converged: 1 where the status says so (0, CONVERGED), 0 where it says anything else

F0, xtol (absolute), step and max_updates, where a case has them, are arguments of
the solver; what does not take one is not asked. With xtol the unit of the root is
xtol

ence: loss = mean exp(-(r_data - F)/2)/2 + mean exp((r_noise - F)/2)/2, grad_F its
derivative, log_z = log mean exp(r_noise/2) - log mean exp(-r_data/2)

expfam: r = T theta + offset; gradient and hessian in [theta, F]; profile_*: F is
the root at theta

conv: y[i, o, a, b] = bias[o] + sum over c, u, v of weight[o, c, u, v] x[i, c,
stride a + u - 1, stride b + v - 1], x being 0 outside; d* pull back dy. Units:
those of the sum as it stands times 32, which fast convolutions lose; for a 0 that
no product was added to, those of the largest sum of its array

head: r = b f -+ f^T L L^T f, L lower triangular, below its diagonal triangle and on
it exp of triangle's (what is above it counts for nothing), - for sign negative and
+ for positive; d* pull back dy

mlp: y of affine layers x weight^T + bias with leaky rectifiers (slope 0.01 for x <=
0) between; d* pull back dy

optim: the steps of sgd, ngd (-rate g/|g|, 0 where g is 0) and adam (betas 0.9 and
0.999, bias correction, eps = 1e-8 outside the root) for one gradient after another

trajectory: theta <- theta - rate dloss/dtheta and F by update (gradient: F - rate_F
dloss/dF; bar: F - rate_F (log A - log B - log nu); root: the root of the batch);
order together: both from the old F; first: theta from the new F
"""
HEADER: dict[str, Any] = {
    "schema": 1,
    "version": "2026.11",
    "generator": "tests/vectors/generate.py: balls of python-flint (Arb), precision"
    " doubled until 40 digits are certain",
    "levels": {"A": 4, "B": 64, "C": 2**20},
    "error": "|got - dec| / unit; the largest over the elements of an output; nan and"
    " infinities must be the same",
    "conventions": [" ".join(x.split()) for x in CONVENTIONS.split("\n\n")],
    "flags": FLAGS,
}

SUITES = (
    ratios.nce,
    ratios.logz,
    ratios.ence,
    families.expfam,
    layers.mlp,
    layers.conv,
    layers.head,
    layers.optim,
    families.trajectory,
)


def generated() -> dict[str, bytes]:
    """All files by name."""
    found: dict[str, bytes] = {}
    for dtype in ("float64", "float32"):
        for build in SUITES:
            suite = Suite(build.__name__, dtype)
            build(suite)
            found |= suite.files(HEADER)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vectors.generate", description=__doc__
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say which files differ"
    )
    check = parser.parse_args().check
    new = generated()
    old = {
        path.name: path.read_bytes()
        for path in FOLDER.glob("*")
        if path.name != "schema.json"
    }
    names = sorted(new.keys() | old.keys())
    odd = [name for name in names if new.get(name) != old.get(name)]
    if check:
        print(
            "\n".join([f"differs: {name}" for name in odd])
            or f"{len(new)} files are the same, bit for bit"
        )
        return 1 if odd else 0
    for name in odd:
        if name in new:
            (FOLDER / name).write_bytes(new[name])
            print(f"written: {name}")
        else:
            print(f"not generated, left there: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
