"""The command line, ``python -m refnce``: solve, check and vectors.

The exit status is 0 if the solver converged or all answers are right, 1 if not, and 2
for bad input, which is named in one line on standard error.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from refnce import logz
from refnce.array import asarray, backend, host, to_numpy
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.check import check
from refnce.conformance.report import Report, flags_of
from refnce.conformance.surface import SOLVERS

PRINTED = ("F", "standard_error", "overlap", "trusted", "evaluations", "status")
FILES = """A file is .npy (one axis of float64 or float32) or text with one number a
line. Text may have # comments and be compressed (.gz)."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        found, right = options.command(options)
        print(found, flush=True)
        return 0 if right else 1
    except (ValueError, OSError, backend.BackendError) as error:
        print(f"refnce: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _as_json(record):
    """JSON has no NaN and no infinity: null stands for them."""
    text = json.dumps(record)
    return json.dumps(json.loads(text, parse_constant=lambda constant: None))


def _solve(options):
    if options.work and options.nu is not None:
        raise InputError("--work takes nu = n_F/n_R from the files; leave out --nu")
    r_data, r_noise = read(options.data), read(options.noise)
    nu = 1.0 if options.nu is None else options.nu
    if options.work:
        # Forward work u_1 - u_0 is taken on samples of state 0, which are the noise;
        # reverse work u_0 - u_1 on samples of state 1, which are the data.
        r_data, r_noise = r_noise, -r_data
        nu = r_noise.size / r_data.size
    xp = backend.load(options.backend)
    samples = [asarray(r, xp) for r in (r_data, r_noise)]
    solution = getattr(logz, options.method)(*samples, nu=nu)
    record = {key: to_numpy(getattr(solution, key)).item() for key in PRINTED}
    record["status"] = logz.Status(record["status"]).name
    if options.work:
        record = {"Delta_f": 0.0 - record.pop("F"), **record}
    record |= {"n": r_data.size, "m": r_noise.size, "nu": nu}
    rows = [f"{key.replace('_', ' '):<16}{value}" for key, value in record.items()]
    table = _as_json(record) if options.json else "\n".join(rows)
    return table, record["status"] == "CONVERGED"


def _check(options):
    report = check(options.results, Report(options.level, options.skip_flags))
    wrong = report.failures or report.unread
    return report.text(), not (wrong or report.incomplete and not options.partial)


def _vectors(options):
    return str(cases.FOLDER), True


def _parser():
    parser = _Parser(prog="python -m refnce", description="Solve for F; check results.")
    commands = parser.add_subparsers(required=True)

    def command(run, text, epilog=""):
        name = run.__name__.strip("_")
        command = commands.add_parser(name, help=text, description=text, epilog=epilog)
        command.set_defaults(command=run)
        return command.add_argument

    add = command(_solve, "Print F for two files of log-ratios log p~ - log q.", FILES)
    add("data", type=Path, help="log-ratios on data; with --work the forward work")
    add("noise", type=Path, help="log-ratios on noise; with --work the reverse work")
    add("--method", choices=SOLVERS, default="newton")
    add("--nu", type=float, help="weight of noise against data (default 1)")
    add("--backend", choices=backend.NAMES, default="numpy")
    add("--json", action="store_true", help="print JSON; null is a non-finite number")
    add("--work", action="store_true", help="work in units of kT: print f_1 - f_0 = -F")
    add = command(_check, "Judge another program's results on the test vectors.")
    add("results", type=Path, help="their format is described in docs/conformance.md")
    add("--level", choices=cases.LEVELS, default="A", help="4 (A), 64 or 2^20 units")
    add("--skip-flags", type=flags_of, default="", help="flags, separated by commas")
    add("--partial", action="store_true", help="accept results that leave out answers")
    command(_vectors, "Print the folder of the test vectors.")
    return parser


def read(path: Path) -> Any:
    """Return the numbers in ``path`` as a NumPy array of float64 with one axis.

    Raises InputError if the file holds anything else, no number, or NaN.
    """
    try:
        numbers = _read_npy(path) if path.suffix == ".npy" else _read_text(path)
    except Exception as error:  # a damaged file may raise nearly anything
        why = str(error)[:200]
        raise InputError(f"{path} cannot be read: {why}. {FILES}") from error
    bad = int((numbers != numbers).sum())
    if bad or not numbers.size:
        found = f"{path} holds {numbers.size} numbers, {bad} of them NaN"
        raise InputError(f"{found}; at least one is needed, and no NaN")
    return numbers


def _read_npy(path):
    # A mapped file whose header promises more than it holds allocates nothing, and
    # neither pickles nor archives are read.
    stored = host.lib.format.open_memmap(path, mode="r")
    if stored.dtype not in (host.float64, host.float32) or stored.ndim != 1:
        raise ValueError(f"it holds {stored.dtype} of shape {stored.shape}")
    return host.array(stored, dtype=host.float64)


def _read_text(path):
    with warnings.catch_warnings(action="ignore"):  # of an empty file
        table = host.loadtxt(path, ndmin=2, encoding="utf-8")
    if table.shape[1] != 1:
        raise ValueError(f"it holds {table.shape[1]} columns")
    return table[:, 0]


if __name__ == "__main__":
    sys.exit(main())
