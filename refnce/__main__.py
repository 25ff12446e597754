"""The command line, ``python -m refnce``: solve, check and vectors.

The exit status is 0 if the solver converged or all answers are right, 1 if not, 2 for
bad input, which is named in one line on standard error, and 3 if the solver converged
but the result is not to be relied on; a line says why.
"""

import argparse
import gzip
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from refnce import logz
from refnce.array import asarray, backend, host, to_numpy
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.check import check
from refnce.conformance.report import Report, flags_of
from refnce.conformance.surface import SOLVERS
from refnce.logz.result import TRUSTED_OVERLAP

PRINTED = ("F", "standard_error", "overlap", "trusted", "evaluations", "status")
GAS = 8.31446261815324e-3  # the gas constant in kJ/(mol K), exactly
UNITS = {"kT": 1.0, "kJ/mol": GAS, "kcal/mol": GAS / 4.184}
LONGEST = 100_000  # characters that are read as one line
FILES = """A file is .npy (one axis of float64 or float32) or text with one number a
line, or with one more in each column (see --column). Text may have # comments, be
compressed (.gz), and come from standard input (-). The standard error assumes
independent samples: leave out correlated ones."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        found, status = options.command(options)
        if sys.stdout is None:
            raise OSError("standard output is closed")
        print(found, flush=True)
        return status
    except (ValueError, OSError, MemoryError, backend.BackendError) as error:
        _say(f"{error or 'out of memory'}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _say(text):
    print(f"refnce: {' '.join(text.split())}", file=sys.stderr)


def _as_json(record):
    """JSON has no NaN and no infinity: null stands for them."""
    text = json.dumps(record)
    return json.dumps(json.loads(text, parse_constant=lambda constant: None))


def _solve(options):
    kT = _unit(options)
    if options.work and options.nu is not None:
        raise InputError("--work takes nu = n_F/n_R from the files; leave out --nu")
    if str(options.data) == str(options.noise) == "-":
        raise InputError("standard input (-) can be one of the two files")
    r_data, r_noise = (read(x, options.column) for x in (options.data, options.noise))
    nu, doubt = 1.0 if options.nu is None else options.nu, ""
    if options.work:
        doubt = _second_law(r_data, r_noise)
        # Forward work u_1 - u_0 is taken on samples of state 0, which are the noise;
        # reverse work u_0 - u_1 on samples of state 1, which are the data.
        r_data, r_noise = r_noise / kT, -r_data / kT
        nu = r_noise.size / r_data.size
    xp = backend.load(options.backend)
    samples = [asarray(r, xp) for r in (r_data, r_noise)]
    solution = getattr(logz, options.method)(*samples, nu=nu)
    record = {key: to_numpy(getattr(solution, key)).item() for key in PRINTED}
    record["status"] = logz.Status(record["status"]).name
    if options.work:
        record["standard_error"] *= kT
        record = {"Delta_f": kT * (0.0 - record.pop("F")), **record}
        record["units"] = options.units
    record |= {"n": r_data.size, "m": r_noise.size, "nu": nu}
    rows = [f"{key.replace('_', ' '):<16}{value}" for key, value in record.items()]
    table = _as_json(record) if options.json else "\n".join(rows)
    if record["status"] != "CONVERGED":
        return table, 1
    if not record["trusted"]:
        doubt += (
            f"the overlap is under {TRUSTED_OVERLAP}, or there is no standard error"
        )
    if doubt:
        _say(f"do not rely on this result: {doubt}")
    return table, 3 if doubt else 0


def _unit(options):
    """kT in the units of the work values."""
    asked, given = options.units != "kT", options.temperature is not None
    if asked != given or (asked and not options.work):
        raise InputError("--units (kJ/mol, kcal/mol) needs --work and --temperature")
    if given and not 0.0 < options.temperature < math.inf:
        raise InputError("--temperature must be > 0 and finite, in kelvin")
    return UNITS[options.units] * (options.temperature if given else 1.0)


def _second_law(forward, reverse):
    """What is wrong if the mean dissipated work is negative, by 4 standard errors."""
    mean = forward.mean() + reverse.mean()
    error = math.sqrt(forward.var() / forward.size + reverse.var() / reverse.size)
    law = "which the second law forbids; is the sign of the reverse work right? "
    return f"the mean work is {mean:.3g}, {law}" if mean < -4.0 * error else ""


def _check(options):
    report = check(options.results, Report(options.level, options.skip_flags))
    missing = [] if options.partial else report.incomplete
    return report.text(), 1 if report.failures or report.unread or missing else 0


def _vectors(options):
    return str(cases.FOLDER), 0


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
    add("--column", type=int, default=0, metavar="K", help="of text, from 1")
    add("--method", choices=SOLVERS, default="newton")
    add("--nu", type=float, help="weight of noise against data (default 1)")
    add("--backend", choices=backend.NAMES, default="numpy")
    add("--json", action="store_true", help="print JSON; null is a non-finite number")
    add("--work", action="store_true", help="the files hold work: print f_1 - f_0")
    add("--units", choices=UNITS, default="kT", help="of the work values (default kT)")
    add("--temperature", type=float, metavar="K", help="for kJ/mol and kcal/mol")
    add = command(_check, "Judge another program's results on the test vectors.")
    add("results", type=Path, help="their format is described in docs/conformance.md")
    add("--level", choices=cases.LEVELS, default="A", help="4 (A), 64 or 2^20 units")
    add("--skip-flags", type=flags_of, default="", help="flags, separated by commas")
    add("--partial", action="store_true", help="accept results that leave out answers")
    command(_vectors, "Print the folder of the test vectors.")
    return parser


def read(path: Path, column: int = 0) -> Any:
    """Return the numbers in ``path`` as a NumPy array of float64 with one axis.

    Raises InputError if the file holds anything else, no number, or NaN.
    """
    try:
        if path.suffix == ".npy":
            numbers = _read_npy(path)
        else:
            with _opened(path) as lines:
                numbers = host.fromiter(_numbers(lines, column), float)
    except Exception as error:  # a damaged file may raise nearly anything
        raise InputError(f"{path} cannot be read: {error!s:.200}. {FILES}") from error
    bad = int((numbers != numbers).sum())
    if bad or not numbers.size:
        found = f"{path} holds {numbers.size} numbers, {bad} of them NaN"
        raise InputError(f"{found}; at least one is needed, and no NaN")
    return numbers


def _read_npy(path):
    if not path.is_file():
        raise ValueError("it is not a regular file")
    # A mapped file whose header promises more than it holds allocates nothing, and
    # neither pickles nor archives are read.
    stored = host.lib.format.open_memmap(path, mode="r")
    if stored.dtype not in (host.float64, host.float32) or stored.ndim != 1:
        raise ValueError(f"it holds {stored.dtype} of shape {stored.shape}")
    return host.array(stored, dtype=host.float64)


def _opened(path: Path) -> Any:
    if str(path) == "-":
        return nullcontext(sys.stdin)
    return (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8")


def _numbers(lines: TextIO, column: int) -> Iterator[float]:
    """The number in ``column`` of each line that is not empty and no comment."""
    pieces, width = iter(partial(lines.readline, LONGEST), ""), 0
    for count, line in enumerate(pieces, start=1):
        words = line.partition("#")[0].split()
        width = width or len(words)
        chosen = width == 1 if column == 0 else 1 <= column <= width
        if words and (len(words) != width or not chosen):
            choose = "--column chooses one, where all lines have as many"
            raise ValueError(f"line {count} has {len(words)} columns; {choose}")
        if words:
            yield _number(words[max(column - 1, 0)], count)


def _number(word: str, count: int) -> float:
    try:
        number = float(word.replace("_", "?"))  # Python reads 1_000 as 1000
        if math.isinf(number) and "inf" not in word.lower():
            raise ValueError("it is too large")
    except ValueError:
        raise ValueError(f"line {count}: {word[:40]!r} is no number") from None
    return number


if __name__ == "__main__":
    sys.exit(main())
