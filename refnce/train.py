"""Algorithm 1: training by NCE in which F moves by its own rule while an optimizer moves theta.

A model is a function ``model(theta, x) -> (r, pullback)``: log-ratios, and the map from dL/dr to dL/dtheta. A training
is a batch of independent runs, and inside it of methods that see the same samples and differ in how F moves:

    theta (..., methods, k)    F (..., methods)    x (..., n, d)    r (..., methods, n)

One step evaluates all of them as one array program; a solver of F works on its own methods alone. Nothing is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from refnce import logz
from refnce.backend import Array, array_namespace, asarray, device, host_bool, quiet
from refnce.optim import sgd

__all__ = ["Method", "State", "Training", "exponential_family", "start", "step"]

UPDATES = ("gradient", "bar", "bisect", "newton")
ORDERS = ("together", "first")
Model = Callable[[Array, Array], tuple[Array, Callable[[Array], Array]]]


@dataclass(frozen=True)
class Method:
    """How one method moves F.

    update: "gradient", F - rate dL/dF (Eq. 3); "bar", F - rate h(F) (Eq. 11; rate 1 as printed, 0.5 never overshoots);
        "bisect" or "newton", the root of the batch, where rate means nothing.
    order: "together", theta's gradient is taken at the old F, as Algorithm 1 prints it; "first", at the new one.
    """

    update: str
    rate: float = 1.0
    order: str = "together"

    def __post_init__(self) -> None:
        if self.update not in UPDATES:
            raise ValueError(f"update must be one of {', '.join(UPDATES)}; got {self.update!r}")
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {self.order!r}")
        if not self.rate > 0:
            raise ValueError(f"rate must be a number > 0; got {self.rate!r}")


@dataclass(frozen=True)
class Training:
    """What stays the same from step to step: the model, the methods, theta's optimizer and its rate, nu, xtol of the solvers."""

    model: Model
    methods: tuple[Method, ...]
    optimizer: Callable[..., tuple[Any, Array]] = sgd
    rate: float = 1.0
    nu: float = 1.0
    xtol: float = 0.0

    @cached_property
    def groups(self) -> list[tuple[slice, Method, list[float]]]:
        """Neighbouring methods that differ in their rate alone: where they stand, one of them, the rates."""
        groups, position = [], 0
        for _, members in groupby(self.methods, lambda method: (method.update, method.order)):
            methods = list(members)
            here = slice(position, position + len(methods))
            groups.append((here, methods[0], [method.rate for method in methods]))
            position = here.stop
        return groups


@dataclass(frozen=True)
class State:
    """theta (..., methods, k), F (..., methods), the optimizer's memory (None at the start), and the training."""

    theta: Array
    F: Array
    memory: Any
    training: Training


def start(training: Training, theta: Array, F: Array) -> State:
    """Return the state before the first step. Raises ValueError where theta or F do not fit the methods."""
    runs = (*F.shape[:-1], len(training.methods))
    if F.ndim == 0 or tuple(F.shape) != runs or tuple(theta.shape[:-1]) != runs:
        raise ValueError(
            f"theta must be (..., {len(training.methods)}, k) and F (..., {len(training.methods)}), one row for each method;"
            f" got {tuple(theta.shape)} and {tuple(F.shape)}"
        )
    return State(theta, F, None, training)


@quiet()
def step(state: State, x_data: Array, x_noise: Array) -> State:
    """Return the state after one step of Algorithm 1 on the samples x_data (..., n, d) and x_noise (..., m, d)."""
    training, F = state.training, state.F
    xp = array_namespace(F)
    r_data, pull_data = training.model(state.theta, x_data)
    r_noise, pull_noise = training.model(state.theta, x_noise)

    moved = {}
    for k, (here, method, rates) in enumerate(training.groups):
        if method.order == "first":
            moved[k] = _move_F(method, rates, r_data[..., here, :], r_noise[..., here, :], F[..., here], None, training)
    groups = training.groups
    F_seen = xp.concat([moved.get(k, F[..., here]) for k, (here, _, _) in enumerate(groups)], axis=-1)
    weights = _weights(r_data, r_noise, F_seen, training.nu)
    for k, (here, method, rates) in enumerate(groups):
        if method.order == "together":
            samples = r_data[..., here, :], r_noise[..., here, :]
            own = weights[0][..., here, :], weights[1][..., here, :]
            moved[k] = _move_F(method, rates, *samples, F[..., here], own, training)

    gradient = pull_noise(weights[1]) - pull_data(weights[0])
    memory, change = training.optimizer(state.memory, gradient, rate=training.rate)
    F_next = xp.concat([moved[k] for k in range(len(groups))], axis=-1)
    return State(state.theta + change, F_next, memory, training)


def _weights(r_data: Array, r_noise: Array, F: Array, nu: float) -> tuple[Array, Array]:
    """(-dL/dr_data, dL/dr_noise), both positive: ``nce.grad_r`` to rounding in r - F, in four operations a sample.

    One sigmoid for each sample, method and step is what a training spends its time on, and the digits that nce.grad_r
    adds where r - F cancels do not matter to a gradient. exp overflows to inf where a sigmoid is under 1e-308, which is 0 here.
    """
    xp = array_namespace(F)
    shift = (F + math.log(nu))[..., None]
    data = (1.0 / (1.0 + nu) / r_data.shape[-1]) / (1.0 + xp.exp(r_data - shift))
    noise = (nu / (1.0 + nu) / r_noise.shape[-1]) / (1.0 + xp.exp(shift - r_noise))
    return data, noise


def _move_F(
    method: Method, rates: list[float], r_data: Array, r_noise: Array, F: Array, weights: Any, training: Training
) -> Array:
    """The next F (..., methods) of a group; ``weights`` are those at F where the caller has them."""
    xp = array_namespace(F)
    nu, xtol = training.nu, training.xtol
    if method.update == "bisect":
        return logz.bisect(r_data, r_noise, nu=nu, xtol=xtol).F
    if method.update == "newton":
        return logz.newton(r_data, r_noise, nu=nu, F0=F, xtol=xtol).F
    # L depends on r - F alone: the summands of dL/dF (Eq. 3) are the sums of the weights.
    data, noise = (xp.sum(w, axis=-1) for w in weights or _weights(r_data, r_noise, F, nu))
    if method.update == "gradient":
        change = data - noise  # Eq. (3)
    elif host_bool((data > 0) & (noise > 0)):
        change = xp.log(data) - xp.log(noise)  # Eq. (11)
    else:  # a class that underflows as a whole has no logarithm until its largest term is factored out
        change = F - logz.bar_update(r_data, r_noise, F, nu=nu)
    return F - asarray(rates, xp, dtype=F.dtype, device=device(F)) * change


def exponential_family(family: Any, noise: Any) -> Model:
    """Return the model r = <T(x), theta> + log_base(x) - log q(x) of Equation 2, T and log_base those of ``family``.

    ``family`` is a class or instance of ``refnce.laws`` with statistics and log_base, ``noise`` a law with log_density.
    """

    def model(theta: Array, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        xp = array_namespace(theta, x)
        T = family.statistics(x)
        offset = family.log_base(x) - noise.log_density(x)
        features = xp.matrix_transpose(T)
        # One statistic: the outer product, which as a product of matrices takes three times as long.
        r = (theta * features if T.shape[-1] == 1 else xp.matmul(theta, features)) + offset[..., None, :]

        def pullback(dr: Array) -> Array:
            return xp.matmul(dr, T)

        return r, pullback

    return model
