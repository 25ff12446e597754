"""Suites of cases, and how they are written: as JSON and as tab-separated text."""

from __future__ import annotations

import hashlib
import io
import json
from fractions import Fraction

import mpmath
import numpy as np

from tests import certainty
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

    def add(self, flags, comment, inputs, outputs=(), refused=()):
        """Add a case; ``outputs`` are {quantity: (shape, Exacts)}."""
        suffix = "32" if self.dtype == "float32" else ""
        name = f"{self.name}{suffix}-{len(self.cases) + 1:03d}"
        inputs = {key: self._input(x, f"{name}-{key}") for key, x in inputs.items()}
        outputs = {key: self._output(*x) for key, x in dict(outputs).items()}
        case = {"id": name, "flags": flags.split(), "comment": comment}
        answers = {"refused": list(refused)} if refused else {"outputs": outputs}
        self.cases.append(case | {"inputs": inputs} | answers)
        rows = [("in", key, *_cells(x), "") for key, x in inputs.items()]
        for key, x in outputs.items():
            rows.append(("out", key, *_cells(x), " ".join(x["unit"])))
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
    """The shape and the values of an input or an output."""
    if isinstance(x, str):
        return "text", x
    values = f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])
    return ",".join(map(str, x["shape"])), values


def certified_sums(formula):
    """The numbers of ``formula``, certain to 40 digits."""
    return certainty.certify_all(lambda: [(x.value, x.size) for x in formula()])


def certified_parts(formula):
    """Each list of ``formula``, certain to 40 digits."""
    sizes = {name: len(xs) for name, xs in formula().items()}
    exacts = iter(certified_sums(lambda: sum(formula().values(), [])))
    return {name: [next(exacts) for _ in range(size)] for name, size in sizes.items()}


def over_leading(outputs, runs, shared=()):
    """The outputs of each run of arrays whose first axis is runs, joined.

    The arrays named in ``shared`` have no such axis.
    """

    def of_run(k, inputs):
        batched = {
            name: x[k]
            for name, x in inputs.items()
            if isinstance(x, np.ndarray) and name not in shared
        }
        return outputs(**inputs | batched)

    def call(**inputs):
        each = [of_run(k, inputs) for k in range(runs)]
        return {
            name: ((runs, *shape), [exact for run in each for exact in run[name][1]])
            for name, (shape, _) in each[0].items()
        }

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


def exact(x):
    sign, man, exp, _ = x._mpf_
    return Fraction(-int(man) if sign else int(man)) * Fraction(2) ** int(exp)


def nearest(x, dtype):
    """The nearest number of ``dtype``, ties to even."""
    x = written(x)
    if not mpmath.isfinite(x):
        return float(x)
    spacing = exact(ulp(x, dtype))
    rounded = round(exact(x) / spacing) * spacing
    if abs(rounded) <= Fraction(float(np.finfo(dtype).max)):
        return float(rounded)
    return float("inf" if rounded > 0 else "-inf")


def upward(x):
    """A unit as a double, not under it."""
    unit = exact(min(x, mpmath.ldexp(1, 1023)))
    value = float(unit)
    return value if Fraction(value) >= unit else float(np.nextafter(value, np.inf))
