"""Ratios of running times: interleaved in one process, on one thread, medians.

Absolute times on a shared machine mean nothing. Import this module before NumPy: it
sets the number of threads.
"""

import os
import statistics
from time import perf_counter

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"


def ratios(works, over, *, rounds, calls=1):
    """Time of each of ``works`` over that of ``works[over]``.

    Each round calls every work ``calls`` times and takes the median of its times; the
    result is the median over the rounds of the ratios. The first call of a round, which
    finds another work's data in the caches, then counts as one of many, and a machine
    that changes its speed between rounds changes no ratio.
    """
    seconds = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            times = []
            for _ in range(calls):
                begin = perf_counter()
                work()
                times.append(perf_counter() - begin)
            seconds[name].append(statistics.median(times))
    pairs = {name: zip(seconds[name], seconds[over], strict=True) for name in works}
    return {name: statistics.median(a / b for a, b in pairs[name]) for name in works}


def row(work, peer, ratio, must, aim, *, less_is_better=False):
    """One line of the table: the ratio, its bound, and whether it is met.

    The ratio is the peer's time over ours, or ours over the peer's if less is better.
    """
    sign, factor = ("<=", -1.0) if less_is_better else (">=", 1.0)
    good, best = factor * ratio >= factor * must, factor * ratio >= factor * aim
    verdict = "aim" if best else "ok" if good else "MISSED"
    bounds = f"must {sign} {must:<6g} aim {sign} {aim:<6g}"
    return f"{work:44s} vs {peer:34s} {ratio:7.2f}   {bounds} {verdict}"
