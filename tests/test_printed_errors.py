"""The printed errors of the paper: of each, a numerical proof that the printed form fails and that the right one holds.

Population expectations are sums over a grid: for these analytic integrands, which vanish at both ends, the trapezoidal
rule is exact to rounding, and the sums are exact (math.fsum), so "equal" below means to a few ulps. What fails, fails by far more
than 1e-3: by numbers of order 1.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from refnce import logz

STEP = 1 / 64
X = np.arange(-16 * 64, 16 * 64 + 1) * STEP
LOG_2PI = math.log(2 * math.pi)
EPS = 2.0**-52
ROUNDING = (
    128 * EPS
)  # of a term: eps times an exponent of size up to 100 where there is any mass; the exact sum adds nothing
FAR = 1e-3


def integral(values):
    return STEP * math.fsum(np.broadcast_to(values, X.shape).tolist())


def normal(mean, variance=1.0):
    return np.exp(-((X - mean) ** 2) / (2 * variance)) / math.sqrt(
        2 * math.pi * variance
    )


def sigmoid(x):
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))


def means(r_data, r_noise, F):
    """(A, B) of a batch at nu = 1."""
    return math.fsum(sigmoid(F - r_data)) / len(r_data), math.fsum(
        sigmoid(r_noise - F)
    ) / len(r_noise)


def batches(count=50):
    rng = np.random.Generator(np.random.PCG64(11))
    for _ in range(count):
        n, m = rng.integers(1, 30, size=2)
        yield rng, rng.normal(rng.normal(), 2.0, size=n), rng.normal(
            rng.normal(), 2.0, size=m
        )


def close(got, right, scale=1.0):
    return abs(got - right) <= ROUNDING * max(scale, abs(right))


# Section 3


@pytest.mark.printed_error(
    "Section 3.1",
    printed="F* = log of the integral of exp(E_theta~), whatever theta~",
    right="at theta~ = theta~* only; elsewhere the F that minimises the loss differs from log Z(theta~)",
)
def test_the_best_F_is_log_z_at_the_right_model_only(evidence):
    q = normal(0.0)

    def slope(
        theta, F
    ):  # twice Eq. 3 for the family e^{theta x - x^2/2 - F}, data N(1, 1)
        p = np.exp(theta * X - X**2 / 2 - F)
        return integral(q * (normal(1.0) - p) / (p + q))

    def log_z(theta):
        return theta**2 / 2 + LOG_2PI / 2

    assert abs(slope(1.0, log_z(1.0))) <= ROUNDING
    at_two = slope(2.0, log_z(2.0))
    lo, hi = log_z(2.0) - 5, log_z(2.0) + 5
    for _ in range(60):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if slope(2.0, middle) < 0 else (lo, middle)
    evidence(
        f"theta~ = 2 for theta~* = 1: the slope at log Z is {at_two:+.3f}, the best F is log Z {lo - log_z(2.0):+.3f}"
    )
    assert abs(at_two) > FAR and abs(lo - log_z(2.0)) > FAR


@pytest.mark.printed_error(
    "Section 3.3",
    printed="dL/dF takes values from [-1/2, 1/2], with these limits",
    right="from the open interval; the upper limit is 1/2 only if supp p* lies in supp q, the lower -1/2 only if p > 0 on supp q",
)
def test_the_slope_stays_inside_its_limits(evidence):
    import mpmath

    with mpmath.workprec(2000):  # enough to tell 1/2 - e^{-300} from 1/2
        for F in (-300, 0, 300):
            data, noise = (
                1 / (1 + mpmath.exp(r - F)) for r in (mpmath.mpf(1), mpmath.mpf(-1))
            )
            assert -0.5 < (data - (1 - noise)) / 2 < 0.5
    q, p = normal(0.0), normal(1.0)

    def slope(data, noise, model, F):
        model = model * math.exp(-F)
        with np.errstate(
            invalid="ignore"
        ):  # 0/0 outside both supports, where nothing is weighed
            s = np.where(noise > 0, noise / (model + noise), 0.0)
            t = np.where(model > 0, model / (model + noise), 0.0)
        return (integral(data * s) - integral(noise * t)) / 2

    half_noise = np.where(X < 0, 2 * q, 0.0) + np.where(X == 0, q, 0.0)
    seen = integral(
        p * (half_noise > 0)
    )  # the share of data where the noise has any density
    out = integral(p * (half_noise == 0))
    upper, lower = slope(p, half_noise, p, 500.0), slope(
        p, q, np.where(half_noise > 0, p, 0.0), -500.0
    )
    evidence(
        f"noise without x > 0: upper limit {upper:.4f}; model without x > 0: lower limit {lower:.4f}"
    )
    assert close(slope(p, q, p, 500.0), 0.5) and close(slope(p, q, p, -500.0), -0.5)
    assert close(upper, seen / 2) and upper < 0.5 - FAR
    assert (
        close(lower, (out - integral(q * (half_noise > 0))) / 2) and lower > -0.5 + FAR
    )


# Section 3.4: p and q unnormalised, E_p and E_q their energies, log Z_p - log Z_q = C.

E_P, E_Q, C = -((X - 1) ** 2) / 4 + 1.3, -(X**2) / 2, 1.3 + math.log(2.0) / 2
P, Q = np.exp(E_P), np.exp(E_Q)
DELTA = E_P - E_Q


def under(density, values):
    """The expectation of ``values`` under the normalised ``density``."""
    return integral(density * values) / integral(density)


@pytest.mark.printed_error(
    "after Eq. 6",
    printed="the Metropolis function W(dE) = min{1, exp(dE)} satisfies Eq. 6",
    right="W(dE) = min{1, exp(-dE)} does",
)
def test_metropolis_weight(evidence):
    def right(d):
        return np.minimum(1.0, np.exp(np.minimum(-d, 0.0)))

    def printed(d):
        return right(-d)

    left, other = right(DELTA) * P, right(-DELTA) * Q  # Eq. 6
    assert (np.abs(left - other) <= ROUNDING * left).all()
    assert np.abs(printed(DELTA) * P - printed(-DELTA) * Q).max() > FAR
    ratio = [
        under(Q, W(-DELTA)) / under(P, W(DELTA)) for W in (right, printed)
    ]  # Eq. 7
    evidence(
        f"Z_p/Z_q = {math.exp(C):.4f}; by Eq. 7 with the right W {ratio[0]:.4f}, with the printed one {ratio[1]:.4f}"
    )
    assert close(ratio[0], math.exp(C)) and abs(ratio[1] - math.exp(C)) > FAR


@pytest.mark.printed_error(
    "Eq. 8",
    printed="Z_p/Z_q = E_q[sigma(dE - c)]/E_p[sigma(-dE + c)] with c = log Z_p/Z_q",
    right="Z_p/Z_q = e^c times that ratio, for any c; Eqs. 9 and 10 agree with this form",
)
def test_fermi_weight_needs_the_factor(evidence):
    def ratio(c):
        return under(Q, sigmoid(DELTA - c)) / under(P, sigmoid(c - DELTA))

    for c in (-1.0, 0.0, C, 3.0):
        assert close(math.exp(c) * ratio(c), math.exp(C))
        # Eq. 9 from the estimate c lands on C, as the corrected form says.
        step = math.log(under(P, sigmoid(c - DELTA))) - math.log(
            under(Q, sigmoid(DELTA - c))
        )
        assert close(
            c - step, C, scale=8.0
        )  # the logarithms, of size up to 4, carry the rounding of their arguments
    evidence(
        f"Z_p/Z_q = {math.exp(C):.4f}; the printed ratio at its own c is {ratio(C):.4f}, at any law"
    )
    assert close(ratio(C), 1.0) and abs(ratio(C) - math.exp(C)) > FAR


@pytest.mark.printed_error(
    "Eq. 11",
    printed="an update of F",
    right="a descent gradient, minus the update of Eq. 10: F <- F - rate * it",
)
def test_equation_11_is_a_gradient(evidence):
    nearer = farther = 0
    for rng, r_data, r_noise in batches():
        root = float(logz.newton(r_data, r_noise).F)
        F = root + float(rng.choice([-2.0, -0.5, 0.5, 2.0]))
        A, B = means(r_data, r_noise, F)
        it = math.log(A / 2) - math.log(B / 2)  # Eq. 11
        update = -math.log(A) + math.log(B)  # Eq. 10
        assert abs(it + update) <= ROUNDING * (abs(math.log(A)) + abs(math.log(B)) + 1)
        nearer += abs(F - it - root) < abs(F - root)
        farther += abs(F + it - root) > abs(F - root)
    evidence(
        f"of 50 batches, F - it came nearer to the root in {nearer}, F + it went away from it in {farther}"
    )
    assert nearer == farther == 50


@pytest.mark.printed_error(
    "Algorithm 1",
    printed="losses as sums over the samples",
    right="class means, as in Eq. 1: with n != m the fixed point of the sums is the root for nu = m/n plus log(m/n), not "
    "the root; sums also multiply the gradient of theta by n",
)
def test_algorithm_1_takes_means(evidence):
    off = []
    for _, r_data, r_noise in batches():
        n, m = len(r_data), len(r_noise)
        root, G = float(logz.newton(r_data, r_noise).F), float(
            logz.newton(r_data, r_noise, nu=m / n).F
        ) + math.log(m / n)
        A, B = means(r_data, r_noise, G)
        # A root within 4 units moves log A - log B by at most 2 |dF|; units of F and of log(m/n) are at most 16 eps here.
        slack = 256 * EPS
        assert abs(math.log(n * A) - math.log(m * B)) <= slack
        A, B = means(r_data, r_noise, root)
        assert abs(math.log(A) - math.log(B)) <= slack
        assert abs((math.log(n * A) - math.log(m * B)) - math.log(n / m)) <= slack
        if n != m:
            off.append(abs(G - root))
    evidence(
        f"unequal counts up to 29: the fixed point of the sums is {min(off):.3f} to {max(off):.3f} off the root"
    )
    assert min(off) > FAR
    # Equal counts: the same F, but a gradient in theta n times as long. r = theta x on data, on noise, at theta = F = 0:
    x, y = np.asarray([1.0, 2.0, 4.0]), np.asarray([0.0, -1.0, 0.5])
    mean_gradient = (-0.5 * x.mean() + 0.5 * y.mean()) / 2
    sum_gradient = (-0.5 * x.sum() + 0.5 * y.sum()) / 2
    assert close(sum_gradient, 3 * mean_gradient)


# Section 4.2


@pytest.mark.printed_error(
    "Section 4.2, 1-d",
    printed="the family T(x) = [x, -1] with q(x) = e^{-x^2/2} are the normal distributions of unit variance",
    right="e^{-x^2/2} is the base measure: p = e^{-x^2/2} e^{theta x - F}, F* = theta^2/2 + log(2 pi)/2; the noise is N(0, 1)",
)
def test_one_dimensional_family(evidence):
    assert close(
        integral(np.exp(-(X**2) / 2)), math.sqrt(2 * math.pi)
    )  # the printed q is no density
    evidence(
        f"the printed q integrates to {math.sqrt(2 * math.pi):.4f}; e^(theta x) to more with every interval"
    )
    for theta in (0.5, 2.0, 4.0):
        F = theta**2 / 2 + LOG_2PI / 2
        p = np.exp(-(X**2) / 2 + theta * X - F)
        assert close(integral(p), 1.0)
        assert np.abs(p - normal(theta)).max() <= ROUNDING
        bare = [
            integral(np.exp(theta * X) * (np.abs(X) <= R)) for R in (4, 8, 16)
        ]  # Eq. 2 without a base measure
        assert bare[2] > 10 * bare[1] > 50 * bare[0]


@pytest.mark.printed_error(
    "Section 4.2, 16-d",
    printed="T(x) = [x_1^2, ..., x_d, 1]",
    right="T(x) = [x_1^2, ..., x_d, -1], as in Section 3.2",
)
def test_sixteen_dimensional_statistic(evidence):
    rng = np.random.Generator(np.random.PCG64(12))
    variance, x = rng.uniform(6.0, 12.0, size=16), rng.normal(size=(100, 16)) * 3
    F = 0.5 * np.log(2 * np.pi * variance).sum()
    theta = np.concatenate(
        [-0.5 / variance, np.zeros(16), [F]]
    )  # of N(0, diag(variance))
    log_density = (-0.5 * x**2 / variance - 0.5 * np.log(2 * np.pi * variance)).sum(
        axis=1
    )
    for last, off in ((-1.0, 0.0), (1.0, 2 * F)):
        T = np.concatenate([x**2, x, np.full((100, 1), last)], axis=1)
        assert np.abs(T @ theta - log_density - off).max() <= ROUNDING * np.abs(
            theta[-1]
        )
    evidence(
        f"with F = log Z the printed T is off the log-density by 2 log Z = {2 * F:.1f}"
    )
    assert abs(2 * F) > FAR


@pytest.mark.printed_error(
    "Section 4.3",
    printed="Figures 11 and 12 show the 8-Gaussians, and so says the caption of Figure 11",
    right="Figures 4 and 5 do; Figures 11 and 12 are the pinwheel of Appendix D.1 (read off the captions: nothing to compute)",
)
def test_figure_references(evidence):
    section = "The loss curves and learnt energy functions on the 8-Gaussians toy system are shown in Figure 11 and Figure 12."
    captions = {
        4: "Log of the NCE loss while training the Neural Network on the 8-Gaussians toy system",
        5: "Energy density function on the 8-Gaussian 2D toy system",
        11: "Log of the NCE loss while training the Neural Network on the 8-Gaussians toy system",
        12: "Energy density function on the Pinwheel 2D toy system",
    }
    heading = "Neural Network training on toy 2D pinwheel system"  # of Appendix D.1, which holds Figures 11 and 12
    cited = [
        number
        for number in captions
        if f"Figure {number} " in section or f"Figure {number}." in section
    ]
    assert cited == [11, 12] and "8-Gaussians" in section
    assert "Pinwheel" in captions[12] and "8-Gaussian" not in captions[12]
    assert [
        number
        for number, text in captions.items()
        if text.startswith("Energy") and "8-Gaussian" in text
    ] == [5]
    # Figure 11 stands under the pinwheel's heading with the very caption of Figure 4.
    assert captions[11] == captions[4] and "pinwheel" in heading
    evidence(
        "Figure 11 has the caption of Figure 4 under a heading about the pinwheel; Figure 12 names the pinwheel"
    )


# Appendix A: the family e^{theta x - x^2/2 - F}, data N(1, 1), noise N(0, 1).


def population_loss(theta, F):
    p, q = np.exp(theta * X - X**2 / 2 - F), normal(0.0)
    terms = 0.5 * normal(1.0) * np.log((p + q) / p) + 0.5 * q * np.log((p + q) / q)
    return complex(integral(terms.real), integral(terms.imag))


def complex_step(f, x):
    """f'(x) to rounding: Im f(x + ih)/h has no difference to cancel, and h^2 underflows."""
    return f(complex(x, 1e-200)).imag / 1e-200


def gradient_forms(theta, F, T):
    """The gradient whose direction has dp = p T: by the last line, and by the intermediate one with p_theta^2 and with p*^2."""
    p, q, data = np.exp(theta * X - X**2 / 2 - F), normal(0.0), normal(1.0)

    def intermediate(square):
        data_term = data * (p / (p + q)) * ((-p - q + p) / square) * p * T
        return 0.5 * (
            integral(data_term) + integral(q * (q / (p + q)) * (1 / q) * p * T)
        )

    return (
        0.5 * integral(q / (p + q) * (p - data) * T),
        intermediate(p**2),
        intermediate(data**2),
    )


P2 = "p^2 in the intermediate line, where only p_theta, p* and q are defined"
PTHETA2 = "p_theta^2: the factor is -q/p_theta^2, and the last line is right"


@pytest.mark.printed_error("Eq. 13, intermediate line", printed=P2, right=PTHETA2)
def test_the_square_in_equation_13(evidence):
    theta, F = 0.4, 1.5
    by_theta = complex_step(lambda t: population_loss(t, F), theta)
    by_F = complex_step(lambda f: population_loss(theta, f), F)
    for name, T, exact in (("theta", X, by_theta), ("F", np.full_like(X, -1.0), by_F)):
        last, right, other = gradient_forms(theta, F, T)
        evidence(
            f"dL/d{name} = {exact:.6f}; with p_theta^2 {right:.6f}, with p*^2 {other:.6f}"
        )
        assert close(last, exact) and close(right, exact)
        assert abs(other - exact) > FAR


@pytest.mark.printed_error("Eq. 15, intermediate line", printed=P2, right=PTHETA2)
def test_the_square_in_equation_15(evidence):
    def F(theta):  # any smooth F_theta will do; this is log Z
        return theta**2 / 2 + LOG_2PI / 2

    theta = 0.4
    exact = complex_step(lambda t: population_loss(t, F(t)), theta)
    last, right, other = gradient_forms(theta, F(theta), X - theta)  # dF/dtheta = theta
    evidence(
        f"dL/dtheta = {exact:.6f}; with p_theta^2 {right:.6f}, with p*^2 {other:.6f}"
    )
    assert close(last, exact) and close(right, exact)
    assert abs(other - exact) > FAR


@pytest.mark.printed_error(
    "Appendix A.2",
    printed="p_theta = exp(T(x)^T theta - F_theta), T, theta as in A.1; an integral over x that vanishes at the batch's F_theta",
    right="T without its entry -1 (F_theta stands for F), and averages over the batch if F_theta is the batch's root",
)
def test_profile_notation(evidence):
    rng = np.random.Generator(np.random.PCG64(13))
    theta, x, y = 0.4, 1 + rng.normal(size=64), rng.normal(size=64)
    r_data, r_noise = (
        theta * z + LOG_2PI / 2 for z in (x, y)
    )  # theta x - x^2/2 - log q
    F = float(logz.newton(r_data, r_noise).F)

    def slope(T_theta_data, T_theta_noise):
        A, B = means(T_theta_data - F, T_theta_noise - F, 0.0)
        return (A - B) / 2

    kept, without = slope(r_data - F, r_noise - F), slope(
        r_data, r_noise
    )  # the entry -1 times F, or not
    p, q = np.exp(theta * X - X**2 / 2 - F), normal(0.0)
    over_x = 0.5 * integral(q * (p - normal(1.0)) / (p + q))
    evidence(
        f"dL/dF at F_theta: with the entry -1 {kept:.3f}, without {without:.1e}; as an integral over x {over_x:.4f}"
    )
    assert abs(without) <= ROUNDING
    assert abs(kept) > FAR and abs(over_x) > FAR


# Appendix B. f = e^{r - F*} q satisfies Bennett's condition (17) when F* is the root of the batch; q = 1 in what follows, and
# g = Z f. Where the printed form puts x_i into a sum over y_i, the two samples have the same size.


def bennett(r_data, r_noise):
    """f on data and on noise, scaled to satisfy (17)."""
    F = float(logz.newton(r_data, r_noise).F)
    return np.exp(r_data - F), np.exp(r_noise - F)


def log_mean(values):
    return math.log(math.fsum(values) / len(values))


@pytest.mark.printed_error(
    "Lemma B.1 and its proof",
    printed="q(x_i) in the sum over y_i of the update; averages of f/(f + q) and g/(g + q) over x_i in the proof",
    right="y_i in every average of f/(f + q) and g/(g + q)",
)
def test_lemma_b1_averages_over_noise(evidence):
    update_fails = proof_fails = 0
    for rng, _, _ in batches():
        r_data, r_noise = rng.normal(1, 2, size=20), rng.normal(-1, 2, size=20)
        q_x, q_y = np.exp(rng.normal(size=20)), np.exp(rng.normal(size=20))
        f_x, f_y = bennett(r_data, r_noise)
        f_x, f_y = f_x * q_x, f_y * q_y
        log_Z = float(rng.choice([-3.0, -1.0, 0.0, 1.0, 3.0]))
        g_x, g_y = math.exp(log_Z) * f_x, math.exp(log_Z) * f_y
        data = log_mean(q_x / (g_x + q_x))
        right, printed = log_Z + data - log_mean(
            g_y / (g_y + q_y)
        ), log_Z + data - log_mean(g_y / (g_y + q_x))
        assert abs(right) <= abs(log_Z) + ROUNDING
        update_fails += abs(printed) > abs(log_Z) + FAR
        # The proof's last step: -F - |F| <= log(ratio of averages) <= -F + |F|, F = log Z.
        right, printed = data - log_mean(g_y / (g_y + q_y)), data - log_mean(
            g_x / (g_x + q_x)
        )
        assert abs(right + log_Z) <= abs(log_Z) + ROUNDING
        proof_fails += abs(printed + log_Z) > abs(log_Z) + FAR
    evidence(
        f"of 50 batches the lemma as printed fails in {update_fails}, its proof's bound over x_i in {proof_fails}"
    )
    assert update_fails > 0 and proof_fails > 0


@pytest.mark.printed_error(
    "Appendix B, display before the last",
    printed="-|F| <= log Z + log(...) - log(...) - log Z_* <= |F|, whose middle term is log Z-bar",
    right="without - log Z_*: f is scaled to satisfy (17), so Z is already relative to the solution",
)
def test_no_second_normaliser(evidence):
    fails = 0
    for rng, r_data, r_noise in batches():
        f_x, f_y = bennett(r_data, r_noise)
        log_Z = float(rng.choice([-1.0, 0.0, 1.0]))
        g_x, g_y = math.exp(log_Z) * f_x, math.exp(log_Z) * f_y
        middle = log_Z + log_mean(1 / (g_x + 1)) - log_mean(g_y / (g_y + 1))
        log_Z_star = float(
            logz.newton(r_data, r_noise).F
        )  # the constant that scales the model to f
        assert abs(middle) <= abs(log_Z) + ROUNDING
        fails += abs(middle - log_Z_star) > abs(log_Z) + FAR
    evidence(f"of 50 batches the printed bound fails in {fails}")
    assert fails > 0


@pytest.mark.printed_error(
    "Appendix B, last display",
    printed="F-bar = F + log E_p*[q/(p + q)] - log E_q[p/(p + q)]",
    right="F-bar = F - log E_p*[q/(p + q)] + log E_q[p/(p + q)], Eq. 10; the lemma's own sign is right: there Z = e^{-(F - F*)}",
)
def test_the_sign_of_the_last_display(evidence):
    for rng, r_data, r_noise in batches():
        root = float(logz.newton(r_data, r_noise).F)
        F = root + float(rng.choice([-4.0, -1.0, 0.5, 2.0]))
        A, B = means(r_data, r_noise, F)
        right, printed = F - math.log(A) + math.log(B), F + math.log(A) - math.log(B)
        assert abs(right - root) <= abs(F - root) + ROUNDING
        assert abs(printed - root) > abs(F - root) + FAR
        # The lemma's sign, for Z = e^{-(F - F*)}: log Z-bar = -(F-bar - F*).
        f_x, f_y = bennett(r_data, r_noise)
        Z = math.exp(root - F)
        log_Z_bar = (
            math.log(Z)
            + log_mean(1 / (Z * f_x + 1))
            - log_mean(Z * f_y / (Z * f_y + 1))
        )
        assert abs(log_Z_bar + (right - root)) <= ROUNDING
    evidence(
        "in each of 50 batches the printed update goes away from the root, Eq. 10 does not"
    )
