"""The test vectors: regenerated bit for bit, in their schema, and whole."""

import hashlib
import json
import math

import jsonschema
import pytest

from refnce.conformance import cases
from refnce.conformance.score import error_in_units
from tests import ulps
from tests.rederive import regenerated
from tests.vectors import generate

NAN, INF = math.nan, math.inf
PATHS = cases.shipped()
FILES = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@regenerated
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
    """Ids, names, shapes and numbers of the cases that are not withdrawn."""
    lines = path.with_suffix(".tsv").read_text().splitlines()[1:]
    expected = []
    for case in json.loads(path.read_text())["cases"]:
        inputs, outputs = case["inputs"], case.get("outputs", {})
        if "withdrawn" in case:
            continue
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
    """So it is within half a unit, and the next float still passes at level A.

    Each element has a number, digits and a unit.
    """
    content = json.loads(path.read_text())
    for case in content["cases"]:
        for x in case.get("outputs", {}).values():
            assert len(x["hex"]) == math.prod(x["shape"]), case["id"]
            for number, dec, unit in zip(x["hex"], x["dec"], x["unit"], strict=True):
                got, unit = float.fromhex(number), float.fromhex(unit)
                error = error_in_units(got, dec, unit, content["dtype"])
                assert error <= 0.5 and 0 < unit < INF, case["id"]


# --- Errors in units


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


# --- What cases.load trusts, beside the schema


@FILES
def test_flags_have_the_same_notes_and_ids_are_unique(path):
    content = json.loads(path.read_text())
    assert content["flags"] == cases.notes()
    assert {x for case in content["cases"] for x in case["flags"]} <= set(cases.notes())
    ids = [case["id"] for case in content["cases"]]
    assert len(set(ids)) == len(ids)


@FILES
def test_inputs_are_of_the_shape_dtype_and_digest_that_the_file_says(path):
    suite = cases.load(path)
    stored = [x for x in json.loads(path.read_text())["cases"] if "withdrawn" not in x]
    for case, raw in zip(suite.cases, stored, strict=True):
        assert bool(case.outputs) != case.refused and case.quantities
        for name, x in raw["inputs"].items():
            if not isinstance(x, str):
                got = case.inputs[name]
                assert list(got.shape) == x["shape"] and got.dtype == suite.dtype
                if "npy" in x:
                    content = (cases.FOLDER / x["npy"]).read_bytes()
                    assert hashlib.sha256(content).hexdigest() == x["sha256"]


def test_a_withdrawn_case_is_left_out(tmp_path):
    path = tmp_path / "optim.float64.json"
    content = json.loads((cases.FOLDER / path.name).read_text())
    content["cases"][0]["withdrawn"] = "its digits were wrong"
    path.write_text(json.dumps(content))
    shipped = cases.load(cases.FOLDER / path.name)
    left = [case.id for case in cases.load(path).cases]
    assert left == [case.id for case in shipped.cases[1:]]
