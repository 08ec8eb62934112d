"""Decoding in worker processes: a pool's images as batches of uint8 tensors, with the rejects beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from activetune.base.errors import RejectedImage
from activetune.base.interrupts import signals_held
from activetune.base.processes import begin_child
from activetune.base.runtime import usable_cores
from activetune.data.images import decode_image
from activetune.data.pool import Pool


@dataclass(frozen=True)
class Loaded:
    """One batch: images (B, 3, H, W) uint8, their positions in the pool, (position, reason) of the rejected, and the
    processor seconds that reading and decoding took.
    """

    images: torch.Tensor
    positions: Sequence[int]
    rejected: Sequence[tuple[int, str]]
    cpu_seconds: float = 0.0


def choose_workers(workers: int, items: int) -> int:
    """-1: one process a core, at most 8, and none for a pool so small that starting them costs more."""
    if workers >= 0:
        return workers
    return 0 if items < 256 else min(8, usable_cores())


def start_worker(worker: int) -> None:
    """A decoding process ignores Ctrl-C, as its parent ends it, and lets the model's threads go first.

    Without that a model on the same processor is held up by every thread that had to make room (13 % slower with the
    bundled backbone on 2 cores); with it, images are decoded in the time that the model leaves.
    """
    begin_child()
    os.nice(10)


Item = tuple[int, torch.Tensor | str, float]


class PoolImages(Dataset[Item]):
    """A pool as a torch data set: position to (position, prepared image or the reason for none, processor seconds)."""

    def __init__(self, pool: Pool, prepare: Callable[[Image.Image], torch.Tensor]):
        self.pool = pool
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> Item:
        started = time.thread_time()
        found: torch.Tensor | str
        try:
            found = self.prepare(decode_image(self.pool.read(position)))
        except RejectedImage as error:
            found = str(error)
        return position, found, time.thread_time() - started


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
    loader: DataLoader[Item] = DataLoader(
        PoolImages(pool, prepare),
        batch_size=batch_size,
        sampler=positions,
        num_workers=count,
        collate_fn=_collate,
        prefetch_factor=4 if count else None,
        worker_init_fn=start_worker,
    )
    with signals_held():
        batches = iter(loader)
    yield from batches


def _collate(items: list[Item]) -> Loaded:
    good = [(position, image) for position, image, _ in items if isinstance(image, torch.Tensor)]
    rejected = [(position, reason) for position, reason, _ in items if isinstance(reason, str)]
    images = torch.stack([image for _, image in good]) if good else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return Loaded(images, [position for position, _ in good], rejected, sum(seconds for *_, seconds in items))


def rejected_items(pool: Pool, *, workers: int = -1) -> dict[str, str]:
    """The ids whose image can't be decoded, and why."""
    loader = image_loader(pool, _no_pixels, batch_size=64, workers=workers)
    return {pool.ids[position]: reason for batch in loader for position, reason in batch.rejected}


def _no_pixels(image: Image.Image) -> torch.Tensor:
    return torch.empty(3, 0, 0, dtype=torch.uint8)
