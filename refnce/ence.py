r"""The exponential loss eNCE of Liu, Rosenfeld, Ravikumar and Risteski (2021).

With r = log p~ - log q on data and on noise as in ``refnce.nce``, and p = p~ e^{-F},

    L(F)  = 1/2 E_p*[e^{-(r - F)/2}] + 1/2 E_q[e^{(r - F)/2}]    (theirs, on log(p/q))
    dL/dF = 1/4 E_p*[e^{-(r - F)/2}] - 1/4 E_q[e^{(r - F)/2}]
    F*    = log E_q[e^{r/2}] - log E_p*[e^{-r/2}]

At F* dL/dF = 0 and L = sqrt(E_p*[e^{-r/2}] E_q[e^{r/2}]). The F that the NCE loss has
to solve for is thus known in closed form. A weight nu of noise against data would only
scale. The reference is arXiv:2110.11271.

A mean of exponentials is carried as S e^p, p its largest exponent, so that no term
overflows. F - r keeps its TwoSum remainder, since half an ulp of 500 changes e^500 by
128 eps. The power e^p enters last, as (e^{p/2})^2: the result is infinite only
where it exceeds the largest float.
"""

from collections.abc import Callable
from typing import Any

from refnce.array import Array, Ratios, array_namespace, interoperable, last_sum
from refnce.array import samples, two_sum

__all__ = ["grad_F", "grad_r", "log_z", "loss"]


@interoperable
def loss(r_data: Array, r_noise: Array, F: Any) -> Array:
    """Return the exponential loss L.

    Parameters
    ----------
    r_data, r_noise : array (..., n), (..., m)
        Log-ratios log p~ - log q on data and on noise. r_data = -inf or r_noise = +inf
        makes the loss +inf. r_data = +inf and r_noise = -inf add 0 and count in n, m.
    F : float or array (...)
        The log of the partition function, finite. Leading shapes (runs) broadcast.

    Returns
    -------
    array (...)

    Raises
    ------
    TypeError, ValueError
        As `refnce.nce.loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import ence
    >>> float(ence.loss(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5).round(4))
    0.6256
    """
    ratios, F = samples(r_data, r_noise, F, may_be_lazy=False)
    data, noise, p = _sides(ratios, F)
    return ratios.result(_times_exp(0.5 * (data + noise), p))  # Liu et al. 2021


@interoperable
def grad_F(r_data: Array, r_noise: Array, F: Any) -> Array:
    """Return dL/dF. Parameters and errors are those of `loss`.

    Returns
    -------
    array (...)
        nan where a data and a noise sample both make the loss infinite: then no F is
        better than another.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import ence
    >>> float(ence.grad_F(np.array([1.0, 2.0]), np.array([0.0, -1.0]), 0.5))
    0.0
    """
    ratios, F = samples(r_data, r_noise, F, may_be_lazy=False)
    data, noise, p = _sides(ratios, F)
    return ratios.result(_times_exp(0.25 * (data - noise), p))  # its derivative


@interoperable
def grad_r(r_data: Array, r_noise: Array, F: Any) -> tuple[Array, Array]:
    """Return dL/dr of every sample: the weights that a model's pullback takes.

    Parameters and errors are those of `loss`.

    Returns
    -------
    dr_data : array (..., n)
        -e^{-(r_data - F)/2}/(4n).
    dr_noise : array (..., m)
        e^{(r_noise - F)/2}/(4m).

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import ence
    >>> dr_data, dr_noise = ence.grad_r(np.array([1.0, 2.0]), np.array([0.0]), 0.5)
    >>> dr_data.round(3).tolist(), dr_noise.round(3).tolist()
    ([-0.097, -0.059], [0.195])
    """
    ratios, F = samples(r_data, r_noise, F, may_be_lazy=False)
    (x_data, c_data), (x_noise, c_noise) = _both(_exponent, ratios, F)
    n, m = ratios.sizes
    dr_data = _times_exp(c_data * (-0.25 / n), x_data)
    dr_noise = _times_exp(c_noise * (0.25 / m), x_noise)
    return ratios.result(dr_data), ratios.result(dr_noise)


@interoperable
def log_z(r_data: Array, r_noise: Array) -> Array:
    """Return F* = log E_q[e^{r/2}] - log E_p*[e^{-r/2}], which minimises the loss.

    Parameters and errors are those of `loss`.

    Returns
    -------
    array (...)
        Infinite log-ratios take the limit of the formula. Where it has none (both means
        infinite, or both 0) the value is nan.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import ence
    >>> float(ence.log_z(np.array([1.0, 2.0]), np.array([0.0, -1.0])))
    0.5
    """
    ratios, F = samples(r_data, r_noise, 0.0, may_be_lazy=False)
    (S_data, p_data), (S_noise, p_noise) = _both(_mean_exp, ratios, F)
    return ratios.result((p_noise - p_data) + ratios.xp.log(S_noise / S_data))  # best F


def _both(f: Callable[..., Any], ratios: Ratios, F: Array) -> Any:
    """Return f(r, F, half) of data and of noise."""
    F = ratios.to_device(F)
    return f(ratios.pair[0], F, +0.5), f(ratios.pair[1], F, -0.5)


def _sides(ratios: Ratios, F: Array) -> tuple[Array, Array, Array]:
    """(a, b, p): E_p*[e^{-(r - F)/2}] = a e^p, E_q[e^{(r - F)/2}] = b e^p.

    p is the larger exponent.
    """
    (S_data, p_data), (S_noise, p_noise) = _both(_mean_exp, ratios, F)
    xp, p = ratios.xp, ratios.xp.maximum(p_data, p_noise)
    # Less than e^-350 of the other side is lost in its rounding. The factor is not 0,
    # so that an infinite S stays infinite.
    scale = [xp.exp(xp.maximum(x - p, -350.0)) for x in (p_data, p_noise)]
    return S_data * scale[0], S_noise * scale[1], p


def _mean_exp(r: Array, F: Array, half: float) -> tuple[Array, Array]:
    """(S, p): mean e^{half (F - r)} = S e^p.

    S is in [1/n, 1]; 0 if all terms are, inf if one is.
    """
    xp = array_namespace(r)
    x, c = _exponent(r, F, half)
    huge = 2.0**1022  # -huge is the p of no term
    p = xp.max(xp.maximum(xp.where(x < xp.inf, x, -huge), -huge), axis=-1)
    return last_sum(c * xp.exp(x - p[..., None])) / r.shape[-1], p


def _exponent(r: Array, F: Array, half: float) -> tuple[Array, Array]:
    """(x, c): e^{half (F - r)} = c e^x, x the rounded exponent."""
    xp = array_namespace(r)
    d, e = two_sum(F[..., None], -r)
    e = half * xp.where(xp.isfinite(d), e, xp.zeros_like(e))
    return half * d, xp.where(abs(e) < 2.0**-27, 1.0 + e, xp.exp(e))


def _times_exp(c: Array, p: Array) -> Array:
    """c e^p: infinite only where that is too large, 0 only where it is too small."""
    xp = array_namespace(c)
    # Neither factor is infinite or 0.
    h = xp.exp(xp.minimum(xp.maximum(0.5 * p, -700.0), 700.0))
    return (c * h) * h
