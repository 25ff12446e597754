"""Algorithm 1 on an exponential family as one function of plain arrays."""

from types import SimpleNamespace

from refnce import train
from refnce.array import Array, array_namespace
from refnce.train import models

# A sample is x = [T, offset]; the density of the noise is in the offset.
FAMILY = SimpleNamespace(
    statistics=lambda x: x[..., :-1], log_base=lambda x: x[..., -1]
)
MODEL = models.exponential_family(FAMILY, SimpleNamespace(log_density=lambda x: 0.0))


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
    state = train.start(train.Training(MODEL, method, rate=rate, nu=nu), theta, F)
    x_data = xp.concat([T_data, offset_data[..., None]], axis=-1)
    x_noise = xp.concat([T_noise, offset_noise[..., None]], axis=-1)
    states = []
    for step in range(T_data.shape[0]):
        state = train.step(state, x_data[step, ...], x_noise[step, ...])
        states.append(state)
    return xp.stack([x.theta for x in states]), xp.stack([x.F for x in states])
