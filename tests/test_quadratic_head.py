"""The quadratic head: its values, its gradients, and which sign leaves a model that can be normalised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from refnce import logz, nce, nn
from tests.close import assert_close
from tests.strategies import seeds

SIGNS = {"negative": -1.0, "positive": 1.0}
EPS = np.finfo(float).eps


def drawn(seed, k=4, n=5, runs=()):
    g = Generator(PCG64(seed))
    params = {
        "triangle": 0.5 * g.normal(size=(*runs, k, k)),
        "b": g.normal(size=(*runs, k)),
    }
    return params, g.normal(size=(*runs, n, k)), g


def W_of(params):
    triangle = params["triangle"]
    L = np.tril(triangle, -1) + np.diag(np.exp(np.diagonal(triangle)))
    return L @ L.T


@given(sign=st.sampled_from(sorted(SIGNS)), k=st.integers(1, 6), seed=seeds)
def test_it_is_the_quadratic_form_of_a_positive_definite_matrix(sign, k, seed):
    params, f, _ = drawn(seed, k)
    W = W_of(params)
    r, _ = nn.quadratic_head(params, f, sign=sign)
    assert np.linalg.eigvalsh(W)[0] > 0
    form = np.einsum("ni,ij,nj->n", f, W, f)
    assert r.shape == (5, 1)
    assert_close(
        r[:, 0],
        SIGNS[sign] * form + f @ params["b"],
        scale=k * (form + np.abs(f) @ np.abs(params["b"])),
    )


@given(sign=st.sampled_from(sorted(SIGNS)), seed=seeds)
def test_pullback_along_a_random_direction(sign, seed):
    """A central difference of a function that is smooth: h = eps^(1/3) balances h^2/6 of the third derivative and eps/h."""
    params, f, g = drawn(seed)
    r, pullback = nn.quadratic_head(params, f, sign=sign)
    dr = g.normal(size=r.shape)
    df, dparams = pullback(dr)
    v_f, v = g.normal(size=f.shape), {
        name: g.normal(size=p.shape) for name, p in params.items()
    }
    slope = np.sum(df * v_f) + sum(np.sum(dparams[name] * v[name]) for name in params)
    h = EPS ** (1 / 3)

    def at(t):
        return nn.quadratic_head(
            {name: p + t * v[name] for name, p in params.items()},
            f + t * v_f,
            sign=sign,
        )[0]

    up, down = at(h), at(-h)
    size = 1.0 + np.sum(np.abs(dr) * (np.abs(up) + np.abs(down)))
    reach = (
        np.exp(4.0 * h)
        * (1.0 + max(np.max(np.abs(p)) for p in v.values()) + np.max(np.abs(v_f))) ** 3
    )
    assert (
        abs(slope - np.sum(dr * (up - down)) / (2 * h))
        <= 64 * EPS * size / h + 100.0 * h * h * size * reach
    )


def test_what_is_above_the_diagonal_means_nothing():
    params, f, _ = drawn(1)
    other = {**params, "triangle": params["triangle"] + np.triu(np.ones((4, 4)), 1)}
    (r, pullback), (s, _) = nn.quadratic_head(params, f), nn.quadratic_head(other, f)
    assert np.array_equal(r, s)
    assert np.all(np.triu(pullback(np.ones_like(r))[1]["triangle"], 1) == 0.0)


def test_runs_and_halves():
    params, f, g = drawn(2, runs=(3,))
    r, pullback = nn.quadratic_head(params, f)
    dr = g.normal(size=r.shape)
    df, dparams = pullback(dr)
    assert pullback(dr, dx=False)[0] is None and pullback(dr, dparams=False)[1] is None
    for k in range(3):
        out, back = nn.quadratic_head({name: p[k] for name, p in params.items()}, f[k])
        down, gradients = back(dr[k])
        assert_close(r[k], out, scale=100.0)
        assert_close(df[k], down, scale=100.0)
        assert all(
            np.allclose(dparams[name][k], gradients[name], rtol=1e-12, atol=1e-12)
            for name in params
        )


@given(k=st.integers(1, 6), seed=seeds)
def test_the_negative_sign_is_always_normalisable(k, seed):
    """r <= b^T W^-1 b / 4 whatever the features are, so that Z = E_q[exp r] is at most its exponential; reached at W^-1 b / 2."""
    params, _, g = drawn(seed, k)
    W, b = W_of(params), params["b"]
    best = 0.5 * np.linalg.solve(W, b)
    top = float(best @ b) / 2.0
    f = np.concatenate(
        [
            100.0 * g.normal(size=(50, k)),
            best + 1e-3 * g.normal(size=(50, k)),
            best[None],
        ]
    )
    r = nn.quadratic_head(params, f)[0][:, 0]
    slack = 64 * k * EPS * np.linalg.cond(W) * (1.0 + abs(top))
    assert np.all(r <= top + slack) and abs(r[-1] - top) <= slack


def test_the_positive_sign_is_normalisable_only_below_the_noise():
    """Features f(x) = x, noise N(0, S): along v the log-density is t^2 (v^T W v - v^T S^-1 v / 2) + ..., which falls in every
    direction when W = 0.4 S^-1 and rises in every one when W = 0.6 S^-1. With S = diag(1, 4) and W = I / 4 it falls along the
    first axis and rises along the second, where S^-1 / 2 is 1/8: a model that no F normalises.
    """

    def log_density(W, S, x):
        L = np.linalg.cholesky(W)
        triangle = np.tril(L, -1) + np.diag(np.log(np.diagonal(L)))
        r, _ = nn.quadratic_head(
            {"triangle": triangle, "b": np.asarray([0.3, -0.2])}, x, sign="positive"
        )
        return r[:, 0] - 0.5 * np.einsum("ni,ij,nj->n", x, np.linalg.inv(S), x)

    g = Generator(PCG64(3))
    root = g.normal(size=(2, 2))
    S = root @ root.T + np.eye(2)
    angles = 2 * np.pi * np.arange(16) / 16
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    near, far = 1e2 * unit, 1e3 * unit
    inverse = np.linalg.inv(S)
    assert np.all(
        log_density(0.4 * inverse, S, far) < log_density(0.4 * inverse, S, near) - 1e2
    )
    assert np.all(
        log_density(0.6 * inverse, S, far) > log_density(0.6 * inverse, S, near) + 1e2
    )
    axes = 1e3 * np.eye(2)
    values = log_density(np.eye(2) / 4, np.diag([1.0, 4.0]), axes)
    assert values[0] < -1e5 and values[1] > 1e5


def test_c_and_F_are_one_parameter():
    """A constant c added to r moves the root of F by c and nothing else: the head has none, and c = -F is what training moves."""
    params, f, _ = drawn(4, n=40)
    assert sorted(params) == ["b", "triangle"]
    r = nn.quadratic_head(params, f)[0][:, 0]
    x, y = r[:20], r[20:]
    found, moved = logz.newton(x, y).F, logz.newton(x + 0.75, y + 0.75).F
    assert_close(moved, found + 0.75, scale=10.0)
    assert_close(nce.loss(x + 0.75, y + 0.75, moved), nce.loss(x, y, found), scale=10.0)


def test_what_does_not_fit_is_said():
    params, f, _ = drawn(5)
    with pytest.raises(
        ValueError, match="sign must be one of negative, positive; got 'minus'"
    ):
        nn.quadratic_head(params, f, sign="minus")
    with pytest.raises(
        ValueError, match=r"triangle must be \(..., 3, 3\) and b \(..., 3\) for f"
    ):
        nn.quadratic_head(params, f[:, :3])
    for name, part in (
        ("triangle", params["triangle"][:2, :2]),
        ("b", params["b"][:2]),
    ):
        with pytest.raises(ValueError, match="triangle must be"):
            nn.quadratic_head({**params, name: part}, f)
