"""``python -m refnce``: solve for F from two files of log-ratios; check another program's results on the test vectors.

Exit status: 0 converged or all right, 1 not converged or something wrong, 2 bad input (one line on standard error).
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from refnce import logz
from refnce.array import backend
from refnce.conformance import cases
from refnce.conformance.check import check
from refnce.conformance.report import Report, flags_of

METHODS = {"newton": logz.newton, "bisect": logz.bisect, "bar": logz.bar}


class InputError(ValueError):
    """A file that cannot be used; the message names it, says what it holds and what is wanted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ValueError, OSError, backend.BackendError) as error:
        print(f"refnce: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _solve(options: argparse.Namespace) -> int:
    if options.work and options.nu is not None:
        raise InputError("--work takes nu = n_F/n_R from the files; leave out --nu")
    first, second = read(options.data), read(options.noise)
    r_data, r_noise, nu = first, second, 1.0 if options.nu is None else options.nu
    if options.work:
        # Forward work w_F = u_1 - u_0 is taken on samples of state 0, the noise, reverse work w_R = u_0 - u_1 on state 1.
        r_data, r_noise, nu = second, -first, first.shape[0] / second.shape[0]
    xp = _load(options.backend)
    found = METHODS[options.method](
        backend.asarray(r_data, xp), backend.asarray(r_noise, xp), nu=nu
    )
    print(
        _report(
            found,
            options.work,
            options.json,
            n=r_data.shape[0],
            m=r_noise.shape[0],
            nu=nu,
        ),
        flush=True,
    )
    return 0 if bool(backend.to_numpy(found.converged)) else 1


def _check(options: argparse.Namespace) -> int:
    report = check(
        options.results, Report(options.level, skipped=flags_of(options.skip_flags))
    )
    if not report.verdicts:
        raise InputError(f"{options.results} answers no test vector")
    if report.unknown_flags():
        raise InputError(report.unknown_flags())
    print(json.dumps(report.as_json()) if options.json else report.text(), flush=True)
    return 1 if report.failures else 0


def _vectors(options: argparse.Namespace) -> int:
    print(cases.FOLDER, flush=True)
    return 0


COMMANDS = {"solve": _solve, "check": _check, "vectors": _vectors}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m refnce",
        description="Noise contrastive estimation: the log-partition parameter F.",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="|".join(COMMANDS)
    )
    solve = commands.add_parser(
        "solve",
        help="F from two files of log-ratios log p~ - log q",
        description="Print F, its standard error, the overlap, evaluations and status. Files are .npy (1-d) or whitespace text.",
    )
    solve.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="log-ratios on data; with --work the forward work values",
    )
    solve.add_argument(
        "noise",
        metavar="NOISE",
        type=Path,
        help="log-ratios on noise; with --work the reverse work values",
    )
    solve.add_argument("--method", choices=list(METHODS), default="newton")
    solve.add_argument(
        "--nu",
        type=float,
        help="weight of noise against data (1; m/n for Gutmann and Hyvarinen's objective)",
    )
    solve.add_argument("--backend", choices=backend.NAMES, default="numpy")
    solve.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object; what is not finite is null",
    )
    solve.add_argument(
        "--work",
        action="store_true",
        help="work values in units of kT: print Delta f = f_1 - f_0 = -F",
    )
    results = commands.add_parser(
        "check",
        help="results of another program against the test vectors",
        description="Judge lines of id, quantity and hexadecimal numbers, with tabs between. See docs/conformance.md.",
    )
    results.add_argument("results", metavar="RESULTS", type=Path)
    results.add_argument(
        "--level",
        choices=list(cases.LEVELS),
        default="A",
        help="A: 4 units (default), B: 64, C: 2^20",
    )
    results.add_argument(
        "--skip-flags",
        default="",
        metavar="FLAGS",
        help="kinds of cases to leave out, with commas between",
    )
    results.add_argument("--json", action="store_true", help="print one JSON object")
    commands.add_parser(
        "vectors",
        help="print the folder of the test vectors",
        description="Print their folder.",
    )
    return parser


def read(path: Path) -> Any:
    """Return the numbers of ``path`` as a 1-d float64 host array: .npy, or else text of numbers between whitespace.

    Raises InputError for a file that holds anything else, no number, or NaN, and OSError where it cannot be read.
    """
    numbers = _read_npy(path) if path.suffix == ".npy" else _read_text(path)
    if numbers.shape[0] == 0:
        raise InputError(f"{path} holds no numbers; at least one log-ratio is needed")
    xp = backend.array_namespace(numbers)
    bad = int(xp.count_nonzero(xp.isnan(numbers)))
    if bad:
        raise InputError(
            f"{path} holds {bad} NaN among {numbers.shape[0]} numbers; drop or repair those samples"
        )
    return numbers


def _read_npy(path: Path) -> Any:
    numpy = backend.load("numpy")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"PK":
        raise InputError(
            f"{path} is an archive of several arrays; save one array with numpy.save"
        )
    if magic != b"\x93NUMPY":
        raise InputError(f"{path} is not a .npy file of numbers")
    try:
        # Mapped, not read: a header that promises more than the file holds is refused before anything is allocated.
        stored = numpy.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except (
        Exception
    ) as error:  # whatever a header that is none makes of NumPy's reader has the one remedy
        raise InputError(f"{path} is not a .npy file of numbers: {error}") from error
    if stored.dtype.kind != "f" or stored.dtype.itemsize not in (4, 8):
        raise InputError(
            f"{path} holds {stored.dtype}; float64 or float32 numbers are needed"
        )
    if stored.ndim != 1:
        raise InputError(
            f"{path} holds an array of shape {stored.shape}; one axis of samples is needed"
        )
    return numpy.array(stored, dtype=numpy.float64)


def _read_text(path: Path) -> Any:
    numpy = backend.load("numpy")
    numbers = []
    try:
        for number, line in enumerate(
            path.read_text(encoding="utf-8").splitlines(), start=1
        ):
            for word in line.split():
                try:
                    numbers.append(float(word))
                except ValueError:
                    shown = word if len(word) <= 40 else word[:40] + "..."
                    raise InputError(
                        f"{path}, line {number}: {shown!r} is not a number"
                    ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is neither text nor named .npy ({error.reason} at byte {error.start})"
        ) from error
    return numpy.array(numbers, dtype=numpy.float64)


def _load(name: str) -> Any:
    xp = backend.load(name)
    if name == "jax":  # in float32 by default; this process is ours
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    return xp


def _report(found: logz.LogZ, work: bool, as_json: bool, **inputs: Any) -> str:
    F, error, overlap = (
        float(backend.to_numpy(x))
        for x in (found.F, found.standard_error, found.overlap)
    )
    name, value = ("Delta f", 0.0 - F) if work else ("F", F)
    status = logz.Status(int(backend.to_numpy(found.status))).name
    evaluations, trusted = int(backend.to_numpy(found.evaluations)), bool(
        backend.to_numpy(found.trusted)
    )
    if as_json:
        numbers = {
            name.replace(" ", "_"): value,
            "standard_error": error,
            "overlap": overlap,
        }
        record: dict[str, Any] = {
            key: x if math.isfinite(x) else None for key, x in numbers.items()
        }
        return json.dumps(
            {
                **record,
                "trusted": trusted,
                "evaluations": evaluations,
                "status": status,
                **inputs,
            }
        )
    note = "" if trusted else "  (do not rely on it: see overlap and status)"
    rows = [
        (name, repr(value)),
        ("standard error", f"{error:.6g}{note}"),
        ("overlap", f"{overlap:.6g}"),
        ("evaluations", str(evaluations)),
        ("status", status),
    ]
    return "\n".join(f"{label:<16}{text}" for label, text in rows)


if __name__ == "__main__":
    sys.exit(main())
