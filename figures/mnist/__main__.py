"""``python -m figures.mnist [--mnist DIR | --download]``: check or fetch MNIST."""

import argparse
import sys
from collections.abc import Sequence

from figures.mnist import files


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder of MNIST and return 0; on bad input print one line, return 2."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.mnist",
        usage=argparse.SUPPRESS,
        description=f"Check MNIST: DIR, else {files.VARIABLE}, else the download.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--mnist", metavar="DIR", help="folder of the IDX files or .gz")
    source.add_argument(
        "--download", action="store_true", help="fetch them (extra mnist: pooch)"
    )
    options = parser.parse_args(arguments)
    try:
        folder = files.download() if options.download else files.find(options.mnist)
        if folder is None:
            remedy = f"give --mnist DIR, set {files.VARIABLE}, or --download"
            raise files.FileError(f"no folder of MNIST is known; {remedy}")
        digits = files.read(folder)
    except (files.FileError, OSError) as error:
        print(f"figures.mnist: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    counts = len(digits.train_images), len(digits.test_images)
    print("{}: {} training and {} test images, checksums right".format(folder, *counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
