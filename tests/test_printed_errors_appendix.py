"""Printed errors of the appendices: each printed form fails, the right one holds.

See test_printed_errors for the tolerances.
"""

import math

import numpy as np

from tests.certified import root_F
from tests.populations import sigmoid
from tests.regimes import HALF_LOG_2PI, rng
from tests.test_printed_errors import DATA, FAR, NOISE, ROUNDING, X, batches
from tests.test_printed_errors import close, density, h, integral, log_mean
from tests.test_printed_errors import log_z, printed_error

# Appendix A


def population_loss(theta, F):
    p = density(theta, F)
    terms = DATA * np.log((p + NOISE) / p) + NOISE * np.log((p + NOISE) / NOISE)
    return complex(integral(0.5 * terms.real), integral(0.5 * terms.imag))  # Eq. (1)


def complex_step(f, x):
    """f'(x) to rounding: Im f(x + ih)/h cancels nothing, and h^2 underflows."""
    return f(complex(x, 1e-200)).imag / 1e-200


def check_square(evidence, name, theta, F, T, exact):
    """The gradient in a direction with dp = p T: the last line of Eqs. 13 and 15, and
    the intermediate one with p_theta^2 and with p*^2."""
    p = density(theta, F)
    last = 0.5 * integral(NOISE / (p + NOISE) * (p - DATA) * T)
    noise = integral(NOISE * (NOISE / (p + NOISE)) * (1 / NOISE) * p * T)

    def intermediate(square):
        data = DATA * (p / (p + NOISE)) * ((-p - NOISE + p) / square) * p * T
        return 0.5 * (integral(data) + noise)

    right, other = intermediate(p**2), intermediate(DATA**2)
    squares = f"with p_theta^2 {right:.6f}, with p*^2 {other:.6f}"
    evidence(f"dL/d{name} = {exact:.6f}; {squares}")
    assert close(last, exact) and close(right, exact) and abs(other - exact) > FAR


SQUARE = {
    "printed": "p^2 in the intermediate line, where only p_theta, p* and q are defined",
    "right": "p_theta^2: the factor is -q/p_theta^2, and the last line is right",
}


@printed_error("Eq. 13, intermediate line", **SQUARE)
def test_eq13_square(evidence):
    theta, F = 0.4, 1.5
    exact = complex_step(lambda t: population_loss(t, F), theta)
    check_square(evidence, "theta", theta, F, X, exact)
    exact = complex_step(lambda f: population_loss(theta, f), F)
    check_square(evidence, "F", theta, F, np.full_like(X, -1.0), exact)


@printed_error("Eq. 15, intermediate line", **SQUARE)
def test_eq15_square(evidence):
    """For F(theta) = log Z: any smooth function will do. Its derivative is theta."""
    theta = 0.4
    exact = complex_step(lambda t: population_loss(t, log_z(t)), theta)
    check_square(evidence, "theta", theta, log_z(theta), X - theta, exact)


@printed_error(
    "Appendix A.2",
    printed="p_theta = exp(T(x)^T theta - F_theta), T, theta as in A.1; an integral"
    " over x that vanishes at the batch's F_theta",
    right="T without its entry -1 (F_theta stands for F), and averages over the batch"
    " if F_theta is the batch's root",
)
def test_appendix_A2_profile_notation(evidence):
    g, theta = rng(13), 0.4
    samples = 1 + g.normal(size=64), g.normal(size=64)
    r_data, r_noise = (theta * x + HALF_LOG_2PI for x in samples)
    F = root_F(r_data, r_noise)

    def slope(r_data, r_noise):
        return (np.mean(sigmoid(F - r_data)) - np.mean(sigmoid(r_noise - F))) / 2

    # with the entry -1 times F, without it, and as an integral over x
    kept, without = slope(r_data - F, r_noise - F), slope(r_data, r_noise)
    p = density(theta, F)
    over_x = 0.5 * integral(NOISE * (p - DATA) / (p + NOISE))
    others = f"without {without:.1e}, as an integral over x {over_x:.4f}"
    evidence(f"dL/dF at F_theta: with the entry -1 {kept:.3f}, {others}")
    assert abs(without) <= ROUNDING and abs(kept) > FAR and abs(over_x) > FAR


# Appendix B. f = e^{r - F*} q satisfies Bennett's condition (17) if F* is the root of
# the batch; here q = 1, and g = Z f. The two samples have one size where the printed
# form puts x_i into a sum over y_i.


def bennett(r_data, r_noise):
    """f on data and on noise, scaled to satisfy (17)."""
    F = root_F(r_data, r_noise)
    return np.exp(r_data - F), np.exp(r_noise - F)


@printed_error(
    "Lemma B.1 and its proof",
    printed="q(x_i) in the sum over y_i of the update; averages of f/(f + q) and g/(g"
    " + q) over x_i in the proof",
    right="y_i in every average of f/(f + q) and g/(g + q)",
)
def test_lemma_B1_averages_over_noise(evidence):
    update_fails = proof_fails = 0
    for g, _, _ in batches():
        f_x, f_y = bennett(g.normal(1, 2, size=20), g.normal(-1, 2, size=20))
        q_x, q_y = np.exp(g.normal(size=20)), np.exp(g.normal(size=20))
        log_Z = float(g.choice([-3.0, -1.0, 0.0, 1.0, 3.0]))
        g_x, g_y = math.exp(log_Z) * f_x * q_x, math.exp(log_Z) * f_y * q_y
        start = log_Z + log_mean(q_x / (g_x + q_x))
        right = start - log_mean(g_y / (g_y + q_y))
        with_x = start - log_mean(g_y / (g_y + q_x))
        over_x = start - log_mean(g_x / (g_x + q_x))
        # The lemma, and with log Z subtracted the last step of its proof:
        # -F - |F| <= log(ratio of averages) <= -F + |F|, F = log Z.
        assert abs(right) <= abs(log_Z) + ROUNDING
        update_fails += abs(with_x) > abs(log_Z) + FAR
        proof_fails += abs(over_x) > abs(log_Z) + FAR
    found = f"as printed fails in {update_fails}, its proof's bound in {proof_fails}"
    evidence(f"of 50 batches the lemma {found}")
    assert update_fails > 0 and proof_fails > 0


@printed_error(
    "Appendix B, display before the last",
    printed="-|F| <= log Z + log(...) - log(...) - log Z_* <= |F|, whose middle term"
    " is log Z-bar",
    right="without - log Z_*: f is scaled to satisfy (17), so Z is already relative to"
    " the solution",
)
def test_appendix_B_no_second_normaliser(evidence):
    fails = 0
    for g, *pair in batches():
        log_Z = float(g.choice([-1.0, 0.0, 1.0]))
        log_Z_star = root_F(*pair)  # the constant that scales the model to f
        middle = log_Z + h(*pair, log_Z_star - log_Z)  # of g = Z f
        assert abs(middle) <= abs(log_Z) + ROUNDING
        fails += abs(middle - log_Z_star) > abs(log_Z) + FAR
    evidence(f"of 50 batches the printed bound fails in {fails}")
    assert fails > 0


@printed_error(
    "Appendix B, last display",
    printed="F-bar = F + log E_p*[q/(p + q)] - log E_q[p/(p + q)]",
    right="F-bar = F - log E_p*[q/(p + q)] + log E_q[p/(p + q)], Eq. 10; the lemma's"
    " own sign is right: there Z = e^{-(F - F*)}",
)
def test_appendix_B_sign_of_the_last_display(evidence):
    for g, *pair in batches():
        F_star = root_F(*pair)
        F = F_star + float(g.choice([-4.0, -1.0, 0.5, 2.0]))
        right, printed = F - h(*pair, F), F + h(*pair, F)
        assert abs(right - F_star) <= abs(F - F_star) + ROUNDING
        assert abs(printed - F_star) > abs(F - F_star) + FAR
        # The lemma's sign, for log Z = -(F - F*): log Z-bar = -(F-bar - F*).
        g_x, g_y = (math.exp(F_star - F) * f for f in bennett(*pair))
        log_Z_bar = F_star - F + log_mean(1 / (g_x + 1)) - log_mean(g_y / (g_y + 1))
        assert abs(log_Z_bar + (right - F_star)) <= ROUNDING
    found = "the printed update leaves the root, Eq. 10 does not"
    evidence(f"in each of 50 batches {found}")
