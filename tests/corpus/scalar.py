"""One number at a time, as in C: loops over lists, ``math``'s functions, and every sum by ``math.fsum``, correctly rounded."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.corpus import over_runs

LEVEL = "A"
SKIP = ("Large",)  # a loop of Python over 30 thousand numbers, for each halving
MOST = 2000


def _small(r, F, nu, M=0.0):
    """Of each r: whether it lies below F + log nu, the distance, and e^{M - distance}; what the distance rounds away is kept."""
    if r.size > MOST:
        raise ValueError(f"{r.size} numbers are too many")
    log_nu, found = math.log(nu), []
    for x in r.tolist():
        z = math.fsum([F, log_nu, -x])
        lost = (
            math.fsum([F, log_nu, -x, -z])
            if math.isfinite(z) and abs(z) < 1e15
            else 0.0
        )
        q = math.exp(min(M - abs(z), 700.0))
        found.append((z >= 0, abs(z), q * (1.0 + (-lost if z >= 0 else lost))))
    return found


def _sigmoids(r, F, nu, side):
    return [
        (1.0 if below == side else q) / (1.0 + q) for below, _, q in _small(r, F, nu)
    ]


def _softplus(r, F, nu, side):
    """softplus(z) of data (side True), softplus(-z) of noise."""
    terms = []
    for below, z, q in _small(r, F, nu):
        terms.append((z if below == side else 0.0) + math.log1p(q))
    return terms


def _mean(x):
    return math.inf if math.inf in x else math.fsum(x) / len(x)


def _nearest(data, noise, F, nu):
    M = min(z for r in (data, noise) for _, z, _ in _small(r, F, nu))
    return M if math.isfinite(M) else 0.0


def _parts(data, noise, F, nu, M=0.0):
    """The counts' part of A - nu B, exactly, and the rest times e^M, of which half the terms are negative."""
    scale, terms, counts = math.exp(-min(M, 745.2)), [], []
    for r, weight in ((data, 1.0), (noise, nu)):
        small = _small(r, F, nu, M)
        counts.append(sum(below for below, _, _ in small))
        terms += [
            (-weight if below else weight) * (q / (1.0 + q * scale)) / r.size
            for below, _, q in small
        ]
    return Fraction(counts[0], data.size) - Fraction(nu) * Fraction(
        noise.size - counts[1], noise.size
    ), math.fsum(terms)


def _grad_F(data, noise, F, nu):
    count, rest = _parts(data, noise, F, nu)
    return (float(count) + rest) / (1.0 + nu)


def _log_mean(r, F, nu, side):
    """log mean sigmoid, the largest term taken out."""
    M = (
        0.0
        if any(below == side for below, _, _ in _small(r, F, nu))
        else min(z for _, z, _ in _small(r, F, nu))
    )
    if math.isinf(M):
        return -M, 0.0
    scale = math.exp(-M)
    mean = (
        math.fsum(
            (1.0 if below == side else q) / (1.0 + q * scale)
            for below, _, q in _small(r, F, nu, M)
        )
        / r.size
    )
    return -M, math.log(mean)


class nce:
    """Definition 3.1 and its derivatives."""

    grad_F = staticmethod(over_runs(_grad_F))

    @staticmethod
    @over_runs
    def loss(data, noise, F, nu):
        return (
            _mean(_softplus(data, F, nu, True))
            + nu * _mean(_softplus(noise, F, nu, False))
        ) / (1.0 + nu)

    @staticmethod
    @over_runs
    def hess_F(data, noise, F, nu):
        bends = [
            _mean([q / (1.0 + q) / (1.0 + q) for _, _, q in _small(r, F, nu)])
            for r in (data, noise)
        ]
        return (bends[0] + nu * bends[1]) / (1.0 + nu)

    @staticmethod
    @over_runs
    def grad_r(data, noise, F, nu):
        weights = 1.0 / (data.size * (1.0 + nu)), nu / (noise.size * (1.0 + nu))
        return [-weights[0] * s for s in _sigmoids(data, F, nu, True)], [
            weights[1] * s for s in _sigmoids(noise, F, nu, False)
        ]


@over_runs
def bar_update(data, noise, F, nu):
    (M, log_A), (N, log_B) = _log_mean(data, F, nu, True), _log_mean(
        noise, F, nu, False
    )
    far = [F, math.log(nu), -M, N, -log_A, log_B]
    return math.fsum(far) if all(map(math.isfinite, far)) else sum(far)


@over_runs
def _bisect(data, noise, xtol, nu):
    low = np.mean(data == -math.inf) < nu * np.mean(noise > -math.inf)
    high = np.mean(data < math.inf) > nu * np.mean(noise == math.inf)
    if not low or not high:
        return math.nan if low == high else (math.inf if low else -math.inf)
    finite = [x for r in (data, noise) for x in r.tolist() if math.isfinite(x)]
    reach = (
        0.0 if len(finite) == data.size + noise.size else 50.0
    )  # more than the log of any ratio of counts here
    lo, hi = min(finite) - reach, max(finite) + reach
    while True:
        middle = 0.5 * lo + 0.5 * hi
        if hi - lo <= max(xtol, math.ulp(middle), 2.0**-52):
            return middle
        M = _nearest(data, noise, middle, nu)
        count, rest = _parts(data, noise, middle, nu, M)
        if count == 0 or abs(math.log(abs(count)) + M) < 700.0:
            rest += float(count) * math.exp(M) if count else 0.0
        else:  # the counts alone, unless what they weigh is nothing
            rest = math.copysign(math.inf, count) if M > 0 else rest
        lo, hi = (middle if rest <= 0 else lo), (middle if rest >= 0 else hi)


def bisect(r_data, r_noise, *, nu=1.0, xtol=0.0):
    return _bisect(r_data, r_noise, xtol, nu=nu)


def mlp(params, x):
    """Run by run."""
    if x.ndim == 2:
        return _mlp(params, x)
    ys, pullbacks = zip(
        *(
            _mlp({name: p[k] for name, p in params.items()}, x[k])
            for k in range(len(x))
        ),
        strict=True,
    )

    def pullback(dy):
        dxs, found = zip(
            *(back(d) for back, d in zip(pullbacks, dy, strict=True)), strict=True
        )
        return np.stack(dxs), {
            name: np.stack([each[name] for each in found]) for name in params
        }

    return np.stack(ys), pullback


def _mlp(params, x):
    """Sums over neurons by ``fsum``; the pullback walks the layers backwards with lists of lists."""
    layers = [
        (params[f"{2 * k}.weight"].tolist(), params[f"{2 * k}.bias"].tolist())
        for k in range(len(params) // 2)
    ]
    inputs, slopes, h = [], [], x.tolist()
    for W, b in layers:
        inputs.append(h)
        z = [
            [
                math.fsum([*map(math.prod, zip(row, x, strict=True)), c])
                for row, c in zip(W, b, strict=True)
            ]
            for x in h
        ]
        slopes.append([[1.0 if v > 0 else 0.01 for v in row] for row in z])
        h = [
            [v * s for v, s in zip(*rows, strict=True)]
            for rows in zip(z, slopes[-1], strict=True)
        ]

    def pullback(dy):
        found, d = {}, dy.tolist()
        for k in reversed(range(len(layers))):
            if k < len(layers) - 1:
                d = [
                    [v * s for v, s in zip(*rows, strict=True)]
                    for rows in zip(d, slopes[k], strict=True)
                ]
            columns = [*zip(*d, strict=True)]
            before = [*zip(*inputs[k], strict=True)]
            found[f"{2 * k}.bias"] = np.asarray(
                [math.fsum(column) for column in columns]
            )
            found[f"{2 * k}.weight"] = np.asarray(
                [[_dot(out, into) for into in before] for out in columns]
            )
            d = [
                [_dot(row, column) for column in zip(*layers[k][0], strict=True)]
                for row in d
            ]
        return np.asarray(d), found

    return np.asarray(z), pullback


def _dot(x, y):
    return math.fsum(map(math.prod, zip(x, y, strict=True)))


def _run_by_run(rule):
    """An optimizer from ``rule(state, gradient, rate)`` of one run, a list of numbers; the memory is a list of the runs'."""

    def step(state, gradient, *, rate):
        runs = gradient.reshape(-1, gradient.shape[-1]).tolist()
        memories, steps = zip(
            *(
                rule(memory, g, rate)
                for memory, g in zip(state or [None] * len(runs), runs, strict=True)
            )
        )
        return memories, np.asarray(steps).reshape(gradient.shape)

    return step


@_run_by_run
def sgd(_, gradient, rate):
    return None, [-rate * g for g in gradient]


@_run_by_run
def ngd(_, gradient, rate):
    norm = math.hypot(*gradient)
    return None, [-rate * (g / norm) if norm else 0.0 for g in gradient]


@_run_by_run
def adam(memory, gradient, rate):
    before = zip(memory or [(0.0, 0.0, 0)] * len(gradient), gradient, strict=True)
    after = [
        (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1) for (m, v, t), g in before
    ]
    return after, [
        -rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        for m, v, t in after
    ]
