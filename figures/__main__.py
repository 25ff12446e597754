"""Make the figures: ``python -m figures [NAME ...]``; ``--help`` lists the options.

Figures 6 and 13 and beyond03 train on MNIST and have options of their own.
"""

import argparse
import contextlib
import importlib
import io
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from figures import AVAILABLE, ON_MNIST
from figures.io import FileError, provenance, to_json, write_atomic
from figures.mnist import files as mnist_files
from figures.settings import Settings
from refnce.array import backend

ALL_ON_MNIST = f"{', '.join(ON_MNIST[:-1])} and {ON_MNIST[-1]}"


class Parser(argparse.ArgumentParser):
    """One line on standard error and status 2 for any mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"figures: {' '.join(message.split())}\n")


def say(text: str, file: Any = None) -> None:
    """Print; a closed or ASCII-only output does not end the work."""
    out = file or sys.stdout
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = getattr(out, "encoding", None) or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding), file=out, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m figures",
        description="Make the figures of the paper: NAME.png and NAME.json.",
    )
    known = ", ".join(AVAILABLE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=known)
    add, whole = parser.add_argument, _whole_number
    add("--backend", default="numpy", metavar="NAME", help="numpy (default) or cupy")
    add("--seed", type=whole(0), default=0, metavar="N", help="default 0")
    add("--runs", type=whole(1), metavar="N", help="runs; default the paper's")
    add("--quick", action="store_true", help="fewer steps and runs, to try it")
    add("--out", type=Path, default=Path("figures-out"), metavar="DIR")
    add = parser.add_argument_group(f"{ALL_ON_MNIST}, on MNIST").add_argument
    add("--mnist", type=Path, metavar="DIR", help="default REFNCE_MNIST or a download")
    widths = ("narrow", "full")  # 16..128 or 64..512 channels
    add("--width", choices=widths, default=widths[0], help="of ResNet-18")
    many = "default 240 narrow, 4000 full; 3000 fig13, 1700 beyond03"
    add("--steps", type=whole(1), metavar="N", help=many)
    add("--resume", action="store_true", help="go on from an interrupted run")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in AVAILABLE:
            parser.error(f"unknown figure {name!r}; the names are {known}")
    named = list(dict.fromkeys(options.names))
    options.names = named or list(AVAILABLE)
    try:
        backend.load(options.backend)
    except (ValueError, backend.BackendError) as error:
        parser.error(f"--backend {options.backend}: {error}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.out).close()
    except OSError as error:
        parser.error(f"--out {options.out} cannot be written: {error.strerror}")
    if any(name in ON_MNIST for name in options.names):
        _find_mnist(parser, options, asked=bool(named) or options.mnist is not None)
    return options


def _find_mnist(parser: Parser, options: argparse.Namespace, asked: bool) -> None:
    """Check MNIST's folder; without one, leave out its figures unless asked for."""
    folder = mnist_files.find(options.mnist)
    if folder is None:
        remedy = "give --mnist DIR, set REFNCE_MNIST, or "
        remedy += "python -m figures.mnist --download"
        if asked:
            parser.error(f"{ALL_ON_MNIST} need MNIST: {remedy}")
        say(f"{ALL_ON_MNIST} are left out, for want of MNIST: {remedy}")
        options.names = [name for name in options.names if name not in ON_MNIST]
        return
    try:
        mnist_files.read(folder)
    except (FileError, OSError) as error:
        parser.error(f"--mnist: {error}")
    options.mnist = folder


def _whole_number(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else -1
        if value < least:
            message = f"must be a whole number >= {least}; got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return value

    return number


def make(name: str, settings: Settings, out: Path, command: str) -> float:
    """Compute and draw a figure, write its two files and return the seconds it took."""
    module = importlib.import_module(f"figures.{name}")
    if getattr(module, "ON_HOST", False):
        settings = replace(settings, backend="numpy")
    start = time.perf_counter()
    numbers = module.compute(settings)
    origin = provenance(settings, command, time.perf_counter() - start)
    record = to_json({"figure": name, "provenance": origin, **numbers})
    # The numbers are written before the picture is drawn; the picture is drawn from
    # what the file holds, so that the file is enough to draw it again.
    write_atomic(out / f"{name}.json", record)
    (out / f"{name}.png").unlink(missing_ok=True)  # it is not of these numbers
    picture = io.BytesIO()
    figure = module.draw(json.loads(record))
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_atomic(out / f"{name}.png", picture.getvalue())
    return time.perf_counter() - start


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    asked = vars(options)
    names, out = asked.pop("names"), asked.pop("out")
    settings = Settings(progress=True, work=out / "mnist", **asked)
    command = shlex.join(["python", "-m", "figures", *arguments])
    try:
        for name in names:
            seconds = make(name, settings, out, command)
            say(f"{out / name}.png  {seconds:.1f} s")
    except KeyboardInterrupt:
        say("figures: interrupted; the files written so far are whole", sys.stderr)
        return 130
    except FileError as error:
        say(f"figures: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except OSError as error:
        place = error.filename or out
        say(f"figures: cannot write {place}: {error.strerror}", sys.stderr)
        return 2
    return 0


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # A kill, too, removes the temporary file.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main(sys.argv[1:]))
