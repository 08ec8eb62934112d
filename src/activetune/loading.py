"""Decoding in worker processes: a pool's images as batches of uint8 tensors, with the rejects beside them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from activetune.errors import RejectedImage
from activetune.images import decode_image
from activetune.types import Pool


@dataclass(frozen=True)
class Loaded:
    """One batch: images (B, 3, H, W) uint8, their positions in the pool, and (position, reason) of the rejected."""

    images: torch.Tensor
    positions: Sequence[int]
    rejected: Sequence[tuple[int, str]]


def choose_workers(workers: int, items: int) -> int:
    """-1: one process a core, at most 8, and none for a pool so small that starting them costs more."""
    if workers >= 0:
        return workers
    return 0 if items < 256 else min(8, max(1, (os.cpu_count() or 1) - 1))


def leave_interrupts_to_parent(worker: int) -> None:
    """A decoding process ignores Ctrl-C: the process that feeds on it ends it, without a traceback of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class PoolImages(Dataset[tuple[int, torch.Tensor | str]]):
    """A pool as a torch data set: position to (position, prepared image, or the reason why there is none)."""

    def __init__(self, pool: Pool, prepare: Callable[[Image.Image], torch.Tensor]):
        self.pool = pool
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> tuple[int, torch.Tensor | str]:
        try:
            return position, self.prepare(decode_image(self.pool.read(position)))
        except RejectedImage as error:
            return position, str(error)


def image_loader(
    pool: Pool,
    prepare: Callable[[Image.Image], torch.Tensor],
    *,
    batch_size: int,
    workers: int = -1,
    first_batch: int = 0,
) -> Iterator[Loaded]:
    """The pool's images in order, from batch ``first_batch`` on; a rejected image leaves its batch smaller."""
    positions = range(first_batch * batch_size, len(pool))
    count = choose_workers(workers, len(positions))
    loader: DataLoader[tuple[int, torch.Tensor | str]] = DataLoader(
        PoolImages(pool, prepare),
        batch_size=batch_size,
        sampler=positions,
        num_workers=count,
        collate_fn=_collate,
        prefetch_factor=4 if count else None,
        worker_init_fn=leave_interrupts_to_parent,
    )
    yield from loader


def _collate(items: list[tuple[int, torch.Tensor | str]]) -> Loaded:
    good = [(position, image) for position, image in items if isinstance(image, torch.Tensor)]
    rejected = [(position, reason) for position, reason in items if isinstance(reason, str)]
    images = torch.stack([image for _, image in good]) if good else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return Loaded(images, [position for position, _ in good], rejected)


def rejected_items(pool: Pool, *, workers: int = -1) -> dict[str, str]:
    """The ids whose image can't be decoded, and why."""
    loader = image_loader(pool, _no_pixels, batch_size=64, workers=workers)
    return {pool.ids[position]: reason for batch in loader for position, reason in batch.rejected}


def _no_pixels(image: Image.Image) -> torch.Tensor:
    return torch.empty(3, 0, 0, dtype=torch.uint8)
