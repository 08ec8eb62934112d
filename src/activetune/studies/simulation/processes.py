"""Running the chains of a simulation, in this process or in several that start afresh.

Ctrl-C ends all of them at once: cells are written in one step, so nothing half done is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed

import torch

from activetune.base.processes import process_pool
from activetune.base.runtime import limited_threads, usable_cores
from activetune.studies.simulation.cells import Bench
from activetune.studies.simulation.kept import Row
from activetune.studies.simulation.plan import Chain
from activetune.studies.simulation.setup import Setup


def choose_processes(workers: int, chains: int, device: torch.device) -> int:
    """-1: a process per core, and one where an accelerator does the work; never more than there are chains."""
    wanted = workers if workers >= 0 else usable_cores() if device.type == "cpu" else 1
    return max(1, min(wanted, chains))


def run_chains(setup: Setup, chains: Sequence[Chain], processes: int, done: Callable[[list[Row]], None]) -> None:
    """Run all chains on ``processes`` processes, which share the processor's threads; ``done`` gets the new rows.

    Raises:
        ActivetuneError: a process died.
    """
    threads = max(1, torch.get_num_threads() // processes)
    if processes > 1:
        _run_apart(setup, chains, processes, threads, done)
        return
    bench = Bench(setup)
    with limited_threads(threads):
        for chain in chains:
            done(bench.run(chain))


def _run_apart(
    setup: Setup, chains: Sequence[Chain], processes: int, threads: int, done: Callable[[list[Row]], None]
) -> None:
    with process_pool(processes, _begin, setup, threads) as executor:
        for future in as_completed([executor.submit(_run, chain) for chain in chains]):
            done(future.result())


# In a process of its own ------------------------------------------------------------------------------------------

_started: dict[str, tuple[Bench, int]] = {}


def _begin(setup: Setup, threads: int) -> None:
    """Runs once when a process starts."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are loaded later
    _started["bench"] = Bench(setup), threads


def _run(chain: Chain) -> list[Row]:
    bench, threads = _started["bench"]
    with limited_threads(threads):
        return bench.run(chain)
