"""Algorithm 1 on an exponential family as one function of plain arrays: what the suite "trajectory" asks of ``train``."""

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
    """Return theta (steps, k) and F (steps,) after each step of Algorithm 1 from theta (k,) and F.

    T_data (steps, n, k) and T_noise (steps, m, k) are the statistics of the samples of each step, offset_data (steps, n) and
    offset_noise (steps, m) log h - log q there. theta moves by plain descent at ``rate``; F by ``update``: "gradient" at
    rate_F, "bar" at rate_F, or "root", solved for. order "together": both from the old F; "first": theta from the new F.
    """
    xp = array_namespace(theta)
    name = "newton" if update == "root" else update
    method = train.Method(name, rate_F, F_first=order == "first")
    training = train.Training(_model, method, rate=rate, nu=nu)
    F0 = asarray([F], xp, dtype=theta.dtype, device=device(theta))
    state, thetas, Fs = train.start(training, theta[None, :], F0), [], []
    for step in range(T_data.shape[0]):
        x_data = xp.concat([T_data[step], offset_data[step][:, None]], axis=-1)
        x_noise = xp.concat([T_noise[step], offset_noise[step][:, None]], axis=-1)
        state = train.step(state, x_data, x_noise)
        thetas.append(state.theta)
        Fs.append(state.F)
    return xp.concat(thetas), xp.concat(Fs)


def _model(theta: Array, x_data: Array, x_noise: Array) -> Any:
    """r = T theta + offset, a sample being x = [T, offset]."""
    xp = array_namespace(theta)
    T_data, T_noise = x_data[:, :-1], x_noise[:, :-1]
    r_data = xp.matmul(theta, xp.matrix_transpose(T_data)) + x_data[:, -1]
    r_noise = xp.matmul(theta, xp.matrix_transpose(T_noise)) + x_noise[:, -1]

    def pullback(dr_data: Array, dr_noise: Array) -> Array:
        return xp.matmul(dr_data, T_data) + xp.matmul(dr_noise, T_noise)

    return r_data, r_noise, pullback
