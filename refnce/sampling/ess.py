"""The effective sample size of correlated samples (Geyer 1992; Vehtari et al. 2021)."""

import math
from typing import Any

from refnce.array import Array, array_namespace, check_arrays, ignore_fp_errors, invalid
from refnce.array import shape_of, to_numpy


@ignore_fp_errors()
def effective_sample_size(samples: Array, chain_axis: int | None = -2) -> Any:
    """Number of independent samples that estimate the mean as well as ``samples`` do.

    Parameters
    ----------
    samples : array (steps, ...)
        Real numbers, those of each chain along the first axis.
    chain_axis : int or None
        Axis of the chains, which together estimate one mean. The default suits
        (steps, ..., chains, d), as ``hmc`` returns them; None means one chain.

    Returns
    -------
    NumPy array
        Over the axes of ``samples`` other than steps and chains. nan if steps < 4, if a
        chain is constant and if a sample is not finite.

    Notes
    -----
    With M chains cut into halves of n steps and rho_t the correlation at lag t of all
    halves together, the size is 2 M n/tau,

        tau = -1 + 2 sum_{k<K} min(P_0, ..., P_k) + max(rho_{2K}, 0),
        P_k = rho_{2k} + rho_{2k+1},

    and tau >= 1/log10(2 M n). The sum is Geyer's initial monotone sequence: K is the
    first pair that is not positive, at most (n - 1)//2 - 1. ``arviz_stats.ess`` with
    method "mean" computes the same, but has no nan for constant chains.

    References
    ----------
    Geyer (1992), Practical Markov chain Monte Carlo, Statistical Science 7.
    Vehtari et al. (2021), Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC, Bayesian Analysis 16.

    Examples
    --------
    An autoregression x' = 0.5 x + noise has one third as many effective samples:

    >>> import numpy as np
    >>> from refnce.sampling import effective_sample_size
    >>> x = np.random.default_rng(0).normal(size=3000)
    >>> for k in range(1, x.size):
    ...     x[k] += 0.5 * x[k - 1]
    >>> print(effective_sample_size(x, chain_axis=None).round())
    1019.0
    """
    check_arrays(samples=samples)
    if samples.ndim < 1 + (chain_axis is not None) or 0 in samples.shape[1:]:
        raise invalid("samples", "be (steps, ..., chains, d)", shape_of(samples))
    x = to_numpy(samples)
    xp = array_namespace(x)
    x = xp.expand_dims(x, 1) if chain_axis is None else xp.moveaxis(x, chain_axis, 1)
    n = x.shape[0] // 2
    if n < 2:
        return xp.full(x.shape[2:], xp.nan)
    constant = xp.any(xp.all(x == x[:1], axis=0), axis=0)
    halves = xp.astype(xp.concat([x[:n], x[-n:]], axis=1), xp.float64)
    means = xp.mean(halves, axis=0)
    # Autocovariances by the convolution theorem; zero padding keeps the ends apart.
    spectrum = xp.fft.rfft(halves - means, n=2 * n, axis=0)
    products = xp.fft.irfft(xp.abs(spectrum) ** 2, n=2 * n, axis=0)[:n]
    covariance = xp.mean(products, axis=1) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + xp.var(means, axis=0, correction=1)
    rho = 1.0 - (within - covariance) / total
    rho[0] = 1.0
    lags = 2 * max(1, (n - 1) // 2)
    even, pairs = rho[0:lags:2], rho[0:lags:2] + rho[1:lags:2]
    before = xp.cumulative_prod(pairs > 0, axis=0, dtype=xp.float64)  # 1 for k < K
    before[-1] = 0.0
    last = xp.concat([xp.ones_like(before[:1]), before[:-1]]) - before  # 1 for k = K
    monotone = xp.minimum.accumulate(pairs, axis=0)
    tau = xp.sum(2.0 * before * monotone + last * xp.maximum(even, 0.0), axis=0) - 1.0
    size = 2 * n * x.shape[1]
    tau = xp.maximum(tau, 1.0 / math.log10(size))
    return xp.where(constant, xp.nan, size / tau)
