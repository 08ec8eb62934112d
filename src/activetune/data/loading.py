"""Decoding in worker processes: a pool's images as batches of uint8 tensors, with the rejects beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from activetune.base.errors import ActivetuneError, RejectedImage
from activetune.base.interrupts import signals_held
from activetune.base.processes import begin_child
from activetune.base.runtime import usable_cores
from activetune.data.identity import Contents, Digests, content_digest, reason_digest
from activetune.data.images import decode_image
from activetune.data.pool import Pool

READERS = 16  # threads per process that wait for images elsewhere


@dataclass(frozen=True)
class Loaded:
    """One batch.

    Attributes:
        images: (B, 3, H, W) uint8. positions: of these B images in the pool.
        rejected: position and reason of each image that can't be used.
        cpu_seconds: processor time of reading and decoding.
        digests: of the bytes of all images, rejected ones included, in the pool's order; empty where not asked for.
        sizes: height and width of these B images as they were decoded.
    """

    images: torch.Tensor
    positions: Sequence[int]
    rejected: Sequence[tuple[int, str]]
    cpu_seconds: float
    digests: Sequence[bytes]
    sizes: Sequence[tuple[int, int]] = ()

    @property
    def read(self) -> Sequence[int]:
        """The positions of all images, rejected ones included, in the pool's order."""
        return sorted([*self.positions, *(position for position, _ in self.rejected)])

    def pin_memory(self) -> Loaded:
        """The same with its images in pinned memory; the loader asks for it, see :func:`pins_memory`."""
        return replace(self, images=self.images.pin_memory())


def pins_memory(device: torch.device | None) -> bool:
    """Whether batches on their way to a device lie in pinned memory, which a GPU copies from while it computes."""
    return device is not None and device.type == "cuda"


def choose_workers(workers: int, items: int, *, beside: int = 1, one_reader: bool = False) -> int:
    """-1: one process a core, at most 8, and none for a pool so small that starting them costs more.

    Args:
        beside: processes on this machine that decode at the same time, this one included.
        one_reader: several would fetch the same bytes, each for itself.
    """
    if workers >= 0:
        return workers
    return 0 if items < 256 else min(1 if one_reader else 8, max(1, usable_cores() // beside))


def start_worker(worker: int) -> None:
    """A decoding process ignores Ctrl-C, as its parent ends it, and lets the model's threads go first.

    Without that a model on the same processor is held up by every thread that had to make room (13 % slower with the
    bundled backbone on 2 cores); with it, images are decoded in the time that the model leaves.
    """
    begin_child()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)


class Item(NamedTuple):
    """An image of a pool: pixels (3, H, W) uint8 or the reason for none, the digest of its bytes where that is wanted,
    the processor seconds that reading and decoding took, and height and width of what was decoded.
    """

    position: int
    image: torch.Tensor | str
    digest: bytes
    seconds: float
    size: tuple[int, int] = (0, 0)


class PoolImages(Dataset[Item]):
    """A pool as a torch data set, prepared for a network.

    Args:
        about: pixels per side that are enough, see :func:`decode_image`.
        digests: of the images' bytes are wanted. told: those of all items, where they are known without the bytes.
    """

    def __init__(
        self,
        pool: Pool,
        prepare: Callable[[Image.Image], torch.Tensor],
        *,
        about: int = 0,
        digests: bool = False,
        told: Digests | None = None,
    ):
        self.pool = pool
        self.prepare = prepare
        self.about = about
        self.digests = digests
        self.told = told

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> Item:
        """An image, or why it can't be used.

        Raises:
            ReadingFault: it can't be read at present.
        """
        return self._item(position, lambda: self.pool.read(position))

    def __getitems__(self, positions: Sequence[int]) -> list[Item]:
        """Several images; of a pool elsewhere their bytes are asked for all at once, and decoded as they come."""
        if not self.pool.distant:
            return [self[position] for position in positions]
        readers = ThreadPoolExecutor(min(READERS, max(1, len(positions))), "reading")
        try:
            coming = [readers.submit(self.pool.read, position) for position in positions]
            return [self._item(position, one.result) for position, one in zip(positions, coming, strict=True)]
        finally:
            readers.shutdown(cancel_futures=True)

    def _item(self, position: int, read: Callable[[], bytes]) -> Item:
        started = time.thread_time()
        found: torch.Tensor | str
        digest = b"" if self.told is None else self.told[position].tobytes()
        size = (0, 0)
        try:
            encoded = read()
            digest = digest or (content_digest(encoded) if self.digests else b"")
            image = decode_image(encoded, about=self.about)
            size = image.height, image.width
            found = self.prepare(image)
        except RejectedImage as error:
            found = str(error)
            digest = digest or (reason_digest(found) if self.digests else b"")
        return Item(position, found, digest, time.thread_time() - started, size)

    def usable(self, position: int) -> torch.Tensor:
        """The pixels of an image that could be decoded when the run began; see :func:`read_usable`."""
        return self.prepare(read_usable(self.pool, position, about=self.about))


def read_usable(pool: Pool, position: int, *, about: int = 0) -> Image.Image:
    """An image that could be decoded when the run began.

    Args:
        about: pixels per side that are enough, see :func:`decode_image`.

    Raises:
        ActivetuneError: it no longer can. ReadingFault: it can't be read at present.
    """
    try:
        return decode_image(pool.read(position), about=about)
    except RejectedImage as error:
        raise _changed(pool, position, str(error)) from None


def image_loader(
    pool: Pool,
    prepare: Callable[[Image.Image], torch.Tensor],
    *,
    batch_size: int,
    about: int = 0,
    workers: int = -1,
    first_batch: int = 0,
    contents: Contents | None = None,
    all_usable: bool = False,
    device: torch.device | None = None,
) -> Iterator[Loaded]:
    """The pool's images in order, from batch ``first_batch`` on; a rejected image leaves its batch smaller.

    Args:
        about: pixels per side that are enough, see :func:`decode_image`; 0 for all.
        contents: takes note of the digests of the bytes that are read.
        all_usable: the images could all be decoded before, and it is an error if one no longer can.
        device: where the images will go; None: nowhere.

    Raises:
        ReadingFault: an image can't be read at present; the batches before it have been given.
    """
    first = first_batch * batch_size
    images = PoolImages(
        pool,
        prepare,
        about=about,
        digests=contents is not None,
        told=None if contents is None else contents.told(),
    )
    cut = (range(start, min(start + batch_size, len(pool))) for start in range(first, len(pool), batch_size))
    count = choose_workers(workers, len(pool) - first, one_reader=pool.one_reader)
    for batch in batch_loader(images, cut, count, device=device):
        if contents is not None:
            contents.note(batch.read, batch.digests)
        if all_usable and batch.rejected:
            raise _changed(pool, *batch.rejected[0])
        yield batch


def batch_loader(
    images: PoolImages, batches: Iterable[Sequence[int]], workers: int, *, device: torch.device | None = None
) -> Iterator[Loaded]:
    """The images of batches of positions, in their order.

    Args:
        batches: each is asked for when a process that decodes has nothing left to do, a few before it is given.
        workers: processes that decode; 0: this one. device: where the images will go; None: nowhere.
    """
    loader: DataLoader[Item] = DataLoader(
        images,
        batch_sampler=map(list, batches),
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=4 if workers else None,
        worker_init_fn=start_worker,
        pin_memory=pins_memory(device),
    )
    with signals_held():
        loaded = iter(loader)
    yield from loaded


def _collate(items: list[Item]) -> Loaded:
    good = [(item.position, item.image) for item in items if isinstance(item.image, torch.Tensor)]
    return Loaded(
        images=torch.stack([image for _, image in good]) if good else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
        positions=[position for position, _ in good],
        rejected=[(item.position, item.image) for item in items if isinstance(item.image, str)],
        cpu_seconds=sum(item.seconds for item in items),
        digests=[item.digest for item in items],
        sizes=[item.size for item in items if isinstance(item.image, torch.Tensor)],
    )


def _changed(pool: Pool, position: int, reason: str) -> ActivetuneError:
    return ActivetuneError(
        f"{pool.ids[position]} of {pool.name} can't be decoded ({reason}), although it could when the run began; "
        "the pool was changed meanwhile: start again with --overwrite"
    )


def rejected_items(pool: Pool, *, workers: int = -1) -> dict[str, str]:
    """The ids whose image can't be decoded, and why."""
    loader = image_loader(pool, _no_pixels, batch_size=64, about=1, workers=workers)
    return {pool.ids[position]: reason for batch in loader for position, reason in batch.rejected}


def _no_pixels(image: Image.Image) -> torch.Tensor:
    return torch.empty(3, 0, 0, dtype=torch.uint8)
