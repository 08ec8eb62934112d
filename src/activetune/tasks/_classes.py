"""Tasks whose heads give a logit per class of the whole image: what one class and several per image share.

Their linear heads are fitted by logistic regression, and their light heads on cached features whatever the view, as a
crop of an image keeps its answer.
Shape legend: B images of a batch, L labelled items, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.data.labels import Labels
from activetune.evaluation.metrics import Measured
from activetune.networks.backbones import ImageSettings
from activetune.networks.regression import Measure
from activetune.tasks._base import Task
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._scorer import Metric


class ClassTask(Task):
    """Base class of the tasks with classes of whole images."""

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """How good logits (N, C) are for targets (N,) or (N, C)."""

    @abstractmethod
    def targets(self, labels: Labels) -> IntArray:
        """(L,) class indices, or (L, C) ones where an image shows a class and zeros elsewhere."""

    @abstractmethod
    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """(B, C) float32 probabilities of the classes."""

    def target(self, labels: Labels, position: int) -> Any:
        """See :class:`Task`."""
        return torch.from_numpy(np.asarray(self.targets(labels)[position]))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: targets are class indices (B,) or (B, C), a unit is an image."""
        return Batch.of(samples, torch.stack([sample.target for sample in samples]))

    def metric(self, labels: Labels, settings: ImageSettings) -> Metric:
        """See :class:`Task`."""
        return ClassMetric(self.targets(labels), self.measure)


class ClassMetric(Metric):
    """What a function says of all logits and targets; items are put in their order first.

    Args:
        targets: (L,) or (L, C) of all items.
    """

    def __init__(self, targets: IntArray, measure: Measure) -> None:
        self.targets, self.measure = targets, measure
        self.logits: list[FloatArray] = []
        self.positions: list[IntArray] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        """See :class:`Metric`: logits (B, C)."""
        self.logits.append(outputs.float().cpu().numpy())
        self.positions.append(batch.positions.cpu().numpy())

    def state(self) -> tuple[list[FloatArray], list[IntArray]]:
        """See :class:`Metric`."""
        return self.logits, self.positions

    def measured(self, states: Sequence[Any]) -> Measured:
        """See :class:`Metric`; sums do not depend on who gathered the items."""
        logits, positions = (np.concatenate([part for state in states for part in state[place]]) for place in range(2))
        order = np.argsort(positions, kind="stable")
        return self.measure(logits[order], self.targets[positions[order]])
