"""Exponential families for tests: arguments of refnce.expfam, and exact values."""

from typing import Any

import numpy as np
from flint import arb, ctx
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.vectors.balls import sized
from tests.vectors.family import Family

ARGUMENTS = ("T_data", "T_noise", "theta", "F", "offset_data", "offset_noise")
Batch = dict[str, Any]


def evaluate(impl: Any, name: str, b: Batch) -> Any:
    """A function of expfam at the arguments ``b``; a profile function takes no F."""
    profile = name.startswith("profile")
    args = [b[key] for key in ARGUMENTS if not (profile and key == "F")]
    return getattr(impl.expfam, name)(*args, nu=b["nu"])


def normal_batch(g: np.random.Generator, k: int = 3, scale: float = 1.0) -> Batch:
    n, m = g.integers(1, 30, size=2)
    shift = g.normal(size=k)
    T_data = scale * (g.normal(size=(n, k)) + shift)
    T_noise, theta, F = scale * g.normal(size=(m, k)), g.normal(size=k), g.normal()
    values = T_data, T_noise, theta, float(F), g.normal(size=n), g.normal(size=m)
    nu = float(10.0 ** g.uniform(-2, 2))
    return dict(zip(ARGUMENTS, values, strict=True)) | {"nu": nu}


elements = st.floats(-8.0, 8.0, allow_subnormal=False)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Batch, np.ndarray, float]:
    """A small batch with ties, collinear statistics, separated and reversed samples.

    With it, another theta and another F.
    """
    k, n, m = (draw(st.integers(1, most)) for most in (3, 6, 6))

    def array(*shape: int) -> np.ndarray:
        return draw(hnp.arrays(np.float64, shape, elements=elements))

    values = array(n, k), array(m, k), array(k), draw(elements), array(n), array(m)
    batch: Batch = dict(zip(ARGUMENTS, values, strict=True))
    batch["nu"] = draw(st.sampled_from([1.0, 0.1, 7.0]))
    return batch, array(k), draw(elements)


def exact(name: str, b: Batch) -> tuple[list[arb], np.ndarray]:
    """The values of a function as balls, and the size of what each one adds up.

    A log-ratio is a sum of k + 1 rounded products, so every value is known to a few
    eps of this size at best.
    """
    with ctx.workprec(400):
        samples = [b[key] for key in ("T_data", "T_noise", *ARGUMENTS[4:])]
        F = None if name.startswith("profile") else sized(b["F"])
        family = Family(*samples, sized(b["theta"]), F, b["nu"])
        found = getattr(family, name)()
        values, sizes = np.ravel(found.value), np.ravel(found.size).astype(float)
        if name == "profile_hessian":  # a sum of products of T less its mean, Eq. (16)
            T = np.vstack(samples[:2])
            bends = family.bends(family.root_reach)
            w, size = bends.value.astype(float), bends.size.astype(float)
            D = np.abs(T - w @ T / w.sum())
            sizes = np.einsum("i,ij,ik->jk", size, D, D).ravel()
    return values.tolist(), sizes


def units_off(impl: Any, name: str, b: Batch) -> float:
    """The worst error of a function, in units of eps times the size of its terms."""
    values, sizes = exact(name, b)
    got = np.ravel(evaluate(impl, name, b)).tolist()
    with ctx.workprec(400):
        errors = [float(abs(arb(x) - e)) for x, e in zip(got, values, strict=True)]
    return float(np.max(np.asarray(errors) / (impl.eps * sizes + 1e-300)))
