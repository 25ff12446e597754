"""Noise and digits joined by K bridges: telescoping density-ratio estimation.

Rhodes et al. 2020 (arXiv:2006.12204). One log-ratio between a Gaussian and digits is
too easy to learn, as hardly a sample of one looks like the other. Waymarks x_0 .. x_K
lead from noise to digits. Bridge k is NCE between x_{k+1} and x_k with its own
log-ratio r_k and F_k, and

    log p(x) = log q(x) + sum_k (r_k(x) - F_k).

All bridges share the body of ``network.small_log_ratio``; each has its own head.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from figures import checkpoint
from figures.mnist import network
from figures.mnist.log_ratio import EXACT
from figures.settings import Settings
from refnce import logz, nce, optim, train
from refnce.array import Array, all_true, array_namespace, make_rng, to_numpy
from refnce.nn.layer import Gradients, Output, Params
from refnce.nn.params import Flat, Shapes
from refnce.train import models
from refnce.train.fit import Batches
from refnce.train.models import Pullback
from refnce.train.training import Optimizer

__all__ = ["learn", "log_ratios", "ratio", "shapes", "waymarks"]

BRIDGES = 6
BATCH = 64
RATE = 1e-3
INTERVAL = 50  # steps between checkpoints
EVERY = 10  # steps between records
WIDTH = network.SMALL[0] * 14 * 14  # of the widest activation, after the stem


def waymarks(x: Array, y: Array, mean: Array, K: int) -> Array:
    """Return x_0 .. x_K (K + 1, n, d), from noise x (n, d) to data y (n, d).

    Parameters
    ----------
    x, y : array (n, d)
        Independent pairs.
    mean : array (d,)
        m, the mean of the data.
    K : int
        Number of bridges.

    Returns
    -------
    array (K + 1, n, d)
        x_k = m + sqrt(1 - a^2) (x - m) + a (y - m), a = k/K: where x and y have one
        mean and covariance, so has every waymark.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.bridges import waymarks
    >>> x, y = np.array([[3.0]]), np.array([[6.0]])
    >>> waymarks(x, y, np.array([1.0]), 5)[:, 0, 0].round(2)
    array([3.  , 3.96, 4.83, 5.6 , 6.2 , 6.  ])
    """
    u, v, steps = x - mean, y - mean, [k / K for k in range(K + 1)]
    moved = [math.sqrt(1.0 - a * a) * u + a * v + mean for a in steps]
    return array_namespace(x).stack(moved)


def shapes(bridges: int = BRIDGES) -> Shapes:
    """Shapes of theta's parameters: one body, and heads along a leading axis."""
    found = network.small_log_ratio_shapes()
    heads = {k: (bridges, *v) for k, v in found.items() if k.startswith("2.")}
    return found | heads


def log_ratios(theta: Array, x: Array) -> tuple[Array, Array, Pullback]:
    """Return the log-ratios of every bridge on its own two waymarks.

    Parameters
    ----------
    theta : array (count,)
        Parameters of ``shapes(K)``.
    x : array (K + 1, n, 784)
        Waymarks.

    Returns
    -------
    r_data, r_noise : array (K, n)
        r_k at x_{k+1} and at x_k, as ``nce.loss`` and ``logz.newton`` take them.
    pullback : callable
        (dr_data, dr_noise) -> dtheta (count,).

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.bridges import log_ratios, shapes
    >>> from refnce.nn.params import Flat
    >>> theta = np.zeros(Flat(shapes(2)).count)
    >>> r_data, r_noise, pullback = log_ratios(theta, np.zeros((3, 5, 784)))
    >>> r_data.shape, pullback(r_data, r_noise).shape == theta.shape
    ((2, 5), True)
    """
    xp, K, n, d = array_namespace(theta), x.shape[0] - 1, x.shape[1], x.shape[2]
    model = models.network(network.small_log_ratio(), shapes(K), None, WIDTH)
    images = xp.reshape(x, ((K + 1) * n, d))
    # Heads cost 1% of the body, so each may see every waymark. A CPU takes the body in
    # chunks: 20% less time.
    r, _, pullback_all = model(theta, images, images[:0, :])
    r = xp.reshape(r, (K, K + 1, n))

    def pullback(dr_data: Array, dr_noise: Array) -> Array:
        dr = xp.zeros_like(r)
        for k in range(K):
            dr[k, k + 1, :], dr[k, k, :] = dr_data[k, :], dr_noise[k, :]
        dr = xp.reshape(dr, (K, (K + 1) * n))
        return pullback_all(dr, dr[:, :0])

    data, noise = ([r[k, k + j, :] for k in range(K)] for j in (1, 0))
    return xp.stack(data), xp.stack(noise), pullback


def ratio(
    theta: Array, bridges: int = BRIDGES
) -> Callable[[Array], tuple[Array, Array]]:
    """Return sum_k r_k and its gradient as a function, for a sampler.

    Parameters
    ----------
    theta : array (count,)
        Parameters of ``shapes(bridges)``.
    bridges : int

    Returns
    -------
    callable
        x (n, 784) -> (sum_k r_k (n,), its gradient (n, 784)).

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.bridges import ratio, shapes
    >>> from refnce.nn.params import Flat
    >>> r, dr = ratio(np.zeros(Flat(shapes(2)).count), 2)(np.zeros((3, 784)))
    >>> r, dr.shape
    (array([0., 0., 0.]), (3, 784))
    """
    return models.energy(_total, shapes(bridges), theta, WIDTH)


def _total(params: Params, x: Array) -> Output:
    """The layer sum_k r_k."""
    r, inner = network.small_log_ratio()(params, x)
    xp = array_namespace(r)

    def pullback(dy: Array, **halves: bool) -> Gradients:
        return inner(xp.broadcast_to(dy, r.shape), **halves)

    return xp.sum(r, axis=0), pullback


def learn(
    settings: Settings,
    data: Any,
    noise: Any,
    mean: Any,
    *,
    steps: int,
    seed: int = 0,
    batch: int = BATCH,
    rate: float = RATE,
    bridges: int = BRIDGES,
    optimizer: Optimizer = optim.adam,
) -> tuple[Array, dict[str, Any]]:
    """Train all bridges, with every F_k at the root of the batch; resume if asked to.

    Parameters
    ----------
    settings : Settings
    data, noise : object
        Laws with ``sample(rng, *shape)``.
    mean : NumPy array (784,)
        Mean of the data.
    batch : int
        Images of data, and as many of noise, in a step.
    optimizer : callable
        Moves theta at ``rate``, see ``refnce.optim``.

    Returns
    -------
    theta : array (count,)
        In float32, for ``ratio``.
    rows : dict
        Host arrays "step" (records,), "loss" and "F" (records, bridges) of batches.

    Raises
    ------
    RuntimeError
        If theta is no longer finite.
    """
    path = path_of(settings, seed)
    model = _model(settings.array(mean, "float32"), bridges)
    training = train.Training(model, EXACT, optimizer, rate, xtol=1e-6)
    state = _begin(settings, training, seed, bridges)
    batches = Batches(data, noise, seed, (), batch, batch)
    identity = checkpoint.identity(
        training=training, theta0=state.theta, batches=batches, every=EVERY
    )
    rows = {"step": np.zeros(0, dtype=int)}
    rows |= {name: np.zeros((0, bridges)) for name in ("loss", "F")}
    if settings.resume and path.exists():
        state, rows = checkpoint.load(path, state, identity)
    # Written before the first step, so that a path that cannot be written costs none.
    checkpoint.save(path, state, rows, identity)
    hidden = None if settings.progress else True
    with tqdm(None, "bridges", steps, initial=state.count, disable=hidden) as bar:
        while state.count < steps:
            k = state.count
            y, x = (settings.array(z, "float32") for z in batches(k))
            state, loss = step(state, y, x)
            if k % EVERY == 0 or k == steps - 1:
                new = {"step": k, "loss": to_numpy(loss), "F": to_numpy(state.F)}
                rows = {j: np.concatenate([v, [new[j]]]) for j, v in rows.items()}
            if state.count % INTERVAL == 0 or state.count == steps:
                checkpoint.save(path, state, rows, identity)
            bar.update()
    return state.theta, rows


def path_of(settings: Settings, seed: int) -> Path:
    """The checkpoint of a seed."""
    assert settings.work is not None, "figures.__main__ gives a folder"
    settings.work.mkdir(parents=True, exist_ok=True)
    return settings.work / f"bridges-{seed}.safetensors"


def step(state: train.State, y: Array, x: Array) -> tuple[train.State, Array]:
    """Return the state after a step on data y and noise x, and each bridge's loss.

    ``train.step`` would take the axis of r for runs, each with its own theta.
    """
    training = state.training
    r_data, r_noise, pullback = training.model(state.theta, y, x)
    F = logz.newton(r_data, r_noise, xtol=training.xtol).F
    gradient = pullback(*nce.grad_r(r_data, r_noise, F))
    optimizer, rate = training.optimizer, training.rate
    theta_state, change = optimizer(state.opt_state[0], gradient, rate=rate)
    theta, count = state.theta + change, state.count + 1
    if not all_true(array_namespace(theta).isfinite(theta)):
        raise RuntimeError(f"theta is not finite after step {state.count}")
    options = {"F": F, "opt_state": (theta_state, None), "count": count}
    return replace(state, theta=theta, **options), nce.loss(r_data, r_noise, F)


def _model(mean: Array, bridges: int) -> models.Model:
    def model(theta: Array, y: Array, x: Array) -> Any:
        return log_ratios(theta, waymarks(x, y, mean, bridges))

    return model


def _begin(
    settings: Settings, training: train.Training, seed: int, bridges: int
) -> train.State:
    """The state before the first step; one theta stands beside F (bridges,)."""
    initial = network.log_ratio_init_params(shapes(bridges), make_rng(seed, 0, 3))
    theta = settings.array(Flat(shapes(bridges)).ravel(initial), "float32")
    F = settings.array(np.zeros(bridges), "float32")
    never = settings.array(np.full(bridges, -1), "int64")
    return train.State(theta, F, (None, None), training, 0, never)
