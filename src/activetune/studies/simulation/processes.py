"""Running the jobs of a simulation, in this process or in several that start afresh.

Ctrl-C ends all of them at once: cells are written in one step, so nothing half done is left.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from activetune.base.errors import ActivetuneError
from activetune.base.runtime import limited_threads, usable_cores
from activetune.studies.simulation.cells import Bench, Row, Setup
from activetune.studies.simulation.plan import Job


def choose_processes(workers: int, jobs: int, device: torch.device) -> int:
    """-1: a process a core, and one where an accelerator does the work; never more than there are jobs."""
    wanted = workers if workers >= 0 else usable_cores() if device.type == "cpu" else 1
    return max(1, min(wanted, jobs))


def run_jobs(setup: Setup, jobs: Sequence[Job], processes: int, done: Callable[[list[Row]], None]) -> None:
    """Run all jobs on ``processes`` processes, which share the processor's threads; ``done`` gets each one's new rows.

    Raises:
        ActivetuneError: a process died.
    """
    threads = max(1, torch.get_num_threads() // processes)
    if processes > 1:
        _run_apart(setup, jobs, processes, threads, done)
        return
    bench = Bench(setup)
    with limited_threads(threads):
        for job in jobs:
            done(bench.run(job))


def _run_apart(
    setup: Setup, jobs: Sequence[Job], processes: int, threads: int, done: Callable[[list[Row]], None]
) -> None:
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(setup, threads)
    )
    try:
        with _interrupts_held():
            futures = [executor.submit(_run, job) for job in jobs]
        for future in as_completed(futures):
            done(future.result())
    except BrokenProcessPool:
        raise ActivetuneError(
            "a process of the simulation died, most often for want of memory; finished cells are kept: go on with "
            "--resume and fewer --workers (in a script of your own, call simulate under if __name__ == '__main__')"
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C, which their parent answers; here it comes a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In a process of its own ------------------------------------------------------------------------------------------

_started: dict[str, tuple[Bench, int]] = {}


def _begin(setup: Setup, threads: int) -> None:
    """Runs once when a process starts."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are loaded later
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _started["bench"] = Bench(setup), threads


def _run(job: Job) -> list[Row]:
    bench, threads = _started["bench"]
    with limited_threads(threads):
        return bench.run(job)


def _end_with_parent() -> None:
    """A parent that was killed can tell nobody, and its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
