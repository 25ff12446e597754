"""The diagnostics of chains that the figures print."""

import numpy as np
import pytest

pytest.importorskip("arviz_stats", reason="arviz-stats is missing: the figures need it")

from figures.diagnostics import diagnose  # noqa: E402
from refnce.array import make_rng  # noqa: E402
from refnce.sampling import effective_sample_size  # noqa: E402
from tests import needs_docstrings  # noqa: E402


@needs_docstrings
def test_split_r_hat_detects_distant_and_drifting_chains():
    x = make_rng(24).normal(size=(101, 4, 1))
    halves = np.concatenate([x[:50], x[51:]], axis=1)[..., 0]  # less the middle step
    W, B = halves.var(axis=0, ddof=1).mean(), 50 * halves.mean(axis=0).var(ddof=1)
    r_hat, ess = diagnose(x)
    assert abs(r_hat[0] - ((49 / 50 * W + B / 50) / W) ** 0.5) <= 1e-12
    assert ess == effective_sample_size(x)
    assert diagnose(x + np.asarray([0.0, 0.0, 0.0, 3.0])[:, None])[0][0] > 1.3
    # Each chain drifts, so only its halves differ, by 1.5. Their variance is
    # 1 + 1.5^2/12 = 1.19 and that of the means 0.64: sqrt(1 + 0.64/1.19) = 1.24.
    assert diagnose(x + np.linspace(0.0, 3.0, 101)[:, None, None])[0][0] > 1.15


@needs_docstrings
def test_diagnostics_are_nan_for_a_constant_or_infinite_chain():
    """A3: one constant chain of 16 has no influence on R-hat by itself."""
    x = make_rng(27).normal(size=(500, 2, 16, 3))
    x[:, 1, 3, 0], x[7, 0, 2, 1] = 1.0, np.inf
    for values in diagnose(x):
        assert np.isnan(values).tolist() == [[False, True, False], [True, False, False]]
    for values in diagnose(x[:3]):
        assert values.shape == (2, 3) and np.all(np.isnan(values))
