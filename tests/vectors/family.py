"""Exponential families and Algorithm 1 on them, in ball arithmetic: samples T (n, k), offsets (n,), theta (k,), F.

Log-ratios r = T theta + offset are rounded by whoever computes them, so that a sigmoid is known to its slope times the
largest term of r - F - log nu, its reach: sizes carry that along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from flint import arb, ctx

from tests.certified import Uncertain
from tests.vectors.balls import Matrix, Sized, Vector, dot, matrix, sized, total, vector


class Family:
    """The loss of a family and its derivatives in [theta, F] at the balls theta and F; F = None is the root."""

    def __init__(
        self,
        T_data: Any,
        T_noise: Any,
        offset_data: Any,
        offset_noise: Any,
        theta: Vector,
        F: Sized | None,
        nu: float,
    ):
        self.theta, self.nu = theta, arb(nu)
        self.T: Matrix = matrix(T_data) + matrix(T_noise)
        self.n, self.m = len(T_data), len(T_noise)
        offsets = vector(offset_data) + vector(offset_noise)
        self.r = [
            dot(row, theta) + offset
            for row, offset in zip(self.T, offsets, strict=True)
        ]
        self.F = self.root() if F is None else F

    @cached_property
    def w(self) -> list[arb]:
        """The weight of each sample in the loss."""
        return [1 / (self.n * (1 + self.nu))] * self.n + [
            self.nu / (self.m * (1 + self.nu))
        ] * self.m

    def z(self, F: arb) -> list[arb]:
        """The logit of being on the wrong side, of each sample: its sigmoid is dL/dr but for sign and weight."""
        shift = F + self.nu.log()
        return [shift - r.value for r in self.r[: self.n]] + [
            r.value - shift for r in self.r[self.n :]
        ]

    @cached_property
    def reach(self) -> list[arb]:
        """The largest terms of z: how far its rounding goes, in units of eps."""
        return [r.size + self.F.size + abs(self.nu.log()) for r in self.r]

    @cached_property
    def s(self) -> list[arb]:
        return [1 / (1 + (-z).exp()) for z in self.z(self.F.value)]

    @cached_property
    def bend(self) -> list[arb]:
        """w s (1 - s)."""
        return [
            w * s / (1 + z.exp())
            for w, s, z in zip(self.w, self.s, self.z(self.F.value), strict=True)
        ]

    def weights(self, extra: arb | None = None) -> list[Sized]:
        """dL/dr of each sample; ``extra`` is what F itself may be off by, in eps."""
        more = arb(0) if extra is None else extra
        signs = [-1] * self.n + [1] * self.m
        return [
            Sized(sign * w * s, w * s + b * (reach + more))
            for sign, w, s, b, reach in zip(
                signs, self.w, self.s, self.bend, self.reach, strict=True
            )
        ]

    def bends(self, extra: arb | None = None) -> list[Sized]:
        more = arb(0) if extra is None else extra
        return [
            Sized(b, b * (1 + reach + more))
            for b, reach in zip(self.bend, self.reach, strict=True)
        ]

    def balance(self, F: arb) -> tuple[arb, arb, arb]:
        """A, nu B and the slope of their difference, all over 1 + nu."""
        s = [1 / (1 + (-z).exp()) for z in self.z(F)]
        terms = [w * x for w, x in zip(self.w, s, strict=True)]
        slope = sum((t * (1 - x) for t, x in zip(terms, s, strict=True)), arb(0))
        return sum(terms[: self.n], arb(0)), sum(terms[self.n :], arb(0)), slope

    def root(self) -> Sized:
        """By Newton on A - nu B from near by, then proved: it changes its sign within a little more than r itself is known to."""
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
    def root_reach(self) -> arb:
        """How far the root is off where the log-ratios are: their mean under the weights s(1 - s)."""
        weighted = sum(
            (b * reach for b, reach in zip(self.bend, self.reach, strict=True)), arb(0)
        )
        return weighted / sum(self.bend, arb(0)) + abs(self.F.value) + 1

    # The functions of the oracle surface

    def loss(self) -> list[Sized]:
        zs = self.z(self.F.value)
        terms = [w * (z.exp()).log1p() for w, z in zip(self.w, zs, strict=True)]
        sizes = [
            t + w * s * reach
            for t, w, s, reach in zip(terms, self.w, self.s, self.reach, strict=True)
        ]
        return [Sized(sum(terms, arb(0)), sum(sizes, arb(0)))]

    def gradient(self) -> list[Sized]:
        weights = self.weights()
        return [dot(weights, column) for column in zip(*self.T, strict=True)] + [
            -total(weights)
        ]

    def hessian(self) -> list[Sized]:
        rows = [[*row, sized(-1.0)] for row in self.T]
        return [entry for row in _moments(self.bends(), rows) for entry in row]

    profile_loss = loss

    def profile_gradient(self) -> list[Sized]:
        weights = self.weights(self.root_reach)
        return [dot(weights, column) for column in zip(*self.T, strict=True)]

    def profile_hessian(self) -> list[Sized]:
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


def _moments(weights: Sequence[Sized], rows: Matrix) -> list[Vector]:
    columns = list(zip(*rows, strict=True))
    return [
        [
            total(w * x * y for w, x, y in zip(weights, a, b, strict=True))
            for b in columns
        ]
        for a in columns
    ]


def trajectory(case: dict[str, Any]) -> tuple[list[Sized], list[Sized]]:
    """theta and F after each step of Algorithm 1 by plain descent on theta; inputs as ``trajectory`` of the conformance kit."""
    theta, F, nu = vector(case["theta"]), sized(case["F"]), case["nu"]
    rate, rate_F, update, order = (
        arb(case["rate"]),
        arb(case["rate_F"]),
        case["update"],
        case["order"],
    )
    thetas: list[Sized] = []
    Fs: list[Sized] = []
    one = arb(1)
    travelled = [
        x.size for x in theta
    ], F.size + one  # the roundings of all steps so far
    samples = [
        case[name] for name in ("T_data", "T_noise", "offset_data", "offset_noise")
    ]
    for batch in zip(*samples, strict=True):
        here = Family(*batch, theta, F, nu)
        F_next = moves[update](here, rate_F)
        seen = Family(*batch, theta, F_next, nu) if order == "first" else here
        step = [Sized(-rate * g.value, rate * g.size) for g in seen.gradient()[:-1]]
        theta = [
            Sized(t.value + d.value, abs(t.value + d.value))
            for t, d in zip(theta, step, strict=True)
        ]
        travelled = (
            [
                old + t.size + d.size
                for old, t, d in zip(travelled[0], theta, step, strict=True)
            ],
            travelled[1] + abs(F_next.value) + sum((d.size for d in step), one),
        )
        F = Sized(F_next.value, abs(F_next.value))
        thetas += [
            Sized(t.value, size) for t, size in zip(theta, travelled[0], strict=True)
        ]
        Fs.append(Sized(F.value, travelled[1]))
    return thetas, Fs


def _by_gradient(here: Family, rate: arb) -> Sized:
    up, down, _ = here.balance(here.F.value)
    return sized(here.F.value - rate * (up - down))


def _by_bar(here: Family, rate: arb) -> Sized:
    up, down, _ = here.balance(here.F.value)
    return sized(here.F.value - rate * (up / down).log())


moves: dict[str, Callable[[Family, arb], Sized]] = {
    "gradient": _by_gradient,
    "bar": _by_bar,
    "root": lambda here, rate: here.root(),
}
