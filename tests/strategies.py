"""Hypothesis strategies, named by what they draw."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

# Where exp, expm1, log1p and sigmoid change regime in float64: the last x with
# 1 + e^-x > 1, with a normal, a finite and a nonzero e^-x, and numbers between.
_SMALL = (0.0, 5e-324, 1e-300, 2.0**-53, 2.0**-52, 0.5)
_LARGE = (36.04, 36.74, 37.0, 708.4, 709.78, 709.79, 744.44, 745.13, 745.14, 1000.0)
_EDGES = sorted(
    sign * float(np.nextafter(x, side))
    for x in _SMALL + _LARGE
    for side in (x, math.inf, -math.inf)
    for sign in (1.0, -1.0)
)

seeds = st.integers(0, 2**32 - 1)
powers = st.floats(-3.0, 3.0).map(lambda x: 10.0**x)
nus = st.one_of(st.just(1.0), st.sampled_from([1e-3, 1 / 3, 0.5, 2.0, 1e3]), powers)
log_ratios = st.one_of(
    st.floats(-10.0, 10.0), st.floats(-2000.0, 2000.0), st.sampled_from(_EDGES)
)


def _array(elements: st.SearchStrategy[float], most: int) -> Any:
    drawn = st.lists(elements, min_size=1, max_size=most)
    return drawn.map(lambda x: np.asarray(x, dtype=np.float64))


@st.composite
def _seeded(draw: st.DrawFn, most: int) -> np.ndarray:
    """Up to ``most`` log-ratios in one or two clusters: too many to draw one by one."""
    g = Generator(PCG64(draw(seeds)))
    n, centre = draw(st.integers(1, most)), draw(st.floats(-1000.0, 1000.0))
    spread = draw(st.sampled_from([0.1, 1.0, 30.0, 300.0]))
    gap = draw(st.sampled_from([0.0, 0.0, 100.0, 1500.0]))
    return centre + spread * g.normal(size=n) + gap * (g.random(n) < 0.5)


def samples(most: int = 200) -> st.SearchStrategy[np.ndarray]:
    """Finite log-ratios (n,): short and adversarial, or long and seeded."""
    return st.one_of(_array(log_ratios, 8), _seeded(most))


def infinite_samples(most: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Log-ratios (n,) of which some are infinite."""
    infinite = st.sampled_from([-math.inf, math.inf])
    return _array(st.one_of(st.floats(-10.0, 10.0), infinite), most)


def moderate(most: int = 8) -> st.SearchStrategy[np.ndarray]:
    """Log-ratios (n,) up to 10, where no sigmoid underflows even in float32."""
    return _array(st.floats(-10.0, 10.0), most)


def pairs(sample: st.SearchStrategy[np.ndarray] = samples()) -> Any:
    """(r_data, r_noise) of one run."""
    return st.tuples(sample, sample)


def on_grid(r: Any) -> Any:
    """``r`` rounded to multiples of 2^-20, so that shifts by such numbers are exact."""
    return np.round(r * 2.0**20) / 2.0**20
