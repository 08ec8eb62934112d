"""Streams: the labelled items of a task, of which the loop draws batches, each image moved together with its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.launch import launched
from activetune.data.labels import Labels
from activetune.data.loading import choose_workers, read_usable, start_worker
from activetune.data.pool import Pool
from activetune.networks.backbones import ImageSettings
from activetune.tasks import Batch, Crops, Sample, Task
from activetune.training.batches import Batches, Turn, derive


@dataclass(frozen=True)
class Stream:
    """A task's labelled items.

    Attributes:
        task: reads, moves, batches and scores them. pool: the items, in the order of ``labels``.
        batches: which of them are drawn when. held_out: positions that are validated on.
        weight: how often the stream is drawn from, against the others.
    """

    task: Task
    pool: Pool
    labels: Labels
    batches: Batches
    held_out: IntArray = field(default_factory=lambda: NO_INDICES)
    weight: float = 1.0


class StreamItems(Dataset[Sample]):
    """A stream's items by their turn, each turn under another random crop and flip; or by position, as evaluated."""

    def __init__(self, stream: Stream, settings: ImageSettings, *, seed: int, crops: Crops | None):
        self.stream, self.settings, self.seed, self.crops = stream, settings, seed, crops

    def __getitem__(self, turn: Turn | int) -> Sample:
        position = turn.position if isinstance(turn, Turn) else int(turn)
        image = read_usable(self.stream.pool, position)
        target = self.stream.task.target(self.stream.labels, position)
        if not isinstance(turn, Turn):
            return Sample(*self.stream.task.transform(image, target, self.settings, None), position)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, *turn))
            return Sample(*self.stream.task.transform(image, target, self.settings, self.crops), position)


def batches_loader(
    stream: Stream, settings: ImageSettings, *, seed: int, crops: Crops, workers: int, items: int
) -> DataLoader[Batch]:
    """The parts of a stream's batches, in the order of ``stream.batches``.

    Args:
        items: how many will be read in all, by which the number of processes is chosen.
    """
    count = choose_workers(workers, items, beside=launched().local_world)
    return DataLoader(
        StreamItems(stream, settings, seed=seed, crops=crops),  # type: ignore[arg-type]
        batch_sampler=stream.batches,
        collate_fn=stream.task.collate,
        num_workers=count,
        persistent_workers=count > 0,
        generator=torch.Generator(),  # otherwise each iterator draws from the state that stochastic depth uses
        worker_init_fn=start_worker,
    )


def held_out_batches(stream: Stream, settings: ImageSettings, *, size: int, rank: int, world: int) -> Iterator[Batch]:
    """A process's share of the batches of the held-out items, as they are evaluated: no augmentation."""
    items = StreamItems(stream, settings, seed=0, crops=None)
    batches = np.array_split(stream.held_out, -(-len(stream.held_out) // size))
    for batch in batches[rank::world]:
        yield stream.task.collate([items[int(position)] for position in batch])


class Draws:
    """Which stream each step draws its batch from: by the streams' weights, a random choice of its own per step.

    The choice follows from (seed, step) alone, so it is the same in every process and after a resume.
    """

    def __init__(self, streams: Sequence[Stream], steps: int, seed: int):
        if len(streams) == 1:
            self.stream_of_step = np.zeros(steps, dtype=np.int64)
            return
        share = np.asarray([stream.weight for stream in streams], dtype=np.float64)
        limits = np.cumsum(share / share.sum())
        drawn = [np.random.default_rng([seed, 11, step]).random() for step in range(steps)]
        self.stream_of_step = np.minimum(np.searchsorted(limits, drawn, side="right"), len(streams) - 1)

    def begin(self, streams: Sequence[Stream], first: int, steps: int) -> IntArray:
        """The streams of the steps from ``first`` on, whose batches are got ready for these; one stream has its own.

        Each of several streams is one long sequence of batches, which an epoch goes on with.
        """
        here = self.stream_of_step[first : first + steps]
        if len(streams) > 1:
            for number, stream in enumerate(streams):
                before = int((self.stream_of_step[:first] == number).sum())
                stream.batches.span(before, int((here == number).sum()))
        return here
