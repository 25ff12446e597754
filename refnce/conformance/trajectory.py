"""Algorithm 1 on an exponential family as one function of plain arrays."""

from __future__ import annotations

from typing import Any

from refnce import train
from refnce.array.backend import Array, array_namespace, asarray, device

__all__ = ["trajectory"]


def trajectory(
    T_data: Array,
    T_noise: Array,
    offset_data: Array,
    offset_noise: Array,
    theta: Array,
    F: float,
    *,
    nu: float = 1.0,
    rate: float,
    rate_F: float,
    update: str,
    order: str,
) -> tuple[Array, Array]:
    """Return theta and F after each step of Algorithm 1.

    The test vectors of the suite "trajectory" ask ``train`` for this.

    Parameters
    ----------
    T_data, T_noise : array (steps, n, k), (steps, m, k)
        The statistics of the samples of each step.
    offset_data, offset_noise : array (steps, n), (steps, m)
        log h - log q of the samples.
    theta : array (k,)
        The parameters at the start.
    F : float
        The log-partition parameter at the start.
    nu : float
        Weight of noise against data.
    rate : float
        The rate of gradient descent on theta.
    rate_F : float
        The rate of F with update "gradient" or "bar".
    update : {"gradient", "bar", "root"}
        How F moves. "root" solves for it.
    order : {"together", "first"}
        Whether theta moves from the old F, or from the new.

    Returns
    -------
    array (steps, k)
        theta after each step.
    array (steps,)
        F after each step.
    """
    xp = array_namespace(theta)
    method = train.Method("newton" if update == "root" else update, rate_F, order)
    state = train.start(
        train.Training(_model, (method,), rate=rate, nu=nu),
        theta[None, :],
        asarray([F], xp, dtype=theta.dtype, device=device(theta)),
    )
    thetas, Fs = [], []
    for step in range(T_data.shape[0]):
        x_data, x_noise = (
            xp.concat([T[step], offset[step][:, None]], axis=-1)
            for T, offset in ((T_data, offset_data), (T_noise, offset_noise))
        )
        state = train.step(state, x_data, x_noise)
        thetas.append(state.theta)
        Fs.append(state.F)
    return xp.concat(thetas), xp.concat(Fs)


def _model(theta: Array, x_data: Array, x_noise: Array) -> Any:
    """r = T theta + offset, a sample being x = [T, offset]."""
    xp = array_namespace(theta)
    r = [
        xp.matmul(theta, xp.matrix_transpose(x[:, :-1])) + x[:, -1]
        for x in (x_data, x_noise)
    ]
    return *r, lambda dr_data, dr_noise: xp.matmul(dr_data, x_data[:, :-1]) + xp.matmul(
        dr_noise, x_noise[:, :-1]
    )
