"""Algorithm 1 on an exponential family as one function of plain arrays."""

from __future__ import annotations

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
    name = "newton" if update == "root" else update
    method = train.Method(name, rate_F, F_first=order == "first")
    training = train.Training(_model, method, rate=rate, nu=nu)
    F0 = asarray([F], xp, dtype=theta.dtype, device=device(theta))
    x_data = xp.concat([T_data, offset_data[..., None]], axis=-1)
    x_noise = xp.concat([T_noise, offset_noise[..., None]], axis=-1)
    states = [train.start(training, theta[None, :], F0)]
    for step in range(T_data.shape[0]):
        states.append(train.step(states[-1], x_data[step, ...], x_noise[step, ...]))
    return xp.concat([x.theta for x in states[1:]]), xp.concat(
        [x.F for x in states[1:]]
    )


def _model(theta, x_data, x_noise):
    """r = T theta + offset = x [theta, 1], a sample being x = [T, offset]."""
    xp = array_namespace(theta)
    with_1 = xp.concat([theta, xp.ones_like(theta[:, :1])], axis=-1)

    def pullback(dr_data, dr_noise):
        return (xp.matmul(dr_data, x_data) + xp.matmul(dr_noise, x_noise))[:, :-1]

    r_data, r_noise = (with_1 @ x.mT for x in (x_data, x_noise))
    return r_data, r_noise, pullback
