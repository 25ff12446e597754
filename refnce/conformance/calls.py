"""Which calls of an implementation answer which quantities of a case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnce.array import backend
from refnce.conformance.surface import Impl, NotProvided
from refnce.logz import Status

Inputs = dict[str, Any]
Answers = dict[str, Any]
Call = Callable[[Impl, Inputs], Answers]
NOT_CLAIMED = {
    int(Status.CYCLE),
    int(Status.MAX_UPDATES),
}  # a fixed point that was not reached is not called a root


def _nu(inputs: Inputs) -> Answers:
    return {"nu": float(inputs["nu"])} if "nu" in inputs else {}


def _of_ratios(space: str, name: str, *quantities: str, F: bool = True) -> Call:
    def call(impl: Impl, inputs: Inputs) -> Answers:
        found = getattr(getattr(impl, space), name)(
            inputs["r_data"],
            inputs["r_noise"],
            *((_number(inputs["F"]),) if F else ()),
            **_nu(inputs),
        )
        return (
            dict(zip(quantities, found, strict=True))
            if len(quantities) > 1
            else {quantities[0]: found}
        )

    return call


# What a case may say beside the samples and nu, and which solvers take it.
OPTIONS = ("F0", "xtol", "step", "max_updates")
TAKEN = {"logz.newton": ("F0", "xtol"), "logz.bisect": ("xtol",), "logz.bar": OPTIONS}


def _solver(name: str) -> Call:
    def call(impl: Impl, inputs: Inputs) -> Answers:
        options = {key: _number(inputs[key]) for key in OPTIONS if key in inputs}
        if "max_updates" in options:
            options["max_updates"] = int(options["max_updates"])
        z = getattr(impl.logz, name)(
            inputs["r_data"], inputs["r_noise"], **_nu(inputs), **options
        )
        found = {}
        for field in ("status", "converged", "F", "standard_error", "overlap"):
            try:
                found[field] = getattr(z, field)
            except NotProvided:
                continue
        status = found.pop("status", None)
        if (
            name == "bar"
            and status is not None
            and NOT_CLAIMED & set(status.ravel().tolist())
        ):
            return {"converged": found["converged"]}
        return {"root": found.pop("F"), **found}

    return call


def _family(name: str) -> Call:
    def call(impl: Impl, inputs: Inputs) -> Answers:
        F = () if name.startswith("profile") else (_number(inputs["F"]),)
        given = (
            inputs["T_data"],
            inputs["T_noise"],
            inputs["theta"],
            *F,
            inputs["offset_data"],
            inputs["offset_noise"],
        )
        return {name: getattr(impl.expfam, name)(*given, **_nu(inputs))}

    return call


def _mlp(impl: Impl, inputs: Inputs) -> Answers:
    params = {name: x for name, x in inputs.items() if "." in name}
    y, pullback = impl.nn.mlp(params, inputs["x"])
    dx, dparams = pullback(inputs["dy"])
    return {"y": y, "dx": dx} | {f"d{name}": dparams[name] for name in params}


def _conv3x3(impl: Impl, inputs: Inputs) -> Answers:
    params = {name: inputs[name] for name in ("weight", "bias")}
    y, pullback = impl.nn.conv3x3(params, inputs["x"], stride=int(inputs["stride"]))
    dx, dparams = pullback(inputs["dy"])
    return {"y": y, "dx": dx, "dweight": dparams["weight"], "dbias": dparams["bias"]}


def _quadratic_head(impl: Impl, inputs: Inputs) -> Answers:
    params = {name: inputs[name] for name in ("triangle", "b")}
    r, pullback = impl.nn.quadratic_head(params, inputs["f"], sign=inputs["sign"])
    df, dparams = pullback(inputs["dy"])
    return {"r": r, "df": df, "dtriangle": dparams["triangle"], "db": dparams["b"]}


def _optimizer(name: str) -> Call:
    def call(impl: Impl, inputs: Inputs) -> Answers:
        state, steps = None, []
        for gradient in inputs["gradients"]:
            state, step = getattr(impl.optim, name)(
                state, gradient, rate=float(inputs["rate"])
            )
            steps.append(step)
        return {name: backend.load("numpy").stack(steps)}

    return call


def _trajectory(impl: Impl, inputs: Inputs) -> Answers:
    names = ("T_data", "T_noise", "offset_data", "offset_noise", "theta")
    choices = {name: inputs[name] for name in ("update", "order")}
    rates = {name: float(inputs[name]) for name in ("rate", "rate_F")}
    theta, F = impl.train.trajectory(
        *(inputs[name] for name in names),
        _number(inputs["F"]),
        **_nu(inputs),
        **rates,
        **choices,
    )
    return {"theta": theta, "F": F}


def _number(x: Any) -> Any:
    return x if x.ndim else float(x)


CALLS: dict[str, dict[str, Call]] = {
    "nce": {
        "nce.loss": _of_ratios("nce", "loss", "loss"),
        "nce.grad_F": _of_ratios("nce", "grad_F", "grad_F"),
        "nce.hess_F": _of_ratios("nce", "hess_F", "hess_F"),
        "nce.grad_r": _of_ratios("nce", "grad_r", "grad_r_data", "grad_r_noise"),
        "logz.bar_update": _of_ratios("logz", "bar_update", "bar_update"),
    },
    "logz": {f"logz.{name}": _solver(name) for name in ("newton", "bisect", "bar")},
    "ence": {
        "ence.loss": _of_ratios("ence", "loss", "loss"),
        "ence.grad_F": _of_ratios("ence", "grad_F", "grad_F"),
        "ence.grad_r": _of_ratios("ence", "grad_r", "grad_r_data", "grad_r_noise"),
        "ence.log_z": _of_ratios("ence", "log_z", "log_z", F=False),
    },
    "expfam": {
        f"expfam.{name}": _family(name)
        for name in (
            "loss",
            "gradient",
            "hessian",
            "profile_loss",
            "profile_gradient",
            "profile_hessian",
        )
    },
    "mlp": {"nn.mlp": _mlp},
    "conv": {"nn.conv3x3": _conv3x3},
    "head": {"nn.quadratic_head": _quadratic_head},
    "optim": {f"optim.{name}": _optimizer(name) for name in ("sgd", "ngd", "adam")},
    "trajectory": {"train.trajectory": _trajectory},
}
# What a function answers where that is not told by its name.
ANSWERED = {
    "nce.grad_r": ("grad_r_data", "grad_r_noise"),
    "ence.grad_r": ("grad_r_data", "grad_r_noise"),
    **dict.fromkeys(
        ("logz.newton", "logz.bisect", "logz.bar"),
        ("root", "standard_error", "overlap", "converged"),
    ),
    **dict.fromkeys(("nn.mlp", "nn.conv3x3", "nn.quadratic_head")),
    "train.trajectory": None,
}


def answered(
    function: str, quantities: tuple[str, ...], inputs: Inputs
) -> tuple[str, ...]:
    """Those of ``quantities`` that ``function`` answers; none where an input is no argument of it."""
    if any(
        key in inputs and key not in TAKEN.get(function, OPTIONS) for key in OPTIONS
    ):
        return ()
    own = ANSWERED.get(function, (function.rpartition(".")[2],))
    return (
        quantities if own is None else tuple(name for name in quantities if name in own)
    )
