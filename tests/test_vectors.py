"""The test vectors themselves: regenerated bit for bit, in their schema, refused when damaged."""

from __future__ import annotations

import json
import math
import shutil
from fractions import Fraction

import jsonschema
import pytest

from refnce.conformance import cases
from refnce.conformance.score import error_in_units
from refnce.conformance.cases import FileError
from tests.vectors import generate

PATHS = cases.shipped()
FILES = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@pytest.mark.claim(
    "Test vectors",
    "they are regenerated bit for bit, and a second derivation agrees at two precisions",
    kind="theorem",
    where="refnce.conformance",
)
def test_they_are_regenerated_bit_for_bit():
    found = generate.generated()
    for name, content in found.items():
        assert (cases.FOLDER / name).read_bytes() == content, name
    assert {path.name for path in cases.FOLDER.iterdir()} - set(found) == {
        "schema.json"
    }


@FILES
def test_they_are_in_their_schema(path):
    jsonschema.validate(
        json.loads(path.read_text()),
        json.loads((cases.FOLDER / "schema.json").read_text()),
    )


@FILES
def test_the_two_forms_say_the_same(path):
    """Text of tabs and JSON: ids, names, shapes and numbers."""
    rows = [
        line.split("\t")
        for line in path.with_suffix(".tsv").read_text().splitlines()[1:]
    ]
    content = json.loads(path.read_text())
    expected = []
    for case in content["cases"]:
        flags = ",".join(case["flags"])
        for name, x in case["inputs"].items():
            cells = (
                ["text", x]
                if isinstance(x, str)
                else [_shape(x), f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])]
            )
            expected.append([case["id"], "in", name, *cells, "", flags])
        for name, x in case.get("outputs", {}).items():
            expected.append(
                [
                    case["id"],
                    "out",
                    name,
                    _shape(x),
                    " ".join(x["hex"]),
                    " ".join(x["unit"]),
                    flags,
                ]
            )
        expected += [
            [case["id"], "out", name, "", "refused", "", flags]
            for name in case.get("refused", [])
        ]
    assert rows == expected


def _shape(x):
    return ",".join(map(str, x["shape"]))


@FILES
def test_every_number_is_the_nearest_to_its_digits(path):
    """And is therefore itself within half a unit: a perfect answer passes, and one float beside it still does at level A."""
    content = json.loads(path.read_text())
    for case in content["cases"]:
        for x in case.get("outputs", {}).values():
            for number, dec, unit in zip(x["hex"], x["dec"], x["unit"], strict=True):
                assert (
                    error_in_units(
                        float.fromhex(number),
                        dec,
                        float.fromhex(unit),
                        content["dtype"],
                    )
                    <= 0.5
                ), case["id"]


# --- the judge


def test_an_error_is_counted_exactly():
    third = "0.3333333333333333333333333333333333333333"
    assert error_in_units(1 / 3, third, 2.0**-54, "float64") == pytest.approx(
        1 / 3, abs=1e-15
    )
    assert error_in_units(0.0, "0.0", 5e-324, "float64") == 0.0
    assert error_in_units(5e-324, "0.0", 5e-324, "float64") == 1.0
    assert (
        error_in_units(math.nan, "nan", 1.0, "float64")
        == error_in_units(-math.inf, "-inf", 1.0, "float64")
        == 0.0
    )
    for got, dec in (
        (math.nan, "1.0"),
        (1.0, "nan"),
        (math.inf, "-inf"),
        (math.inf, "1e300"),
        (1e300, "inf"),
        (-1.0, "-inf"),
    ):
        assert error_in_units(got, dec, 1.0, "float64") == math.inf
    assert error_in_units(math.inf, "1.8e308", 2.0**970, "float64") == 0.0
    assert error_in_units(math.inf, "3.5e38", 2.0**104, "float32") == 0.0
    assert error_in_units(-math.inf, "1.8e308", 2.0**970, "float64") == math.inf
    assert Fraction("1e-400") != 0  # digits beyond the floats are read exactly


# --- files that are none


def _broken(change):
    content = json.loads((cases.FOLDER / "optim.float64.json").read_text())
    change(content)
    return json.dumps(content)


def _first(content):
    return content["cases"][0]


DAMAGES = {
    "empty": "",
    "cut": (cases.FOLDER / "optim.float64.json").read_text()[:5000],
    "no object": "[1, 2]",
    "deep": "[" * 100_000,
    "another schema": _broken(lambda c: c.update(schema=2)),
    "no cases": _broken(lambda c: c.pop("cases")),
    "odd dtype": _broken(lambda c: c.update(dtype="object")),
    "flag without note": _broken(lambda c: _first(c)["flags"].append("Strange")),
    "an id twice": _broken(lambda c: c["cases"].append(_first(c))),
    "no outputs": _broken(lambda c: _first(c).pop("outputs")),
    "not hexadecimal": _broken(
        lambda c: _first(c)["inputs"]["rate"].update(hex=["0x1.8q+1"])
    ),
    "too large a number": _broken(
        lambda c: _first(c)["inputs"]["rate"].update(hex=["0x1p+99999"])
    ),
    "shape that lies": _broken(
        lambda c: _first(c)["inputs"]["gradients"].update(shape=[10**9, 3])
    ),
    "negative shape": _broken(
        lambda c: _first(c)["inputs"]["gradients"].update(shape=[-1, 3])
    ),
    "a shape of words": _broken(
        lambda c: _first(c)["inputs"]["gradients"].update(shape=["5", 3])
    ),
    "units missing": _broken(lambda c: _first(c)["outputs"]["sgd"]["unit"].pop()),
    "a unit of 0": _broken(
        lambda c: _first(c)["outputs"]["sgd"]["unit"].__setitem__(0, "0x0p+0")
    ),
    "digits of words": _broken(
        lambda c: _first(c)["outputs"]["sgd"]["dec"].__setitem__(0, "much")
    ),
    "a way out of the folder": _broken(
        lambda c: _first(c)["inputs"].update(
            x={"shape": [1], "npy": "../x.npy", "sha256": ""}
        )
    ),
    "an array that is not there": _broken(
        lambda c: _first(c)["inputs"].update(
            x={"shape": [1], "npy": "x.npy", "sha256": ""}
        )
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = tmp_path / "optim.float64.json"
    path.write_text(DAMAGES[damage])
    with pytest.raises(FileError) as error:
        cases.load(path)
    assert str(path) in str(error.value) or "x.npy" in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_an_array_beside_the_file_is_known_by_its_digest(tmp_path):
    for name in (
        "nce.float64.json",
        *(path.name for path in cases.FOLDER.glob("nce-*.npy")),
    ):
        shutil.copy(cases.FOLDER / name, tmp_path / name)
    assert cases.load(tmp_path / "nce.float64.json").cases
    array = next(tmp_path.glob("nce-*.npy"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(FileError, match="SHA-256 differs"):
        cases.load(tmp_path / "nce.float64.json")


def test_a_withdrawn_case_is_left_out(tmp_path):
    path = tmp_path / "optim.float64.json"
    path.write_text(
        _broken(lambda c: _first(c).update(withdrawn="its digits were wrong"))
    )
    assert (
        len(cases.load(path).cases)
        == len(cases.load(cases.FOLDER / path.name).cases) - 1
    )
