"""The contract of every task: a frozen dataclass whose fields are the settings of its loss.

A task says how answers are read, moved with their image, put into batches, predicted by a head, scored and given back.
Nothing here supposes that an image has one class: targets are whatever a task makes of an answer (a class index, a
mask, boxes), outputs whatever its head gives.
Shape legend: B images of a batch, L labelled items.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.metrics import Measured
from activetune.networks.backbones import Backbone, ImageSettings, evaluation_transform
from activetune.networks.heads import Head
from activetune.networks.imbalance import Imbalance
from activetune.networks.loss import Loss
from activetune.tasks._augmentation import Crops, augmentation


class Sample(NamedTuple):
    """One image (3, H, W) uint8, its target, and the item's position among the labels."""

    image: Tensor
    target: Any
    position: int


@dataclass(frozen=True)
class Batch:
    """Images that go through the network together.

    Attributes:
        images: (B, 3, H, W) uint8. targets: as the task's loss and metric take them. positions: (B,) among the labels.
        weight: how many units the loss is a mean over (images, or pixels, or boxes); 0: the batch teaches nothing.
    """

    images: Tensor
    targets: Any
    positions: Tensor
    weight: float

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            targets=_moved(self.targets, device),
            positions=self.positions.to(device, non_blocking=True),
        )


class Metric(ABC):
    """Gathers outputs batch by batch; its state can be gathered from several processes.

    Attributes:
        primary: the name of the metric that models are chosen by, for instance ``top1``.
    """

    primary: ClassVar[str]

    @property
    def column(self) -> str:
        """The column of ``history.csv`` with what models are chosen by, for instance ``val_top1``."""
        return f"val_{self.primary}"

    @abstractmethod
    def update(self, outputs: Any, batch: Batch) -> None:
        """Take the outputs of a batch."""

    @abstractmethod
    def state(self) -> Any:
        """All that was taken, as plain values or arrays."""

    @abstractmethod
    def measured(self, states: Sequence[Any]) -> Measured:
        """The result of several states, in any order: each item is in one of them, once."""


@dataclass(frozen=True)
class Task(ABC):
    """Base class of the tasks; ``name`` is the file's, and that of the task's head in a network."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, path: str | os.PathLike[str], pool: Pool) -> Labels:
        """Answers to items of a pool from a file or folder.

        Raises:
            UsageError: unreadable, ids that the pool does not have, or no answer at all.
        """

    @abstractmethod
    def target(self, labels: Labels, position: int) -> Any:
        """An item's answer as :meth:`transform` takes it; ``tv_tensors`` where it has a place in the image."""

    def transform(
        self, image: Image.Image, target: Any, settings: ImageSettings, crops: Crops | None
    ) -> tuple[Tensor, Any]:
        """An RGB image as a uint8 tensor (3, H, W), and its target moved with it.

        Args:
            crops: random crops and flips, drawn from torch's global state; None: as images are evaluated. That cuts
                off borders, so a task whose answers have a place in the image overrides it.
        """
        if crops is None:
            return _as_evaluated(settings)(image), target
        found: tuple[Tensor, Any] = augmentation(settings, crops)(image, target)
        return found

    @abstractmethod
    def collate(self, samples: Sequence[Sample]) -> Batch:
        """A batch of samples; it says how many units the loss is a mean over."""

    @abstractmethod
    def head_kinds(self) -> list[str]:
        """The kinds of head that answer it, the default first."""

    @abstractmethod
    def head(self, backbone: Backbone, labels: Labels, kind: str = ...) -> Head:
        """A fresh head for a backbone, with outputs for these labels.

        Args:
            kind: one of :meth:`head_kinds`; the first by default.

        Raises:
            UsageError: unknown kind.
        """

    def prepared(self, labels: Labels, positions: IntArray, options: Imbalance, *, smoothing: float = 0.0) -> Task:
        """The task with the settings that its loss has in a training on some of the items.

        Args:
            positions: of the items trained on. options: remedies for classes of different size.
            smoothing: of labels, in [0, 1), where the task has classes.
        """
        return self

    def with_even_classes(self) -> Task:
        """The task with models chosen so that every class counts the same; itself where it has no classes."""
        return self

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """The loss of a batch's outputs; differentiable."""

    @abstractmethod
    def decode(self, outputs: Any, batch: Batch, classes: Sequence[str]) -> list[Any]:
        """B answers of the kind that :meth:`read` gives."""

    @abstractmethod
    def metric(self) -> Metric:
        """A new, empty metric."""

    def measure(self, outputs: FloatArray, targets: IntArray) -> Measured:
        """How good outputs are that were computed without images, from cached features, by :meth:`metric`.

        Args:
            outputs: as the head gives them, an item a row. targets: as :meth:`collate` gives them.
        """
        count = len(targets)
        metric = self.metric()
        batch = Batch(torch.empty(0), torch.from_numpy(targets), torch.arange(count), float(count))
        metric.update(torch.from_numpy(outputs), batch)
        return metric.measured([metric.state()])

    def strata(self, labels: Labels) -> IntArray:
        """(L,) the stratum of each item: splits keep the shares of the strata. All alike by default."""
        return np.zeros(len(labels), dtype=np.int64)


@lru_cache(maxsize=16)
def _as_evaluated(settings: ImageSettings) -> Any:
    return evaluation_transform(settings)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors in containers, on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _moved(part, device) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(part, device) for part in value)
    return value
