"""``python -m tests.adapters``: the table of docs/conformance.md, for the libraries that are installed here."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import warnings
from datetime import date

from refnce.conformance import conform
from refnce.conformance.cases import LEVELS

LIBRARIES = {
    "pytorch": "torch",
    "jax_x64": "jax",
    "pymbar_bar": "pymbar",
    "scipy_root": "scipy",
}


def main() -> None:
    print(
        f"Made by `python -m tests.adapters` on {date.today()}, {platform.machine()}, CPython {platform.python_version()}.\n"
    )
    print(
        "| implementation | function | answers | right to 4 units | to 64 | to 2^20 | wrong beyond that in |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, library in LIBRARIES.items():
        if importlib.util.find_spec(library) is None:
            print(f"| `tests.adapters.{name}` | {library} is not installed here |")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = conform(
                importlib.import_module(f"tests.adapters.{name}"), level="C"
            )
        label = f"`{name}` ({library} {importlib.metadata.version(library)})"
        for function, verdicts in report.by_function().items():
            right = [
                sum(verdict.error <= units for verdict in verdicts)
                for units in LEVELS.values()
            ]
            wrong = dict.fromkeys(
                verdict.flags[0] for verdict in verdicts if report.failed(verdict)
            )
            print(
                f"| {label} | `{function}` | {len(verdicts)} | {' | '.join(map(str, right))} | {', '.join(wrong)} |"
            )
            label = ""


if __name__ == "__main__":
    main()
