"""The formulas in mpmath at 100 digits, each result rounded once."""

from types import SimpleNamespace

import mpmath as mp
import numpy as np

from tests import in_mpmath
from tests.corpus import over_families, over_runs
from tests.in_mpmath import to_mp

LEVEL = "A"
SKIP = ()
MOST = 2000  # 30 thousand numbers take mpmath seconds a call: declined
DIGITS = 100


def _exact(f):
    def call(*args):
        size = sum(map(np.size, args))
        if size > MOST:
            raise NotImplementedError(f"{size} numbers are too many")
        with mp.workdps(DIGITS):
            return f(*map(to_mp, args))

    return call


def _nce(f):
    return over_runs(_exact(f))


def _ence(f):
    return _nce(lambda data, noise, F, nu: f(data, noise, F))


def _grad_F(data, noise, F, nu):
    """The counts stand apart: the small sides may be far below the last digit of 1."""
    return in_mpmath.balance(data, noise, F, nu) / (1 + nu)


nce = SimpleNamespace(loss=_nce(in_mpmath.loss), grad_F=_nce(_grad_F))
nce.hess_F, nce.grad_r = _nce(in_mpmath.hess_F), _nce(in_mpmath.grad_r)
bar_update = _nce(in_mpmath.bar_update)
ence = SimpleNamespace()
for _name in ("loss", "grad_F", "grad_r", "log_z"):
    setattr(ence, _name, _ence(getattr(in_mpmath, f"ence_{_name}")))


def _derivatives(T_data, T_noise, theta, *rest):
    """The loss, its gradient and its Hessian in [theta, F]; F may be the root."""
    *F, offset_data, offset_noise, nu = rest
    r = T_data @ theta + offset_data, T_noise @ theta + offset_noise
    run = *r, F[0] if F else in_mpmath.root(*r, nu), nu
    T = np.insert(np.concatenate([T_data, T_noise]), theta.size, -1, axis=1)
    g, counts = np.concatenate(in_mpmath.grad_r(*run)), (len(T_data), len(T_noise))
    shares, sizes = np.repeat([-1, nu], counts), np.repeat(counts, counts)
    bends = abs(g) * (1 - g * sizes * (1 + nu) / shares)
    return in_mpmath.loss(*run), g @ T, (bends[:, None] * T).T @ T


def _expfam(f):
    return over_families(_exact(lambda *args: f(*_derivatives(*args))))


def _schur(L, g, H):
    return H[:-1, :-1] - np.outer(H[:-1, -1], H[-1, :-1]) / H[-1, -1]


_loss = _expfam(lambda L, g, H: L)
expfam = SimpleNamespace(
    loss=_loss,
    gradient=_expfam(lambda L, g, H: g),
    hessian=_expfam(lambda L, g, H: H),
    profile_loss=_loss,
    profile_gradient=_expfam(lambda L, g, H: g[:-1]),
    profile_hessian=_expfam(_schur),
)
