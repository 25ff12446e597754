"""Exponential families and Algorithm 1 on them, in ball arithmetic.

Arguments are samples T (n, k), offsets (n,), theta (k,) and F. Any program rounds the
log-ratios r = T theta + offset, so that a sigmoid is known to its slope times the
largest term of r - F - log nu, which is called its reach. Sizes carry that along.
"""

from functools import cached_property

import numpy as np
from flint import arb, ctx

from tests.certainty import Uncertain
from tests.vectors.balls import Sized, sized, stacked


class Family:
    """The loss of a family and its derivatives in [theta, F]; F = None is the root."""

    def __init__(self, T_data, T_noise, offset_data, offset_noise, theta, F, nu):
        self.nu, counts = arb(nu), (len(T_data), len(T_noise))
        T = np.concatenate([T_data, T_noise])
        self.T = sized(np.insert(T, T.shape[1], -1.0, axis=1))  # the last is for F
        self.r = sized(T) @ theta + sized(np.concatenate([offset_data, offset_noise]))
        self.side = np.repeat([1, -1], counts)
        # The weight of each sample in the loss
        shares = np.asarray([1 / (1 + self.nu), self.nu / (1 + self.nu)]) / counts
        self.w = np.repeat(shares, counts)
        self.F = self.root() if F is None else F

    def z(self, F):
        """A logit of each sample: its sigmoid is dL/dr without sign and weight."""
        return self.side * (F + self.nu.log() - self.r.value)

    @cached_property
    def reach(self):
        """The largest terms of z: how far its rounding goes, in units of eps.

        An infinite z has none.
        """
        finite = np.asarray([r.is_finite() for r in self.r.value])
        size = np.where(finite, self.r.size, arb(0))
        return size + finite * (self.F.size + abs(self.nu.log()))

    @cached_property
    def s(self):
        return 1 / (1 + np.exp(-self.z(self.F.value)))

    @cached_property
    def bend(self):
        """w s (1 - s)."""
        return self.w * self.s / (1 + np.exp(self.z(self.F.value)))

    def weights(self, extra=0):
        """dL/dr of each sample; ``extra`` is what F itself may be off by, in eps."""
        w = self.w * self.s
        return Sized(-self.side * w, w + self.bend * (self.reach + extra))

    def bends(self, extra=0):
        return Sized(self.bend, self.bend * (1 + self.reach + extra))

    def balance(self, F):
        """A, nu B and the slope of their difference, all over 1 + nu."""
        s = 1 / (1 + np.exp(-self.z(F)))
        terms = self.w * s
        A, B = (terms[self.side == side].sum() for side in (1, -1))
        return A, B, (terms * (1 - s)).sum()

    def root(self):
        """By Newton on A - nu B from near by, then proved by a change of sign.

        The interval is a little wider than the uncertainty of r itself.
        """
        middles = sorted(float(r.mid()) for r in self.r.value if r.is_finite())
        low, high = arb(middles[0] - 50), arb(middles[-1] + 50)
        for _ in range(40):
            F = ((low + high) / 2).mid()
            up, down, _ = self.balance(F)
            low, high = (low, F) if bool(up.mid() > down.mid()) else (F, high)
        F = ((low + high) / 2).mid()
        for _ in range(12):
            up, down, slope = self.balance(F)
            F = (F - (up - down) / slope).mid()
        known = max(r.rad() for r in self.r.value if r.is_finite())
        width = abs(F).max(arb(1)) * arb(2) ** -(3 * ctx.prec // 4) + 256 * known
        ends = [self.balance(F - width), self.balance(F + width)]
        if not (bool(ends[0][0] < ends[0][1]) and bool(ends[1][0] > ends[1][1])):
            raise Uncertain
        ball = F + arb(0, width)
        return Sized(ball, abs(ball) + 1)

    @cached_property
    def root_reach(self):
        """The reach of the root: the mean of those of r under the weights s(1 - s)."""
        return (self.bend * self.reach).sum() / self.bend.sum() + abs(self.F.value) + 1

    # The functions of the oracle surface

    def loss(self):
        terms = self.w * np.log1p(np.exp(self.z(self.F.value)))
        return Sized(terms.sum(), (terms + self.w * self.s * self.reach).sum())

    def gradient(self):
        return self.weights() @ self.T

    def hessian(self):
        return self._moments(self.bends())

    profile_loss = loss

    def profile_gradient(self):
        return self.weights(self.root_reach) @ self.T[:, :-1]

    def profile_hessian(self):
        """The Schur complement of d2L/dF2 in the Hessian."""
        H = self._moments(self.bends(self.root_reach))
        last, c = H[:-1, -1], H.value[-1, -1]
        products = last[:, None] * last
        return H[:-1, :-1] + -Sized(products.value / c, products.size / c)

    def _moments(self, weights):
        return (weights[:, None] * self.T).mT @ self.T


def trajectory(case):
    """theta and F after each step of Algorithm 1 by plain descent on theta.

    The inputs are those of refnce.conformance.trajectory.
    """
    theta, F, nu = sized(case["theta"]), sized(case["F"]), case["nu"]
    rate, rate_F = sized(case["rate"]), arb(case["rate_F"])
    thetas, Fs = [], []
    # The roundings of all steps so far, of theta and of F
    of_theta, of_F = theta.size, F.size + 1
    names = "T_data", "T_noise", "offset_data", "offset_noise"
    for batch in zip(*(case[name] for name in names), strict=True):
        before = Family(*batch, theta, F, nu)
        F_next = _moved(case["update"], before, rate_F)
        first = case["order"] == "first"
        seen = Family(*batch, theta, F_next, nu) if first else before
        F = sized(F_next.value)
        step = -(rate * seen.gradient()[:-1])
        theta = sized(theta.value + step.value)
        of_theta = of_theta + theta.size + step.size
        of_F = of_F + F.size + step.size.sum() + 1
        thetas.append(Sized(theta.value, of_theta))
        Fs.append(Sized(F.value, of_F))
    return {"theta": stacked(thetas), "F": stacked(Fs)}


def _moved(update, here, rate):
    """F after one update."""
    if update == "root":
        return here.root()
    up, down, _ = here.balance(here.F.value)
    change = up - down if update == "gradient" else (up / down).log()
    return sized(here.F.value - rate * change)
