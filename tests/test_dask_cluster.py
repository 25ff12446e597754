"""Log-ratios in Dask arrays: the same bits on any scheduler and number of workers."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from refnce import logz, nce
from tests.regimes import gaussian_1d

da = pytest.importorskip("dask.array", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")
config = pytest.importorskip("dask").config

PAIR = gaussian_1d(6.0, -6.0, 8_000, 6_000, 80)  # 4 passes and more


@contextlib.contextmanager
def workers(n):
    """A client of n worker processes on this machine; they end with it."""
    # Port 0 is any free one. Without an address two clusters both want port 8787.
    options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster:
        with distributed.Client(cluster) as client:
            yield client
    assert multiprocessing.active_children() == []


@contextlib.contextmanager
def pool(name):
    """Dask's scheduler "threads" or "processes", with two of them that end with it."""
    spawn = multiprocessing.get_context("spawn")
    if name == "threads":
        executor = ThreadPoolExecutor(2)
    else:
        executor = ProcessPoolExecutor(2, mp_context=spawn)
    with executor, config.set(scheduler=name, pool=executor):
        yield


SCHEDULERS = {
    "threads": lambda: pool("threads"),
    "processes": lambda: pool("processes"),
    "1 worker": lambda: workers(1),
    "2 workers": lambda: workers(2),
}


def lazy(f=lambda chunk: chunk):
    """Both of PAIR in 11 chunks each; f is applied to every chunk."""
    made = [da.from_array(r, chunks=(r.size + 10) // 11) for r in PAIR]
    return [x.map_blocks(f, dtype=float, meta=np.empty(0)) for x in made]


def numbers(z):
    return z.F, z.status, z.evaluations, *z.bracket, z.standard_error, z.overlap


def results(pair):
    data, noise = nce.grad_r(*pair, 0.5, nu=5.0)
    formulas = nce.loss(*pair, 0.5), nce.grad_F(*pair, 0.5), nce.hess_F(*pair, 0.5)
    solved = logz.newton(*pair, nu=5.0), logz.newton(*pair)
    return [*formulas, *map(numbers, solved), data.compute(), noise.compute()]


def bits(results):
    return [np.asarray(x).tobytes() for x in results]


def expected(f):
    with config.set(scheduler="synchronous"):
        return bits(f())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_same_bits_on_any_scheduler(name):
    with SCHEDULERS[name]():
        found = bits(results(lazy()))
    assert found == expected(lambda: results(lazy()))


def nap(folder):
    """A function of chunks that takes 20 ms and leaves a file, named by its process."""

    def function(chunk):
        name = f"{os.getpid()}-{time.monotonic_ns()}"
        (folder / name).touch()
        time.sleep(0.02)
        return chunk

    return function


def kill_in_mid_solve(folder, killed):
    """Kill a worker once 30 chunks are read: a pass reads 22, after a part of 2."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        names = [path.name for path in folder.iterdir()]
        pids = [int(name.partition("-")[0]) for name in names]
        if len(pids) >= 30:
            os.kill(pids[0], signal.SIGKILL)
            killed += [pids[0], len(pids)]
            return
        time.sleep(0.002)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_same_bits_after_a_worker_is_killed(tmp_path):
    killed: list[int] = []
    args = tmp_path, killed
    with workers(2) as client:
        pids = set(client.run(os.getpid).values())
        killer = threading.Thread(target=kill_in_mid_solve, args=args)
        killer.start()
        z = logz.newton(*lazy(nap(tmp_path)), nu=5.0)
        reads = len(list(tmp_path.iterdir()))
        killer.join()
    pid, reads_before = killed
    assert pid in pids and reads_before < reads
    exact = expected(lambda: numbers(logz.newton(*lazy(), nu=5.0)))
    assert bits(numbers(z)) == exact


def test_what_is_refused_through_a_cluster():
    made = lazy()
    r = PAIR[0].copy()
    r[[3000, 3001]] = np.nan
    with_nan = da.from_array(r, chunks=1000)
    integers = made[0].map_blocks(lambda x: x.astype(int), dtype=float, meta=r[:0])
    with workers(1):
        with pytest.raises(ValueError, match="r_data, chunk 3, holds 2 NaN in shape"):
            logz.newton(with_nan, made[1])
        with pytest.raises(TypeError, match="r_data must hold float64 .* got int64"):
            nce.loss(integers, made[1], 0.0)


def forget_refnce():
    """Make refnce a package that is not installed in this process."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "refnce"]:
        del sys.modules[name]

    class Missing:
        @staticmethod
        def find_spec(name, *_):
            if name.partition(".")[0] == "refnce":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing)


def test_workers_without_refnce_and_a_closed_client():
    """Neither hangs. Dask by itself would end such a worker, and wait for another."""
    made = lazy()
    message = "a Dask worker: No module named 'refnce'; install refnce on the workers"
    with workers(1) as client:
        kept = [x.persist() for x in made]
        before = numbers(logz.newton(*kept))
        client.run(forget_refnce)
        with pytest.raises(RuntimeError, match=message):
            logz.newton(*made)
        with pytest.raises(RuntimeError, match=message):
            nce.grad_r(*made, 0.5)[0].compute()
    # Without a client Dask computes here what is not kept on a worker.
    with config.set(scheduler="synchronous"):
        assert bits(numbers(logz.newton(*made))) == bits(before)
        with pytest.raises(Exception, match="Missing dependency|lost|[Cc]ancelled"):
            logz.newton(*kept)
