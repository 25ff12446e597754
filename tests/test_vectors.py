"""The test vectors: regenerated bit for bit, in their schema, refused when damaged."""

import json
import math
import shutil

import jsonschema
import pytest

from refnce.conformance import cases
from refnce.conformance.cases import InputError
from refnce.conformance.score import error_in_units
from tests import ulps
from tests.vectors import generate

PATHS = cases.shipped()
FILES = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@pytest.mark.claim(
    "Test vectors",
    "they are regenerated bit for bit, and a second derivation agrees at two"
    " precisions",
    kind="theorem",
    where="refnce.conformance",
)
def test_they_are_regenerated_bit_for_bit():
    generated = generate.generated()
    for name, content in generated.items():
        assert (cases.FOLDER / name).read_bytes() == content, name
    others = {path.name for path in cases.FOLDER.iterdir()} - set(generated)
    assert others == {"schema.json"}


@FILES
def test_they_are_in_their_schema(path):
    schema = json.loads((cases.FOLDER / "schema.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)


@FILES
def test_the_text_says_what_the_json_says(path):
    """Ids, names, shapes and numbers."""
    lines = path.with_suffix(".tsv").read_text().splitlines()[1:]
    expected = []
    for case in json.loads(path.read_text())["cases"]:
        inputs, outputs = case["inputs"], case.get("outputs", {})
        rows = [["in", name, *_cells(x)] for name, x in inputs.items()]
        rows += [["out", name, *_cells(x)] for name, x in outputs.items()]
        rows += [["out", name, "", "refused", ""] for name in case.get("refused", [])]
        expected += [[case["id"], *row, ",".join(case["flags"])] for row in rows]
    assert [line.split("\t") for line in lines] == expected


def _cells(x):
    """Shape, values and units."""
    if isinstance(x, str):
        return ["text", x, ""]
    values = f"@{x['npy']}" if "npy" in x else " ".join(x["hex"])
    return [",".join(map(str, x["shape"])), values, " ".join(x.get("unit", []))]


@FILES
def test_every_number_is_the_nearest_to_its_digits(path):
    """So it is within half a unit, and the next float still passes at level A."""
    content = json.loads(path.read_text())
    for case in content["cases"]:
        for x in case.get("outputs", {}).values():
            for number, dec, unit in zip(x["hex"], x["dec"], x["unit"], strict=True):
                got, unit = float.fromhex(number), float.fromhex(unit)
                error = error_in_units(got, dec, unit, content["dtype"])
                assert error <= 0.5, case["id"]


# --- Errors in units

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("error_in_units", [error_in_units, ulps.error_in_units])
@pytest.mark.parametrize(
    "got, dec, unit, dtype, error",
    [
        (1.0 + 2.0**-52, "1.0", 2.0**-52, "float64", 1.0),
        (0.0, "0.0", 5e-324, "float64", 0.0),
        (5e-324, "0.0", 5e-324, "float64", 1.0),
        (5e-324, "1e-400", 5e-324, "float64", 1.0),
        (NAN, "nan", 1.0, "float64", 0.0),
        (-INF, "-inf", 1.0, "float64", 0.0),
        (NAN, "1.0", 1.0, "float64", INF),
        (1.0, "nan", 1.0, "float64", INF),
        (INF, "-inf", 1.0, "float64", INF),
        (INF, "1e300", 1.0, "float64", INF),
        (1e300, "inf", 1.0, "float64", INF),
        (-1.0, "-inf", 1.0, "float64", INF),
        (INF, "1.8e308", 2.0**970, "float64", 0.0),
        (INF, "1e400", 2.0**970, "float64", 0.0),
        (INF, "3.5e38", 2.0**104, "float32", 0.0),
        (-INF, "1.8e308", 2.0**970, "float64", INF),
    ],
)
def test_error_in_units(error_in_units, got, dec, unit, dtype, error):
    assert error_in_units(got, dec, unit, dtype) == error


def test_error_in_units_is_computed_exactly():
    """1/3 as a double is a third of 2^-54 off, so all 40 digits count."""
    third = "0.3333333333333333333333333333333333333333"
    error = error_in_units(1 / 3, third, 2.0**-54, "float64")
    assert error == pytest.approx(1 / 3, abs=1e-15)


# --- Damaged files

NPY = {"shape": [1], "npy": "x.npy", "sha256": ""}


def _broken(change):
    content = json.loads((cases.FOLDER / "optim.float64.json").read_text())
    change(content, content["cases"][0])
    return json.dumps(content)


def _set(where, name, **value):
    """A change of an input or an output of the first case."""
    return _broken(lambda _, first: first[where][name].update(value))


DAMAGES = {
    "empty": "",
    "cut": (cases.FOLDER / "optim.float64.json").read_text()[:5000],
    "no object": "[1, 2]",
    "deep": "[" * 100_000,
    "another schema": _broken(lambda whole, _: whole.update(schema=2)),
    "no cases": _broken(lambda whole, _: whole.pop("cases")),
    "odd dtype": _broken(lambda whole, _: whole.update(dtype="object")),
    "unknown flag": _broken(lambda _, first: first["flags"].append("X")),
    "an id twice": _broken(lambda whole, first: whole["cases"].append(first)),
    "no outputs": _broken(lambda _, first: first.pop("outputs")),
    "not hexadecimal": _set("inputs", "rate", hex=["0x1.8q+1"]),
    "too large a number": _set("inputs", "rate", hex=["0x1p+99999"]),
    "wrong shape": _set("inputs", "gradients", shape=[10**9, 3]),
    "negative shape": _set("inputs", "gradients", shape=[-1, 3]),
    "a shape of words": _set("inputs", "gradients", shape=["5", 3]),
    "units missing": _set("outputs", "sgd", unit=["0x1p+0"] * 14),
    "a unit of 0": _set("outputs", "sgd", unit=["0x0p+0"] * 15),
    "digits of words": _set("outputs", "sgd", dec=["much"] * 15),
    "another folder": _set("inputs", "rate", **NPY | {"npy": "../x.npy"}),
    "a missing array": _set("inputs", "rate", **NPY),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "optim.float64.json"
    path.write_text(DAMAGES[damage])
    with pytest.raises(InputError) as error:
        cases.load(path)
    message = str(error.value)
    assert str(path) in message or "x.npy" in message
    assert "\n" not in message and len(message) < 400


def test_an_array_beside_the_file_is_known_by_its_digest(tmp_path):
    for path in (cases.FOLDER / "nce.float64.json", *cases.FOLDER.glob("nce-*.npy")):
        shutil.copy(path, tmp_path)
    assert cases.load(tmp_path / "nce.float64.json").cases
    array = next(tmp_path.glob("nce-*.npy"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256 differs"):
        cases.load(tmp_path / "nce.float64.json")


def test_a_withdrawn_case_is_left_out(tmp_path):
    path = tmp_path / "optim.float64.json"
    reason = "its digits were wrong"
    path.write_text(_broken(lambda _, first: first.update(withdrawn=reason)))
    shipped = cases.load(cases.FOLDER / path.name)
    assert [case.id for case in cases.load(path).cases] == [
        case.id for case in shipped.cases[1:]
    ]
