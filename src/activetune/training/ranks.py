"""Several processes that train one network: who is the first, and what they add up.

Each process (a rank) is started by ``torchrun`` or ``accelerate launch``; without either there is one, and nothing here
does anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextlib.contextmanager
def first_rank_first() -> Iterator[bool]:
    """Run a block in the first process, then in the others: they find what it has written.

    Yields:
        Whether this is the first process.
    """
    rank, world = rank_and_world()
    if rank and world > 1:
        distributed.barrier()
    try:
        yield rank == 0
    finally:
        if not rank and world > 1:
            distributed.barrier()


def added_up(value: float, device: torch.device) -> float:
    """The sum of the processes' values; NaN if one of them is."""
    if rank_and_world()[1] == 1:
        return value
    total: Tensor = torch.tensor(value, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    distributed.all_reduce(total)
    return float(total)


def gathered(value: Any) -> list[Any]:
    """Each process's value, in the order of their numbers."""
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    distributed.all_gather_object(found, value)
    return found
