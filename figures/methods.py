"""The methods of Section 4.3, which Figures 4 to 6 and 11 to 13 compare on networks."""

from refnce import optim
from refnce.train import Method

ROOT_START = "NCE, F0 the first root"


def with_theta(rate: float) -> Method:
    """Vanilla NCE: F moves by the optimizer that moves theta."""
    return Method("gradient", rate=rate, optimizer=optim.adam)


def methods(rate: float) -> dict[str, Method]:
    """The methods for theta's ``rate``; binary search is its limit, the root."""
    return {
        "NCE": with_theta(rate),
        "NCE, F rate 10x": with_theta(10.0 * rate),
        "NCE, F by descent, rate 1": Method("gradient", rate=1.0),
        "BAR": Method("bar"),
        "binary search": Method("newton", F_first=True),
        ROOT_START: with_theta(rate),
    }
