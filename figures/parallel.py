"""Jobs in parallel, each in a process with one thread.

A small network gains nothing from several threads.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NoReturn

import numpy as np


def parallel_map(
    work: Callable[[Any], Any], jobs: list[Any], backend: str = "numpy"
) -> Iterator[Any]:
    """Yield ``work(job)`` in order, with as many processes as there are processors.

    ``work`` is a module's function, and jobs can be pickled. On another backend than
    NumPy jobs run one after another, because they would share an accelerator.
    """
    processors = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    workers = min(len(jobs), processors)
    if workers < 2 or backend != "numpy":
        yield from map(work, jobs)
        return
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _begin) as pool:
            try:
                futures = [pool.submit(work, job) for job in jobs]
                for future in futures:
                    yield future.result()
            except BaseException:
                # An interruption does not wait for running jobs. Nothing is cancelled:
                # Python 3.11 fails at a cancelled job of a pool whose workers ended.
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin() -> None:
    """Set up a worker: it ignores Ctrl-C and ends with SIGTERM or with its parent.

    Ctrl-C reaches every process of a terminal, and the parent answers it. A parent that
    was killed outright sends no SIGTERM: its workers would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end(number: int, frame: Any) -> NoReturn:
    """Exit, so that temporary files are removed, and in a second end regardless.

    The pool takes an exit inside a job for its result and goes on with the next job.
    """
    timer = threading.Timer(1.0, os._exit, (1,))
    timer.daemon = True
    timer.start()
    sys.exit(1)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def keep_freed_memory() -> None:
    """Let glibc's malloc keep freed activations for the next step.

    It does so once an array of this size has been freed.
    """
    large = np.ones(4_000_000)
    del large
