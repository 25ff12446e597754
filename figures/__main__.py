"""Make the figures: ``python -m figures [NAME ...] [--backend B] [--seed N] [--runs N] [--quick] [--out DIR]``.

Figures 6 and 13 also take ``--mnist DIR``, ``--width narrow|full``, ``--steps N`` and ``--resume``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import shlex
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from figures import AVAILABLE, ON_MNIST, output
from figures.mnist import files as mnist_files
from figures.settings import Settings
from refnce import files
from refnce.array import backend


class Parser(argparse.ArgumentParser):
    """One line on standard error and status 2 for any mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"figures: {message}\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m figures",
        description="Make the figures of the paper: NAME.png and NAME.json.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(AVAILABLE)}; all of them by default",
    )
    parser.add_argument(
        "--backend",
        default="numpy",
        metavar="NAME",
        help="numpy, cupy, ... (default numpy)",
    )
    parser.add_argument(
        "--seed",
        type=_number(0),
        default=0,
        metavar="N",
        help="of every random stream (default 0)",
    )
    parser.add_argument(
        "--runs",
        type=_number(1),
        default=None,
        metavar="N",
        help="runs of each setting (default the paper's)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer steps and runs: seconds, to see that it works",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("figures-out"),
        metavar="DIR",
        help="default figures-out",
    )
    digits = parser.add_argument_group(f"{' and '.join(ON_MNIST)}, on MNIST")
    digits.add_argument(
        "--mnist",
        type=Path,
        metavar="DIR",
        help="the four files (default REFNCE_MNIST, or downloaded ones)",
    )
    digits.add_argument(
        "--width",
        choices=("narrow", "full"),
        default="narrow",
        help="of ResNet-18: 16..128 or 64..512 channels",
    )
    digits.add_argument(
        "--steps",
        type=_number(1),
        default=None,
        metavar="N",
        help="of training (default 240 narrow, 4000 full)",
    )
    digits.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoints of an interrupted run",
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in AVAILABLE:
            parser.error(
                f"unknown figure {name!r}; the names are {', '.join(AVAILABLE)}"
            )
    named = list(dict.fromkeys(options.names))
    options.names = named or list(AVAILABLE)
    try:
        backend.load(options.backend)
    except (ValueError, backend.BackendError) as error:
        parser.error(f"--backend {options.backend}: {error}".replace("\n", " "))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.out).close()
    except OSError as error:
        parser.error(f"--out {options.out} cannot be written: {error.strerror}")
    if any(name in ON_MNIST for name in options.names):
        _find_mnist(parser, options, asked=bool(named) or options.mnist is not None)
    return options


def _find_mnist(parser: Parser, options: argparse.Namespace, asked: bool) -> None:
    """The folder of the files, checked; where it was not asked for and is not there, these figures are left out with a line."""
    folder = mnist_files.find(options.mnist)
    if folder is None:
        remedy = (
            "give --mnist DIR, set REFNCE_MNIST, or python -m figures.mnist --download"
        )
        if asked:
            parser.error(f"{' and '.join(ON_MNIST)} need MNIST: {remedy}")
        print(f"{' and '.join(ON_MNIST)} are left out, for want of MNIST: {remedy}")
        options.names = [name for name in options.names if name not in ON_MNIST]
        return
    try:
        mnist_files.read(folder)
    except (mnist_files.FileError, OSError) as error:
        parser.error(f"--mnist: {error}".replace("\n", " "))
    options.mnist = folder


def _number(smallest: int) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            raise argparse.ArgumentTypeError(
                f"must be a whole number >= {smallest}; got {text!r}"
            )
        return value

    return number


def make(name: str, settings: Settings, out: Path, command: str) -> float:
    """Compute and draw one figure and put its two files into ``out``; return the seconds it took."""
    module = importlib.import_module(f"figures.{name}")
    if getattr(module, "ON_HOST", False):
        settings = replace(settings, backend="numpy")
    start = time.perf_counter()
    numbers = module.compute(settings)
    seconds = time.perf_counter() - start
    record = output.to_json(
        {
            "figure": name,
            "provenance": output.provenance(settings, command, seconds),
            **numbers,
        }
    )
    picture = io.BytesIO()
    # The picture is drawn from what the file holds, so that the file is enough to draw it again.
    module.draw(json.loads(record)).savefig(
        picture, format="png", metadata={"Software": None}
    )
    _close_all()
    files.write(out / f"{name}.json", record)
    files.write(out / f"{name}.png", picture.getvalue())
    return time.perf_counter() - start


def _close_all() -> None:
    import matplotlib.pyplot as plt

    plt.close("all")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    settings = Settings(
        options.backend,
        options.seed,
        options.runs,
        options.quick,
        progress=True,
        mnist=options.mnist,
        width=options.width,
        steps=options.steps,
        work=options.out / "mnist",
        resume=options.resume,
    )
    command = shlex.join(["python", "-m", "figures", *arguments])
    try:
        for name in options.names:
            seconds = make(name, settings, options.out, command)
            print(f"{options.out / name}.png  {seconds:.1f} s")
    except KeyboardInterrupt:
        print(
            "figures: interrupted; the files written so far are whole", file=sys.stderr
        )
        return 130
    except OSError as error:
        print(
            f"figures: cannot write {error.filename or options.out}: {error.strerror}",
            file=sys.stderr,
        )
        return 2
    return 0


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, _interrupt
    )  # so that a kill, too, takes the temporary file away
    sys.exit(main(sys.argv[1:]))
