"""The command line, ``python -m refnce``: solve, chain, check and vectors.

The exit status is 0 if the solver converged or all answers are right, 1 if not, 2 for
bad input, which is named in one line on standard error, and 3 if the solver converged
but the result is not to be relied on; a line says why.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from refnce import logz
from refnce.array import asarray, backend, host, to_numpy
from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.check import check
from refnce.conformance.report import Report, flags_of
from refnce.conformance.surface import SOLVERS
from refnce.files import COLUMN, TABLE, read_column, read_table
from refnce.freeenergy import TRUSTED_ESS, chain
from refnce.logz.result import TRUSTED_OVERLAP

PRINTED = ("F", "standard_error", "overlap", "trusted", "evaluations", "status")
GAS = 8.31446261815324e-3  # the gas constant in kJ/(mol K), exactly
UNITS = {"kT": 1.0, "kJ/mol": GAS, "kcal/mol": GAS / 4.184}
INDEPENDENT = (
    "The standard error assumes independent samples: leave out correlated ones."
)
ROWS = """Row t of file k has the reduced potential of sample t of state k at all
states, in the order of the files: inf where it is impossible, nan where it was not
computed. Its own state and the neighbours are needed."""


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
    paths = options.data, options.noise
    r_data, r_noise = (read_column(path, options.column) for path in paths)
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


def _chain(options):
    tables, K = [], len(options.files)
    if K < 2:
        raise InputError("chain takes at least two files, one for each state")
    for path in options.files:
        tables.append(table := read_table(path))
        if (columns := table.shape[1]) != K:
            must = f"{K} files are {K} states, and a file has a column for each"
            raise InputError(f"{path} has {columns} columns, not {K}: {must}")
    u, counts = host.concatenate(tables).T, [len(table) for table in tables]
    z = chain(u, counts, chains=options.chains, independent=options.independent)
    f, error, overlap, ess = (x.tolist() for x in (z.f, z.error, z.overlap, z.ess))
    status = [logz.Status(code).name for code in z.status.tolist()]
    doubt = "do not rely on the errors"
    for k, x in enumerate(overlap):
        if not x >= TRUSTED_OVERLAP:
            low = f"is {x:.2g}, not >= {TRUSTED_OVERLAP}"
            _say(f"{doubt}: the overlap of states {k} and {k + 1} {low}")
    for k, x in enumerate(ess):
        if not x >= TRUSTED_ESS:
            few = f"{x:.1f} effective samples, not >= {TRUSTED_ESS}"
            _say(f"{doubt}: state {k} has {few}")
    if options.json:
        record = {"f": f, "error": error, "overlap": overlap, "status": status}
        record |= {"counts": counts, "ess": ess, "trusted": bool(z.trusted)}
        record |= {"total": f[-1], "total_error": error[0][-1]}
        table = _as_json(record)
    else:
        table = _as_table(f, error, overlap, status, counts, ess)
    if set(status) != {"CONVERGED"}:
        return table, 1
    return table, 0 if z.trusted else 3


def _as_table(f, error, overlap, status, counts, ess):
    rows = [_row("state", "f", "error", "samples", "effective")]
    for k, n in enumerate(counts):
        rows.append(_row(str(k), f[k], error[0][k], n, f"{ess[k]:.1f}"))
    rows += ["", _row("pair", "difference", "error", "overlap", "status")]
    for k, name in enumerate(status):
        numbers = f[k + 1] - f[k], error[k][k + 1], overlap[k]
        rows.append(_row(f"{k}-{k + 1}", *numbers, name))
    return "\n".join([*rows, "", _row("total", f[-1], error[0][-1])])


def _row(*cells):
    texts = (f"{x:.6f}" if isinstance(x, float) else str(x) for x in cells)
    return "  ".join(f"{text:>11}" for text in texts)


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

    text = "Print F for two files of log-ratios log p~ - log q."
    add = command(_solve, text, f"{COLUMN} {INDEPENDENT}")
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
    text = "Print the free energies of a chain of states, in kT, with their errors."
    add = command(_chain, text, f"{ROWS} {TABLE}")
    add("files", type=Path, nargs="+", metavar="FILE", help="one a state, in order")
    add("--chains", type=int, default=1, metavar="C", help="time series in each file")
    add("--independent", action="store_true", help="the samples are not correlated")
    add("--json", action="store_true", help="print JSON; null is a non-finite number")
    add = command(_check, "Judge another program's results on the test vectors.")
    add("results", type=Path, help="their format is described in docs/conformance.md")
    add("--level", choices=cases.LEVELS, default="A", help="4 (A), 64 or 2^20 units")
    add("--skip-flags", type=flags_of, default="", help="flags, separated by commas")
    add("--partial", action="store_true", help="accept results that leave out answers")
    command(_vectors, "Print the folder of the test vectors.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
