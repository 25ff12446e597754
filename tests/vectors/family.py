"""Exponential families and Algorithm 1 on them, in ball arithmetic.

Arguments are samples T (n, k), offsets (n,), theta (k,) and F. Any program rounds the
log-ratios r = T theta + offset, so that a sigmoid is known to its slope times the
largest term of r - F - log nu, which is called its reach. Sizes carry that along.
"""

from __future__ import annotations

from functools import cached_property

from flint import arb, ctx

from tests.certainty import Uncertain
from tests.vectors.balls import Sized, dot, matrix, sized, total, vector


class Family:
    """The loss of a family and its derivatives in [theta, F]; F = None is the root."""

    def __init__(self, T_data, T_noise, offset_data, offset_noise, theta, F, nu):
        self.theta, self.nu = theta, arb(nu)
        self.T = matrix(T_data) + matrix(T_noise)
        self.n, self.m = len(T_data), len(T_noise)
        offsets = vector(offset_data) + vector(offset_noise)
        rows = zip(self.T, offsets, strict=True)
        self.r = [dot(row, theta) + offset for row, offset in rows]
        self.F = self.root() if F is None else F

    @cached_property
    def w(self):
        """The weight of each sample in the loss."""
        shares = 1 / (self.n * (1 + self.nu)), self.nu / (self.m * (1 + self.nu))
        return [shares[0]] * self.n + [shares[1]] * self.m

    def z(self, F):
        """A logit of each sample: its sigmoid is dL/dr without sign and weight."""
        shift = F + self.nu.log()
        return [shift - r.value for r in self.r[: self.n]] + [
            r.value - shift for r in self.r[self.n :]
        ]

    @cached_property
    def reach(self):
        """The largest terms of z: how far its rounding goes, in units of eps."""
        return [r.size + self.F.size + abs(self.nu.log()) for r in self.r]

    @cached_property
    def s(self):
        return [1 / (1 + (-z).exp()) for z in self.z(self.F.value)]

    @cached_property
    def bend(self):
        """w s (1 - s)."""
        triples = zip(self.w, self.s, self.z(self.F.value), strict=True)
        return [w * s / (1 + z.exp()) for w, s, z in triples]

    def weights(self, extra=arb(0)):
        """dL/dr of each sample; ``extra`` is what F itself may be off by, in eps."""
        signs = [-1] * self.n + [1] * self.m
        parts = zip(signs, self.w, self.s, self.bend, self.reach, strict=True)
        return [
            Sized(sign * w * s, w * s + b * (reach + extra))
            for sign, w, s, b, reach in parts
        ]

    def bends(self, extra=arb(0)):
        pairs = zip(self.bend, self.reach, strict=True)
        return [Sized(b, b * (1 + reach + extra)) for b, reach in pairs]

    def balance(self, F):
        """A, nu B and the slope of their difference, all over 1 + nu."""
        s = [1 / (1 + (-z).exp()) for z in self.z(F)]
        terms = [w * x for w, x in zip(self.w, s, strict=True)]
        slope = sum((t * (1 - x) for t, x in zip(terms, s, strict=True)), arb(0))
        return sum(terms[: self.n], arb(0)), sum(terms[self.n :], arb(0)), slope

    def root(self):
        """By Newton on A - nu B from near by, then proved by a change of sign.

        The interval is a little wider than the uncertainty of r itself.
        """
        middles = sorted(float(r.value.mid()) for r in self.r)
        low, high = arb(middles[0] - 50), arb(middles[-1] + 50)
        for _ in range(40):
            F = ((low + high) / 2).mid()
            up, down, _ = self.balance(F)
            low, high = (low, F) if bool(up.mid() > down.mid()) else (F, high)
        F = ((low + high) / 2).mid()
        for _ in range(12):
            up, down, slope = self.balance(F)
            F = (F - (up - down) / slope).mid()
        known = max((r.value.rad() for r in self.r), default=arb(0))
        width = abs(F).max(arb(1)) * arb(2) ** -(3 * ctx.prec // 4) + 256 * known
        ends = [self.balance(F - width), self.balance(F + width)]
        if not (bool(ends[0][0] < ends[0][1]) and bool(ends[1][0] > ends[1][1])):
            raise Uncertain
        ball = F + arb(0, width)
        return Sized(ball, abs(ball) + 1)

    @cached_property
    def root_reach(self):
        """The reach of the root: the mean of those of r under the weights s(1 - s)."""
        pairs = zip(self.bend, self.reach, strict=True)
        weighted = sum((b * reach for b, reach in pairs), arb(0))
        return weighted / sum(self.bend, arb(0)) + abs(self.F.value) + 1

    # The functions of the oracle surface

    def loss(self):
        pairs = zip(self.w, self.z(self.F.value), strict=True)
        terms = [w * (z.exp()).log1p() for w, z in pairs]
        parts = zip(terms, self.w, self.s, self.reach, strict=True)
        sizes = [t + w * s * reach for t, w, s, reach in parts]
        return [Sized(sum(terms, arb(0)), sum(sizes, arb(0)))]

    def gradient(self):
        weights, columns = self.weights(), zip(*self.T, strict=True)
        return [dot(weights, column) for column in columns] + [-total(weights)]

    def hessian(self):
        rows = [[*row, sized(-1.0)] for row in self.T]
        return [entry for row in _moments(self.bends(), rows) for entry in row]

    profile_loss = loss

    def profile_gradient(self):
        weights = self.weights(self.root_reach)
        return [dot(weights, column) for column in zip(*self.T, strict=True)]

    def profile_hessian(self):
        """The Schur complement of d2L/dF2 in the Hessian."""
        rows = [[*row, sized(-1.0)] for row in self.T]
        H = _moments(self.bends(self.root_reach), rows)
        *top, last = H
        c, k = last[-1].value, len(top)
        return [
            top[i][j]
            + -Sized(last[i].value * last[j].value / c, last[i].size * last[j].size / c)
            for i in range(k)
            for j in range(k)
        ]


def _moments(weights, rows):
    columns = list(zip(*rows, strict=True))
    scaled = [[w * x for w, x in zip(weights, a, strict=True)] for a in columns]
    return [[dot(a, b) for b in columns] for a in scaled]


def trajectory(case):
    """theta and F after each step of Algorithm 1 by plain descent on theta.

    The inputs are those of refnce.conformance.trajectory.
    """
    theta, F, nu = vector(case["theta"]), sized(case["F"]), case["nu"]
    rate, rate_F = arb(case["rate"]), arb(case["rate_F"])
    update, order = case["update"], case["order"]
    thetas = []
    Fs = []
    # The roundings of all steps so far, of theta and of F
    of_theta, of_F = [x.size for x in theta], F.size + 1
    names = "T_data", "T_noise", "offset_data", "offset_noise"
    for batch in zip(*(case[name] for name in names), strict=True):
        before = Family(*batch, theta, F, nu)
        F_next = _moved(update, before, rate_F)
        seen = Family(*batch, theta, F_next, nu) if order == "first" else before
        step = [Sized(-rate * g.value, rate * g.size) for g in seen.gradient()[:-1]]
        moved = [t.value + d.value for t, d in zip(theta, step, strict=True)]
        theta = [Sized(value, abs(value)) for value in moved]
        parts = zip(of_theta, theta, step, strict=True)
        of_theta = [old + t.size + d.size for old, t, d in parts]
        of_F = of_F + abs(F_next.value) + sum((d.size for d in step), arb(1))
        F = Sized(F_next.value, abs(F_next.value))
        thetas += [Sized(t.value, x) for t, x in zip(theta, of_theta, strict=True)]
        Fs.append(Sized(F.value, of_F))
    return thetas, Fs


def _moved(update, here, rate):
    """F after one update."""
    if update == "root":
        return here.root()
    up, down, _ = here.balance(here.F.value)
    change = up - down if update == "gradient" else (up / down).log()
    return sized(here.F.value - rate * change)
