"""Solvers of A = nu B for F: the Bennett acceptance ratio, bisection, Newton's method.

A - nu B is a sum over the pooled samples of w sigmoid(F + log nu - r), less nu, with
w = 1/n for data and nu/m for noise. F + log nu is therefore the nu/(1 + nu) quantile of
the pooled log-ratios smoothed by a logistic distribution. It exists and is unique for
finite log-ratios, and does not depend on which of two samples of equal weight is called
data.
"""

from refnce.logz.bar import bar, bar_update
from refnce.logz.bisect import bisect
from refnce.logz.newton import newton
from refnce.logz.result import LogZ, Status

__all__ = ["LogZ", "Status", "bar", "bar_update", "bisect", "newton"]
