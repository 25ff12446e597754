"""How the functions of the surface are called with the inputs of a case."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from refnce.array import backend
from refnce.conformance.cases import Case
from refnce.conformance.surface import SURFACE, Impl, NotProvided
from refnce.logz import Status

OPTIONS = ("F0", "xtol", "step", "max_updates")  # of a solver
KEYWORDS = ("nu", "rate", "rate_F", "update", "order")  # of any other function
WHOLE = ("max_updates", "stride")  # inputs that are integers
# What a function answers, where that is not one quantity of its name.
QUANTITIES = {"grad_r": ("grad_r_data", "grad_r_noise"), "trajectory": ("theta", "F")}
# With these statuses ``bar`` has not reached a fixed point: its F is not judged.
NOT_REACHED = {int(Status.CYCLE), int(Status.MAX_UPDATES)}


class Call(NamedTuple):
    """A function of the surface: ``run(impl, inputs)`` returns answers by quantity.

    quantities: what it answers; () for every quantity of the suite.
    options: the solver options that it takes.
    """

    label: str
    run: Callable[[Impl, dict[str, Any]], dict[str, Any]]
    quantities: tuple[str, ...] = ()
    options: tuple[str, ...] = OPTIONS

    def asked(self, case: Case) -> list[str]:
        """Return the quantities of ``case`` that this function must answer."""
        if any(key in case.inputs and key not in self.options for key in OPTIONS):
            return []
        own = self.quantities or case.quantities
        return [quantity for quantity in case.quantities if quantity in own]


def _functions(space, names, arguments):
    return tuple(_function(space, name, arguments.split()) for name in names.split())


def _function(space, name, arguments):
    quantities = QUANTITIES.get(name, (name,))

    def run(impl, inputs):
        function = getattr(getattr(impl, space), name)
        positional = [_argument(inputs, key) for key in arguments]
        result = function(*positional, **_given(inputs, *KEYWORDS))
        results = result if len(quantities) > 1 else (result,)
        return dict(zip(quantities, results, strict=True))

    return Call(f"{space}.{name}", run, quantities)


def _solver(name, *options):
    def run(impl, inputs):
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


def _layer(name, x, y, keyword=""):
    """A layer with input ``x`` and output ``y``; its other inputs are parameters."""

    def run(impl, inputs):
        names = [key for key in inputs if key not in (x, "dy", keyword)]
        params = {key: inputs[key] for key in names}
        layer = getattr(impl.nn, name)
        out, pullback = layer(params, inputs[x], **_given(inputs, keyword))
        dx, dparams = pullback(inputs["dy"])
        return {y: out, f"d{x}": dx} | {f"d{key}": dparams[key] for key in names}

    return (Call(f"nn.{name}", run),)


def _optimizer(name):
    def run(impl, inputs):
        optimizer, rate = getattr(impl.optim, name), float(inputs["rate"])
        state, steps = None, []
        for gradient in inputs["gradients"]:
            state, step = optimizer(state, gradient, rate=rate)
            steps.append(step)
        return {name: backend.load("numpy").stack(steps)}

    return Call(f"optim.{name}", run, (name,))


def _given(inputs, *names):
    return {name: _argument(inputs, name) for name in names if name in inputs}


def _argument(inputs, name):
    """Text and arrays with axes as they are; other numbers as Python's."""
    x = inputs[name]
    if isinstance(x, str) or x.ndim:
        return x
    return int(x) if name in WHOLE else float(x)


_RATIOS = "r_data r_noise F"
_PROFILE = "T_data T_noise theta offset_data offset_noise"
_FAMILY = _PROFILE.replace("theta", "theta F")
_TRAJECTORY = "T_data T_noise offset_data offset_noise theta F"
# The functions that answer each suite.
CALLS: dict[str, tuple[Call, ...]] = {
    "nce": _functions("nce", "loss grad_F hess_F grad_r", _RATIOS)
    + _functions("logz", "bar_update", _RATIOS),
    "logz": (
        _solver("newton", "F0", "xtol"),
        _solver("bisect", "xtol"),
        _solver("bar", *OPTIONS),
    ),
    "ence": _functions("ence", "loss grad_F grad_r", _RATIOS)
    + _functions("ence", "log_z", "r_data r_noise"),
    "expfam": _functions("expfam", "loss gradient hessian", _FAMILY)
    + _functions("expfam", "profile_loss profile_gradient profile_hessian", _PROFILE),
    "mlp": _layer("mlp", "x", "y"),
    "conv": _layer("conv3x3", "x", "y", "stride"),
    "head": _layer("quadratic_head", "f", "r", "sign"),
    "optim": tuple(map(_optimizer, SURFACE["optim"])),
    "trajectory": _functions("train", "trajectory", _TRAJECTORY),
}
