"""One class per image: cross-entropy, chosen by accuracy (top-1), or by balanced accuracy.

Shape legend: B images of a batch, N scored images, C classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray, IntArray
from activetune.data.labels import Labels, read_labels
from activetune.data.pool import Pool
from activetune.evaluation.metrics import Measured, measure_balanced, measure_top1
from activetune.networks.backbones import Backbone
from activetune.networks.heads import Head, heads, make_head
from activetune.networks.imbalance import Imbalance, cross_entropy
from activetune.tasks._base import Batch, Loss, Metric, Sample, Task


@dataclass(frozen=True)
class Classification(Task):
    """One class per image.

    Attributes:
        smoothing: of the labels, in [0, 1). added: C numbers that are added to the logits of the loss, or none; see
            ``logit_adjustment``.
        even: whether every class counts the same where models are chosen: by balanced accuracy instead of top-1.
    """

    name: ClassVar[str] = "classification"

    smoothing: float = 0.0
    added: tuple[float, ...] = ()
    even: bool = False

    def read(self, path: str | os.PathLike[str], pool: Pool) -> Labels:
        """See :class:`Task`: a table with the columns ``id`` and ``label``."""
        return read_labels(path, pool)

    def target(self, labels: Labels, position: int) -> int:
        """See :class:`Task`: the class index."""
        return int(labels.indices[position])

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: targets are class indices (B,), a unit is an image."""
        return Batch(
            torch.stack([sample.image for sample in samples]),
            torch.tensor([sample.target for sample in samples]),
            torch.tensor([sample.position for sample in samples]),
            float(len(samples)),
        )

    def head_kinds(self) -> list[str]:
        """See :class:`Task`: the linear layer first."""
        return ["linear", *(kind for kind in heads() if kind != "linear")]

    def head(self, backbone: Backbone, labels: Labels, kind: str = "linear") -> Head:
        """See :class:`Task`: an output per class, starting at zero."""
        reads_tokens = kind in heads() and heads()[kind].reads_tokens
        return make_head(kind, backbone.token_size if reads_tokens else backbone.num_features, len(labels.classes))

    def prepared(
        self, labels: Labels, positions: IntArray, options: Imbalance, *, smoothing: float = 0.0
    ) -> Classification:
        """See :class:`Task`: with the shares of the classes among the items trained on."""
        added = options.added_to_logits(labels.indices[positions], len(labels.classes))
        return replace(self, smoothing=smoothing, added=tuple(float(value) for value in added))

    def with_even_classes(self) -> Classification:
        """See :class:`Task`."""
        return replace(self, even=True)

    def loss(self, outputs: Tensor, batch: Batch) -> Loss:
        """See :class:`Task`: cross-entropy of logits (B, C)."""
        logits_BC = outputs.float()
        classes = logits_BC.shape[1]
        added_C = torch.tensor(self.added or (0.0,) * classes, device=logits_BC.device)
        answers_BC = functional.one_hot(batch.targets, classes).float()
        found = cross_entropy(logits_BC, answers_BC, added_C, self.smoothing, reduction="sum")
        return Loss(found, batch.weight)

    def decode(self, outputs: Tensor, batch: Batch, classes: Sequence[str]) -> list[str]:
        """See :class:`Task`: the name of the class with the highest logit."""
        return [classes[index] for index in outputs.argmax(1).tolist()]

    def metric(self) -> Metric:
        """See :class:`Task`."""
        return BalancedAccuracy() if self.even else Top1()

    def strata(self, labels: Labels) -> IntArray:
        """See :class:`Task`: the classes."""
        return labels.indices


class Top1(Metric):
    """Share of images whose highest logit is that of their class; beside it cross-entropy and smoothed accuracy."""

    primary: ClassVar[str] = "top1"
    measure = staticmethod(measure_top1)

    def __init__(self) -> None:
        self.logits: list[FloatArray] = []
        self.targets: list[IntArray] = []
        self.positions: list[IntArray] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        """See :class:`Metric`: logits (B, C)."""
        self.logits.append(outputs.float().cpu().numpy())
        self.targets.append(batch.targets.cpu().numpy())
        self.positions.append(batch.positions.cpu().numpy())

    def state(self) -> tuple[list[FloatArray], list[IntArray], list[IntArray]]:
        """See :class:`Metric`."""
        return self.logits, self.targets, self.positions

    def measured(self, states: Sequence[Any]) -> Measured:
        """See :class:`Metric`; items are put in their order first, so that sums do not depend on who gathered them."""
        logits, targets, positions = (
            np.concatenate([part for state in states for part in state[place]]) for place in range(3)
        )
        order = np.argsort(positions, kind="stable")
        return self.measure(logits[order], targets[order])


class BalancedAccuracy(Top1):
    """Mean over the classes of the share of their images that are right; cross-entropy and the others likewise."""

    primary: ClassVar[str] = "balanced_accuracy"
    measure = staticmethod(measure_balanced)
