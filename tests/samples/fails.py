"""A claim that fails, for test_ledger."""

import pytest

not_reproduced = {"kind": "experiment", "verdict": "not reproduced", "why": "it is two"}


@pytest.mark.claim("Eq. 3", "two is one", **not_reproduced)
def test_two():
    assert 2 == 1
