"""``logz.newton`` on Dask arrays: a table of reads, CPU time, memory and digits.

``python -m tests.bench.bench_dask`` starts clusters on this machine, worker processes
of one thread each, and takes some ten minutes on two cores. With ``--quick`` all sizes
are small: this shows that the benchmark runs, and its times mean nothing. The names of
parts (large_solve, two_workers, bits, sizes, reads, digits) run these alone.

- CPU: the seconds of the worker processes, user and system, from psutil, while 1e9
  log-ratios are made chunk by chunk and used. The naive pass is the mean of
  1/(1 + exp(r - F)) over the data and that of 1/(1 + exp(F - r)) over the noise, as
  Dask expressions. Making the chunks is part of both; a pass that takes the last number
  of each chunk measures it, and a row of its own leaves it out.
- Reads: how many chunks the workers made, or in the small sets how many numbers, over
  those that there are.
- Memory: VmHWM of a worker, which /proc/self/clear_refs resets, less its VmRSS then.
- Wall time: each chunk sleeps 60 ms, on one worker and then on two. Without the sleep
  it is the overhead of a chunk.
- Digits: F against the solve in memory of the same numbers, in units, ulp(F) + eps.
- Bits: all fields of the result under several schedulers, and after SIGKILL to one of
  two workers in the middle of a solve.
"""

import logging
import os
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from time import perf_counter, process_time, sleep
from typing import Any

from tests.bench.timing import row

import cloudpickle
import dask
import dask.array as da
import numpy as np
import psutil
from dask.callbacks import Callback
from distributed import Client, LocalCluster

from refnce import logz
from tests.dask_regimes import REGIMES, WELL_OVERLAPPING, rng

QUICK = "--quick" in sys.argv
CHUNK = 1 << (16 if QUICK else 22)  # numbers, 32 MiB
CHUNKS = 16 if QUICK else 125  # of data, and as many of noise
SLOW_CHUNKS, PAUSE = (16, 0.02) if QUICK else (100, 0.06)
SMALL = 200_000 if QUICK else 10**7  # numbers of a set in memory, data and noise
Pair = tuple[Any, Any]


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """A client of so many worker processes of one thread each."""
    options: dict[str, Any] = {"dashboard_address": ":0", "threads_per_worker": 1}
    options |= {"n_workers": workers, "silence_logs": logging.CRITICAL}
    with LocalCluster(**options) as local, Client(local) as client:
        yield client


def made(seed: int, mean: float, chunks: int, size: int, pause: float = 0.0) -> Any:
    """Log-ratios N(mean, 1), which the workers make whenever they are read."""

    def draw(block_id: Any = (0,)) -> np.ndarray:
        sleep(pause)
        os.environ["CHUNKS_MADE"] = str(int(os.environ.get("CHUNKS_MADE", 0)) + 1)
        return rng([seed, block_id[0]]).standard_normal(size) + mean

    sizes = ((size,) * chunks,)
    return da.map_blocks(draw, chunks=sizes, dtype=float, meta=np.empty(0))


def naive(r_data: Any, r_noise: Any) -> Any:
    """A and B at F = 0, as one would write them."""
    A, B = 1.0 / (1.0 + np.exp(r_data - 0.0)), 1.0 / (1.0 + np.exp(0.0 - r_noise))
    return dask.compute(A.mean(), B.mean())


def only_made(r_data: Any, r_noise: Any) -> Any:
    """The last number of each chunk."""
    last = [
        r.map_blocks(lambda x: x[-1:].copy(), chunks=(1,)) for r in (r_data, r_noise)
    ]
    return dask.compute(*last)


# What the workers say of themselves


def cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def chunks_made() -> int:
    return int(os.environ.get("CHUNKS_MADE", 0))


def resident(field: str) -> int:
    """VmRSS or VmHWM, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith(field))
    return 1024 * int(line.split()[1])


def reset_peak() -> int:
    """Let VmHWM start anew; return VmRSS."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return resident("VmRSS")


def measured(client: Client, work: Callable[[], Any]) -> dict[str, float]:
    """Wall time, CPU seconds of this process ("own", with the scheduler) and of all
    workers ("cpu"), chunks made, and the peak memory of one worker, in chunks."""
    base = client.run(reset_peak)
    before = [client.run(f) for f in (cpu_seconds, chunks_made)]
    begin, own = perf_counter(), process_time()
    work()
    wall, own = perf_counter() - begin, process_time() - own
    after = [client.run(f) for f in (cpu_seconds, chunks_made)]
    cpu, made = (sum(b.values()) - sum(a.values()) for a, b in zip(before, after))
    peak = client.run(resident, "VmHWM")
    most = max(peak[worker] - base[worker] for worker in peak) / (8 * CHUNK)
    found = {"wall": wall, "own": own, "cpu": cpu, "made": made}
    return found | {"peak": most}


def large_solve() -> None:
    """CPU, reads and memory of a solve that no memory would hold."""
    pair = made(1, 0.5, CHUNKS, CHUNK), made(2, -0.5, CHUNKS, CHUNK)
    works: dict[str, Callable[[], Any]] = {"naive": lambda: naive(*pair)}
    works["only made"] = lambda: only_made(*pair)
    works["newton"] = lambda: logz.newton(*pair)
    works["warm"] = lambda: logz.newton(*pair, F0=1e-3)
    with cluster(2) as client:
        measured(client, lambda: naive(*(r[: 4 * CHUNK] for r in pair)))
        found = {name: measured(client, work) for name, work in works.items()}
    for name, x in found.items():
        numbers = 2 * CHUNKS * CHUNK
        per = f"{1e9 * x['cpu'] / numbers:5.1f} ns of CPU a number"
        print(f"  {name:10s} {x['wall']:6.1f} s wall, {x['cpu']:6.1f} s CPU, {per}")
    work, peer = f"newton, cold, {numbers:.0e} in {2 * CHUNKS} chunks", "a naive pass"
    making, over = found["only made"]["cpu"], found["naive"]["cpu"]
    ratio = {name: found[name]["cpu"] / over for name in ("newton", "warm")}
    say(f"{work}, CPU", peer, ratio["newton"], 1.3, 0.95)
    say("the same, warm", peer, ratio["warm"], 1.3, 0.95)
    newton = (found["newton"]["cpu"] - making) / (over - making)
    print(f"  the same, cold, without making the chunks: {newton:.2f}")
    reads = {name: x["made"] / (2 * CHUNKS) for name, x in found.items()}
    say(f"{work}, reads", "a chunk", reads["newton"], 2, 1.15)
    say("the same, warm", "a chunk", reads["warm"], 1, 1)
    peaks = {name: x["peak"] for name, x in found.items()}
    say("memory of a worker above its base", "a chunk", peaks["newton"], 3, 1.5)
    say("the same, warm", "a chunk", peaks["warm"], 3, 1.5)
    print(f"  only made: {peaks['only made']:.2f}, naive: {peaks['naive']:.2f}")


def say(work: str, peer: str, ratio: float, must: float, aim: float) -> None:
    print(row(work, peer, ratio, must, aim, less_is_better=True), flush=True)


def reads() -> None:
    """Reads of a chunk in every regime, 32 chunks each, cold and warm."""
    size, lock, count = 31_250, Lock(), [0]

    def counted(x: np.ndarray) -> np.ndarray:
        with lock:
            count[0] += x.size
        return x

    def lazy(x: np.ndarray) -> Any:
        chunks = da.from_array(x, chunks=size)
        return chunks.map_blocks(counted, dtype=float, meta=np.empty(0))

    worst = {"cold": [0.0, 0.0], "warm": [0.0, 0.0]}  # well overlapping, hard
    for name, (make, nu) in REGIMES.items():
        data, noise = make(rng(0), 32 * size)
        pair = lazy(data), lazy(noise)
        seen = []
        for start in (None, float(logz.newton(data, noise, nu=nu).F)):
            count[0] = 0
            logz.newton(*pair, nu=nu, F0=start)
            seen.append(count[0] / (data.size + noise.size))
        print(f"  {name:34s} cold {seen[0]:5.2f}   warm {seen[1]:5.2f}")
        for key, value in zip(worst, seen):
            k = int(name not in WELL_OVERLAPPING)
            worst[key][k] = max(worst[key][k], value)
    say("reads, cold, well overlapping", "a chunk", worst["cold"][0], 2, 1.15)
    say("reads, cold, hard sets", "a chunk", worst["cold"][1], 7, 3)
    say("reads, warm, well overlapping", "a chunk", worst["warm"][0], 1, 1)
    say("reads, warm, hard sets", "a chunk", worst["warm"][1], 7, 1)


def two_workers() -> None:
    """Wall time on sources that take no time and that sleep, on one and two workers."""
    walls = []
    for workers in (1, 2):
        with cluster(workers) as client:
            for pause in (0.0, PAUSE):
                pair = [made(k, 0.5 - k, SLOW_CHUNKS, 1000, pause) for k in range(2)]
                logz.newton(*pair, F0=0.0)
                solve = measured(client, lambda: logz.newton(*pair, F0=0.0))
                each = {k: 1e3 * x / (2 * SLOW_CHUNKS) for k, x in solve.items()}
                shown = f"{pause:g} s a chunk, {workers} workers, one read: "
                shown += f"{solve['wall']:.2f} s, {each['wall']:.2f} ms a chunk, CPU "
                shown += f"{each['own']:.2f} ms here, {each['cpu']:.2f} ms of workers"
                print("  " + shown)
            cold = [measured(client, lambda: logz.newton(*pair)) for _ in range(3)]
            walls.append(statistics.median(x["wall"] for x in cold))
    work = f"2 workers, cold, {2 * SLOW_CHUNKS} chunks of {1e3 * PAUSE:g} ms, wall"
    say(work, "1 worker", walls[1] / walls[0], 0.55, 0.51)


def sizes() -> None:
    """Bytes that a pass sends to a worker and gets back, for each chunk."""
    for runs in (1, 1000):
        shape = (runs,), (1000,) * 50
        made = {"chunks": shape, "dtype": float, "meta": np.empty((0, 0))}
        draw = lambda block_id: rng(block_id[1]).normal(size=(runs, 1000))  # noqa: E731
        pair = [da.map_blocks(draw, **made) for _ in range(2)]
        sent, back = [], []

        class Counted(Callback):
            def _start(self, graph: Any) -> None:
                sent.extend(len(cloudpickle.dumps(x)) for x in dict(graph).values())

            def _posttask(self, key: Any, result: Any, *rest: Any) -> None:
                if isinstance(key, tuple):  # not that which collects the others
                    back.append(len(cloudpickle.dumps(result)))

        with Counted(), dask.config.set(scheduler="synchronous"):
            logz.newton(*pair, F0=np.zeros(runs))
        each = (
            f"{sum(sent) / len(back):.0f} bytes sent, {sum(back) / len(back):.0f} back"
        )
        print(f"  {runs} runs: {len(back)} tasks, {each} a task", flush=True)


def digits() -> None:
    """F against the solve in memory, four chunkings."""
    most = 0.0
    for name, (make, nu) in REGIMES.items():
        data, noise = make(rng(3), SMALL // 2)
        F, errors = logz.newton(data, noise, nu=nu).F, []
        for chunks in chunkings(SMALL // 2):
            pair = (da.from_array(x, chunks=(chunks,)) for x in (data, noise))
            found = logz.newton(*pair, nu=nu).F
            unit = np.spacing(abs(F)) + np.finfo(float).eps
            errors.append(0.0 if found == F else float(abs(found - F) / unit))
        most = max(most, *errors)
        print(f"  {name:34s}", *(f"{x:5.2f}" for x in errors), flush=True)
    say(f"F of {SMALL:.0e}, {len(REGIMES)} regimes", "in memory, units", most, 4, 4)


def chunkings(n: int) -> list[tuple[int, ...]]:
    """One chunk, equal ones, unequal ones with an empty one, and many."""
    unequal = n // 2, 0, n // 3, 7, n - n // 2 - n // 3 - 7
    many = n // 100
    return [(n,), (n // 8,) * 8, unequal, (many,) * 100]


def bits() -> None:
    """The same fields, bit for bit, whatever the scheduler and after a kill."""
    size, pause = (20_000, 0.02) if QUICK else (1_000_000, 0.02)
    pair = [made(5 + k, 0.5 - k, 24, size, pause) for k in range(2)]
    found = {}
    for scheduler in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=scheduler):
            found[scheduler] = bytes_of(logz.newton(*pair))
    for workers in (1, 2):
        with cluster(workers):
            found[f"{workers} workers"] = bytes_of(logz.newton(*pair))
    with cluster(2) as client:
        before = client.run(os.getpid)
        pid = next(iter(before.values()))
        timer = Timer(10 * pause, os.kill, (pid, signal.SIGKILL))
        timer.start()
        found["a killed worker"] = bytes_of(logz.newton(*pair))
        timer.join()
        client.wait_for_workers(2, timeout=60)
        lost = pid not in client.run(os.getpid).values()
    assert lost, "the worker was not killed"
    same = len(set(found.values())) == 1
    say(f"different bits, {', '.join(found)}", "the first", float(not same), 0, 0)


def bytes_of(z: Any) -> bytes:
    fields = z.F, z.status, *z.bracket, z.standard_error, z.overlap
    return b"".join(np.asarray(x).tobytes() for x in fields)


if __name__ == "__main__":
    print("load average", *(f"{x:.1f}" for x in os.getloadavg()), flush=True)
    order = large_solve, two_workers, bits, sizes, reads, digits
    parts = {f.__name__: f for f in order}
    chosen = [name for name in sys.argv[1:] if name in parts]
    for part in (parts[name] for name in chosen or parts):
        print(part.__doc__, flush=True)
        part()
    print("load average", *(f"{x:.1f}" for x in os.getloadavg()))
