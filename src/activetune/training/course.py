"""How far a training goes, and how the outputs of its batches are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from activetune.networks.network import Network
from activetune.tasks import Batch
from activetune.training.batches import Batches
from activetune.training.job import Job
from activetune.training.settings import Optimisation
from activetune.training.streams import Stream


def stream_of(job: Job, options: Optimisation, *, count: int | None = None) -> Stream:
    """The only stream of a job: the items that are not held out; ``count`` as :class:`Batches` has it."""
    batches = Batches(
        job.training,
        job.strata,
        options.batch_size,
        job.seed,
        accumulation=options.accumulation,
        balance=options.imbalance.balance,
        count=count,
    )
    task = job.task.prepared(job.labels, job.training, options.imbalance, smoothing=options.label_smoothing)
    return Stream(task, job.pool, job.labels, batches, job.held_out)


class Course:
    """How far a training goes, epoch after epoch: after each of them the run is validated and saved.

    Attributes:
        steps: batches of an epoch. epochs: at most so many. warmup: batches of the linear rise to the learning rate.
        patience: see ``Training``.
    """

    def __init__(self, steps: int, epochs: int, *, warmup: int, patience: int = 0):
        self.steps, self.epochs, self.warmup, self.patience = steps, epochs, warmup, patience

    def begin(self, epoch: int, streams: Sequence[Stream]) -> None:
        """Get the streams ready for an epoch: by default a single stream's order is that of the epoch."""
        if len(streams) == 1:
            streams[0].batches.epoch = epoch

    def outputs(self, network: Network, batch: Batch, stream: Stream) -> Any:
        """The outputs of the head of the stream's task for a batch."""
        return network(batch.images, stream.task.name)

    def columns(self) -> dict[str, Any]:
        """More columns of the row that the history has of the epoch that was trained last."""
        return {}

    def state(self) -> dict[str, Any]:
        """Plain values that the checkpoint keeps: all of the course that its recipe reports or goes on with."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state that a checkpoint has kept; no epoch may follow it."""
