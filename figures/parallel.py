"""Jobs side by side, each in a process with one thread of its own: a small network gains nothing from several threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NoReturn

import numpy as np


def side_by_side(
    work: Callable[[Any], Any], jobs: list[Any], backend: str = "numpy"
) -> Iterator[Any]:
    """Yield ``work`` of each job in order, as many at a time as there are processors; a module's function and picklable jobs.

    On another backend than NumPy one after another: they would share an accelerator.
    """
    workers = min(
        len(jobs),
        (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        ),
    )
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
                yield from pool.map(work, jobs)
            except (
                BaseException
            ):  # an interruption too does not wait for what is under way
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin() -> None:
    """In a worker: a Ctrl-C, which reaches every process of a terminal, is the parent's to answer; its SIGTERM ends the job.

    A parent that was killed outright cannot send one: its workers would wait for more work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end(number: int, frame: Any) -> NoReturn:
    """Leave by an exit, which takes a temporary file away as dying at once does not.

    The pool hands an exit inside a job back as its result and goes on with the next job: so in a second this ends regardless.
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
    """Let glibc's malloc keep freed activations for the next step: it does once an array of this size has been freed."""
    large = np.ones(4_000_000)
    del large
