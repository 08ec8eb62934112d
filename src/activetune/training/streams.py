"""Streams, the labelled items of a task, and the course that a training takes through their batches.

The loop draws a batch of one stream at each step; each image is augmented together with its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.launch import launched
from activetune.base.runtime import seeded
from activetune.data.labels import Labels
from activetune.data.loading import choose_workers, pins_memory, read_usable, start_worker
from activetune.data.pool import Pool
from activetune.networks.backbones import ImageSettings
from activetune.networks.network import Network
from activetune.tasks import Batch, Crops, Sample, Task
from activetune.training.batches import Batches, Turn, derive
from activetune.training.job import Job
from activetune.training.settings import Optimisation


@dataclass(frozen=True)
class Stream:
    """A task's labelled items.

    Attributes:
        task: reads, moves, batches and scores them. pool: the items, in the order of ``labels``.
        batches: which of them are drawn when. held_out: positions that are validated on.
        weight: how often the stream is drawn from, against the others.
        name: of its head on the network; empty: the task's.
    """

    task: Task
    pool: Pool
    labels: Labels
    batches: Batches
    held_out: IntArray = field(default_factory=lambda: NO_INDICES)
    weight: float = 1.0
    name: str = ""

    @property
    def head(self) -> str:
        """The name of its head on the network."""
        return self.name or self.task.name


def stream_of(
    job: Job, options: Optimisation, *, count: int | None = None, positions: IntArray | None = None
) -> Stream:
    """The stream of a job's labels: batches of the items that are not held out.

    Args:
        positions: of the items that are trained on, as often as they come in an epoch; None: each once.
        count: batches of an epoch; None: as many as it takes for each item to come once. See :class:`Batches`.
    """
    positions = job.not_held_out if positions is None else positions
    batches = Batches(
        positions,
        job.strata,
        options.batch_size,
        job.seed,
        accumulation=options.accumulation,
        balance=options.imbalance.balance,
        count=count,
    )
    drawn = options.imbalance.weights(job.strata[positions])
    task = job.task.prepared(
        job.labels, positions, options.imbalance, smoothing=options.label_smoothing, weights_L=drawn
    )
    return Stream(task, job.pool, job.labels, batches, job.held_out)


class StreamItems(Dataset[Sample]):
    """A stream's items by their turn, each turn under another random crop and flip; or by position, as evaluated."""

    def __init__(self, stream: Stream, settings: ImageSettings, *, seed: int, crops: Crops | None):
        self.stream, self.settings, self.seed, self.crops = stream, settings, seed, crops

    def __getitem__(self, turn: Turn | int) -> Sample:
        position = turn.position if isinstance(turn, Turn) else int(turn)
        crops = self.crops if isinstance(turn, Turn) else None
        image = read_usable(self.stream.pool, position, about=self.stream.task.enough(self.settings, crops))
        target = self.stream.task.target(self.stream.labels, position)
        size = image.height, image.width
        if not isinstance(turn, Turn):
            return Sample(*self.stream.task.transform(image, target, self.settings, crops), position, size)
        with seeded(derive(self.seed, *turn)):
            return Sample(*self.stream.task.transform(image, target, self.settings, crops), position, size)


def batches_loader(
    stream: Stream,
    settings: ImageSettings,
    *,
    seed: int,
    crops: Crops,
    workers: int,
    items: int,
    device: torch.device,
) -> DataLoader[Batch]:
    """The parts of a stream's batches, in the order of ``stream.batches``.

    Args:
        items: how many will be read in all, by which processes are chosen. device: where the batches will go.
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
        pin_memory=pins_memory(device),
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


class Course:
    """How far a training goes, epoch after epoch: after each of them the run is validated and saved.

    A recipe whose training goes another way (``recipes/vecaf/loops.py``) derives its course from this one.

    Attributes:
        steps: batches of an epoch. epochs: at most so many. total: batches of all of them; the last may have fewer than
            the others. warmup: batches of the linear rise to the learning rate.
        patience: see :class:`Training`.
        label: what its progress lines begin with; empty: the name of the phase.
        rate: the setting of its learning rate. kept: what --resume keeps where that has changed; empty: nothing.
    """

    label: str = ""
    rate: str = "lr"
    kept: str = ""

    def __init__(self, steps: int, epochs: int, *, warmup: int, patience: int = 0, total: int | None = None):
        self.steps, self.epochs, self.warmup, self.patience = steps, epochs, warmup, patience
        self.total = epochs * steps if total is None else total

    def told(self, epoch: int, last: int) -> str:
        """How far a training has come, for its progress line; ``last`` is the epoch that it will end with."""
        return f"epoch {epoch}/{last}"

    def until(self, epoch: int) -> int:
        """Batches before an epoch."""
        return min(epoch * self.steps, self.total)

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 0, that a step is in."""
        return next(epoch for epoch in range(self.epochs) if step < self.until(epoch + 1))

    def begin(self, epoch: int, streams: Sequence[Stream]) -> None:
        """Get the streams ready for an epoch: by default a single stream's order is that of the epoch."""
        if len(streams) == 1:
            streams[0].batches.epoch = epoch

    def outputs(self, network: Network, batch: Batch, stream: Stream) -> Any:
        """The outputs of the head of the stream's task for a batch."""
        return network(batch.images, stream.head)

    def task(self, stream: Stream) -> Task:
        """The task by whose loss a stream is learned now: by default the stream's own."""
        return stream.task

    def end(self) -> None:
        """The steps of an epoch are done, or those up to a signal: what each process has seen can be put together."""

    def settle(self, network: Network) -> None:
        """Leave parts of the network, which is in training mode, as they are evaluated: by default none."""

    def columns(self) -> dict[str, Any]:
        """More columns of the row that the history has of the epoch that was trained last."""
        return {}

    def state(self) -> dict[str, Any]:
        """Plain values that the checkpoint keeps: all of the course that its recipe reports or goes on with."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state that a checkpoint has kept; no epoch may follow it."""
