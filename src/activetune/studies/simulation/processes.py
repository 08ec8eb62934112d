"""Running the jobs of a simulation, in this process or in several that start afresh.

Ctrl-C ends all of them at once: cells are written in one step, so nothing half done is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed

import torch

from activetune.base.processes import process_pool
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
    with process_pool(processes, _begin, setup, threads) as executor:
        for future in as_completed([executor.submit(_run, job) for job in jobs]):
            done(future.result())


# In a process of its own ------------------------------------------------------------------------------------------

_started: dict[str, tuple[Bench, int]] = {}


def _begin(setup: Setup, threads: int) -> None:
    """Runs once when a process starts."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are loaded later
    _started["bench"] = Bench(setup), threads


def _run(job: Job) -> list[Row]:
    bench, threads = _started["bench"]
    with limited_threads(threads):
        return bench.run(job)
