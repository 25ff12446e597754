"""The command line, ``python -m refnce``: solve, check and vectors.

The exit status is 0 if the solver converged or all answers are right, 1 if not, and 2
for bad input, which is named in one line on standard error.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from refnce import logz
from refnce.array import backend
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.check import check
from refnce.conformance.report import Report, flags_of

PRINTED = ("F", "standard_error", "overlap", "trusted", "evaluations", "status")
FILES = """A file is .npy (one axis of float64 or float32) or text with one number a
line. Text may have # comments and be compressed (.gz)."""
METHODS = {"newton": logz.newton, "bisect": logz.bisect, "bar": logz.bar}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        text, status = COMMANDS[options.command](options)
        print(text, flush=True)
        return status
    except (ValueError, OSError, backend.BackendError) as error:
        print(f"refnce: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _solve(options):
    if options.work and options.nu is not None:
        raise InputError("--work takes nu = n_F/n_R from the files; leave out --nu")
    r_data, r_noise = read(options.data), read(options.noise)
    nu = 1.0 if options.nu is None else options.nu
    if options.work:
        # Forward work u_1 - u_0 is taken on samples of state 0, which are the noise;
        # reverse work u_0 - u_1 on samples of state 1, which are the data.
        r_data, r_noise = r_noise, -r_data
        nu = r_noise.shape[0] / r_data.shape[0]
    xp = backend.load(options.backend)
    samples = backend.asarray(r_data, xp), backend.asarray(r_noise, xp)
    solution = METHODS[options.method](*samples, nu=nu)
    record = {key: backend.to_numpy(getattr(solution, key)).item() for key in PRINTED}
    record["status"] = logz.Status(record["status"]).name
    if options.work:
        record = {"Delta_f": 0.0 - record.pop("F"), **record}
    record |= {"n": r_data.shape[0], "m": r_noise.shape[0], "nu": nu}
    status = 0 if record["status"] == "CONVERGED" else 1
    return _as_json(record) if options.json else _as_table(record), status


def _check(options):
    report = Report(options.level, skipped=flags_of(options.skip_flags))
    check(options.results, report)
    text = json.dumps(report.as_json()) if options.json else report.text()
    incomplete = report.incomplete and not options.partial
    return text, 1 if report.failures or incomplete else 0


COMMANDS = {
    "solve": _solve,
    "check": _check,
    "vectors": lambda options: (str(cases.FOLDER), 0),
}


def _parser():
    parser = _Parser(prog="python -m refnce", description="Solve for F; check results.")
    names = "|".join(COMMANDS)
    commands = parser.add_subparsers(dest="command", required=True, metavar=names)

    def command(name, text, epilog=""):
        command = commands.add_parser(name, help=text, description=text, epilog=epilog)
        return command.add_argument

    add = command("solve", "Print F for two files of log-ratios log p~ - log q.", FILES)
    add("data", type=Path, help="log-ratios on data; with --work the forward work")
    add("noise", type=Path, help="log-ratios on noise; with --work the reverse work")
    add("--method", choices=METHODS, default="newton")
    add("--nu", type=float, help="weight of noise against data (default 1)")
    add("--backend", choices=("numpy", "cupy"), default="numpy")
    add("--json", action="store_true", help="print JSON; null is a non-finite number")
    add("--work", action="store_true", help="work in units of kT: print f_1 - f_0 = -F")
    add = command("check", "Judge another program's results on the test vectors.")
    add("results", type=Path, help="their format is described in docs/conformance.md")
    levels = "A: 4 units (default), B: 64, C: 2^20"
    add("--level", choices=cases.LEVELS, default="A", help=levels)
    add("--skip-flags", default="", metavar="FLAG,...", help="kinds of cases to skip")
    add("--partial", action="store_true", help="accept results that leave out answers")
    add("--json", action="store_true", help="print one JSON object")
    command("vectors", "Print the folder of the test vectors.")
    return parser


def read(path: Path) -> Any:
    """Return the numbers in ``path`` as a NumPy array of float64 with one axis.

    Raises InputError if the file holds anything else, no number, or NaN, and OSError
    if it cannot be read.
    """
    numbers = _read_npy(path) if path.suffix == ".npy" else _read_text(path)
    bad, among = int((numbers != numbers).sum()), numbers.shape[0]
    if among == 0:
        raise InputError(f"{path} holds no numbers; at least one log-ratio is needed")
    if bad:
        raise InputError(f"{path} holds {bad} NaN among {among} numbers; drop them")
    return numbers


def _read_npy(path):
    numpy = backend.load("numpy")
    try:
        # A mapped file whose header promises more than it holds allocates nothing, and
        # neither pickles nor archives are read.
        stored = numpy.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header may raise nearly anything
        raise InputError(f"{path} is not a .npy file of numbers: {error}") from error
    if stored.dtype not in (numpy.float64, numpy.float32) or stored.ndim != 1:
        kind = f"{stored.dtype} of shape {stored.shape}"
        needed = "one axis of float64 or float32 is needed"
        raise InputError(f"{path} holds {kind}; {needed}")
    return numpy.array(stored, dtype=numpy.float64)


def _read_text(path):
    count = 0

    def lines():
        nonlocal count
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            for count, line in enumerate(file, start=1):
                yield line

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file is refused by ``read``
            table = backend.load("numpy").loadtxt(lines(), ndmin=2)
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path} is neither text nor named .npy ({reason})") from error
    except ValueError as error:
        reason = str(error).partition(" at row")[0][:100]
        raise InputError(f"{path}, line {count}: {reason}") from error
    columns = table.shape[1]
    if columns > 1:
        raise InputError(f"{path} has {columns} numbers a line; one a line is needed")
    return table.reshape(-1)


def _as_json(record):
    """JSON has no NaN and no infinity: null stands for them."""
    text = json.dumps(record)
    return json.dumps(json.loads(text, parse_constant=lambda constant: None))


def _as_table(record):
    """The rows up to the status; F with all digits."""
    name, *_ = record
    note = "" if record["trusted"] else "  (do not rely on it: see overlap and status)"
    rows = record | {
        name: repr(record[name]),
        "standard_error": f"{record['standard_error']:.6g}{note}",
        "overlap": f"{record['overlap']:.6g}",
    }
    keys = (name, "standard_error", "overlap", "evaluations", "status")
    return "\n".join(f"{key.replace('_', ' '):<16}{rows[key]}" for key in keys)


if __name__ == "__main__":
    sys.exit(main())
