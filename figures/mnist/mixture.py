"""Fit a `refnce.distributions.GaussianMixture` to images, by scikit-learn."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from refnce.distributions import GaussianMixture

__all__ = ["fit_mixture", "smooth"]


def fit_mixture(
    x: Any,
    components: int = 50,
    directions: int = 100,
    iterations: int = 6,
    *,
    seed: Any
) -> GaussianMixture:
    """Return the mixture that EM finds from a start by k-means.

    Parameters
    ----------
    x : array (n, d)
        Real numbers, n > d.
    components : int
    directions : int
        p < d: the first principal directions of x.
    iterations : int
        Steps of EM.
    seed : int
        Of k-means.

    Returns
    -------
    GaussianMixture
        In float64. Its likelihood of x does not fall from one iteration to the next.

    Notes
    -----
    Along the principal directions the law is a mixture with full covariances, by
    ``sklearn.mixture.GaussianMixture``. Orthogonal to them it is one Gaussian
    N(mean, s I) for all components, with the maximum-likelihood mean and s. The two
    are independent, so the likelihood is a product and EM maximises the first factor.
    The variance 1e-6 is added to the covariances that EM finds.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.mixture import fit_mixture
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> x[:250, 0] += 8.0
    >>> law = fit_mixture(x, 2, 1, seed=0)
    >>> law.directions.shape, sorted(law.weights.round(2))
    ((2, 1, 3), [np.float64(0.5), np.float64(0.5)])
    """
    # These imports take a second.
    from sklearn import mixture
    from sklearn.exceptions import ConvergenceWarning

    mean = x.mean(axis=0)
    spectrum, basis = np.linalg.eigh(np.cov(x.T, bias=True))
    basis = basis[:, ::-1][:, :directions]  # (d, p), the largest variance first
    em = mixture.GaussianMixture(
        components, max_iter=iterations, tol=0.0, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em.fit((x - mean) @ basis)
    variances, axes = np.linalg.eigh(em.covariances_)  # (k, p), (k, p, p)
    left = max(float(spectrum[: len(spectrum) - directions].mean()), 1e-12)
    return GaussianMixture(
        em.weights_,
        mean + em.means_ @ basis.T,
        axes.mT @ basis.T,
        variances,
        np.full(components, left),
    )


def smooth(law: GaussianMixture, sigma: float) -> GaussianMixture:
    """Return the law of x + sigma N(0, I), where ``law`` is that of x.

    Parameters
    ----------
    law : GaussianMixture
    sigma : float

    Returns
    -------
    GaussianMixture
        sigma^2 is added to the variances in all directions.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.mixture import fit_mixture, smooth
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> law = smooth(fit_mixture(x, 2, 1, seed=0), 2.0)
    >>> bool(law.rest.min() > 4.0)
    True
    """
    more = sigma**2
    return replace(law, variances=law.variances + more, rest=law.rest + more)
