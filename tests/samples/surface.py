"""Claims about an implementation, for test_ledger."""

import numpy as np
import pytest

r = np.asarray([0.5, 2.0]), np.asarray([-1.0, 0.0, 1.0])


@pytest.mark.claim("Eq. 3", "the limit is -1/2", kind="theorem")
def test_slope(impl):
    assert abs(impl.nce.grad_F(*r, -50.0) + 0.5) <= 4 * impl.eps


@pytest.mark.claim("Eq. 10", "a step from far ends near", kind="theorem")
def test_update(impl):
    assert abs(impl.logz.bar_update(*r, 30.0)) < 3


@pytest.mark.claim("Eq. 4", "the second derivative is positive", kind="theorem")
def test_curvature(impl):
    assert impl.nce.hess_F(*r, 0.0, nu=2.0) > 0


@pytest.mark.claim("Section 4", "no implementation is asked", kind="theorem")
def test_nothing():
    pass
