"""``python -m tests.vectors.generate [--check]``: write or compare the vectors."""

import argparse
import sys
from pathlib import Path

from tests.vectors import families, layers, ratios
from tests.vectors.records import Suite

FOLDER = Path(__file__).parent.parent.parent / "refnce" / "conformance" / "data"


def paragraphs(name):
    """The paragraphs of a text beside this file, each as one line."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


HEADER = {
    "schema": 1,
    "version": "2026.11",
    "generator": "tests/vectors/generate.py: balls of python-flint (Arb), precision"
    " doubled until 40 digits are certain",
    "levels": {"A": 4, "B": 64, "C": 2**20},
    "error": "|got - dec| / unit; the largest over the elements of an output; nan and"
    " infinities must be the same",
    "conventions": paragraphs("conventions.txt"),
    # What a failure of a case with this flag means
    "flags": dict(x.split(": ", 1) for x in paragraphs("flags.txt")),
}

SUITES = (ratios.nce, ratios.logz, ratios.ence, families.expfam, families.trajectory)
SUITES += layers.mlp, layers.conv, layers.head, layers.optim


def generated():
    """All files by name."""
    found = {}
    for dtype in ("float64", "float32"):
        for build in SUITES:
            suite = Suite(build.__name__, dtype)
            build(suite)
            found |= suite.files(HEADER)
    return found


def main():
    """Return 1 if --check finds a file that differs."""
    parser = argparse.ArgumentParser("python -m tests.vectors.generate")
    help = "write nothing; say which files differ"
    parser.add_argument("--check", action="store_true", help=help)
    check, new = parser.parse_args().check, generated()
    old = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    old.pop("schema.json")
    odd = [name for name in sorted(new | old) if new.get(name) != old.get(name)]
    for name in odd:
        if name in new and not check:
            (FOLDER / name).write_bytes(new[name])
        verb = "differs" if check else "written"
        print(f"{verb if name in new else 'not generated'}: {name}")
    if check and not odd:
        print(f"{len(new)} files are the same, bit for bit")
    return int(check and bool(odd))


if __name__ == "__main__":
    sys.exit(main())
