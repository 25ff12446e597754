"""``python -m tests.adapters``: the table of docs/conformance.md."""

import importlib
import importlib.metadata
import importlib.util
import platform
import warnings
from datetime import date

from refnce.conformance import conform
from refnce.conformance.cases import LEVELS
from tests.test_conformance import ADAPTERS


def print_row(*cells):
    print(f"| {' | '.join(map(str, cells))} |")


def main():
    python = f"{platform.machine()}, CPython {platform.python_version()}"
    print(f"Made by `python -m tests.adapters` on {date.today()}, {python}.\n")
    right = "right to 4 units", "to 64", "to 2^20"
    print_row("implementation", "function", "answers", *right, "wrong beyond that in")
    print("|---|---|---|---|---|---|---|")
    for name, (library, _) in ADAPTERS.items():
        if importlib.util.find_spec(library) is None:
            print_row(f"`tests.adapters.{name}`", f"{library} is not installed here")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(f"tests.adapters.{name}")
            report = conform(module, level="C")
        label = f"`{name}` ({library} {importlib.metadata.version(library)})"
        for function, verdicts in report.by_function().items():
            errors = [verdict.error for verdict in verdicts]
            right = [sum(x <= units for x in errors) for units in LEVELS.values()]
            wrong = [v.flags[0] for v in verdicts if report.failed(v)]
            flags = ", ".join(dict.fromkeys(wrong))
            print_row(label, f"`{function}`", len(verdicts), *right, flags)
            label = ""


if __name__ == "__main__":
    main()
