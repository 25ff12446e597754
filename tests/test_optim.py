"""The optimizers change nothing that is passed in, and a batch of runs is its runs.

Their steps are judged by the test vectors (test_conformance.py).
"""

import numpy as np
import pytest

from refnce import optim


@pytest.mark.parametrize("method", [optim.sgd, optim.ngd, optim.adam])
def test_pure_and_batched(method):
    """Nothing passed in is changed, and a batch of runs is its runs."""
    path = np.random.Generator(np.random.PCG64(1)).standard_normal((4, 3, 4))
    kept = path.copy()
    together, alone = None, [None] * 3
    for g in path:
        before = together
        together, step = method(together, g, rate=0.1)
        assert np.array_equal(step, method(before, g, rate=0.1)[1])
        for run in range(3):
            alone[run], one = method(alone[run], g[run], rate=0.1)
            assert np.array_equal(step[run], one)
    assert np.array_equal(path, kept) and (together is None) == (method != optim.adam)


@pytest.mark.parametrize("optimizer", [optim.sgd, optim.ngd, optim.adam])
def test_gradients_that_are_not_plain_arrays_are_refused(optimizer):
    for bad in (np.ma.masked_array(np.ones(2)), [1.0], np.ones(2, int)):
        with pytest.raises(TypeError, match="gradient (is a|must hold)"):
            optimizer(None, bad, rate=0.1)
