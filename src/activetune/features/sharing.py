"""A pool's images worked through shard by shard: by this process, by those of a launch, or by Ray's.

All of them go through one loop (:meth:`Work.run`). It takes the next shard that nobody has, decodes and computes its
batches, and seals it; what is computed of a batch, and how it is kept, is the work's own. How shards are taken, sealed
and found again: ``base/shards.py``. Batches never reach over the end of a shard, so the arithmetic of an item is the
same whichever process computes it.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import nn

from activetune.base.cluster import Cluster
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.launch import launched
from activetune.base.memory import Portions
from activetune.base.progress import Meter, note, progress
from activetune.base.ranks import agreed, device_of_rank, gathered, is_first, rank_and_world, together
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.base.shards import Shards
from activetune.data.identity import Contents, Digests
from activetune.data.loading import Loaded, PoolImages, batch_loader, choose_workers
from activetune.data.pool import Pool
from activetune.features.clock import Clock

SAVE_EVERY_SECONDS = 2.0
LOOK_EVERY_SECONDS = 1.0  # for shards that other processes have sealed


class Growing(Protocol):
    """The result of a shard while it is made.

    Attributes:
        batches: that are in it.
    """

    @property
    def batches(self) -> int: ...  # noqa: D102

    def add(self, batch: Loaded) -> int:
        """Compute a batch; returns how many images went through the network."""

    def save(self) -> None:
        """Make sure what was added."""

    def seal(self) -> None:
        """Finish the shard."""

    def close(self) -> None:
        """Keep what was added; it may be called of a sealed one too."""


@dataclass(frozen=True)
class Work(ABC):
    """What is made of every image of a pool; it can be sent to other processes.

    Attributes:
        shards: the folder that all processes see. workers: decoding processes of each, -1 chooses.
        device, precision: to compute on. told: the digests of all items where the pool tells them without their bytes.
        save_every: seconds after which finished batches are made sure.
    """

    pool: Pool
    shards: Shards
    workers: int
    device: str
    precision: str
    told: Digests | None
    save_every: float

    label: ClassVar[str]  # of the progress

    @property
    @abstractmethod
    def prepare(self) -> Callable[[Image.Image], torch.Tensor]:
        """Makes the network's input of an image."""

    @property
    @abstractmethod
    def about(self) -> int:
        """Pixels per side that an image is decoded with at least; 0: all that it has."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What computes; it is moved to the device of each process."""

    def context(self, runtime: Runtime) -> contextlib.AbstractContextManager[object]:
        """The context in which all batches are computed; none by default."""
        return contextlib.nullcontext()

    @abstractmethod
    def open(self, shard: int, runtime: Runtime, portions: Portions) -> Growing:
        """A shard's result, new or as a process that died left it.

        Args:
            portions: how many images this process computes at a time.
        """

    def run(
        self,
        pending: Sequence[int],
        *,
        device: str = "",
        beside: int = 1,
        advance: Callable[[int], object] = lambda images: None,
        quiet: bool = True,
    ) -> dict[str, Any]:
        """Work through the shards that nobody else takes.

        Args:
            pending: those that are not finished, in the order in which they are taken.
            device: of this process; "" for the one that was asked for.
            beside: processes on this machine that do the same, this one included.
            advance: is told how many images were dealt with, batch by batch.
            quiet: do not say that fewer images go through the network at a time than were asked for.

        Returns:
            Figures: images, seconds, and where the time went.
        """
        opened: deque[tuple[range, Growing]] = deque()
        runtime = resolve_runtime(device or self.device, self.precision)
        self.network.to(runtime.device).eval()
        with self.context(runtime), contextlib.ExitStack() as kept:
            clock = Clock(on_processor=runtime.device.type == "cpu", save_every=self.save_every)
            images = PoolImages(self.pool, self.prepare, about=self.about, digests=True, told=self.told)
            portions = Portions(runtime.device, quiet)
            batches = self._claimed(pending, lambda shard: self.open(shard, runtime, portions), opened, kept)
            left = sum(len(self.shards.plan.bounds(shard)) for shard in pending)
            workers = choose_workers(self.workers, left, beside=beside, one_reader=self.pool.one_reader)
            for batch in clock.waiting(batch_loader(images, batches, workers, device=runtime.device)):
                while batch.read and batch.read[0] not in opened[0][0]:
                    opened.popleft()[1].seal()
                bounds, growing = opened[0]
                if computed := growing.add(batch):
                    clock.computed(computed)
                if batch.read and batch.read[-1] == bounds[-1]:
                    growing.seal()
                    opened.popleft()
                elif clock.time_to_save():
                    growing.save()
                advance(len(batch.read))
            while opened:
                opened.popleft()[1].seal()
        return clock.figures()

    def _claimed(
        self,
        pending: Iterable[int],
        open_shard: Callable[[int], Growing],
        opened: deque[tuple[range, Growing]],
        kept: contextlib.ExitStack,
    ) -> Iterator[range]:
        """The batches of the shards that this process takes, each taken when its first batch is asked for."""
        plan = self.shards.plan
        for shard in pending:
            if not self.shards.claim(shard):
                continue
            growing = open_shard(shard)
            kept.callback(growing.close)
            batches = list(plan.batches(shard, growing.batches))
            if batches:
                opened.append((plan.bounds(shard), growing))
                yield from batches
            else:  # a process died between its last batch and its seal
                growing.seal()


# Who works --------------------------------------------------------------------------------------------------------


def shared_precision(device: str, precision: str, cluster: Cluster | None) -> str:
    """The one precision in which all processes compute; call it in all of them.

    Raises:
        UsageError: they differ in it, or the device or precision is not there.
    """
    if cluster is not None:
        return cluster.precision(device, precision)
    found = together(lambda: resolve_runtime(device_of_rank(device), precision).precision)
    return agreed(found, "the processes' devices compute natively in different precisions; give --precision")


def worked_through(work: Work, pending: Sequence[int], cluster: Cluster | None, *, quiet: bool) -> list[dict[str, Any]]:
    """Have all shards made that are not finished, by the processes that there are; call it in all of them.

    Returns:
        The figures of each process.

    Raises:
        ActivetuneError: what one of them has met; the others have finished what they could.
    """
    plan = work.shards.plan
    done = plan.items - sum(len(plan.bounds(shard)) for shard in pending)
    if cluster is not None:
        work.network.cpu()  # as which it is sent
        with progress(plan.items, work.label, done=done, quiet=quiet) as meter:
            return cluster.run(work, pending, _Watched(work.shards, pending, meter).look, quiet=quiet)
    rank, world = rank_and_world()
    if world == 1:
        with progress(plan.items, work.label, done=done, quiet=quiet) as meter:
            return [work.run(pending, advance=meter.advance, quiet=quiet)]
    together(work.shards.check_seen)
    device, beside = together(lambda: device_of_rank(work.device)), launched().local_world
    with progress(plan.items, work.label, done=done, quiet=quiet or rank > 0) as meter:
        told = _Watched(work.shards, pending, meter).advance if is_first() else meter.advance
        how: dict[str, Any] = {"device": device, "beside": beside, "advance": told, "quiet": quiet or rank > 0}
        figures = together(lambda: work.run(pending, **how))
    return gathered(figures)


class _Watched:
    """A meter of what several processes do: this one's batches, and the shards that the others seal."""

    def __init__(self, shards: Shards, pending: Sequence[int], meter: Meter):
        self.shards, self.meter = shards, meter
        self.pending = set(pending)
        self.own = self.counted = 0
        self.looked = time.perf_counter()

    def advance(self, images: int) -> None:
        """Count images of this process."""
        self.own += images
        if time.perf_counter() - self.looked >= LOOK_EVERY_SECONDS:
            self.look()
        else:
            self._show(self.counted + images)

    def look(self) -> None:
        """Count what all have sealed; where this process is ahead of that, its own images."""
        self.looked = time.perf_counter()
        sealed = self.pending & self.shards.counted()
        self._show(max(self.counted, self.own, sum(len(self.shards.plan.bounds(shard)) for shard in sealed)))

    def _show(self, counted: int) -> None:
        self.meter.advance(counted - self.counted)
        self.counted = counted


def rates(found: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The figures of a run for its manifest: of all processes together, and of each where there are several."""
    if len(found) == 1:
        return {name: value for name, value in found[0].items() if name != "images"}
    images = sum(one["images"] for one in found)
    return {
        "seconds": round(seconds, 3),
        "images_per_second": round(images / max(seconds, 1e-9), 1),
        "processes": list(found),
    }


def tell_rates(found: Sequence[dict[str, Any]], seconds: float, quiet: bool) -> None:
    """One sentence for the user: how fast it went, and what held it up."""
    if len(found) == 1:
        note(Clock.sentence(found[0]), quiet)
        return
    images = sum(one["images"] for one in found)
    each = ", ".join(f"{one['images_per_second']:,.0f}" for one in found)
    note(
        f"{images:,} images in {seconds:.1f} s by {len(found)} processes: {images / max(seconds, 1e-9):,.0f} images/s "
        f"(each: {each})",
        quiet,
    )


# Going on with what is there --------------------------------------------------------------------------------------


def unfinished(work: Shards, contents: Contents, changed: str, *, quiet: bool) -> list[int]:
    """The shards that are still to be made, in a folder that no process works in at present.

    Args:
        changed: is said where images of finished shards were changed since.

    Raises:
        UsageError: they were.
    """
    work.free()
    sealed, damaged = work.sealed()
    if damaged:
        note(f"{len(damaged):,} shards in {work.folder} are damaged and made again", quiet)
    if sealed:
        images = sum(len(work.plan.bounds(shard)) for shard in sealed)
        note(f"going on after {images:,} of {work.plan.items:,} images", quiet)
        contents.read([place for shard in sealed for place in work.plan.bounds(shard)], quiet=quiet)
    for shard, seal in sealed.items():
        bounds = work.plan.bounds(shard)
        if contents.digests_N[bounds.start : bounds.stop].tobytes().hex() != seal.get("digests"):
            raise UsageError(changed)
    return [shard for shard in range(len(work.plan)) if shard not in sealed]


def all_sealed(work: Shards, contents: Contents) -> list[dict[str, Any]]:
    """The seals of all shards in order, of whose images the digests are noted.

    Raises:
        ActivetuneError: one is missing or damaged.
    """
    sealed, _ = work.sealed()
    if len(sealed) != len(work.plan):
        raise ActivetuneError(
            f"{len(work.plan) - len(sealed):,} of {len(work.plan):,} shards in {work.folder} are missing or damaged; "
            "go on with --resume"
        )
    for shard, seal in sealed.items():
        digests = bytes.fromhex(seal["digests"])
        size = len(digests) // max(1, len(work.plan.bounds(shard)))
        contents.note(work.plan.bounds(shard), [digests[at : at + size] for at in range(0, len(digests), size)])
    return [sealed[shard] for shard in range(len(work.plan))]
