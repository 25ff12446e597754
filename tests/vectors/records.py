"""Suites of cases, and how they are written: as JSON and as tab-separated text."""

import hashlib
import io
import json
import math
from itertools import islice, repeat

import mpmath
import numpy as np

from tests import certainty
from tests.runs import split
from tests.ulps import ulp

INLINE = 2048  # numbers of an array that is written out; a larger one has a file


class Suite:
    """The cases of one file as JSON, and the rows of its text."""

    def __init__(self, name, dtype):
        self.name, self.dtype, self.cases, self.arrays = name, dtype, [], {}
        self.rows = ["#id\trole\tname\tshape\tvalues\tunits\tflags"]

    def answer(self, flags, comment, outputs, inputs, **options):
        """Add a case whose outputs are ``outputs(**inputs, **options)``."""
        self.add(flags, comment, inputs, outputs(**inputs, **options))

    def withdraw(self, comment, reason):
        """Mark the one case that has this comment, and leave it out of the text."""
        (case,) = (case for case in self.cases if case["comment"] == comment)
        case["withdrawn"] = reason
        self.rows = [row for row in self.rows if not row.startswith(case["id"] + "\t")]

    def add(self, flags, comment, inputs, outputs=(), refused=()):
        """Add a case; ``outputs`` are {quantity: (shape, Exacts)}."""
        suffix = "32" if self.dtype == "float32" else ""
        name = f"{self.name}{suffix}-{len(self.cases) + 1:03d}"
        inputs = {key: self._input(x, f"{name}-{key}") for key, x in inputs.items()}
        outputs = {key: self._output(*x) for key, x in dict(outputs).items()}
        case = {"id": name, "flags": flags.split(), "comment": comment}
        answers = {"refused": list(refused)} if refused else {"outputs": outputs}
        self.cases.append(case | {"inputs": inputs} | answers)
        rows = [("in", key, *_cells(x)) for key, x in inputs.items()]
        rows += [("out", key, *_cells(x)) for key, x in outputs.items()]
        rows += [("out", key, "", "refused", "") for key in refused]
        flags = ",".join(case["flags"])
        self.rows += ["\t".join([name, *row, flags]) for row in rows]

    def _output(self, shape, exacts):
        return {
            "shape": list(shape),
            "dec": [digits(x.value) for x in exacts],
            "hex": [nearest(x.value, self.dtype).hex() for x in exacts],
            "unit": [upward(x.unit(self.dtype)).hex() for x in exacts],
        }

    def _input(self, x, stem):
        if isinstance(x, str):
            return x
        x = np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore"):
            rounded = x.astype(self.dtype)
        assert np.array_equal(x, rounded, equal_nan=True), "not exact"
        shape = list(x.shape)
        if x.size <= INLINE:
            return {"shape": shape, "hex": [v.hex() for v in x.ravel().tolist()]}
        buffer, file = io.BytesIO(), f"{stem}.npy"
        np.save(buffer, rounded, allow_pickle=False)
        self.arrays[file] = buffer.getvalue()
        digest = hashlib.sha256(self.arrays[file]).hexdigest()
        return {"shape": shape, "npy": file, "sha256": digest}

    def files(self, header):
        """The files of the suite by name."""
        stem = f"{self.name}.{self.dtype}"
        head = {**header, "suite": self.name, "dtype": self.dtype}
        top = json.dumps(head, indent=1)[:-2]
        body = ",\n".join("  " + json.dumps(case) for case in self.cases)
        text = f'{top},\n "cases": [\n{body}\n ]\n}}\n'
        rows = "\n".join(self.rows) + "\n"
        files = {f"{stem}.json": text.encode(), f"{stem}.tsv": rows.encode()}
        return files | self.arrays


def _cells(x):
    """The shape, the values and the units of an input or an output."""
    if isinstance(x, str):
        return "text", x, ""
    values = f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])
    return ",".join(map(str, x["shape"])), values, " ".join(x.get("unit", ()))


def certified(formula):
    """The outputs {name: (shape, Exacts)} of ``formula() -> {name: Sized}``."""
    shapes = {}

    def pairs():
        found = formula()
        shapes.update({name: np.shape(x.value) for name, x in found.items()})
        sides = [(np.ravel(x.value), np.ravel(x.size)) for x in found.values()]
        return [pair for side in sides for pair in zip(*side, strict=True)]

    exacts = iter(certainty.certify_all(pairs))
    return {
        name: (shape, list(islice(exacts, math.prod(shape))))
        for name, shape in shapes.items()
    }


def over_runs(outputs, **ranks):
    """The function that joins the outputs of each run of a batch.

    ``ranks`` are the numbers of axes of an input in one run, 0 where not named.
    """

    def call(**inputs):
        runs, each = split(inputs.values(), map(ranks.get, inputs, repeat(0)))
        answers = [outputs(**dict(zip(inputs, run, strict=True))) for run in each]
        joined = {}
        for name, (shape, _) in answers[0].items():
            exacts = [exact for answer in answers for exact in answer[name][1]]
            joined[name] = ((*runs, *shape), exacts)
        return joined

    return call


BEYOND = 2000  # binary exponents no program can tell from 0 or infinity


def written(x):
    """x as it is written: 0 or an infinity where it lies beyond all floats."""
    exponent = mpmath.frexp(x)[1] if mpmath.isfinite(x) else 0
    if abs(exponent) <= BEYOND:
        return x
    return mpmath.mpf(0) if exponent < 0 else mpmath.sign(x) * mpmath.inf


def digits(x):
    """40 decimal digits, or inf, -inf, nan."""
    x = written(x)
    if not mpmath.isfinite(x):
        return float(x).hex()
    return mpmath.libmp.to_str(x._mpf_, certainty.DIGITS)


def nearest(x, dtype):
    """The nearest number of ``dtype``, ties to even."""
    x = written(x)
    if not mpmath.isfinite(x):
        return float(x)
    exponent = mpmath.frexp(ulp(x, dtype))[1] - 1  # frexp(1) is (0.5, 1)
    rounded = mpmath.ldexp(mpmath.nint(mpmath.ldexp(x, -exponent)), exponent)
    beyond = abs(rounded) > float(np.finfo(dtype).max)
    return float(mpmath.sign(x) * mpmath.inf if beyond else rounded)


def upward(x):
    """A unit as a double, not under it."""
    unit = min(x, mpmath.ldexp(1, 1023))
    value = float(unit)
    return value if value >= unit else float(np.nextafter(value, np.inf))
