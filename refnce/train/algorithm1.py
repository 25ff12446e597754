"""Algorithm 1: NCE in which F moves by its own rule and an optimizer moves theta.

A model is a function ``model(theta, x_data, x_noise) -> (r_data, r_noise, pullback)``,
see ``refnce.train.models``. Leading axes are independent runs:

    theta (..., k)    F (...)    x (..., n, d)    r (..., n)

Nothing is drawn here; ``refnce.train.fit`` draws batches, repeats and records.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from refnce import logz
from refnce.array import Array, all_true, array_namespace, check_arrays, device
from refnce.array import ignore_fp_errors, invalid, shape_of
from refnce.train.training import Training

__all__ = ["State", "start", "step"]

Pair = tuple[Array, Array]  # of data and of noise


@dataclass(frozen=True)
class State:
    """A training between two steps; made by ``start`` and ``step``.

    Attributes
    ----------
    theta : array (..., k)
    F : array (...)
    opt_state : tuple
        The states of the optimizers of theta and of F; those of a stopped run are
        meaningless.
    training : Training
    count : int
        Steps made.
    stopped_at : integer array (...)
        The step at which a run stopped, because its loss, F or theta was not finite;
        -1 for a run that trains.
    """

    theta: Array
    F: Array
    opt_state: tuple[Any, Any]
    training: Training
    count: int
    stopped_at: Array


def start(training: Training, theta: Array, F: Array | float) -> State:
    """Return the state before the first step.

    Parameters
    ----------
    training : Training
    theta : array (..., k)
        First parameters; leading axes are runs.
    F : array (...) or float
        First F of each run; a number is that of every run.

    Returns
    -------
    State

    Raises
    ------
    TypeError, ValueError
        If theta and F are not arrays of one floating dtype, one library and one device,
        or their runs differ, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, train
    >>> from refnce.train import models
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(distributions.UnitGaussian, noise)
    >>> training = train.Training(model, train.Method("bar"), rate=0.1)
    >>> train.start(training, np.zeros((5, 1)), 0.0).F
    array([0., 0., 0., 0., 0.])
    """
    xp = check_arrays(theta=theta)
    if isinstance(F, (int, float)):
        F = xp.full(theta.shape[:-1], F, dtype=theta.dtype, device=device(theta))
    check_arrays(theta=theta, F=F)
    if theta.ndim == 0 or theta.shape[:-1] != F.shape:
        raise invalid("theta", "be (*runs, k) and F (*runs,)", shape_of(theta, F))
    for name, x in (("theta", theta), ("F", F)):
        if not all_true(xp.isfinite(x)):
            raise invalid(name, "be finite", "NaN or an infinity")
    never = xp.full(F.shape, -1, dtype=xp.int64, device=device(F))
    return State(theta, F, (None, None), training, 0, never)


@ignore_fp_errors()
def step(state: State, x_data: Array, x_noise: Array) -> State:
    """Return the state after one step of Algorithm 1; nothing is drawn.

    Parameters
    ----------
    state : State
    x_data : array (*runs, n, d) or (n, d)
        Samples of the data, of the runs of F or the same for all runs.
    x_noise : array (*runs, m, d) or (m, d)
        Samples of the noise.

    Returns
    -------
    State
        A run whose loss, F or theta is not finite keeps the theta and F of before this
        step and is marked as stopped. Other runs are unaffected, except that a batched
        solver may round differently when the batch changes.

    Raises
    ------
    TypeError, ValueError
        If the samples are not arrays of theta's library, dtype and device, or there are
        none, or the model's log-ratios are not of the runs of F.

    Notes
    -----
    Algorithm 1, with means over the classes in place of the printed sums.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, train
    >>> from refnce.train import models
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(distributions.UnitGaussian, noise)
    >>> training = train.Training(model, train.Method("bar"), rate=0.1)
    >>> state = train.start(training, np.zeros((5, 1)), 0.0)
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(1.0, 1.0, (5, 99, 1)), rng.normal(0.0, 1.0, (5, 99, 1))
    >>> train.step(state, x, y).F.round(3)
    array([0.919, 0.919, 0.919, 0.919, 0.919])
    """
    training, theta, F = state.training, state.theta, state.F
    xp, (theta_state, F_state) = array_namespace(F), state.opt_state
    r, pullback, finite = log_ratios(state, x_data, x_noise)
    if training.method.F_first:
        F_next, F_state = _update_F(state, r, None)
        dr = _grad_r(training, r, xp.where(xp.isfinite(F_next), F_next, F))
    else:
        dr = _grad_r(training, r, F)
        F_next, F_state = _update_F(state, r, dr)
    gradient, rate = pullback(*dr), training.rate  # Eq. (13)
    theta_state, change = training.optimizer(theta_state, gradient, rate=rate)
    theta_next, trains = theta + change, state.stopped_at < 0
    finite = finite & xp.isfinite(F_next) & xp.all(xp.isfinite(theta_next), axis=-1)
    moves = trains & finite
    return replace(
        state,
        theta=xp.where(moves[..., None], theta_next, theta),
        F=xp.where(moves, F_next, F),
        opt_state=(theta_state, F_state),
        count=state.count + 1,
        stopped_at=xp.where(trains & ~finite, state.count, state.stopped_at),
    )


def log_ratios(state: State, x_data: Array, x_noise: Array) -> tuple[Pair, Any, Array]:
    """The log-ratios without NaN, their pullback, and which runs have a finite loss.

    Raises unless the samples and log-ratios are of the runs and kind of the state.
    """
    xp = check_arrays(theta=state.theta, x_data=x_data, x_noise=x_noise)
    runs = state.F.shape
    for name, x in (("x_data", x_data), ("x_noise", x_noise)):
        if x.ndim < 2 or x.shape[-2] == 0 or x.shape[:-2] not in ((), runs):
            must = f"be (n, d) or (*{tuple(runs)}, n, d), of the runs of F, with n >= 1"
            raise invalid(name, must, shape_of(x))
    r_data, r_noise, pullback = state.training.model(state.theta, x_data, x_noise)
    if not r_data.shape[:-1] == r_noise.shape[:-1] == runs:
        must = f"give log-ratios (*{tuple(runs)}, n), of the runs of F"
        raise invalid("the model", must, shape_of(r_data, r_noise))
    # At a finite F the loss is finite unless a datum has p = 0 or a noise sample
    # p = inf. Comparisons with NaN are false.
    finite = xp.all(r_data > -xp.inf, axis=-1) & xp.all(r_noise < xp.inf, axis=-1)
    if not all_true(finite):  # the solvers refuse NaN
        r_data = xp.where(xp.isnan(r_data), 0.0, r_data)
        r_noise = xp.where(xp.isnan(r_noise), 0.0, r_noise)
    return (r_data, r_noise), pullback, finite


def _grad_r(training: Training, r: Pair, F: Array) -> Pair:
    """(dL/dr_data, dL/dr_noise).

    For NCE this is ``nce.grad_r`` to rounding in r - F, with one exponential per sample
    and no checks. exp overflows to inf where a sigmoid is under 1e-308, which gives 0.
    """
    if training.loss is not None:
        return training.loss.grad_r(*r, F)
    xp, nu = array_namespace(F), training.nu
    u = (F + math.log(nu))[..., None]
    share = 1.0 / (1.0 + nu)
    dr_data = (-share / r[0].shape[-1]) / (1.0 + xp.exp(r[0] - u))
    dr_noise = (nu * share / r[1].shape[-1]) / (1.0 + xp.exp(u - r[1]))
    return dr_data, dr_noise


def _update_F(state: State, r: Pair, dr: Pair | None) -> tuple[Array, Any]:
    """(next F, next state of F's optimizer); ``dr`` is dL/dr at the F of ``state``."""
    training, method, F = state.training, state.training.method, state.F
    xp, (_, opt_state) = array_namespace(F), state.opt_state
    options = {"nu": training.nu, "xtol": training.xtol}
    if callable(method.update):
        return method.update(*r, F), opt_state
    if method.update == "bisect":
        return logz.bisect(*r, **options).F, opt_state
    if method.update == "newton":
        return logz.newton(*r, F0=F, **options).F, opt_state
    for _ in range(method.repeats):
        finite_F = xp.where(xp.isfinite(F), F, state.F)
        dr = dr or _grad_r(training, r, finite_F)
        # The loss depends on r - F alone, so dL/dF = -sum dL/dr.
        data, noise = -xp.sum(dr[0], axis=-1), xp.sum(dr[1], axis=-1)
        if method.update == "gradient":
            slope = data - noise  # Eq. (3)
        else:
            slope = xp.log(data) - xp.log(noise)  # h(F) of Eq. (11)
            positive = (data > 0) & (noise > 0)
            if not all_true(positive):  # a class whose every sigmoid underflows
                exact = finite_F - logz.bar_update(*r, finite_F, nu=training.nu)
                slope = xp.where(positive, slope, exact)
        slope = slope[..., None]
        opt_state, change = method.optimizer(opt_state, slope, rate=method.rate)
        F, dr = F + change[..., 0], None
    return F, opt_state
