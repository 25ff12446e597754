"""The decimal numbers of Python's library, with 60 digits; no function is a def."""

from decimal import Decimal, localcontext
from functools import partial
from types import SimpleNamespace

from tests.corpus import over_runs

LEVEL = "A"
SKIP = ("Large",)  # minutes
MOST = 2000


def _softplus(z):
    q = (-abs(z)).exp()
    # 1 + q would lose the digits of a small q.
    tail = q - q * q / 2 if q < 1e-40 else (1 + q).ln()
    return max(z, Decimal(0)) + tail


def _bend(z):
    q = (-abs(z)).exp()
    return q / (1 + q) ** 2


def _mean(of, data, noise, F, nu):
    if data.size + noise.size > MOST:
        raise ValueError("too many numbers")
    digits = 60 if abs(F) < 1e40 else 400  # for log nu beside F
    with localcontext(prec=digits, traps=[]):
        shift, nu = Decimal(float(F)) + Decimal(nu).ln(), Decimal(nu)
        a = sum(of(shift - Decimal(r)) for r in data.tolist()) / data.size
        b = sum(of(Decimal(r) - shift) for r in noise.tolist()) / noise.size
        return float((a + nu * b) / (1 + nu))


nce = SimpleNamespace(
    loss=over_runs(partial(_mean, _softplus)), hess_F=over_runs(partial(_mean, _bend))
)
