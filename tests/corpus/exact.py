"""Counts in fractions, all else in mpmath at 60 digits, each result rounded once."""

from __future__ import annotations

from fractions import Fraction
from functools import wraps

import mpmath as mp
import numpy as np

from tests.corpus import over_families, over_runs, refuse

LEVEL = "A"
SKIP = ()
MOST = 2000  # 30 thousand numbers take mpmath seconds a call: declined
DIGITS = 60


def digits(f):
    """``f`` at 60 digits."""

    @wraps(f)
    def call(*args, **kwargs):
        with mp.workdps(DIGITS):
            return f(*args, **kwargs)

    return call


def _z(r, F, nu):
    if r.size > MOST:
        raise NotImplementedError(f"{r.size} numbers are too many")
    return [(mp.mpf(F) - mp.mpf(x)) + mp.log(nu) for x in r.tolist()]


def _small(z):
    q = mp.exp(-abs(z))
    return q / (1 + q)


def _sigmoid(z):
    return 1 - _small(z) if z >= 0 else _small(z)


def _softplus(z):
    return max(z, mp.mpf(0)) + mp.log1p(mp.exp(-abs(z)))


def _mean(x):
    return mp.fsum(x) / len(x)


def _loss(data, noise, F, nu):
    loss_data = _mean([_softplus(z) for z in _z(data, F, nu)])
    loss_noise = _mean([_softplus(-z) for z in _z(noise, F, nu)])
    return (loss_data + nu * loss_noise) / (1 + mp.mpf(nu))


def _grad_F(data, noise, F, nu):
    """The counts stand apart: the small sides may be far below the last digit of 1."""
    z_data, z_noise = _z(data, F, nu), _z(noise, F, nu)
    count = Fraction(sum(z >= 0 for z in z_data), len(z_data))
    count -= Fraction(nu) * Fraction(sum(z < 0 for z in z_noise), len(z_noise))
    up, down = (
        _mean([_small(z) if z < 0 else -_small(z) for z in side])
        for side in (z_data, z_noise)
    )
    difference = mp.mpf(count.numerator) / count.denominator + (up + nu * down)
    return difference / (1 + mp.mpf(nu))


def _h(data, noise, F, nu):
    """log A - log nu B."""
    A = _mean([_sigmoid(z) for z in _z(data, F, nu)])
    return mp.log(A) - mp.log(nu * _mean([_sigmoid(-z) for z in _z(noise, F, nu)]))


def _hess_F(data, noise, F, nu):
    bends = [
        _mean([_small(z) * (1 - _small(z)) for z in _z(r, F, nu)])
        for r in (data, noise)
    ]
    return (bends[0] + nu * bends[1]) / (1 + mp.mpf(nu))


class nce:
    """Definition 3.1 and its derivatives."""

    loss = staticmethod(over_runs(digits(_loss)))
    grad_F = staticmethod(over_runs(digits(_grad_F)))
    hess_F = staticmethod(over_runs(digits(_hess_F)))

    @staticmethod
    @over_runs
    @digits
    def grad_r(data, noise, F, nu):
        z_data, z_noise, share = _z(data, F, nu), _z(noise, F, nu), 1 + mp.mpf(nu)
        w_data = [-_sigmoid(z) / (len(data) * share) for z in z_data]
        return w_data, [nu * _sigmoid(-z) / (len(noise) * share) for z in z_noise]


bar_update = over_runs(digits(lambda data, noise, F, nu: F - _h(data, noise, F, nu)))


def _halves(data, noise, F):
    """e^(-(r - F)/2) of each data sample and e^((r - F)/2) of each noise sample."""
    halves = [mp.exp(z / 2) for z in _z(data, F, 1.0)]
    return halves, [mp.exp(-z / 2) for z in _z(noise, F, 1.0)]


def _log_z(data, noise, F, nu):
    data, noise = _halves(data, noise, F)
    return mp.log(_mean(noise)) - mp.log(_mean(data))


class ence:
    """The exponential loss."""

    loss = staticmethod(
        over_runs(digits(lambda x, y, F, nu: sum(map(_mean, _halves(x, y, F))) / 2))
    )
    log_z = staticmethod(over_runs(digits(_log_z)))

    @staticmethod
    @over_runs
    @digits
    def grad_F(data, noise, F, nu):
        data, noise = _halves(data, noise, F)
        return (_mean(data) - _mean(noise)) / 4

    @staticmethod
    @over_runs
    @digits
    def grad_r(data, noise, F, nu):
        data, noise = _halves(data, noise, F)
        w_noise = [x / (4 * len(noise)) for x in noise]
        return [-x / (4 * len(data)) for x in data], w_noise


class Family:
    """A case of an exponential family: log-ratios, and sums over samples at any F."""

    def __init__(self, T_data, T_noise, theta, offset_data, offset_noise, nu):
        T = np.concatenate([T_data, T_noise]).tolist()
        self.T = [[*map(mp.mpf, row), mp.mpf(-1)] for row in T]
        offsets = np.concatenate([offset_data, offset_noise]).tolist()
        theta = [*map(mp.mpf, theta.tolist())]
        rows = zip(self.T, offsets, strict=True)
        self.r = [mp.fdot(theta, row[:-1]) + offset for row, offset in rows]
        n, m, self.nu = len(T_data), len(T_noise), mp.mpf(nu)
        self.sign = [1] * n + [-1] * m
        shares = 1 / (n * (1 + self.nu)), self.nu / (m * (1 + self.nu))
        self.weight = [shares[0]] * n + [shares[1]] * m

    def z(self, F):
        return [F + mp.log(self.nu) - r for r in self.r]

    def root(self):
        def h(F):
            A, B = (
                mp.fsum(w * _sigmoid(z * s) for w, z, s in self._all(F) if s == side)
                for side in (1, -1)
            )
            return mp.log(A / B)

        ends = min(self.r) - 1, max(self.r) + 1
        return mp.findroot(h, ends, solver="illinois", maxsteps=500)

    def _all(self, F):
        return zip(self.weight, self.z(F), self.sign, strict=True)

    def loss(self, F):
        return mp.fsum(w * _softplus(s * z) for w, z, s in self._all(F))

    def gradient(self, F):
        pull = [-s * w * _sigmoid(s * z) for w, z, s in self._all(F)]
        return [mp.fdot(pull, column) for column in zip(*self.T, strict=True)]

    def hessian(self, F):
        bend = [w * _small(z) * (1 - _small(z)) for w, z, _ in self._all(F)]
        columns = [*zip(*self.T, strict=True)]
        scaled = [[b * x for b, x in zip(bend, row, strict=True)] for row in columns]
        return [[mp.fdot(one, two) for two in columns] for one in scaled]

    def profile_hessian(self, F):
        H = self.hessian(F)
        k = range(len(H) - 1)
        return [[H[i][j] - H[i][-1] * H[-1][j] / H[-1][-1] for j in k] for i in k]


def _of_family(name, of=lambda x: x):
    """A function of the surface: at F, or without F in its arguments at the root."""

    @over_families
    @digits
    def call(T_data, T_noise, theta, *rest, nu=1.0):
        *F, offset_data, offset_noise = rest
        refuse(offset_data, offset_noise, *F, nu=nu)
        family = Family(T_data, T_noise, theta, offset_data, offset_noise, nu)
        at = mp.mpf(F[0]) if F else family.root()
        return np.asarray(of(getattr(family, name)(at)), dtype=float)

    return staticmethod(call)


class expfam:
    """Equations 12 to 16."""

    loss = profile_loss = _of_family("loss")
    gradient, hessian = _of_family("gradient"), _of_family("hessian")
    profile_gradient = _of_family("gradient", lambda g: g[:-1])
    profile_hessian = _of_family("profile_hessian")
