r"""Exponential families under the NCE objective: derivatives in [theta, F], and with F
solved for.

The model is p(x) = h(x) exp(<T(x), theta> - F) (Equation 2, with a base measure h). Its
log-ratio to the noise is r = T theta + offset with offset = log h - log q. What
Equations 12-16 call T(x) = [T~(x), -1] and theta = [theta~, F] is split here: T
(..., n, k) is T~ without the entry -1, theta (..., k) is theta~, and derivatives come
in [theta, F] order.

Both Hessians weigh the samples, data and noise together, by (p* + q) p q/(p + q)^2:
sample i by s_i (1 - s_i), s_i its sigmoid. With w these weights scaled to sum 1,

    Hessian         = d2L/dF2  E_w[[T, -1] [T, -1]^T]                    (Equation 14)
    grad F(theta)   = E_w[T]                                  (from dL/dF = 0)
    profile Hessian = d2L/dF2  E_w[(T - E_w[T]) (T - E_w[T])^T]          (Equation 16)

The second integral of Equation 16 is 0 at the root. The profile Hessian is the Schur
complement of d2L/dF2 in the Hessian. As a weighted covariance it is positive
semidefinite as computed, and nothing cancels.

``covariance`` gives the sampling error of the estimate of [theta, F]. It uses that
the Hessian is block diagonal in [theta, F - <grad F(theta), theta>].
"""

from math import nan, sqrt

from refnce import logz, nce
from refnce.array import array_namespace, asarray, check_finite, device, family, host
from refnce.array import interoperable, machine_eps, samples, to_numpy, where

__all__ = ["covariance", "gradient", "hessian", "loss"]
__all__ += ["profile_gradient", "profile_hessian", "profile_loss"]


@interoperable
def loss(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the NCE loss of an exponential family, Equation 12.

    Parameters
    ----------
    T_data, T_noise : array (..., n, k), (..., m, k)
        Sufficient statistics of data and noise, without the entry -1; finite.
    theta : array (..., k)
        Natural parameters, finite.
    F : float or array (...)
        The log of the partition function.
    offset_data, offset_noise : array (..., n), (..., m)
        log h - log q. Infinities take the limits of `refnce.nce.loss`.
    nu : float
        Weight of noise against data, from 1e-30 to 1e30.

    Returns
    -------
    array (...)

    Raises
    ------
    TypeError, ValueError
        Where shapes disagree, n, m or k is 0, T or theta is not finite, and as
        `refnce.nce.loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> expfam.loss(T_data, T_noise, np.array([1.0]), 0.5, zero, zero).round(4).item()
    0.3377
    """
    at = _ratios(T_data, T_noise, theta, F, offset_data, offset_noise, nu)
    return nce.loss(*at, nu=nu)  # Eq. (12)


@interoperable
def gradient(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the gradient of `loss` in [theta, F], Equation 13.

    Parameters and errors are those of `loss`.

    Returns
    -------
    array (..., k + 1)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> g = expfam.gradient(T_data, T_noise, np.array([1.0]), 0.5, zero, zero)
    >>> [round(x, 4) for x in g.tolist()]
    [-0.2312, 0.0]
    """
    at = _ratios(T_data, T_noise, theta, F, offset_data, offset_noise, nu)
    dr_data, dr_noise = nce.grad_r(*at, nu=nu)
    # Eq. (13): the coordinates of theta, and Eq. (3) for the entry -1 of T
    dtheta = _pull(T_data, dr_data) + _pull(T_noise, dr_noise)
    dF = nce.grad_F(*at, nu=nu)
    return array_namespace(dF).concat([dtheta, dF[..., None]], axis=-1)


@interoperable
def hessian(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the Hessian of `loss` in [theta, F], Equation 14.

    It is symmetric and positive semidefinite (Appendix A.1). Parameters and errors are
    those of `loss`.

    Returns
    -------
    array (..., k + 1, k + 1)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> H = expfam.hessian(T_data, T_noise, np.array([1.0]), 0.5, zero, zero)
    >>> H.shape, bool(H[1, 1] == H[1, 1].T)
    ((2, 2), True)
    """
    at = _ratios(T_data, T_noise, theta, F, offset_data, offset_noise, nu)
    xp = array_namespace(theta)
    T_data, T_noise = (
        xp.concat([T, xp.full_like(T[..., :1], -1.0)], axis=-1)
        for T in (T_data, T_noise)
    )
    w_data, w_noise = _weights(at, nu)
    curvature = nce.hess_F(*at, nu=nu)[..., None, None]
    return curvature * (_moment(T_data, w_data) + _moment(T_noise, w_noise))  # Eq. (14)


@interoperable
def profile_loss(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return `loss` at the F that minimises it, from `refnce.logz.newton`.

    It is convex in theta (Appendix A.2). Parameters and errors are those of `loss`,
    without F.

    Returns
    -------
    array (...)
        nan in the runs whose solve is not CONVERGED.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> x = expfam.profile_loss(T_data, T_noise, np.array([1.0]), zero, zero)
    >>> x.round(4).item()
    0.3377
    """
    at, solved = _solve(T_data, T_noise, theta, offset_data, offset_noise, nu)
    return where(solved, nce.loss(*at, nu=nu), nan)


@interoperable
def profile_gradient(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return the gradient of `profile_loss` in theta, Equation 15.

    Parameters and errors are those of `profile_loss`.

    Returns
    -------
    array (..., k)

    Notes
    -----
    T is centred at grad F(theta) as printed. In exact arithmetic that changes nothing,
    as dL/dF = 0. In floating point it removes the first-order effect of the rounding of
    F.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> g = expfam.profile_gradient(T_data, T_noise, np.array([1.0]), zero, zero)
    >>> g.round(4).tolist()
    [-0.2312]
    """
    at, solved = _solve(T_data, T_noise, theta, offset_data, offset_noise, nu)
    dr_data, dr_noise = nce.grad_r(*at, nu=nu)
    D_data, D_noise, _ = _centred(T_data, T_noise, *_weights(at, nu))
    dtheta = _pull(D_data, dr_data) + _pull(D_noise, dr_noise)  # Eq. (15)
    return where(solved[..., None], dtheta, nan)


@interoperable
def profile_hessian(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    """Return the Hessian of `profile_loss` in theta, Equation 16.

    It is symmetric and positive semidefinite (Appendix A.2). Parameters and errors are
    those of `profile_loss`.

    Returns
    -------
    array (..., k, k)

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import expfam
    >>> T_data, T_noise = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    >>> zero = np.zeros(2)
    >>> H = expfam.profile_hessian(T_data, T_noise, np.array([1.0]), zero, zero)
    >>> H.shape, bool(H[0, 0] > 0)
    ((1, 1), True)
    """
    at, solved = _solve(T_data, T_noise, theta, offset_data, offset_noise, nu)
    w_data, w_noise = _weights(at, nu)
    D_data, D_noise, _ = _centred(T_data, T_noise, w_data, w_noise)
    curvature = nce.hess_F(*at, nu=nu)[..., None, None]
    moments = _moment(D_data, w_data) + _moment(D_noise, w_noise)
    return where(solved[..., None, None], curvature * moments, nan)  # Eq. (16)


@interoperable
def covariance(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    """Return the asymptotic covariance of the NCE estimate of [theta, F].

    Parameters and errors are those of `loss`; theta and F are the estimate.

    Returns
    -------
    array (..., k + 1, k + 1)
        H^-1 V H^-1, in [theta, F] order. H is `hessian` and V the covariance of
        `gradient`: cov(s_data [T, -1])/n + nu^2 cov(s_noise [T, -1])/m, over
        (1 + nu)^2, with the denominators n and m as in `refnce.logz.LogZ`. nan in the
        runs where n or m is 1, the overlap of `LogZ` is below sqrt(eps), or H is
        singular to rounding.

    Notes
    -----
    It assumes independent samples. It is right also where data are not from the model:
    the estimate then scatters about the minimum of the loss in the population. It holds
    for many samples; a small overlap needs more of them (see `LogZ.trusted`).

    With theta held fixed the variance of F is V_FF/H_FF^2, ``LogZ.standard_error``
    squared. The result is symmetric and positive semidefinite as computed. Its error,
    relative to the standard errors, was at most 0.2 (n + m) eps times the condition
    number of R, the correlation matrix of T under the weights of `hessian`; the
    rounding of large terms of T theta adds to it. H is called singular where the least
    eigenvalue of R is not above the rounding error of R.

    Examples
    --------
    Data N(1, 1), noise N(0, 1), r = theta x:

    >>> import numpy as np
    >>> from refnce import expfam
    >>> x, y = np.random.default_rng(0).normal(size=(2, 1000, 1)) + [[[1.0]], [[0.0]]]
    >>> at = x, y, np.ones(1), 0.5, np.zeros(1000), np.zeros(1000)
    >>> np.sqrt(np.linalg.diagonal(expfam.covariance(*at))).round(3)
    array([0.057, 0.036])
    """
    at = _ratios(T_data, T_noise, theta, F, offset_data, offset_noise, nu)
    xp, eps = array_namespace(theta), machine_eps(theta.dtype, array_namespace(theta))
    dr, weights = nce.grad_r(*at, nu=nu), _weights(at, nu)
    curvature, sizes = nce.hess_F(*at, nu=nu), [x.shape[-1] for x in dr]
    *centred, grad_F = _centred(T_data, T_noise, *weights)
    C = sum(map(_moment, centred, weights))
    scale = xp.sqrt(xp.linalg.diagonal(C))[..., None, :]
    R = C / scale / scale.mT
    R = where(xp.isfinite(R), R, 0.0)  # singular, since its diagonal is else 1
    values, vectors = host.linalg.eigh(to_numpy(R))
    inverse = (vectors / values[..., None, :]) @ vectors.mT
    inverse = asarray(inverse, xp, device=device(theta)) / scale / scale.mT

    def influences(D, dr):  # what each sample adds to the estimate, less its mean
        dtheta = xp.matmul(D, inverse)
        dF = xp.sum(dtheta * grad_F, axis=-1, keepdims=True) - 1.0
        x = (dr / curvature[..., None])[..., None] * xp.concat([dtheta, dF], axis=-1)
        return x - xp.mean(x, axis=-2, keepdims=True)

    both = map(influences, centred, dr)
    total = sum(_moment(x, xp.ones_like(x[..., 0])) for x in both)
    # The rounding of T and of its mean adds its square to the least eigenvalue.
    rounding = 1.0 + 16.0 * eps * xp.sum((grad_F / scale) ** 2, axis=(-2, -1))
    overlap = to_numpy(curvature) * ((1.0 + nu) ** 2 / nu)
    usable = (values[..., 0] > eps * sum(sizes) * to_numpy(rounding)) & (min(sizes) > 1)
    usable = asarray(usable & (overlap >= sqrt(eps)), xp, device=device(theta))
    return where(usable[..., None, None], total, nan)


def _ratios(T_data, T_noise, theta, F, offset_data, offset_noise, nu):
    """Check the arguments; return r_data, r_noise (Eq. 2) and F over all runs."""
    F = family(T_data, T_noise, theta, F, offset_data, offset_noise, nu)
    xp = array_namespace(theta)
    data, noise = (xp.matmul(T, theta[..., None])[..., 0] for T in (T_data, T_noise))
    check_finite(**{"T_data theta": data, "T_noise theta": noise})
    return data + offset_data, noise + offset_noise, F


def _pull(T, w):
    """sum_i w_i T_i (..., k): the pullback of the log-ratios."""
    return array_namespace(T).matmul(w[..., None, :], T)[..., 0, :]


def _moment(T, w):
    """sum_i w_i T_i T_i^T (..., k, k) as a Gram matrix, exactly symmetric."""
    xp = array_namespace(T)
    S = xp.sqrt(w)[..., None] * T
    M = xp.matmul(S.mT, S)
    return 0.5 * (M + M.mT)


def _weights(at, nu):
    """The curvature weights of data and noise, scaled to sum 1 (0 if all are)."""
    r_data, r_noise, F = at
    xp = array_namespace(r_data)
    w_data, w_noise = nce.curvature_weights(*samples(r_data, r_noise, F, nu))
    total = sum(xp.sum(w, axis=-1, keepdims=True) for w in (w_data, w_noise))
    total = where(total > 0.0, total, 1.0)
    return w_data / total, w_noise / total


def _centred(T_data, T_noise, w_data, w_noise):
    """T less its weighted mean, and that: grad F(theta) if F is the root (A.2)."""
    grad_F = (_pull(T_data, w_data) + _pull(T_noise, w_noise))[..., None, :]
    return T_data - grad_F, T_noise - grad_F, grad_F


def _solve(T_data, T_noise, theta, offset_data, offset_noise, nu):
    """Return (r_data, r_noise, F), F the root or 0, and whether there is a root."""
    *r, _ = _ratios(T_data, T_noise, theta, 0.0, offset_data, offset_noise, nu)
    z = logz.newton(*r, nu=nu)
    return (*r, where(z.converged, z.F, 0.0)), z.converged
