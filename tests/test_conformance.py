"""The test vectors: what an implementation answers to them, and the vectors, the judge and their files themselves."""

from __future__ import annotations

from functools import lru_cache

import pytest

from refnce.conformance import vectors
from refnce.conformance.answers import CALLS
from refnce.conformance.judge import judged
from tests.conftest import ORACLE

STEMS = [path.stem for path in vectors.shipped()]
FUNCTIONS = [(stem, function) for stem in STEMS for function in CALLS[stem.split(".")[0]]]


@lru_cache(maxsize=None)
def suite(stem):
    return vectors.load(vectors.FOLDER / f"{stem}.json")


@pytest.mark.claim(
    "Test vectors",
    "every function of the oracle surface answers the certified test vectors, each within 4 of its units",
    kind="theorem",
    where="refnce.conformance",
)
@pytest.mark.parametrize("stem, function", FUNCTIONS)
def test_answers(impl, request, pytestconfig, stem, function):
    verdicts = list(judged(impl, suite(stem), function))
    pytestconfig.stash[ORACLE].judge(suite(stem), verdicts, request.node.user_properties)
