"""Cases as they are written: JSON for programs that read it, the same as tab-separated text for those that do not."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from tests import certified
from tests.ulps import ulp

INLINE = (
    2048  # numbers of an array that is written out; a larger one is a file of its own
)


@dataclass
class Case:
    flags: list[str]
    comment: str
    inputs: dict[str, Any]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass
class Suite:
    """One file: the cases of ``name`` in the order of their ids, and the arrays that lie beside it."""

    name: str
    dtype: str
    cases: list[Case] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return f"{self.name}.{self.dtype}"

    def case_id(self, k: int) -> str:
        return f"{self.name}{'32' if self.dtype == 'float32' else ''}-{k + 1:03d}"

    def add(
        self,
        flags: str,
        comment: str,
        inputs: dict[str, Any],
        outputs: Any = (),
        refused: Iterable[str] = (),
    ) -> None:
        """Inputs are numbers, text or arrays; outputs {quantity: (shape, Exacts)}."""
        kept = {
            name: x if isinstance(x, str) else np.asarray(x, dtype=np.float64)
            for name, x in inputs.items()
        }
        for x in kept.values():
            if self.dtype == "float32" and not isinstance(x, str):
                with np.errstate(over="ignore"):
                    assert np.array_equal(
                        x, x.astype(np.float32).astype(np.float64), equal_nan=True
                    ), "not exact in float32"
        written = {
            name: self._output(shape, exacts)
            for name, (shape, exacts) in dict(outputs).items()
        }
        self.cases.append(Case(flags.split(), comment, kept, written, list(refused)))

    def _output(
        self, shape: Sequence[int], exacts: Sequence[certified.Exact]
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
            name = self.case_id(k)
            inputs = {}
            for key, x in case.inputs.items():
                inputs[key] = (
                    x
                    if isinstance(x, str)
                    else self._input(x, f"{name}-{key}.npy", arrays)
                )
                rows.append(
                    "\t".join(
                        [
                            name,
                            "in",
                            key,
                            *_cells(inputs[key]),
                            "",
                            ",".join(case.flags),
                        ]
                    )
                )
            for key, out in case.outputs.items():
                cells = (
                    ",".join(map(str, out["shape"])),
                    " ".join(out["hex"]),
                    " ".join(out["unit"]),
                )
                rows.append("\t".join([name, "out", key, *cells, ",".join(case.flags)]))
            for key in case.refused:
                rows.append(
                    "\t".join(
                        [name, "out", key, "", "refused", "", ",".join(case.flags)]
                    )
                )
            record = {
                "id": name,
                "flags": case.flags,
                "comment": case.comment,
                "inputs": inputs,
            }
            cases.append(
                record
                | (
                    {"refused": case.refused}
                    if case.refused
                    else {"outputs": case.outputs}
                )
            )
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
        self, x: np.ndarray, file: str, arrays: dict[str, bytes]
    ) -> dict[str, Any]:
        if x.size > INLINE:
            buffer = io.BytesIO()
            np.save(buffer, x.astype(self.dtype), allow_pickle=False)
            arrays[file] = buffer.getvalue()
            return {
                "shape": list(x.shape),
                "npy": file,
                "sha256": hashlib.sha256(arrays[file]).hexdigest(),
            }
        return {"shape": list(x.shape), "hex": [float(v).hex() for v in x.ravel()]}


def _cells(x: Any) -> tuple[str, str]:
    if isinstance(x, str):
        return "text", x
    return ",".join(map(str, x["shape"])), (
        f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])
    )


BEYOND = 2000  # binary exponents no program can tell from 0 or infinity


def told(x: mpmath.mpf) -> mpmath.mpf:
    """x as it is written: 0 or an infinity where it lies beyond all floats."""
    if x == 0 or not mpmath.isfinite(x) or abs(mpmath.frexp(x)[1]) <= BEYOND:
        return x
    return mpmath.mpf(0) if mpmath.frexp(x)[1] < 0 else mpmath.sign(x) * mpmath.inf


def digits(x: mpmath.mpf) -> str:
    """40 decimal digits, or inf, -inf, nan."""
    x = told(x)
    return (
        mpmath.libmp.to_str(x._mpf_, certified.DIGITS)
        if mpmath.isfinite(x)
        else float(x).hex()
    )


def exact(x: mpmath.mpf) -> Fraction:
    sign, man, exp, _ = x._mpf_
    return Fraction(-int(man) if sign else int(man)) * Fraction(2) ** int(exp)


def nearest(x: mpmath.mpf, dtype: str) -> float:
    """The nearest number of ``dtype``, ties to even."""
    x = told(x)
    if not mpmath.isfinite(x):
        return float(x)
    spacing = exact(ulp(x, dtype))
    rounded = round(exact(x) / spacing) * spacing
    return (
        float(rounded)
        if abs(rounded) <= Fraction(float(np.finfo(dtype).max))
        else float("inf" if rounded > 0 else "-inf")
    )


def upward(x: mpmath.mpf) -> float:
    """A unit as a double, not under it."""
    unit = exact(min(x, mpmath.ldexp(1, 1023)))
    value = float(unit)
    return value if Fraction(value) >= unit else float(np.nextafter(value, np.inf))
