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
"""

from math import nan

from refnce import logz, nce
from refnce.array import array_namespace, check_finite, family, interoperable, samples
from refnce.array import where

__all__ = ["gradient", "hessian", "loss"]
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
    D_data, D_noise = _centred(T_data, T_noise, *_weights(at, nu))
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
    D_data, D_noise = _centred(T_data, T_noise, w_data, w_noise)
    curvature = nce.hess_F(*at, nu=nu)[..., None, None]
    covariance = _moment(D_data, w_data) + _moment(D_noise, w_noise)
    return where(solved[..., None, None], curvature * covariance, nan)  # Eq. (16)


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
    """T less its weighted mean, which is grad F(theta) if F is the root (A.2)."""
    grad_F = (_pull(T_data, w_data) + _pull(T_noise, w_noise))[..., None, :]
    return T_data - grad_F, T_noise - grad_F


def _solve(T_data, T_noise, theta, offset_data, offset_noise, nu):
    """Return (r_data, r_noise, F), F the root or 0, and whether there is a root."""
    *r, _ = _ratios(T_data, T_noise, theta, 0.0, offset_data, offset_noise, nu)
    z = logz.newton(*r, nu=nu)
    return (*r, where(z.converged, z.F, 0.0)), z.converged
