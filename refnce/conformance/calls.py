"""How the functions of the surface are called with the inputs of a case."""

import inspect
from contextlib import suppress
from operator import attrgetter
from typing import Any

from refnce.conformance.cases import Case
from refnce.conformance.surface import REFNCE, SOLVERS, NotProvided
from refnce.logz import Status

# What a function answers, where that is not one quantity of its name.
QUANTITIES = {
    "grad_r": ("grad_r_data", "grad_r_noise"),
    "trajectory": ("theta", "F"),
    **dict.fromkeys(SOLVERS, ("root", "standard_error", "overlap", "converged")),
}
OPTIONS = ("F0", "xtol", "step", "max_updates")  # of a solver
WHOLE = ("max_updates", "stride")  # inputs that are integers
# With these statuses ``bar`` has not reached a fixed point: its F is not judged.
NOT_REACHED = {int(Status.CYCLE), int(Status.MAX_UPDATES)}


def asked(label: str, case: Case) -> list[str]:
    """Return the quantities of ``case`` that the function ``label`` must answer."""
    space, _, name = label.partition(".")
    if set(OPTIONS) & set(case.inputs) - set(_signature(label).parameters):
        return []
    own = case.quantities if space == "nn" else QUANTITIES.get(name, (name,))
    return [quantity for quantity in case.quantities if quantity in own]


def answers(label: str, function: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Call ``function`` with the inputs that refnce's own function ``label`` takes.

    Return what it answers, by quantity.
    """
    space, _, name = label.partition(".")
    if space == "optim":
        return {name: _steps(function, inputs)}
    signature = _signature(label)
    names = list(signature.parameters)
    params = {key: x for key, x in inputs.items() if key not in (*names, "dy")}
    given = {key: _argument(key, x) for key, x in inputs.items() if key in names}
    if space == "nn":
        given["params"] = params
    arguments = signature.bind(**given)
    result = function(*arguments.args, **arguments.kwargs)
    if space == "nn":
        y, pullback = result
        dx, dparams = pullback(inputs["dy"])
        found = {"r" if name == "quadratic_head" else "y": y, f"d{names[1]}": dx}
        return found | {f"d{key}": dparams[key] for key in params}
    if name in SOLVERS:
        return _solution(name, result)
    quantities = QUANTITIES.get(name, (name,))
    results = result if len(quantities) > 1 else (result,)
    return dict(zip(quantities, results, strict=True))


def _signature(label):
    return inspect.signature(attrgetter(label)(REFNCE))


def _argument(name, x):
    """Text and arrays with axes as they are; other numbers as Python's."""
    if isinstance(x, str) or x.ndim:
        return x
    return int(x) if name in WHOLE else float(x)


def _steps(optimizer, inputs):
    state, steps = None, []
    for gradient in inputs["gradients"]:
        state, step = optimizer(state, gradient, rate=float(inputs["rate"]))
        steps.append(step)
    return steps


def _solution(name, solution):
    found = {"root": solution.F}
    for quantity in QUANTITIES[name][1:]:
        with suppress(NotProvided):
            found[quantity] = getattr(solution, quantity)
    if name == "bar" and "converged" in found:
        if NOT_REACHED & set(solution.status.ravel().tolist()):
            return {"converged": found["converged"]}
    return found
