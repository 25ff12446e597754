"""Algorithm 1: training by NCE in which F moves by its own rule while an optimizer moves theta.

A model is a function ``model(theta, x_data, x_noise) -> (r_data, r_noise, pullback)`` (see ``models``). A training is a batch of
independent runs, and inside it of methods that see the same samples and differ in how F moves:

    theta (..., methods, k)    F (..., methods)    x (..., n, d)    r (..., methods, n)

One step evaluates all of them as one array program; a solver of F works on its own methods alone. Nothing is drawn here:
``fit`` draws, repeats and records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import groupby
from typing import Any

from refnce import ence, logz
from refnce.array.backend import (
    Array,
    array_namespace,
    asarray,
    device,
    all_true,
    ignore_fp_errors,
    is_async_device,
)
from refnce.array.validation import check_arrays, check_nu
from refnce.train.models import Model
from refnce.optim import sgd

__all__ = ["Method", "State", "Stopped", "Training", "start", "step"]

UPDATES = {
    "nce": ("gradient", "bar", "bisect", "newton"),
    "ence": ("gradient", "closed"),
}
ORDERS = ("together", "first")
Optimizer = Callable[..., tuple[Any, Array]]


@dataclass(frozen=True)
class Method:
    """How one method moves F.

    update: "gradient", F - rate dL/dF (Eq. 3); "bar", F - rate h(F) (Eq. 11; rate 1 as printed, 0.5 never overshoots);
        "bisect" or "newton", the root of the batch; "closed", the best F of the exponential loss. For the last three
        rate means nothing.
    order: "together", theta's gradient is taken at the old F, as Algorithm 1 prints it; "first", at the new one.
    times: how often a "gradient" or "bar" update is repeated on one batch (1 in the paper).
    optimizer: what turns the gradient of F, each a vector (..., 1), into a step; plain descent in the paper (Section 3.5).
    """

    update: str
    rate: float = 1.0
    order: str = "together"
    times: int = 1
    optimizer: Optimizer = sgd

    def __post_init__(self) -> None:
        known = [name for names in UPDATES.values() for name in names]
        if self.update not in known:
            raise ValueError(
                f"update must be one of {', '.join(dict.fromkeys(known))}; got {self.update!r}"
            )
        if self.order not in ORDERS:
            raise ValueError(
                f"order must be one of {', '.join(ORDERS)}; got {self.order!r}"
            )
        _check_number("rate", self.rate)
        if (
            isinstance(self.times, bool)
            or not isinstance(self.times, int)
            or self.times < 1
        ):
            raise ValueError(f"times must be a whole number >= 1; got {self.times!r}")


@dataclass(frozen=True)
class Training:
    """What stays the same from step to step: model, methods, theta's optimizer and its rate, loss, nu, xtol of the solvers.

    loss: "nce" (Eq. 1), or "ence", the exponential loss of Liu et al. 2021, for which nu is 1.
    """

    model: Model
    methods: tuple[Method, ...]
    optimizer: Optimizer = sgd
    rate: float = 1.0
    nu: float = 1.0
    xtol: float = 0.0
    loss: str = "nce"

    def __post_init__(self) -> None:
        if self.loss not in UPDATES:
            raise ValueError(
                f"loss must be one of {', '.join(UPDATES)}; got {self.loss!r}"
            )
        if self.loss == "ence" and self.nu != 1.0:
            raise ValueError(
                f"nu must be 1 for the exponential loss, which it scales; got {self.nu!r}"
            )
        check_nu(self.nu)
        _check_number("rate", self.rate)
        _check_number("xtol", self.xtol, zero=True)
        if not self.methods:
            raise ValueError("methods must hold at least one Method; got none")
        for method in self.methods:
            if method.update not in UPDATES[self.loss]:
                allowed = ", ".join(UPDATES[self.loss])
                raise ValueError(
                    f"update must be one of {allowed} for loss {self.loss!r}; got {method.update!r}"
                )

    @cached_property
    def groups(self) -> list[tuple[slice, Method, list[list[float]]]]:
        """Neighbouring methods that differ in their rate alone: where they stand, one of them, the rates (methods, 1)."""
        groups, position = [], 0
        for _, members in groupby(
            self.methods,
            lambda method: (
                method.update,
                method.order,
                method.times,
                method.optimizer,
            ),
        ):
            methods = list(members)
            here = slice(position, position + len(methods))
            groups.append((here, methods[0], [[method.rate] for method in methods]))
            position = here.stop
        return groups


class Stopped(IntEnum):
    """Why a run stopped: what was not finite. It keeps theta and F of before that step; the others go on."""

    NOT = 0
    LOSS = 1
    F = 2
    THETA = 3


@dataclass(frozen=True)
class State:
    """theta (..., methods, k), F (..., methods), the optimizers' memories (theta's, then F's for each group), and the training.

    count: steps made. stopped: ``Stopped`` for each run and method; stopped_at: the step at which it did, else -1. What the
    optimizers remember of a run that stopped means nothing.
    """

    theta: Array
    F: Array
    memory: tuple[Any, ...]
    training: Training
    count: int
    stopped: Array
    stopped_at: Array


def start(training: Training, theta: Array, F: Array) -> State:
    """Return the state before the first step.

    Raises TypeError or ValueError where theta or F are not of one floating dtype, do not fit the methods or are not finite.
    """
    xp = check_arrays(theta=theta, F=F)
    runs = (*F.shape[:-1], len(training.methods))
    if F.ndim == 0 or tuple(F.shape) != runs or tuple(theta.shape[:-1]) != runs:
        raise ValueError(
            f"theta must be (..., {len(training.methods)}, k) and F (..., {len(training.methods)}), one row for each method;"
            f" got {tuple(theta.shape)} and {tuple(F.shape)}"
        )
    for name, x in (("theta", theta), ("F", F)):
        if not all_true(xp.isfinite(x)):
            raise ValueError(
                f"{name} must be finite; got NaN or an infinity in shape {tuple(x.shape)}: start elsewhere"
            )
    none = xp.zeros(F.shape, dtype=xp.int64, device=device(F))
    return State(
        theta, F, (None,) * (1 + len(training.groups)), training, 0, none, none - 1
    )


@ignore_fp_errors()
def step(state: State, x_data: Array, x_noise: Array) -> State:
    """Return the state after one step of Algorithm 1 on the samples x_data (..., n, d) and x_noise (..., m, d).

    A run whose loss, F or theta is not finite keeps theta and F of before this step and is marked as stopped; the others go on
    to the same bits, but for the rounding of a solver, which depends on what is solved beside.
    """
    training, F = state.training, state.F
    xp = array_namespace(F)
    r_data, r_noise, pullback = training.model(state.theta, x_data, x_noise)
    if not r_data.shape[:-1] == r_noise.shape[:-1] == F.shape:
        raise ValueError(
            f"the model must give log-ratios (*{tuple(F.shape)}, n), of the runs of F; got {tuple(r_data.shape)} and"
            f" {tuple(r_noise.shape)}: samples and the noise's parameters must be of these runs or of none (of none with apart)"
        )
    # The loss at a finite F is finite just where no data have p = 0 and no noise p = inf.
    lossless = xp.all(r_data > -xp.inf, axis=-1) & xp.all(r_noise < xp.inf, axis=-1)
    if not _surely(lossless):  # the solvers refuse NaN
        r_data, r_noise = (
            xp.where(xp.isnan(r), xp.zeros_like(r), r) for r in (r_data, r_noise)
        )

    groups = training.groups
    moved = {}
    for k, (here, method, _) in enumerate(groups):
        if method.order == "first":
            moved[k] = _move_F(
                state, k, r_data[..., here, :], r_noise[..., here, :], None
            )
    F_seen = xp.concat(
        [
            moved[k][1] if k in moved else F[..., here]
            for k, (here, _, _) in enumerate(groups)
        ],
        axis=-1,
    )
    if training.loss == "ence":
        F_seen = _finite(F_seen, F)
    weights = _weights(r_data, r_noise, F_seen, training)
    if (
        training.loss == "ence"
    ):  # it is twice the sum of its weights, which may overflow
        lossless = lossless & xp.isfinite(
            2.0 * (xp.sum(weights[0], axis=-1) + xp.sum(weights[1], axis=-1))
        )
    for k, (here, method, _) in enumerate(groups):
        if method.order == "together":
            own = weights[0][..., here, :], weights[1][..., here, :]
            moved[k] = _move_F(
                state, k, r_data[..., here, :], r_noise[..., here, :], own
            )

    gradient = pullback(-weights[0], weights[1])
    memory, change = training.optimizer(state.memory[0], gradient, rate=training.rate)
    memories, F_next = zip(*(moved[k] for k in range(len(groups))), strict=True)
    return _only_finite(
        state,
        lossless,
        state.theta + change,
        xp.concat(list(F_next), axis=-1),
        (memory, *memories),
    )


def _only_finite(
    state: State, lossless: Array, theta: Array, F: Array, memory: tuple[Any, ...]
) -> State:
    """The state after a step, in which runs that stopped, now or before, keep their theta and F."""
    xp = array_namespace(F)
    checks = {
        Stopped.THETA: xp.all(xp.isfinite(theta), axis=-1),
        Stopped.F: xp.isfinite(F),
        Stopped.LOSS: lossless,
    }
    going = state.stopped == int(Stopped.NOT)
    fine = checks[Stopped.THETA] & checks[Stopped.F] & lossless & going
    after = replace(state, theta=theta, F=F, memory=memory, count=state.count + 1)
    if _surely(fine):
        return after
    reason = state.stopped
    for why, good in checks.items():
        reason = xp.where(going & ~good, 0 * reason + int(why), reason)
    return replace(
        after,
        theta=xp.where(fine[..., None], theta, state.theta),
        F=xp.where(fine, F, state.F),
        stopped=reason,
        stopped_at=xp.where(going & ~fine, 0 * reason + state.count, state.stopped_at),
    )


def _surely(each: Array) -> bool:
    """Whether all are true, where asking costs nothing."""
    return not is_async_device(each) and all_true(each)


def _finite(F: Array, before: Array) -> Array:
    """F, and in the runs where it is not finite that of before: what moves F further refuses any other."""
    fine = array_namespace(F).isfinite(F)
    return F if _surely(fine) else array_namespace(F).where(fine, F, before)


def _weights(
    r_data: Array, r_noise: Array, F: Array, training: Training
) -> tuple[Array, Array]:
    """(-dL/dr_data, dL/dr_noise), both positive: ``nce.grad_r`` to rounding in r - F, in four operations a sample.

    One sigmoid for each sample, method and step is what a training spends its time on, and the digits that nce.grad_r
    adds where r - F cancels do not matter to a gradient. exp overflows to inf where a sigmoid is under 1e-308, which is 0 here.
    """
    if training.loss == "ence":
        data, noise = ence.grad_r(r_data, r_noise, F)
        return -data, noise
    xp = array_namespace(F)
    shift = (F + math.log(training.nu))[..., None]
    share = 1.0 / (1.0 + training.nu)
    data = (share / r_data.shape[-1]) / (1.0 + xp.exp(r_data - shift))
    noise = (training.nu * share / r_noise.shape[-1]) / (1.0 + xp.exp(shift - r_noise))
    return data, noise


def _move_F(
    state: State, k: int, r_data: Array, r_noise: Array, weights: Any
) -> tuple[Any, Array]:
    """(memory, next F (..., methods)) of the k-th group; ``weights`` are those at F where the caller has them."""
    training, (here, method, rates) = state.training, state.training.groups[k]
    F, memory = state.F[..., here], state.memory[1 + k]
    xp = array_namespace(F)
    nu, xtol = training.nu, training.xtol
    if method.update == "bisect":
        return memory, logz.bisect(r_data, r_noise, nu=nu, xtol=xtol).F
    if method.update == "newton":
        return memory, logz.newton(r_data, r_noise, nu=nu, F0=F, xtol=xtol).F
    if method.update == "closed":
        return memory, ence.log_z(r_data, r_noise)
    rate = asarray(rates, xp, dtype=F.dtype, device=device(F))
    for again in range(method.times):
        at = _finite(F, state.F[..., here]) if again else F
        # L depends on r - F alone: the summands of dL/dF (Eq. 3) are the sums of the weights.
        data, noise = (
            xp.sum(w, axis=-1)
            for w in weights or _weights(r_data, r_noise, at, training)
        )
        if method.update == "gradient":
            slope = data - noise  # Eq. (3)
        else:
            slope, seen = xp.log(data) - xp.log(noise), (data > 0) & (
                noise > 0
            )  # Eq. (11)
            if not all_true(
                seen
            ):  # a class that underflows as a whole has no logarithm until its largest term is factored out
                slope = xp.where(
                    seen, slope, at - logz.bar_update(r_data, r_noise, at, nu=nu)
                )
        memory, change = method.optimizer(memory, slope[..., None], rate=rate)
        F, weights = (
            F + change[..., 0],
            None,
        )  # what is not finite stays so, and stops the run
    return memory, F


def _check_number(name: str, value: Any, zero: bool = False) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 < value < math.inf or zero and value == 0)
    ):
        raise ValueError(
            f"{name} must be a finite number {'>=' if zero else '>'} 0; got {value!r}"
        )
