"""Whether to trust the chains of a sampler."""

from typing import Any

import numpy as np

from refnce.array import to_numpy
from refnce.sampling import effective_sample_size


def diagnose(samples: Any) -> tuple[Any, Any]:
    """Return split R-hat (by ArviZ) and the effective sample size of each coordinate.

    Parameters
    ----------
    samples : array (steps, ..., chains, d)

    Returns
    -------
    r_hat, ess : NumPy arrays (..., d)
        nan where a chain is constant, a sample is not finite or steps < 4. R-hat is
        near 1, say under 1.01, where the chains agree.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.diagnostics import diagnose
    >>> x = np.random.default_rng(0).normal(size=(500, 4, 2))
    >>> r_hat, ess = diagnose(x)
    >>> print(r_hat.round(2), ess.shape)
    [1. 1.] (2,)
    """
    from arviz_stats.base import array_stats  # it imports SciPy, which takes a second

    x, ess = to_numpy(samples), effective_sample_size(samples)
    if x.shape[0] < 4:
        return np.full_like(ess, np.nan), ess
    with np.errstate(all="ignore"):
        r_hat = array_stats.rhat(x, chain_axis=-2, draw_axis=0, method="split")
    return np.where(np.isnan(ess), np.nan, r_hat), ess
