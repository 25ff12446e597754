"""expfam.covariance: the formula, coverage, runs without an answer, inverse Ising."""

import contextlib
import io
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from refnce import expfam, logz
from tests.families import ARGUMENTS
from tests.regimes import HALF_LOG_2PI, rng

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "inverse-ising.md").read_text(encoding="utf-8")
EPS = np.finfo(float).eps


def joint_error(statement, kind):
    where = "expfam.covariance"
    return pytest.mark.claim("Joint error", statement, kind=kind, where=where)


def batch(g, scale=1.0, shift=1.0, runs=()):
    """Arguments with k = 3, n = 20, m = 30."""
    theta, center = g.normal(size=(2, *runs, 3))
    T_data, T_noise = (
        scale * (g.normal(size=(*runs, n, 3)) + shift * center[..., None, :])
        for n in (20, 30)
    )
    offsets = (g.normal(size=(*runs, n)) for n in (20, 30))
    return T_data, T_noise, theta / scale, g.normal(size=runs), *offsets


def plain(T_data, T_noise, theta, F, offset_data, offset_noise, nu):
    """H^-1 V H^-1 as it is written, by loops in 60 digits, and the Schur complement."""
    theta, u, k = mp.matrix(theta), mp.mpf(float(F)) + mp.log(nu), len(theta)
    H = V = mp.zeros(k + 1)
    sides = (T_data, offset_data, 1, 1), (T_noise, offset_noise, -1, mp.mpf(nu))
    for T, offset, sign, weight in sides:
        n, rows = len(T), []
        for t, b in zip(T, offset, strict=True):
            r = (mp.matrix(t).T * theta)[0] + mp.mpf(b)
            s = 1 / (1 + mp.exp(-sign * (u - r)))  # s_data or s_noise
            t = mp.matrix([*t, -1])
            H += weight * s * (1 - s) * t * t.T / n / (1 + nu)  # Eq. (14)
            rows.append(s * t)
        mean = sum(rows[1:], rows[0]) / n
        for x in rows:
            V += weight**2 * (x - mean) * (x - mean).T / n**2 / (1 + mp.mpf(nu)) ** 2
    inverse = H**-1
    schur = H[:k, :k] - H[:k, k] * H[k, :k] / H[k, k]
    found = (inverse * V * inverse, schur)
    return [np.array(x.tolist(), dtype=float) for x in found]


@joint_error(
    "the covariance of the estimate of [theta, F] is H^-1 V H^-1, H the Hessian and V"
    " the covariance of the gradient",
    "theorem",
)
@pytest.mark.parametrize("nu", [1.0, 0.05, 1e12])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 3.0), (1.0, 1e6)])
def test_formula(evidence, nu, scale, shift):
    worst = 0.0
    for seed in range(5):
        *T, theta, F, offset_data, offset_noise = batch(rng(seed), scale, shift)
        # Log-ratios of the size of 1 for a large shift of T too.
        away = np.mean(T[1], axis=0) @ theta
        b = *T, theta, F, offset_data - away, offset_noise - away
        got = expfam.covariance(*b, nu=nu)
        with mp.workdps(60):
            expected, schur = plain(*b, nu)
        assert np.array_equal(got, got.T)
        size = np.sqrt(np.diag(expected))
        off = np.abs(got - expected) / np.outer(size, size)
        width = np.sqrt(np.diag(schur))
        condition = np.linalg.cond(schur / np.outer(width, width))
        # r is rounded in its terms, of the size of the shift.
        worst = max(worst, off.max() / (EPS * 50 * condition * (1 + shift)))
    parts = "of (n + m) eps times the condition"
    evidence(f"T = {scale:g} ({shift:g} + x), nu = {nu:g}: error {worst:.3f} {parts}")
    assert worst <= 1.0


@joint_error("at a fixed theta it is the standard error of F", "theorem")
@pytest.mark.parametrize("nu", [1.0, 0.1, 20.0])
def test_at_fixed_theta_it_is_the_standard_error_of_logz(nu):
    """V_FF/H_FF^2 with V = H covariance H; H is well conditioned."""
    T_data, T_noise, theta, _, *offsets = batch(rng(7), shift=0.1)
    z = logz.newton(T_data @ theta + offsets[0], T_noise @ theta + offsets[1], nu=nu)
    at = T_data, T_noise, theta, z.F, *offsets
    H = expfam.hessian(*at, nu=nu)
    V = H @ expfam.covariance(*at, nu=nu) @ H
    error = math.sqrt(V[-1, -1]) / H[-1, -1]
    assert abs(error / z.standard_error - 1) <= 50 * EPS * np.linalg.cond(H)


# Coverage


def fit(T_data, T_noise, theta, offset_data, offset_noise, nu):
    """The estimate of [theta, F] by Newton's method, and the arguments at it."""
    for _ in range(20):  # on a smooth and convex loss
        at = T_data, T_noise, theta, offset_data, offset_noise
        gradient = expfam.profile_gradient(*at, nu=nu)[..., None]
        step = np.linalg.solve(expfam.profile_hessian(*at, nu=nu), gradient)[..., 0]
        theta = theta - step
        if done := np.abs(step).max() < 1e-6:  # the next would be some 1e-12
            break
    assert done, "Newton did not converge"
    pairs = (T_data, offset_data), (T_noise, offset_noise)
    r = [(T @ theta[..., None])[..., 0] + offset for T, offset in pairs]
    F = logz.newton(*r, nu=nu).F
    at = T_data, T_noise, theta, F, offset_data, offset_noise
    return np.concat([theta, F[..., None]], axis=-1), at


def family_of(x, y, sd):
    """T = [x, x^2] and log h - log q, h = 1 and q = N(0, sd^2)."""
    T = (np.stack([z, z * z], axis=-1) for z in (x, y))
    offsets = (0.5 * (z / sd) ** 2 + HALF_LOG_2PI + math.log(sd) for z in (x, y))
    return *T, *offsets


@joint_error(
    "covers the truth as often as it says, or, where data are not from the model, the"
    " minimum of the loss in the population",
    "experiment",
)
@pytest.mark.parametrize("law", ["model", "other"])
def test_coverage(evidence, law):
    """2000 runs of a Gaussian in x and x^2, n = 600, m = 900, nu = m/n, at 95%.

    "model": N(0.5, 1.2^2) against N(0, 1.5^2). "other": data from 40 points of an
    exponential law, noise from 40 points; the population is these points. A right
    covariance fails 8 tails of 1e-7 each.
    """
    g, R, n, m, nu = rng(11), 2000, 600, 900, 1.5
    if law == "model":
        x, y = 0.5 + 1.2 * g.normal(size=(R, n)), 1.5 * g.normal(size=(R, m))
        precision, start = 1.2**-2, np.array([0.5, -0.5]) / 1.2**2
        F = 0.5**2 * precision / 2 + HALF_LOG_2PI + math.log(1.2)
        truth = np.array([*start, F])
    else:
        x, y = g.exponential(size=40) - 0.5, 1.5 * g.normal(size=40)
        T_data, T_noise, *offsets = family_of(x, y, 1.5)
        truth, _ = fit(T_data, T_noise, np.zeros(2), *offsets, nu)
        start, x, y = truth[:-1], g.choice(x, (R, n)), g.choice(y, (R, m))
    T_data, T_noise, *offsets = family_of(x, y, 1.5)
    estimate, at = fit(T_data, T_noise, np.tile(start, (R, 1)), *offsets, nu)
    C = expfam.covariance(*at, nu=nu)
    off = estimate - truth
    z = off / np.sqrt(np.linalg.diagonal(C))
    joint = np.vecdot(off, np.linalg.solve(C, off[..., None])[..., 0])
    covered = np.count_nonzero(np.abs(z) < stats.norm.ppf(0.975), axis=0)
    covered = np.array([*covered, np.count_nonzero(joint < stats.chi2(3).ppf(0.95))])
    share = ", ".join(f"{x:.3f}" for x in covered / R)
    evidence(f"{law}: 95% intervals of theta, F and 95% ellipsoids cover {share}")
    low, high = stats.binom.ppf([1e-7, 1 - 1e-7], R, 0.95)
    assert ((low <= covered) & (covered <= high)).all(), share


# Runs


def test_runs_along_leading_axes():
    g = rng(3)
    shapes = (20, 2), (30, 2), (2,), (), (20,), (30,)
    leads = (2, 1), (), (4,), (2, 4), (), (2, 1)
    b = [g.normal(size=lead + one) for lead, one in zip(leads, shapes, strict=True)]
    batched = expfam.covariance(*b, nu=2.0)
    assert batched.shape == (2, 4, 3, 3)
    each = [np.broadcast_to(x, (2, 4, *one)) for x, one in zip(b, shapes, strict=True)]
    for run in np.ndindex(2, 4):
        alone = expfam.covariance(*(x[run] for x in each), nu=2.0)
        # The condition is under 10; sums may associate differently.
        np.testing.assert_allclose(batched[run], alone, rtol=0, atol=500 * EPS)


def collinear(T, scale=3.1, shift=0.0):
    return np.stack([T[:, 0], scale * T[:, 0] + shift, T[:, 2]], axis=-1)


SINGULAR = {
    "collinear": collinear,
    "collinear far from 0": lambda T: collinear(T + 1e9, shift=0.3),
    "constant": lambda T: np.where([True, False, True], T, 0.1),
}
BEYOND = {"overflow": lambda T: 1e200 * T, "underflow": lambda T: 1e-200 * T}
BOTH = [(x, name) for x in ("float32", "float64") for name in SINGULAR]


@pytest.mark.parametrize(
    ("dtype", "name"), [*BOTH, *(("float64", name) for name in BEYOND)]
)
def test_a_singular_run_is_nan_and_others_are_not(dtype, name):
    g = rng(5)
    T_data, T_noise, _, F, *offsets = batch(g, runs=(3,))
    good = [T_data, T_noise, np.zeros((3, 3)), F, *offsets]
    bad = [x.copy() for x in good]
    for T in bad[:2]:
        T[1] = (SINGULAR | BEYOND)[name](T[1])
    good, bad = ([x.astype(dtype) for x in b] for b in (good, bad))
    expected, got = expfam.covariance(*good), expfam.covariance(*bad)
    assert np.isfinite(expected).all() and np.isnan(got[1]).all()
    assert np.array_equal(got[[0, 2]], expected[[0, 2]])
    assert np.isnan(expfam.covariance(*(x[1] for x in bad))).all()


def test_no_covariance_without_overlap_or_from_one_sample():
    """On a plateau every s rounds to 1: the spread of s would be computed as 0."""
    b = dict(zip(ARGUMENTS, batch(rng(6)), strict=True))
    assert np.isfinite(expfam.covariance(**b)).all()
    far = {"offset_data": b["offset_data"] - 50.0, "offset_noise": np.full(30, 50.0)}
    outside = {"offset_data": np.full(20, -np.inf), "offset_noise": np.full(30, np.inf)}
    one = {"T_noise": b["T_noise"][:1], "offset_noise": b["offset_noise"][:1]}
    for other in far, outside, one:
        assert np.isnan(expfam.covariance(**b | other)).all()


# docs/inverse-ising.md


def exact_ising(beta, L):
    """log Z, and E T = d log Z/d beta, from the transfer matrix of rows."""
    rows = 2.0 * (np.arange(2**L)[:, None] >> np.arange(L) & 1) - 1.0

    def log_z(beta):
        along = np.sum(rows * np.roll(rows, 1, axis=1), axis=1) / 2
        E = beta * (rows @ rows.T + along[:, None] + along)
        return math.log(np.trace(np.linalg.matrix_power(np.exp(E), L)))

    h = 1e-4  # an error of h^2, and of eps log Z/h
    return log_z(beta), (log_z(beta + h) - log_z(beta - h)) / (2 * h)


def run_page(L=6):
    """Run the code of the page; return its variables and what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "default_rng(0), 6," in code
    names, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code.replace("default_rng(0), 6,", f"default_rng(0), {L},"), names)
    assert np.abs(names["step"]).max() < 1e-12, "Newton did not converge"
    return SimpleNamespace(**names), out.getvalue().strip()


@joint_error(
    "beta and log Z of a 6 x 6 Ising model, learnt from configurations alone, are right"
    " within 5 standard errors",
    "experiment",
)
def test_inverse_ising(evidence):
    page, printed = run_page()
    assert f"`{printed}`" in PAGE
    log_z, mean = exact_ising(page.beta, page.L)
    spread = page.x.std() / math.sqrt(page.n)
    assert abs(page.x.mean() - mean) < 5 * spread, "the chains are too short"
    off = np.array([page.theta[0] - page.beta, page.solution.F - log_z])
    z, joint = off / page.error, off @ np.linalg.solve(page.C, off)
    evidence(f"{printed}; z {z[0]:.2f}, {z[1]:.2f}; chi-square of both {joint:.2f}")
    assert np.abs(z).max() < 5 and joint < stats.chi2(2).isf(1e-6)


def test_numbers_of_the_page_on_inverse_ising():
    page, _ = run_page()
    assert f"matrix, is {exact_ising(page.beta, 6)[0]:.3f}." in PAGE
    assert f"would be {page.solution.standard_error:.2f}," in PAGE
    s, b, sides = page.spins, page.beta, [(k, axis) for k in (1, -1) for axis in (1, 2)]
    field = sum(np.roll(s, k, axis) for k, axis in sides)
    score = np.sum(field * (s - np.tanh(b * field)), axis=(1, 2))
    slope = np.mean(np.sum((field / np.cosh(b * field)) ** 2, axis=(1, 2)))
    assert f"its error is {score.std() / slope / math.sqrt(page.n):.4f}." in PAGE
    ten, twelve = (run_page(L)[0].solution for L in (10, 12))
    overlaps = f"{page.solution.overlap:.2f} here, {ten.overlap:.2f} on 10 x 10"
    assert f"{overlaps} and {twelve.overlap:.3f} on 12 x 12" in PAGE
    assert page.solution.trusted and ten.trusted and not twelve.trusted
