"""Ratios of running times: interleaved in one process, one thread, medians. Absolute times on a shared machine mean nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter


def medians(works: dict[str, Callable[[], object]], *, rounds: int, calls: int = 1) -> dict[str, float]:
    """Median seconds of one call of each of ``works``, taken in turn ``rounds`` times over after one warm-up of each."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = perf_counter()
            for _ in range(calls):
                work()
            seconds[name].append((perf_counter() - begin) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row(work: str, peer: str, ratio: float, must: float, aim: float, *, less_is_better: bool = False) -> str:
    """One line of the table: how many times faster than the peer (or which part of its time), and whether that suffices."""
    good = ratio <= must if less_is_better else ratio >= must
    best = ratio <= aim if less_is_better else ratio >= aim
    verdict = "aim" if best else "ok" if good else "MISSED"
    sign = "<=" if less_is_better else ">="
    return f"{work:44s} vs {peer:34s} {ratio:7.2f}   must {sign} {must:<6g} aim {sign} {aim:<6g} {verdict}"
