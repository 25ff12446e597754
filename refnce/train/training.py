"""What stays the same in a training: the model, how F moves, how theta moves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refnce.array import Array, check_count, check_nu, check_positive, invalid
from refnce.optim import sgd
from refnce.train.models import Model

__all__ = ["Method", "Training"]

UPDATES = ("gradient", "bar", "bisect", "newton")
Optimizer = Callable[..., tuple[Any, Array]]
UpdateF = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Method:
    """How F moves in a step.

    Parameters
    ----------
    update : str or callable
        "gradient", F - rate dL/dF (Eq. 3); "bar", F - rate h(F) (Eq. 11); "bisect" or
        "newton", the root of the batch by that solver; or a function
        (r_data, r_noise, F) -> next F.
    rate : float
        Rate of "gradient" and "bar". Eq. 11 has rate 1; rate 0.5 never overshoots.
    F_first : bool
        Whether theta's gradient is taken at the new F. If False it is taken at the old
        F, as Algorithm 1 prints it.
    repeats : int
        How often "gradient" or "bar" moves F on one batch; 1 in the paper.
    optimizer : callable
        Turns the derivative that moves F, (..., 1), into a step; see ``refnce.optim``.
        Plain descent in the paper (Section 3.5).

    Examples
    --------
    >>> from refnce import train
    >>> train.Method("bar", rate=0.5).F_first
    False
    """

    update: str | UpdateF
    rate: float = 1.0
    F_first: bool = False
    repeats: int = 1
    optimizer: Optimizer = sgd

    def __post_init__(self) -> None:
        if not callable(self.update) and self.update not in UPDATES:
            must = f"be {', '.join(UPDATES)} or a function"
            raise invalid("update", must, repr(self.update))
        if not isinstance(self.F_first, bool):
            raise TypeError(f"F_first must be True or False; got {self.F_first!r}")
        check_positive("rate", self.rate)
        check_count("repeats", self.repeats, 1)
        _check_callable("optimizer", self.optimizer, "refnce.optim.sgd")


@dataclass(frozen=True)
class Training:
    """What stays the same from step to step.

    Parameters
    ----------
    model : callable
        Log-ratios and their pullback, see ``refnce.train.models``.
    method : Method
        How F moves.
    optimizer : callable
        Moves theta, see ``refnce.optim``.
    rate : float
        Rate of theta's optimizer.
    nu : float
        Weight of noise against data in the NCE loss.
    xtol : float
        Tolerance of "bisect" and "newton".
    loss : object, optional
        Instead of the NCE loss (None): functions ``loss(r_data, r_noise, F)`` and
        ``grad_r(r_data, r_noise, F)``, such as the module ``refnce.ence``. F then
        moves by "gradient" or by a function.

    Examples
    --------
    >>> import numpy as np
    >>> from refnce import distributions, train
    >>> from refnce.train import models
    >>> noise = distributions.UnitGaussian(np.zeros(1))
    >>> model = models.exponential_family(distributions.UnitGaussian, noise)
    >>> train.Training(model, train.Method("bar"), rate=0.1).nu
    1.0
    """

    model: Model
    method: Method
    optimizer: Optimizer = sgd
    rate: float = 1.0
    nu: float = 1.0
    xtol: float = 0.0
    loss: Any = None

    def __post_init__(self) -> None:
        _check_callable("model", self.model, "refnce.train.models.network")
        _check_callable("optimizer", self.optimizer, "refnce.optim.adam")
        if not isinstance(self.method, Method):
            raise TypeError(f"method must be a train.Method; got {self.method!r}")
        check_positive("rate", self.rate)
        check_positive("xtol", self.xtol, zero=True)
        check_nu(self.nu)
        if self.loss and (self.nu != 1.0 or self.method.update in UPDATES[1:]):
            must = "be 1 and update 'gradient' or a function"
            got = f"nu {self.nu!r} and update {self.method.update!r}"
            raise invalid("with a loss other than NCE's nu", must, got)


def _check_callable(name: str, value: Any, example: str) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function such as {example}; got {value!r}")
