"""How the functions of the surface are called with the inputs of a case."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from refnce.array import backend
from refnce.conformance.cases import Case
from refnce.conformance.surface import SURFACE, Impl, NotProvided
from refnce.logz import Status

Inputs = dict[str, Any]
Answers = dict[str, Any]

OPTIONS = ("F0", "xtol", "step", "max_updates")  # of a solver
WHOLE = ("max_updates", "stride")  # inputs that are integers
# With these statuses ``bar`` has not reached a fixed point: its F is not judged.
NOT_REACHED = {int(Status.CYCLE), int(Status.MAX_UPDATES)}


class Call(NamedTuple):
    """A function of the surface: ``run(impl, inputs)`` returns answers by quantity.

    quantities: what it answers; () for every quantity of the suite.
    options: the solver options that it takes.
    """

    label: str
    run: Callable[[Impl, Inputs], Answers]
    quantities: tuple[str, ...] = ()
    options: tuple[str, ...] = OPTIONS

    def asked(self, case: Case) -> tuple[str, ...]:
        """Return the quantities of ``case`` that this function must answer."""
        if any(key in case.inputs and key not in self.options for key in OPTIONS):
            return ()
        own = self.quantities or case.quantities
        return tuple(quantity for quantity in case.quantities if quantity in own)


def _function(
    label: str, arguments: str, *quantities: str, keywords: str = "nu"
) -> Call:
    """A function that answers ``quantities``, by default the one of its name."""
    space, name = label.split(".")
    quantities = quantities or (name,)

    def run(impl: Impl, inputs: Inputs) -> Answers:
        function = getattr(getattr(impl, space), name)
        positional = [_argument(inputs, key) for key in arguments.split()]
        result = function(*positional, **_given(inputs, *keywords.split()))
        results = result if len(quantities) > 1 else (result,)
        return dict(zip(quantities, results, strict=True))

    return Call(label, run, quantities)


def _solver(name: str, *options: str) -> Call:
    def run(impl: Impl, inputs: Inputs) -> Answers:
        solver = getattr(impl.logz, name)
        given = _given(inputs, "nu", *OPTIONS)
        solution = solver(inputs["r_data"], inputs["r_noise"], **given)
        answers = {"root": solution.F}
        for quantity in quantities[1:]:
            with suppress(NotProvided):
                answers[quantity] = getattr(solution, quantity)
        if name == "bar" and "converged" in answers:
            if NOT_REACHED & set(solution.status.ravel().tolist()):
                return {"converged": answers["converged"]}
        return answers

    quantities = ("root", "standard_error", "overlap", "converged")
    return Call(f"logz.{name}", run, quantities, options)


def _layer(name: str, x: str, y: str, *params: str, keyword: str = "") -> Call:
    """A layer on the input ``x``; without ``params`` those are the dotted names."""

    def run(impl: Impl, inputs: Inputs) -> Answers:
        names = params or tuple(key for key in inputs if "." in key)
        given = {key: inputs[key] for key in names}
        layer = getattr(impl.nn, name)
        out, pullback = layer(given, inputs[x], **_given(inputs, keyword))
        dx, dparams = pullback(inputs["dy"])
        return {y: out, f"d{x}": dx} | {f"d{key}": dparams[key] for key in names}

    return Call(f"nn.{name}", run)


def _optimizer(name: str) -> Call:
    def run(impl: Impl, inputs: Inputs) -> Answers:
        optimizer, rate = getattr(impl.optim, name), float(inputs["rate"])
        state, steps = None, []
        for gradient in inputs["gradients"]:
            state, step = optimizer(state, gradient, rate=rate)
            steps.append(step)
        return {name: backend.load("numpy").stack(steps)}

    return Call(f"optim.{name}", run, (name,))


def _given(inputs: Inputs, *names: str) -> Inputs:
    return {name: _argument(inputs, name) for name in names if name in inputs}


def _argument(inputs: Inputs, name: str) -> Any:
    """Text and arrays with axes as they are; other numbers as Python's."""
    x = inputs[name]
    if isinstance(x, str) or x.ndim:
        return x
    return int(x) if name in WHOLE else float(x)


_RATIOS = "r_data r_noise F"
_FAMILY = "T_data T_noise theta F offset_data offset_noise"
_PROFILE = _FAMILY.replace(" F ", " ")
_TRAJECTORY = "T_data T_noise offset_data offset_noise theta F"
_GRAD_R = ("grad_r_data", "grad_r_noise")
# The functions that answer each suite.
CALLS: dict[str, tuple[Call, ...]] = {
    "nce": (
        *(_function(f"nce.{name}", _RATIOS) for name in ("loss", "grad_F", "hess_F")),
        _function("nce.grad_r", _RATIOS, *_GRAD_R),
        _function("logz.bar_update", _RATIOS),
    ),
    "logz": (
        _solver("newton", "F0", "xtol"),
        _solver("bisect", "xtol"),
        _solver("bar", *OPTIONS),
    ),
    "ence": (
        *(_function(f"ence.{name}", _RATIOS) for name in ("loss", "grad_F")),
        _function("ence.grad_r", _RATIOS, *_GRAD_R),
        _function("ence.log_z", "r_data r_noise"),
    ),
    "expfam": tuple(
        _function(f"expfam.{name}", _PROFILE if "profile" in name else _FAMILY)
        for name in SURFACE["expfam"]
    ),
    "mlp": (_layer("mlp", "x", "y"),),
    "conv": (_layer("conv3x3", "x", "y", "weight", "bias", keyword="stride"),),
    "head": (_layer("quadratic_head", "f", "r", "triangle", "b", keyword="sign"),),
    "optim": tuple(map(_optimizer, SURFACE["optim"])),
    "trajectory": (
        _function(
            "train.trajectory",
            _TRAJECTORY,
            "theta",
            "F",
            keywords="nu rate rate_F update order",
        ),
    ),
}
