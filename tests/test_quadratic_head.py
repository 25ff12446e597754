"""The quadratic head: its values, and which sign gives a normalisable model.

Its gradients, runs and array libraries are tested with every layer in test_nn.py.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from refnce import nn
from refnce.array import make_rng
from tests.close import assert_close
from tests.strategies import seeds

SIGNS = {"negative": -1.0, "positive": 1.0}


def drawn(seed, k=4, n=5):
    g = make_rng(seed)
    params = {"triangle": 0.5 * g.normal(size=(k, k)), "b": g.normal(size=k)}
    return params, g.normal(size=(n, k)), g


def W_of(params):
    triangle = params["triangle"]
    L = np.tril(triangle, -1) + np.diag(np.exp(np.diagonal(triangle)))
    return L @ L.T


@given(sign=st.sampled_from(sorted(SIGNS)), k=st.integers(1, 6), seed=seeds)
def test_section_4_3_quadratic_form_is_positive_definite(sign, k, seed):
    params, f, _ = drawn(seed, k)
    W, b = W_of(params), params["b"]
    options = {} if sign == "negative" else {"sign": sign}  # negative by default
    r, _ = nn.quadratic_head(params, f, **options)
    assert np.linalg.eigvalsh(W)[0] > 0 and r.shape == (5, 1)
    form = np.einsum("ni,ij,nj->n", f, W, f)
    scale = k * (form + np.abs(f) @ np.abs(b))
    assert_close(r[:, 0], SIGNS[sign] * form + f @ b, scale=scale)


@given(k=st.integers(1, 6), seed=seeds)
def test_negative_sign_is_always_normalisable(k, seed):
    """r <= b^T W^-1 b / 4 for any features, with equality at W^-1 b / 2.

    So Z = E_q[exp r] is at most the exponential of that bound.
    """
    params, _, g = drawn(seed, k)
    W, b = W_of(params), params["b"]
    best = 0.5 * np.linalg.solve(W, b)
    bound = float(best @ b) / 2.0
    far, near = 100.0 * g.normal(size=(50, k)), 1e-3 * g.normal(size=(50, k))
    f = np.concatenate([far, best + near, best[None]])
    r = nn.quadratic_head(params, f)[0][:, 0]
    slack = 64 * k * np.finfo(float).eps * np.linalg.cond(W) * (1.0 + abs(bound))
    assert np.all(r <= bound + slack) and abs(r[-1] - bound) <= slack


def test_positive_sign_is_normalisable_only_below_the_noise():
    """Features f(x) = x and noise N(0, S).

    Along v the log-density is t^2 (v^T W v - v^T S^-1 v / 2) + ...: it falls in every
    direction for W = 0.4 S^-1 and rises in every one for W = 0.6 S^-1. For W = I / 4
    and S = diag(1, 4) it falls along the first axis and rises along the second, where
    S^-1 / 2 is 1/8: no F normalises that model.
    """

    def log_density(W, S, x):
        L = np.linalg.cholesky(W)
        triangle = np.tril(L, -1) + np.diag(np.log(np.diagonal(L)))
        params = {"triangle": triangle, "b": np.asarray([0.3, -0.2])}
        r, _ = nn.quadratic_head(params, x, sign="positive")
        return r[:, 0] - 0.5 * np.einsum("ni,ij,nj->n", x, np.linalg.inv(S), x)

    root = make_rng(3).normal(size=(2, 2))
    S = root @ root.T + np.eye(2)
    angles = 2 * np.pi * np.arange(16) / 16
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    for share, sign in ((0.4, -1.0), (0.6, 1.0)):
        W = share * np.linalg.inv(S)
        near, far = (log_density(W, S, t * unit) for t in (1e2, 1e3))
        assert np.all(sign * (far - near) > 1e2)
    values = log_density(np.eye(2) / 4, np.diag([1.0, 4.0]), 1e3 * np.eye(2))
    assert values[0] < -1e5 and values[1] > 1e5


def test_invalid_input_raises():
    params, f, _ = drawn(5)
    says = "sign must be one of negative, positive; got 'minus'"
    with pytest.raises(ValueError, match=says):
        nn.quadratic_head(params, f, sign="minus")
    says = r"triangle must be .* and b \(..., 3\) for f \(5, 3\); got shapes \(4, 4\)"
    with pytest.raises(ValueError, match=says):
        nn.quadratic_head(params, f[:, :3])
