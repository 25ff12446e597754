"""Ratios of running times: interleaved in one process, one thread, medians. Absolute times on a shared machine mean nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter


def ratios(
    works: dict[str, Callable[[], object]], over: str, *, rounds: int, calls: int = 1
) -> dict[str, float]:
    """Time of a call of each of ``works`` over that of ``works[over]``: the median over rounds of the ratio of medians.

    In a round each work is called ``calls`` times running, each call timed by itself: the first, which finds another work's
    data in the caches, is one of many, and a machine that changes its speed between rounds changes no ratio.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
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
    return {
        name: statistics.median(
            a / b for a, b in zip(seconds[name], seconds[over], strict=True)
        )
        for name in works
    }


def row(
    work: str,
    peer: str,
    ratio: float,
    must: float,
    aim: float,
    *,
    less_is_better: bool = False,
) -> str:
    """One line of the table: how many times faster than the peer (or which part of its time), and whether that suffices."""
    good = ratio <= must if less_is_better else ratio >= must
    best = ratio <= aim if less_is_better else ratio >= aim
    verdict = "aim" if best else "ok" if good else "MISSED"
    sign = "<=" if less_is_better else ">="
    return f"{work:44s} vs {peer:34s} {ratio:7.2f}   must {sign} {must:<6g} aim {sign} {aim:<6g} {verdict}"
