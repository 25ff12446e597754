"""How the functions of the surface are called with the inputs of a case."""

from copy import deepcopy
from typing import Any

from refnce.array import host as numpy
from refnce.conformance.cases import Case
from refnce.conformance.surface import SOLVERS, NotProvided, signature
from refnce.logz import Status

# What a function answers, where that is not one quantity of its name.
QUANTITIES = {
    "grad_r": ("grad_r_data", "grad_r_noise"),
    "trajectory": ("theta", "F"),
    **dict.fromkeys(SOLVERS, ("root", "standard_error", "overlap", "converged")),
}
QUANTITIES["bar"] += ("last", "cycle")
WHOLE = ("max_updates", "stride", "nu")  # inputs that are integers if they are whole
# With these statuses ``bar`` has not reached a fixed point: its F is not judged.
NOT_REACHED = {int(Status.CYCLE), int(Status.MAX_UPDATES)}


def asked(label: str, case: Case) -> list[str]:
    """Return the quantities of ``case`` that the function ``label`` must answer."""
    space, _, name = label.partition(".")
    if name in SOLVERS and set(case.inputs) - set(signature(label).parameters):
        return []  # an option of another solver
    own = case.quantities if space == "nn" else QUANTITIES.get(name, (name,))
    return [quantity for quantity in case.quantities if quantity in own]


def answers(label: str, function: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Call ``function`` with the inputs that refnce's own function ``label`` takes.

    Return what it answers, by quantity: an array of floats, or NotProvided.
    """
    found = _found(label, function, inputs)
    for quantity, x in found.items():
        if not isinstance(x, NotProvided):
            found[quantity] = numpy.asarray(x, float)
    return found


def copied(x, *, view):
    """Return a copy of x, of an array as a transposed, reversed and strided view."""
    if not view or isinstance(x, str) or not x.ndim:
        return deepcopy(x)
    return numpy.repeat(x[..., ::-1].T, 2, axis=0)[::-2].T


def _found(label, function, inputs):
    space, _, name = label.partition(".")
    if space == "optim":
        return {name: function(*inputs["gradients"], rate=float(inputs["rate"]))}
    names = list(signature(label).parameters)
    params = {key: x for key, x in inputs.items() if key not in (*names, "dy")}
    given = {key: _argument(key, x) for key, x in inputs.items() if key in names}
    if space == "nn":
        given["params"] = params
    arguments = signature(label).bind(**given)
    if space == "nn":
        y, dx, dparams = function(inputs["dy"], *arguments.args, **arguments.kwargs)
        found = {"r" if name == "quadratic_head" else "y": y, f"d{names[1]}": dx}
        return found | {f"d{key}": dparams[key] for key in params}
    result = function(*arguments.args, **arguments.kwargs)
    if name in SOLVERS:
        return _solution(name, result)
    quantities = QUANTITIES.get(name, (name,))
    results = result if len(quantities) > 1 else (result,)
    return dict(zip(quantities, results, strict=True))


def _argument(name, x):
    """Text and arrays with axes as they are; other numbers as Python's."""
    if isinstance(x, str) or x.ndim:
        return x
    return int(x) if name in WHOLE and float(x) % 1 == 0 else float(x)


def _solution(name, solution):
    found = {"root": solution.F, "last": solution.F}
    for quantity in QUANTITIES["newton"][1:]:
        lack = NotProvided(f"logz.{name}().{quantity}")
        found[quantity] = getattr(solution, quantity, lack)
    if name == "bar" and hasattr(solution, "status"):
        if codes := NOT_REACHED & set(solution.status.ravel().tolist()):
            lack = NotProvided("logz.bar: not converged, no root claimed")
            stopped = "cycle" if Status.CYCLE in codes else "last"
            return {"root": lack, stopped: solution.F, "converged": found["converged"]}
    return found
