"""Implementations with one bug each, of the kinds that people make: refnce's functions, one of them replaced.

Most change what refnce answers, so that all but the bug is right to the last digits (level "A"). Those that lose digits by the
way they compute are written as they would be, and judged at level "C", at which only the bug shows.
"""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
from scipy.special import expit, log_expit

from refnce import ence, expfam, logz, nce, optim
from refnce.conformance.trajectory import trajectory
from tests.corpus.bug import BATCHED, NORMAL, Wrong
from tests.corpus.wrong_nn import WRONG_NN

INF = math.inf


# --- changes of what refnce answers -----------------------------------------------------------------------------------


def terms(r_data, r_noise, F, nu):
    """The data's and the noise's part of the loss."""
    return nce.loss(r_data, np.full_like(r_noise, -INF), F, nu=nu), nce.loss(
        np.full_like(r_data, INF), r_noise, F, nu=nu
    )


def sums(r_data, r_noise, F, *, nu=1.0):
    data, noise = terms(r_data, r_noise, F, nu)
    return r_data.shape[-1] * data + r_noise.shape[-1] * noise


def without_weight(r_data, r_noise, F, *, nu=1.0):
    data, noise = terms(r_data, r_noise, F, nu)
    return data + noise / nu


def scaled(f, factor):
    """``f`` times a number, or a function of nu."""

    def call(*args, **nu):
        c = factor(nu["nu"]) if callable(factor) else factor
        found = f(*args, **nu)
        return tuple(c * x for x in found) if isinstance(found, tuple) else c * found

    return call


def shifted(f, shift):
    """``f`` with F + shift(nu) for F."""
    return lambda r_data, r_noise, F, *, nu=1.0: f(
        r_data, r_noise, F + shift(nu), nu=nu
    )


def single(f):
    """``f`` in float32, with the samples and F as they come."""

    def call(r_data, r_noise, F, *, nu=1.0):
        most = np.finfo(np.float32).max
        F = (np.clip(F, -most, most) if np.isfinite(F).all() else np.asarray(F)).astype(
            np.float32
        )
        return f(
            r_data.astype(np.float32), r_noise.astype(np.float32), F, nu=nu
        ).astype(np.float64)

    return call


def without_nan(f):
    """``f`` of the log-ratios that are numbers."""

    def call(r_data, r_noise, F, *, nu=1.0):
        r_data, r_noise = (
            r[~np.isnan(r)] if np.isnan(r).any() else r for r in (r_data, r_noise)
        )
        return f(r_data, r_noise, F, nu=nu)

    return call


def with_empty(r_data, r_noise, F, *, nu=1.0):
    if 0 in r_data.shape + r_noise.shape:
        return np.zeros(())  # the mean of no numbers, by a sum divided by max(n, 1)
    return nce.loss(r_data, r_noise, F, nu=nu)


def in_place(r_data, r_noise, F, *, nu=1.0):
    found = nce.loss(r_data, r_noise, F, nu=nu)
    r_data -= np.max(r_data, initial=0.0)
    return found


def by_counts(r_data, r_noise, F, *, nu=1.0):
    nce.loss(r_data, r_noise, F, nu=nu)
    return nce.loss(r_data, r_noise, F, nu=r_noise.shape[-1] / r_data.shape[-1])


def flattened(r_data, r_noise, F, *, nu=1.0):
    if r_data.ndim == r_noise.ndim == 1:
        return nce.grad_F(r_data, r_noise, F, nu=nu)
    runs = np.broadcast_shapes(r_data.shape[:-1], r_noise.shape[:-1])
    return np.broadcast_to(
        nce.grad_F(r_data.ravel(), r_noise.ravel(), float(np.mean(F)), nu=nu), runs
    )


def grad_r_sums(r_data, r_noise, F, *, nu=1.0):
    data, noise = nce.grad_r(r_data, r_noise, F, nu=nu)
    return r_data.shape[-1] * data, r_noise.shape[-1] * noise


def grad_r_of_nothing(r_data, r_noise, F, *, nu=1.0):
    if 0 in r_data.shape + r_noise.shape:
        return np.zeros(0), np.zeros(0)
    return nce.grad_r(r_data, r_noise, F, nu=nu)


def grad_r_one_sign(r_data, r_noise, F, *, nu=1.0):
    data, noise = nce.grad_r(r_data, r_noise, F, nu=nu)
    return data, -noise


def grad_r_without_weight(r_data, r_noise, F, *, nu=1.0):
    data, noise = nce.grad_r(r_data, r_noise, F, nu=nu)
    return data, noise / nu


def wrong_way(r_data, r_noise, F, *, nu=1.0):
    return 2.0 * np.asarray(F) - logz.bar_update(r_data, r_noise, F, nu=nu)


def top_of_all(x):
    """log mean exp, with the largest term of all runs."""
    top = np.max(x[np.isfinite(x)], initial=-INF)
    return top + np.log(np.exp(x - top).mean(-1))


def update_of_all(r_data, r_noise, F, *, nu=1.0):
    right = logz.bar_update(r_data, r_noise, F, nu=nu)
    log_A, log_B = top_of_all(-softplus(-z_of(r_data, F, nu))), top_of_all(
        -softplus(z_of(r_noise, F, nu))
    )
    return right if right.ndim == 0 else F - log_A + log_B + math.log(nu)


def log_z_of_all(r_data, r_noise):
    right = ence.log_z(r_data, r_noise)
    return (
        right
        if right.ndim == 0
        else top_of_all(0.5 * r_noise) - top_of_all(-0.5 * r_data)
    )


def of_sums(r_data, r_noise, F, *, nu=1.0):
    return logz.bar_update(r_data, r_noise, F, nu=nu) - math.log(
        r_data.shape[-1] / r_noise.shape[-1]
    )


def solving(solver, **changes):
    """``solver`` with fields changed, each by a function of the solution, the two counts and nu."""

    def call(r_data, r_noise, *, nu=1.0):
        z = solver(r_data, r_noise, nu=nu)
        n, m = r_data.shape[-1], r_noise.shape[-1]
        return dataclasses.replace(
            z, **{name: change(z, n, m, nu) for name, change in changes.items()}
        )

    return call


def plausible(r_data, r_noise, *, nu=1.0):
    z = logz.newton(r_data, r_noise, nu=nu)
    return dataclasses.replace(
        z, F=np.where(z.status == int(logz.Status.NO_ROOT), 0.0, z.F)
    )


def nan_for_all(r_data, r_noise, **given):
    z = logz.newton(r_data, r_noise, **given)
    return (
        dataclasses.replace(z, F=np.full_like(z.F, np.nan))
        if np.isnan(z.F).any()
        else z
    )


def always_converged(r_data, r_noise, **given):
    z = logz.newton(r_data, r_noise, **given)
    return dataclasses.replace(z, status=np.zeros_like(z.status))


def bar(r_data, r_noise, *, max_updates=80, **given):
    """As many updates as the cases need that ask for a status, and not the minutes that a thousand zigzags take."""
    return logz.bar(r_data, r_noise, max_updates=max_updates, **given)


def never_converged(r_data, r_noise, **given):
    z = bar(r_data, r_noise, **given)
    return dataclasses.replace(
        z, status=np.full_like(z.status, int(logz.Status.MAX_UPDATES))
    )


def without_limit(r_data, r_noise, *, max_updates=80, **given):
    return bar(r_data, r_noise, **given)


def whole_step(r_data, r_noise, *, step=1.0, **given):
    return bar(r_data, r_noise, **given)


def arrived_anyway(r_data, r_noise, **given):
    z = bar(r_data, r_noise, **given)
    return dataclasses.replace(z, status=0 * z.status) if "max_updates" in given else z


def near_start(r_data, r_noise, *, nu=1.0, F0=None, xtol=0.0):
    """Looks for the root within 10 of where it is told to start."""
    z = logz.newton(r_data, r_noise, nu=nu, xtol=xtol)
    return (
        z
        if F0 is None
        else dataclasses.replace(z, F=np.clip(z.F, F0 - 10.0, F0 + 10.0))
    )


def relative(r_data, r_noise, *, nu=1.0, xtol=0.0):
    F = logz.newton(r_data, r_noise, nu=nu).F
    return logz.bisect(
        r_data, r_noise, nu=nu, xtol=xtol * float(np.max(np.abs(F))) if xtol else 0.0
    )


def few_updates(r_data, r_noise, *, nu=1.0):
    z = logz.bar(r_data, r_noise, nu=nu, max_updates=10)
    return SimpleNamespace(
        F=z.F, status=np.where(z.status == int(logz.Status.NO_ROOT), z.status, 0)
    )


def ence_by_data(r_data, r_noise, F):
    data, noise = ence.grad_r(r_data, r_noise, F)
    return data, noise * (r_noise.shape[-1] / r_data.shape[-1])


def theta_of_first(T_data, T_noise, theta, *rest, nu=1.0):
    return expfam.loss(
        T_data, T_noise, theta.reshape(-1, theta.shape[-1])[0], *rest, nu=nu
    )


def at_zero(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    return expfam.gradient(
        T_data, T_noise, theta, 0.0, offset_data, offset_noise, nu=nu
    )[..., :-1]


def without_schur(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    r_data, r_noise = (
        (T @ theta[..., None])[..., 0] + b
        for T, b in ((T_data, offset_data), (T_noise, offset_noise))
    )
    F = logz.newton(r_data, r_noise, nu=nu).F
    return expfam.hessian(T_data, T_noise, theta, F, offset_data, offset_noise, nu=nu)[
        ..., :-1, :-1
    ]


def loss_at_zero(T_data, T_noise, theta, offset_data, offset_noise, *, nu=1.0):
    return expfam.loss(T_data, T_noise, theta, 0.0, offset_data, offset_noise, nu=nu)


def minus_last(*args, nu=1.0):
    g = expfam.gradient(*args, nu=nu)
    g[..., -1] *= -1.0
    return g


def with_plus_one(*args, nu=1.0):
    H = expfam.hessian(*args, nu=nu)
    H[..., :-1, -1] *= -1.0
    H[..., -1, :-1] *= -1.0
    return H


def without_base(T_data, T_noise, theta, F, offset_data, offset_noise, *, nu=1.0):
    return expfam.loss(
        T_data, T_noise, theta, F, 0 * offset_data, 0 * offset_noise, nu=nu
    )


def adam_without_correction(state, gradient, *, rate):
    m, v = state or (0.0, 0.0)
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    return (m, v), -rate * m / (np.sqrt(v) + 1e-8)


def adam_eps_inside(state, gradient, *, rate):
    t, m, v = state or (0, 0.0, 0.0)
    t, m, v = t + 1, 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    return (t, m, v), -rate * (m / (1 - 0.9**t)) / np.sqrt(v / (1 - 0.999**t) + 1e-8)


def adam_lazy(state, gradient, *, rate):
    """What sparse optimizers do: a coordinate whose gradient is 0 stands still, moments and all."""
    t, m, v = state or (0, np.zeros_like(gradient), np.zeros_like(gradient))
    seen, t = gradient != 0, t + 1
    m, v = np.where(seen, 0.9 * m + 0.1 * gradient, m), np.where(
        seen, 0.999 * v + 0.001 * gradient**2, v
    )
    step = -rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return (t, m, v), np.where(seen, step, 0.0)


def adam_forgets(state, gradient, *, rate):
    return None, optim.adam(None, gradient, rate=rate)[1]


def largest(gradient):
    """Of each run, or 1 where all are 0."""
    most = np.abs(gradient).max(-1, keepdims=True)
    return np.where(most > 0, most, 1.0)


def ngd_largest(state, gradient, *, rate):
    return state, -rate * gradient / largest(gradient)


def ngd_zero(state, gradient, *, rate):
    direction = gradient / largest(gradient)
    return state, -rate * direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def ngd_squares(state, gradient, *, rate):
    norm = np.sqrt((gradient**2).sum(-1, keepdims=True))
    return state, -rate * gradient / np.where(norm > 0, norm, 1.0)


def ngd_overflow(state, gradient, *, rate):
    small = largest(gradient) < 1.0
    return ngd_squares(
        state, np.where(small, gradient / largest(gradient), gradient), rate=rate
    )


def ngd_all_zero(state, gradient, *, rate):
    if not gradient.any():
        return state, np.zeros_like(gradient)
    direction = gradient / np.abs(gradient).max(-1, keepdims=True)
    return state, -rate * direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def ngd_together(state, gradient, *, rate):
    return state, optim.ngd(None, gradient.ravel(), rate=rate)[1].reshape(
        gradient.shape
    )


def always_together(*args, order, **given):
    return trajectory(*args, order="together", **given)


def whole_update(*args, update, rate_F, **given):
    return trajectory(
        *args, update=update, rate_F=1.0 if update == "bar" else rate_F, **given
    )


def damped(
    T_data,
    T_noise,
    offset_data,
    offset_noise,
    theta,
    F,
    *,
    nu=1.0,
    rate,
    rate_F,
    update,
    order,
):
    """F - rate_F (F - root) for the root."""
    path = []
    for batch in zip(T_data, T_noise, offset_data, offset_noise, strict=True):
        given = {
            "nu": nu,
            "rate": rate,
            "rate_F": rate_F,
            "update": update,
            "order": order,
        }
        thetas, Fs = trajectory(*(x[None] for x in batch), theta, F, **given)
        theta, F = thetas[0], float(
            Fs[0] if update != "root" or rate_F == 1.0 else F + rate_F * (Fs[0] - F)
        )
        path.append((theta, F))
    return tuple(map(np.asarray, zip(*path, strict=True)))


def wrong_rates(*args, rate, rate_F, **given):
    return trajectory(*args, rate=rate_F, rate_F=rate, **given)


# --- formulas that lose what they should keep --------------------------------------------------------------------------


def z_of(r, F, nu):
    return (np.asarray(F)[..., None] - r) + math.log(nu)


def loss_by(softplus):
    """The loss with a softplus of one's own; what must be refused is."""

    def call(r_data, r_noise, F, *, nu=1.0):
        nce.loss(r_data, r_noise, F, nu=nu)
        data, noise = softplus(z_of(r_data, F, nu)), softplus(-z_of(r_noise, F, nu))
        return (data.mean(-1) + nu * noise.mean(-1)) / (1.0 + nu)

    return call


def linear_from_20(x):
    return np.where(x > 20, x, np.log1p(np.exp(x)))


def by_labels(x):
    label = 0.0
    return -(label * log_expit(x) + (1.0 - label) * log_expit(-x))


def grad_F_of_means(r_data, r_noise, F, *, nu=1.0):
    nce.loss(r_data, r_noise, F, nu=nu)
    A, B = expit(z_of(r_data, F, nu)).mean(-1), expit(-z_of(r_noise, F, nu)).mean(-1)
    return (A - nu * B) / (1.0 + nu)


def hess_F_of_expit(r_data, r_noise, F, *, nu=1.0):
    nce.loss(r_data, r_noise, F, nu=nu)
    bends = [expit(z_of(r, F, nu)) * expit(-z_of(r, F, nu)) for r in (r_data, r_noise)]
    return (bends[0].mean(-1) + nu * bends[1].mean(-1)) / (1.0 + nu)


def update_of_means(r_data, r_noise, F, *, nu=1.0):
    nce.loss(r_data, r_noise, F, nu=nu)
    A, B = expit(z_of(r_data, F, nu)).mean(-1), expit(-z_of(r_noise, F, nu)).mean(-1)
    return F - np.log(A) + np.log(B) + math.log(nu)


def log_z_of_means(r_data, r_noise):
    ence.log_z(r_data, r_noise)
    return np.log(np.exp(0.5 * r_noise).mean(-1)) - np.log(
        np.exp(-0.5 * r_data).mean(-1)
    )


def searching(step):
    """A solver that asks ``step(F, slope, curvature, lo, hi)`` where to go until it answers None; what must be refused is."""

    def call(r_data, r_noise, *, nu=1.0):
        right = logz.newton(r_data, r_noise, nu=nu)
        if right.F.shape or not np.isfinite(right.F):
            return right.F
        pool = np.concatenate([r_data, r_noise])
        lo, hi = (float(f(pool[np.isfinite(pool)])) for f in (np.min, np.max))
        F = 0.5 * lo + 0.5 * hi
        for _ in range(100):
            g, h = (
                float(f(r_data, r_noise, F, nu=nu)) for f in (nce.grad_F, nce.hess_F)
            )
            lo, hi = (F, hi) if g <= 0 else (lo, F)
            after = step(F, g, h, lo, hi)
            if after is None or not math.isfinite(after):
                break
            F = after
        return np.asarray(F)

    return call


def until_flat(F, g, h, lo, hi):
    if abs(g) < 1e-12:
        return None
    return F - g / h if h > 0 and lo < F - g / h < hi else 0.5 * lo + 0.5 * hi


def without_bracket(F, g, h, lo, hi):
    return None if h == 0 or abs(g / h) <= 1e-14 * (1.0 + abs(F)) else F - g / h


def between(reach):
    """Bisection in a bracket of one's own; what must be refused is."""

    def call(r_data, r_noise, *, nu=1.0):
        right = logz.newton(r_data, r_noise, nu=nu)
        lo, hi = (np.broadcast_to(x, right.F.shape) for x in reach(r_data, r_noise))
        for _ in range(60):
            F = 0.5 * lo + 0.5 * hi
            up = nce.grad_F(r_data, r_noise, F, nu=nu) > 0
            lo, hi = np.where(up, lo, F), np.where(up, F, hi)
        return np.where(np.isfinite(right.F), 0.5 * lo + 0.5 * hi, right.F)

    return call


def of_data(r_data, r_noise):
    return np.nan_to_num(r_data.min(-1)), np.nan_to_num(r_data.max(-1))


def error_by_slope(z, n, m, nu):
    return (1 + nu) * z.standard_error


def error_by_n_less_1(z, n, m, nu):
    return z.standard_error * math.sqrt(n / max(n - 1, 1))


def in_float32(z, n, m, nu):
    return z.F.astype(np.float32).astype(np.float64)


def curvature_alone(z, n, m, nu):
    return z.overlap * nu / (1 + nu) ** 2


def without_log_nu(r_data, r_noise, F, *, nu=1.0):
    return logz.bar_update(r_data, r_noise, F, nu=nu) - math.log(nu)


def softplus(x):
    return np.logaddexp(0.0, x)


def log_plus(x):
    return np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x)))


ERROR_BY_SLOPE = solving(logz.newton, standard_error=error_by_slope)
OVERLAP_NOT_NORMALISED = solving(logz.newton, overlap=curvature_alone)
ERROR_BY_N_LESS_1 = solving(logz.newton, standard_error=error_by_n_less_1)
# What is told of several; "" where nothing to the point is.
STOPPED = "near the root but not at it (most within 4e-07): stopped early"
ONLY_ROOT = "only root is wrong, not converged, overlap, standard_error; NoRoot"
WEIGHT = "nu is not 1: a log nu or a factor nu or 1/(1 + nu) missing or misplaced"
APART = "Apart: runs 2000 apart in one batch"
OPTIONS = "Options: F0, xtol, step or max_updates is given"
WRONG: tuple[Wrong, ...] = (
    Wrong("sums for means", "nce.loss", sums, "off by a factor of n."),
    Wrong("noise not weighted by nu", "nce.loss", without_weight, WEIGHT),
    Wrong(
        "1/(1 + nu) left out",
        "nce.loss",
        scaled(nce.loss, lambda nu: 1 + nu),
        "off by a factor of 1 + nu.",
    ),
    Wrong(
        "log nu left out",
        "nce.loss",
        shifted(nce.loss, lambda nu: -math.log(nu)),
        WEIGHT,
    ),
    Wrong(
        "log nu with the wrong sign",
        "nce.loss",
        shifted(nce.loss, lambda nu: -2 * math.log(nu)),
        WEIGHT,
    ),
    Wrong("float32 inside", "nce.loss", single(nce.loss), "float32 inside"),
    Wrong("nu taken for m/n", "nce.loss", by_counts, NORMAL),
    Wrong("NaN dropped", "nce.loss", without_nan(nce.loss), "not refused"),
    Wrong("empty samples answered by 0", "nce.loss", with_empty, "not refused"),
    Wrong(
        "r_data changed in place",
        "nce.loss",
        in_place,
        "it changed its argument r_data in place: work on a copy (",
    ),
    Wrong(
        "log(1 + e^x) overflows",
        "nce.loss",
        loss_by(lambda x: np.log1p(np.exp(x))),
        "an exponential overflows",
        "C",
    ),
    Wrong(
        "log(1 + e^x) for log1p",
        "nce.loss",
        loss_by(log_plus),
        "log(1 + e^x) must be log1p(e^x)",
        "C",
    ),
    Wrong(
        "softplus linear from 20 on",
        "nce.loss",
        loss_by(linear_from_20),
        "at least 10 digits are right: a cut-off",
        "B",
    ),
    Wrong(
        "both labels' terms, one times 0",
        "nce.loss",
        loss_by(by_labels),
        "infinite log-ratios take the limit",
        "C",
    ),
    Wrong("sign", "nce.grad_F", scaled(nce.grad_F, -1.0), "its sign is reversed"),
    Wrong(
        "noise term of the data",
        "nce.grad_F",
        lambda x, y, F, *, nu=1.0: nce.grad_F(x, x, F, nu=nu),
        NORMAL,
    ),
    Wrong("runs flattened into one", "nce.grad_F", flattened, BATCHED),
    Wrong(
        "difference of two means",
        "nce.grad_F",
        grad_F_of_means,
        "separate counts from small sides",
        "C",
    ),
    Wrong(
        "tail of scipy's expit",
        "nce.hess_F",
        hess_F_of_expit,
        "scipy.special.expit",
        "C",
    ),
    Wrong(
        "1/(1 + nu) left out",
        "nce.hess_F",
        scaled(nce.hess_F, lambda nu: 1 + nu),
        "off by a factor of 1 + nu.",
    ),
    Wrong(
        "log nu left out",
        "nce.hess_F",
        shifted(nce.hess_F, lambda nu: -math.log(nu)),
        WEIGHT,
    ),
    Wrong("1/n left out", "nce.grad_r", grad_r_sums, "off by a factor of n."),
    Wrong(
        "empty samples answered by nothing",
        "nce.grad_r",
        grad_r_of_nothing,
        "not refused",
    ),
    Wrong(
        "both sides with one sign",
        "nce.grad_r",
        grad_r_one_sign,
        "not grad_r_data; its sign is reversed.",
    ),
    Wrong(
        "noise not weighted by nu",
        "nce.grad_r",
        grad_r_without_weight,
        "not grad_r_data; off by a factor of 1/nu.",
    ),
    Wrong("sign of h", "logz.bar_update", wrong_way, "sign of h"),
    Wrong("log nu left out of h", "logz.bar_update", without_log_nu, WEIGHT),
    Wrong("sums for means", "logz.bar_update", of_sums, NORMAL),
    Wrong(
        "log of a mean of sigmoids",
        "logz.bar_update",
        update_of_means,
        "the logarithm of a mean that is 0",
        "C",
    ),
    Wrong("one largest term of all runs", "logz.bar_update", update_of_all, APART, "C"),
    Wrong(
        "sign",
        "logz.newton",
        solving(logz.newton, F=lambda z, n, m, nu: -z.F),
        "its sign is reversed",
    ),
    Wrong("a number where there is no root", "logz.newton", plausible, ONLY_ROOT),
    Wrong(
        "nan for all runs if for one",
        "logz.newton",
        nan_for_all,
        "nan where there is an answer",
    ),
    Wrong(
        "always CONVERGED",
        "logz.newton",
        always_converged,
        "root, standard_error; CONVERGED where there is no root",
    ),
    Wrong("leaves the root at F0", "logz.newton", near_start, OPTIONS),
    Wrong(
        "stops where the slope is small",
        "logz.newton",
        searching(until_flat),
        "separate counts from small sides",
        "C",
    ),
    Wrong(
        "F rounded to float32",
        "logz.newton",
        solving(logz.newton, F=in_float32),
        "float32 inside",
    ),
    Wrong(
        "no bracket",
        "logz.newton",
        searching(without_bracket),
        "leave the bracket",
        "C",
    ),
    Wrong(
        "slope of the loss in the error",
        "logz.newton",
        ERROR_BY_SLOPE,
        "overlap, root; off by a factor of 1 + nu.",
    ),
    Wrong(
        "variance with n - 1",
        "logz.newton",
        ERROR_BY_N_LESS_1,
        "overlap, root; off by a factor of sqrt(n/(n - 1)).",
    ),
    Wrong(
        "overlap not normalised",
        "logz.newton",
        OVERLAP_NOT_NORMALISED,
        "off by a factor of nu/(1 + nu)^2.",
    ),
    Wrong(
        "stops at 1e-6",
        "logz.bisect",
        lambda x, y, *, nu=1.0: logz.bisect(x, y, nu=nu, xtol=1e-6),
        STOPPED,
    ),
    Wrong("xtol times F", "logz.bisect", relative, OPTIONS),
    Wrong(
        "bracket of +-100",
        "logz.bisect",
        between(lambda x, y: (-100.0, 100.0)),
        "answers 100.0 to",
        "C",
    ),
    Wrong(
        "bracket of the data alone",
        "logz.bisect",
        between(of_data),
        "the end of a bracket",
        "C",
    ),
    Wrong(
        "ten updates called converged",
        "logz.bar",
        few_updates,
        "called converged where it still moves",
    ),
    Wrong(
        "never CONVERGED", "logz.bar", never_converged, "not CONVERGED at an easy root"
    ),
    Wrong("max_updates ignored", "logz.bar", without_limit, "or none was reached"),
    Wrong(
        "CONVERGED after max_updates", "logz.bar", arrived_anyway, "or none was reached"
    ),
    Wrong(
        "step ignored", "logz.bar", whole_step, "not CONVERGED at an easy root (once)"
    ),
    Wrong(
        "r for r/2", "ence.loss", lambda x, y, F: ence.loss(2 * x, 2 * y, 2 * F), NORMAL
    ),
    Wrong(
        "1/2 for 1/4", "ence.grad_F", scaled(ence.grad_F, 2.0), "off by a factor of 2."
    ),
    Wrong(
        "both sides by n",
        "ence.grad_r",
        ence_by_data,
        "only grad_r_noise is wrong, not grad_r_data; off by a factor of m/n.",
    ),
    Wrong("sign", "ence.log_z", scaled(ence.log_z, -1.0), "its sign is reversed"),
    Wrong(
        "log of a mean of exponentials",
        "ence.log_z",
        log_z_of_means,
        "the logarithm of a mean that is 0",
        "C",
    ),
    Wrong("one largest term of all runs", "ence.log_z", log_z_of_all, APART, "C"),
    Wrong("theta of the first run", "expfam.loss", theta_of_first, BATCHED),
    Wrong("offset left out", "expfam.loss", without_base, NORMAL),
    Wrong(
        "sign of the entry of F", "expfam.gradient", minus_last, "its sign is reversed"
    ),
    Wrong(
        "sign of the entry of F",
        "expfam.hessian",
        with_plus_one,
        "its sign is reversed",
    ),
    Wrong("at an old F", "expfam.profile_loss", loss_at_zero, NORMAL),
    Wrong("at an old F", "expfam.profile_gradient", at_zero, NORMAL),
    Wrong("without the Schur term", "expfam.profile_hessian", without_schur, NORMAL),
    Wrong(
        "ascends",
        "optim.sgd",
        lambda state, gradient, *, rate: (None, rate * gradient),
        "its sign is reversed",
    ),
    Wrong("largest coordinate for the norm", "optim.ngd", ngd_largest, NORMAL),
    Wrong("0/0", "optim.ngd", ngd_zero, "a gradient of 0: no step, and no nan"),
    Wrong(
        "squares underflow",
        "optim.ngd",
        ngd_squares,
        "divide by the largest coordinate",
    ),
    Wrong(
        "squares overflow",
        "optim.ngd",
        ngd_overflow,
        "Squares: gradients whose squares under- or overflow",
    ),
    Wrong(
        "0/0 beside a run that moves",
        "optim.ngd",
        ngd_all_zero,
        "a gradient of 0: no step, and no nan",
    ),
    Wrong("one norm of all runs", "optim.ngd", ngd_together, BATCHED),
    Wrong("no bias correction", "optim.adam", adam_without_correction, NORMAL),
    Wrong(
        "eps inside the root",
        "optim.adam",
        adam_eps_inside,
        "about 8 digits are right: a cut-off, or a constant",
    ),
    Wrong(
        "a gradient of 0 skipped",
        "optim.adam",
        adam_lazy,
        "Sparse: a coordinate that is 0 at some steps",
    ),
    Wrong("memory lost", "optim.adam", adam_forgets, NORMAL),
    Wrong(
        "F after theta",
        "train.trajectory",
        always_together,
        "theta's gradient is taken at the new F",
    ),
    Wrong(
        "rate of BAR ignored",
        "train.trajectory",
        whole_update,
        "F has a rate of its own",
    ),
    Wrong(
        "root damped",
        "train.trajectory",
        damped,
        "Undamped: a rate_F other than 1 means nothing",
    ),
    Wrong("rates exchanged", "train.trajectory", wrong_rates, ""),
    *WRONG_NN,
)
