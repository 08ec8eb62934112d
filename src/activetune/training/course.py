"""What a training goes through: its batches, epoch after epoch, and how their logits are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from activetune.networks.network import Network
from activetune.training.batches import Batches
from activetune.training.job import Job
from activetune.training.settings import Optimisation


def batches_of(job: Job, options: Optimisation, *, count: int | None = None) -> Batches:
    """Batches of the items that are not held out; ``count`` as :class:`Batches` has it."""
    return Batches(
        job.training,
        job.labels.indices,
        options.batch_size,
        job.seed,
        accumulation=options.accumulation,
        balance=options.balance,
        count=count,
    )


class Course:
    """What is trained on, epoch after epoch: after each of them the run is validated and saved.

    Attributes:
        epochs: at most. warmup: batches of the linear rise to the learning rate. patience: see ``Training``.
    """

    def __init__(self, batches: Batches, epochs: int, *, warmup: int, patience: int = 0):
        self.batches, self.epochs, self.warmup, self.patience = batches, epochs, warmup, patience

    def begin(self, epoch: int) -> None:
        """Get the batches ready for an epoch."""
        self.batches.epoch = epoch

    def logits(self, network: Network, images: Tensor, positions: Tensor) -> Tensor:
        """Logits (B, C) of uint8 images and their items."""
        logits: Tensor = network(images)
        return logits

    def columns(self) -> dict[str, Any]:
        """More columns of the row that the history has of the epoch that was trained last."""
        return {}

    def state(self) -> dict[str, Any]:
        """Plain values that the checkpoint keeps: all of the course that its recipe reports or goes on with."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state that a checkpoint has kept; no epoch may follow it."""
