"""Populations: laws on a few atoms, and expectations under normal laws."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

# The trapezoidal rule for E[f(z)], z ~ N(0, 1), cut at |z| = 20. If f is analytic for
# |Im z| < a, its error is about 2 exp(-2 pi a / STEP) sup|f|. The sigmoids of the tests
# have poles at |Im z| >= 0.4, so it is 1e-30 and rounding is all that is left.
STEP = 1 / 32
GRID = np.arange(-640, 641) * STEP
WEIGHTS = np.exp(-0.5 * GRID**2)
WEIGHTS /= WEIGHTS.sum()


def sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -x))


class Atoms(NamedTuple):
    """P* and Q on K atoms, by multiplicities.

    Means over the repeated atoms are exact expectations. A log-ratio that is free on
    each atom is a non-parametric model.
    """

    data: np.ndarray
    noise: np.ndarray

    @property
    def laws(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data / self.data.sum(), self.noise / self.noise.sum()

    @property
    def truth(self) -> np.ndarray:
        """log p*/q on each atom."""
        P, Q = self.laws
        return np.log(P / Q)

    def samples(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(r, self.data), np.repeat(r, self.noise)


@st.composite
def atoms(draw: st.DrawFn) -> Atoms:
    K = draw(st.integers(2, 5))
    counts = st.lists(st.integers(1, 6), min_size=K, max_size=K).map(np.asarray)
    return Atoms(draw(counts), draw(counts))


@st.composite
def scored_atoms(draw: st.DrawFn, most: float = 5.0) -> tuple[Atoms, np.ndarray]:
    """Atoms and a number of size at most ``most`` on each."""
    found = draw(atoms())
    K = len(found.data)
    numbers = st.lists(st.floats(-most, most), min_size=K, max_size=K)
    return found, np.asarray(draw(numbers))
