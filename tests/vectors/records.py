"""Suites of cases, and how they are written: as JSON and as tab-separated text."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from tests import certainty
from tests.ulps import ulp
from tests.vectors.balls import Sized

INLINE = 2048  # numbers of an array that is written out; a larger one has a file


@dataclass
class Case:
    flags: list[str]
    comment: str
    inputs: dict[str, Any]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass
class Suite:
    """The cases of one file, in the order of their ids."""

    name: str
    dtype: str
    cases: list[Case] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return f"{self.name}.{self.dtype}"

    def case_id(self, k: int) -> str:
        return f"{self.name}{'32' if self.dtype == 'float32' else ''}-{k + 1:03d}"

    def answer(
        self,
        flags: str,
        comment: str,
        outputs: Callable[..., Any],
        inputs: dict[str, Any],
        **options: Any,
    ) -> None:
        """Add a case whose outputs are ``outputs(**inputs, **options)``."""
        self.add(flags, comment, inputs, outputs(**inputs, **options))

    def add(
        self,
        flags: str,
        comment: str,
        inputs: dict[str, Any],
        outputs: Any = (),
        refused: Iterable[str] = (),
    ) -> None:
        """``outputs`` are {quantity: (shape, Exacts)}."""
        kept = {
            name: x if isinstance(x, str) else np.asarray(x, dtype=np.float64)
            for name, x in inputs.items()
        }
        for x in kept.values():
            if not isinstance(x, str):
                with np.errstate(over="ignore"):
                    rounded = x.astype(self.dtype).astype(np.float64)
                assert np.array_equal(x, rounded, equal_nan=True), "not exact"
        answers = {
            name: self._output(shape, exacts)
            for name, (shape, exacts) in dict(outputs).items()
        }
        self.cases.append(Case(flags.split(), comment, kept, answers, list(refused)))

    def _output(
        self, shape: Sequence[int], exacts: Sequence[certainty.Exact]
    ) -> dict[str, Any]:
        return {
            "shape": list(shape),
            "dec": [digits(x.value) for x in exacts],
            "hex": [nearest(x.value, self.dtype).hex() for x in exacts],
            "unit": [upward(x.unit(self.dtype)).hex() for x in exacts],
        }

    def files(self, header: dict[str, Any]) -> dict[str, bytes]:
        """The files of the suite by name."""
        arrays: dict[str, bytes] = {}
        cases, rows = [], ["#id\trole\tname\tshape\tvalues\tunits\tflags"]
        for k, case in enumerate(self.cases):
            name, flags = self.case_id(k), ",".join(case.flags)
            inputs = {
                key: (
                    x if isinstance(x, str) else self._input(x, f"{name}-{key}", arrays)
                )
                for key, x in case.inputs.items()
            }
            cells = [("in", key, *_cells(x), "") for key, x in inputs.items()]
            for key, x in case.outputs.items():
                units = " ".join(x["unit"])
                cells.append(("out", key, *_cells(x), units))
            cells += [("out", key, "", "refused", "") for key in case.refused]
            rows += ["\t".join([name, *row, flags]) for row in cells]
            record = {"id": name, "flags": case.flags, "comment": case.comment}
            record["inputs"] = inputs
            record |= (
                {"refused": case.refused} if case.refused else {"outputs": case.outputs}
            )
            cases.append(record)
        head = {**header, "suite": self.name, "dtype": self.dtype}
        top = json.dumps(head, indent=1)[:-2]
        body = ",\n".join("  " + json.dumps(case) for case in cases)
        text = f'{top},\n "cases": [\n{body}\n ]\n}}\n'
        return {
            f"{self.stem}.json": text.encode(),
            f"{self.stem}.tsv": ("\n".join(rows) + "\n").encode(),
            **arrays,
        }

    def _input(
        self, x: np.ndarray, stem: str, arrays: dict[str, bytes]
    ) -> dict[str, Any]:
        shape = list(x.shape)
        if x.size <= INLINE:
            return {"shape": shape, "hex": [float(v).hex() for v in x.ravel()]}
        buffer, file = io.BytesIO(), f"{stem}.npy"
        np.save(buffer, x.astype(self.dtype), allow_pickle=False)
        arrays[file] = buffer.getvalue()
        digest = hashlib.sha256(arrays[file]).hexdigest()
        return {"shape": shape, "npy": file, "sha256": digest}


def _cells(x: Any) -> tuple[str, str]:
    """The shape and the values of an input or an output."""
    if isinstance(x, str):
        return "text", x
    values = f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])
    return ",".join(map(str, x["shape"])), values


def certified_sums(formula: Callable[[], Sequence[Sized]]) -> list[certainty.Exact]:
    """The numbers of ``formula``, certain to 40 digits."""
    return certainty.certify_all(lambda: [(x.value, x.size) for x in formula()])


def certified_parts(
    formula: Callable[[], dict[str, list[Sized]]],
) -> dict[str, list[certainty.Exact]]:
    """Each list of ``formula``, certain to 40 digits."""
    sizes = {name: len(xs) for name, xs in formula().items()}
    exacts = iter(certified_sums(lambda: sum(formula().values(), [])))
    return {name: [next(exacts) for _ in range(size)] for name, size in sizes.items()}


def over_leading(
    outputs: Callable[..., Any], runs: int, shared: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """The outputs of each run of arrays whose first axis is runs, joined.

    The arrays named in ``shared`` have no such axis.
    """

    def of_run(k: int, inputs: dict[str, Any]) -> Any:
        batched = {
            name: x[k]
            for name, x in inputs.items()
            if isinstance(x, np.ndarray) and name not in shared
        }
        return outputs(**inputs | batched)

    def call(**inputs: Any) -> Any:
        each = [of_run(k, inputs) for k in range(runs)]
        return {
            name: ((runs, *shape), [exact for run in each for exact in run[name][1]])
            for name, (shape, _) in each[0].items()
        }

    return call


BEYOND = 2000  # binary exponents no program can tell from 0 or infinity


def written(x: mpmath.mpf) -> mpmath.mpf:
    """x as it is written: 0 or an infinity where it lies beyond all floats."""
    exponent = mpmath.frexp(x)[1] if mpmath.isfinite(x) else 0
    if abs(exponent) <= BEYOND:
        return x
    return mpmath.mpf(0) if exponent < 0 else mpmath.sign(x) * mpmath.inf


def digits(x: mpmath.mpf) -> str:
    """40 decimal digits, or inf, -inf, nan."""
    x = written(x)
    if not mpmath.isfinite(x):
        return float(x).hex()
    return mpmath.libmp.to_str(x._mpf_, certainty.DIGITS)


def exact(x: mpmath.mpf) -> Fraction:
    sign, man, exp, _ = x._mpf_
    return Fraction(-int(man) if sign else int(man)) * Fraction(2) ** int(exp)


def nearest(x: mpmath.mpf, dtype: str) -> float:
    """The nearest number of ``dtype``, ties to even."""
    x = written(x)
    if not mpmath.isfinite(x):
        return float(x)
    spacing = exact(ulp(x, dtype))
    rounded = round(exact(x) / spacing) * spacing
    if abs(rounded) <= Fraction(float(np.finfo(dtype).max)):
        return float(rounded)
    return float("inf" if rounded > 0 else "-inf")


def upward(x: mpmath.mpf) -> float:
    """A unit as a double, not under it."""
    unit = exact(min(x, mpmath.ldexp(1, 1023)))
    value = float(unit)
    return value if Fraction(value) >= unit else float(np.nextafter(value, np.inf))
