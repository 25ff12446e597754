"""Printed errors of the paper: each printed form fails, and the right one holds.

The tests of the claims show some others: look for the mark ``printed_error``.

Population expectations are sums over a grid. The trapezoidal rule is exact to rounding
for these analytic integrands, which vanish at both ends, and math.fsum adds exactly: so
"close" means to a few ulps. What fails, fails by numbers of order 1, not 1e-3.
"""

import math

import numpy as np
import pytest
from scipy import stats

from refnce import nce
from tests.certified import root_F
from tests.populations import GRID as X, STEP, sigmoid
from tests.regimes import HALF_LOG_2PI, rng

EPS = 2.0**-52
# Of a term: eps times an exponent of size up to 100 where there is mass.
ROUNDING = 128 * EPS
FAR = 1e-3
printed_error = pytest.mark.printed_error


def integral(values):
    return STEP * math.fsum(values)


def log_mean(values):
    return math.log(np.mean(values))


def h(r_data, r_noise, F):
    """log A - log B of a batch at nu = 1."""
    return log_mean(sigmoid(F - r_data)) - log_mean(sigmoid(r_noise - F))


def batches():
    g = rng(11)
    for _ in range(50):
        n, m = g.integers(1, 30, size=2)
        yield g, *(g.normal(g.normal(), 2.0, size=k) for k in (n, m))


def close(got, right):
    return abs(got - right) <= ROUNDING * max(1.0, abs(right))


# Section 3. The family e^{theta x - x^2/2 - F}, data N(1, 1), noise q = N(0, 1).

NOISE, DATA = stats.norm.pdf(X), stats.norm.pdf(X, 1.0)


def density(theta, F):
    return np.exp(theta * X - X**2 / 2 - F)


def log_z(theta):
    return theta**2 / 2 + HALF_LOG_2PI


@printed_error(
    "Section 3.3",
    printed="dL/dF takes values from [-1/2, 1/2], with these limits",
    right="from the open interval; the upper limit is 1/2 only if supp p* lies in supp"
    " q, the lower -1/2 only if p > 0 on supp q",
)
def test_section_3_3_slope_stays_inside_its_limits(evidence):
    for F in (-30.0, 0.0, 30.0):  # 1 - e^{-30} is a float below 1
        assert -0.5 < nce.grad_F(np.asarray([1.0]), np.asarray([-1.0]), F) < 0.5
    # A third of the data lies where q = 0, a quarter of the noise where p = 0.
    pair = np.asarray([0.0, 1.0, math.inf]), np.asarray([0.0, 1.0, 2.0, -math.inf])
    upper, lower = (float(nce.grad_F(*pair, F)) for F in (800.0, -800.0))
    evidence(f"with such samples the limits are {lower:.4f} and {upper:.4f}")
    assert close(upper, 0.5 * 2 / 3) and close(lower, -0.5 * 3 / 4)
    inside = [r[np.isfinite(r)] for r in pair]
    assert close(nce.grad_F(*inside, 800.0), 0.5)
    assert close(nce.grad_F(*inside, -800.0), -0.5)


# Section 3.5


@printed_error(
    "Algorithm 1",
    printed="losses as sums over the samples",
    right="class means, as in Eq. 1: with n != m the fixed point of the sums is the"
    " root for nu = m/n plus log(m/n), not the root; sums also multiply the gradient of"
    " theta by n",
)
def test_algorithm_1_takes_means(evidence):
    # The roots and log(m/n) are right to 16 eps here.
    off, slack = [], 256 * EPS
    for _, *pair in batches():
        n, m = map(len, pair)
        right, shift = root_F(*pair), math.log(m / n)
        fixed = root_F(*pair, m / n) + shift
        for F, expected in ((fixed, shift), (right, 0.0)):
            assert abs(h(*pair, F) - expected) <= slack
        if n != m:
            off.append(abs(fixed - right))
    found = f"{min(off):.3f} to {max(off):.3f}"
    evidence(f"counts up to 29: the fixed point of the sums is {found} off the root")
    assert min(off) > FAR
    # Equal counts: the same F, but a gradient in theta n times as long. Here r is
    # theta x on data and on noise, at theta = F = 0.
    x, y = np.asarray([1.0, 2.0, 4.0]), np.asarray([0.0, -1.0, 0.5])
    means, sums = ((-0.5 * f(x) + 0.5 * f(y)) / 2 for f in (np.mean, np.sum))
    assert close(sums, 3 * means)


# Section 4


@printed_error(
    "Section 4.2, 1-d",
    printed="the family T(x) = [x, -1] with q(x) = e^{-x^2/2} "
    "are the normal distributions of unit variance",
    right="e^{-x^2/2} is the base measure: p = e^{-x^2/2} e^{theta x - F}, "
    "F* = theta^2/2 + log(2 pi)/2; the noise is N(0, 1)",
)
def test_section_4_2_one_dimensional_family(evidence):
    mass = integral(np.exp(-(X**2) / 2))
    assert close(mass, math.sqrt(2 * math.pi))  # the printed q is no density
    grows = "e^(theta x) grows with the range"
    evidence(f"the printed q integrates to {mass:.4f}; {grows}")
    for theta in (0.5, 2.0, 4.0):
        p = density(theta, log_z(theta))
        assert close(integral(p), 1.0)
        assert np.abs(p - stats.norm.pdf(X, theta)).max() <= ROUNDING
        # Eq. (2) without a base measure
        bare = [integral(np.exp(theta * X) * (np.abs(X) <= R)) for R in (4, 8, 16)]
        assert bare[2] > 10 * bare[1] > 50 * bare[0]


@printed_error(
    "Section 4.2, 16-d",
    printed="T(x) = [x_1^2, ..., x_d, 1]",
    right="T(x) = [x_1^2, ..., x_d, -1], as in Section 3.2",
)
def test_section_4_2_sixteen_dimensional_statistic(evidence):
    g = rng(12)
    variance, x = g.uniform(6.0, 12.0, size=16), g.normal(size=(100, 16)) * 3
    F = 0.5 * np.log(2 * np.pi * variance).sum()
    theta = np.concatenate([-0.5 / variance, np.zeros(16), [F]])  # N(0, diag(variance))
    log_density = stats.norm.logpdf(x, 0.0, np.sqrt(variance)).sum(axis=1)
    for last, off in ((-1.0, 0.0), (1.0, 2 * F)):
        T = np.concatenate([x**2, x, np.full((100, 1), last)], axis=1)
        assert np.abs(T @ theta - log_density - off).max() <= ROUNDING * abs(F)
    evidence(f"with F = log Z the printed T is off the log-density by {2 * F:.1f}")
    assert abs(2 * F) > FAR


@printed_error(
    "Section 4.3",
    printed="Figures 11 and 12 show the 8-Gaussians, "
    "and so says the caption of Figure 11",
    right="Figures 4 and 5 do; Figures 11 and 12 are the pinwheel of Appendix D.1 "
    "(read off the captions: nothing to compute)",
)
def test_section_4_3_figure_references(evidence):
    section = (
        "The loss curves and learnt energy functions on the 8-Gaussians toy system are "
        "shown in Figure 11 and Figure 12."
    )
    captions = {
        4: "Log of the NCE loss ... on the 8-Gaussians toy system",
        5: "Energy density function on the 8-Gaussian 2D toy system",
        11: "Log of the NCE loss ... on the 8-Gaussians toy system",  # as Figure 4
        12: "Energy density function on the Pinwheel 2D toy system",
    }
    heading = "Neural Network training on toy 2D pinwheel system"  # of Appendix D.1
    assert [k for k in captions if f"Figure {k}" in section] == [11, 12]
    energies = {k: text for k, text in captions.items() if text.startswith("Energy")}
    assert [k for k, text in energies.items() if "8-Gaussian" in text] == [5]
    assert "Pinwheel" in captions[12] and "pinwheel" in heading
    evidence("Figure 11 has Figure 4's caption under a heading about the pinwheel")
