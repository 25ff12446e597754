"""A claim that holds and a printed error, for test_ledger."""

import pytest


@pytest.mark.claim("Lemma 3.2", "x*x is 1", kind="theorem", where="nce.loss")
@pytest.mark.parametrize("x", [1, -1])
def test_one(x, evidence, request):
    evidence(f"measured {x}")
    assert x * x == 1


@pytest.mark.printed_error("Eq. 9", printed="1 = 2", right="1 = 1")
def test_printed():
    assert 1 != 2


@pytest.fixture
def broken():
    yield
    raise OSError
