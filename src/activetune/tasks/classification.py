"""One class per image: cross-entropy, chosen by accuracy (top-1), or by balanced accuracy.

Shape legend: B images of a batch, N scored images, C classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray, IntArray
from activetune.data.label_notes import describe_labels
from activetune.data.labels import Labels, labels_of, with_classes
from activetune.data.pool import Pool
from activetune.data.presence import lost_classes
from activetune.data.truth import truth_of
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.metrics import measure_balanced, measure_top1
from activetune.evaluation.scores import ScoreKeeper, Scores
from activetune.networks.backbones import ImageSettings
from activetune.networks.imbalance import Imbalance, cross_entropy
from activetune.networks.loss import Loss
from activetune.networks.regression import Measure
from activetune.tasks._batch import Batch
from activetune.tasks._classes import ClassTask
from activetune.tasks._forms import Form, Table
from activetune.tasks._scorer import Scorer


@dataclass(frozen=True)
class Classification(ClassTask):
    """One class per image.

    Attributes:
        smoothing: of the labels, in [0, 1). added: C numbers that are added to the logits of the loss, or none; see
            ``logit_adjustment``.
        even: whether every class counts the same where models are chosen: by balanced accuracy instead of top-1.
    """

    name: ClassVar[str] = "classification"
    reading: ClassVar[str] = "logits (batch, classes); their softmax gives the probabilities, the largest is the answer"

    smoothing: float = 0.0
    added: tuple[float, ...] = ()
    even: bool = False

    def labels_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        classes: Sequence[str] | None = None,
        *,
        quiet: bool = False,
    ) -> Labels[str]:
        """See :class:`Task`: a file is a table with the columns ``id`` and ``label``."""
        found = labels_of(given, pool, quiet=quiet)
        return found if classes is None else with_classes(found, classes)

    def truth_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        known: Sequence[str],
        *,
        quiet: bool = False,
    ) -> Labels[str]:
        """See :class:`Task`."""
        return truth_of(given, pool, known, quiet)

    def refusal(self, labels: Labels) -> str:
        """See :class:`Task`: there must be two classes at least."""
        alike = len(set(labels.names)) < 2
        if not alike:
            return ""
        given = f"all {len(labels):,} labels are" if len(labels) > 1 else "the only label is"
        return f"{given} {labels.names[0]!r}; at least two classes are needed: label an item of another one"

    def describe(self, labels: Labels, *, treated: bool) -> list[str]:
        """See :class:`Task`."""
        return describe_labels(labels, treated=treated)

    def figures(self, labels: Labels) -> dict[str, Any]:
        """See :class:`Task`."""
        return {"classes_without_label": len(set(labels.classes) - set(labels.names))}

    def lost(self, labels: Labels, kept: Labels) -> list[str]:
        """See :class:`Task`."""
        return lost_classes(labels, kept)

    def targets(self, labels: Labels) -> IntArray:
        """See :class:`ClassTask`: (L,)."""
        return labels.indices

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """See :class:`ClassTask`: they add up to 1."""
        return torch.softmax(logits_BC.float(), dim=1)

    def prepared(
        self,
        labels: Labels,
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Classification:
        """See :class:`Task`: with the shares of the classes among the items trained on."""
        added = options.added_to_logits(labels.indices[positions], len(labels.classes), weights_L)
        return replace(self, smoothing=smoothing, added=tuple(float(value) for value in added))

    def with_even_classes(self) -> Classification:
        """See :class:`Task`."""
        return replace(self, even=True)

    def loss(self, outputs: Tensor, batch: Batch) -> Loss:
        """See :class:`Task`: cross-entropy of logits (B, C); targets are class indices, or probabilities (B, C)."""
        return Loss(self.cross_entropy(outputs, batch.targets, reduction="sum"), batch.weight)

    def cross_entropy(self, outputs: Tensor, targets: Tensor, *, reduction: str) -> Tensor:
        """That of logits (B, C), as the settings ask for it.

        Args:
            targets: class indices (B,), or probabilities (B, C). reduction: ``sum``, or ``none``: (B,).
        """
        logits_BC = outputs.float()
        classes = logits_BC.shape[1]
        added_C = torch.tensor(self.added or (0.0,) * classes, device=logits_BC.device)
        answers_BC = targets if targets.ndim == 2 else functional.one_hot(targets, classes).float()
        return cross_entropy(logits_BC, answers_BC, added_C, self.smoothing, reduction=reduction)

    def decode(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[str]:
        """See :class:`Task`: the name of the class with the highest logit."""
        return [classes[index] for index in outputs.argmax(1).tolist()]

    def answers(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[tuple[str, float]]:
        """See :class:`Task`: each image's most probable class, and its probability."""
        highest, best = self.probabilities(outputs).detach().cpu().max(dim=1)
        return [(classes[index], prob) for index, prob in zip(best.tolist(), highest.tolist(), strict=True)]

    def doubt(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> Doubt:
        """See :class:`Task`: the probabilities themselves, and their entropy."""
        return Doubt.of_probabilities(self.probabilities(outputs).detach().cpu().numpy())

    def form(self, classes: Sequence[str]) -> Form:
        """See :class:`Task`."""
        return Table()

    @property
    def primary(self) -> str:
        """See :class:`Task`."""
        return "balanced_accuracy" if self.even else "top1"

    @property
    def measure(self) -> Measure:
        """How good logits (N, C) are for class indices (N,)."""
        return measure_balanced if self.even else measure_top1

    def scorer(self, labels: Labels, settings: ImageSettings, known: Sequence[str]) -> Scorer:
        """See :class:`Task`."""
        return ClassScorer(labels, known)

    def scores_of(self, content: Mapping[str, Any]) -> Scores:
        """See :class:`Task`."""
        return Scores.from_dict(content)

    def strata(self, labels: Labels) -> IntArray:
        """See :class:`Task`: the classes."""
        return labels.indices


class ClassScorer:
    """See :class:`Scorer`: keeps four numbers per item, never all logits."""

    def __init__(self, labels: Labels, known: Sequence[str]) -> None:
        self.names, self.keeper = labels.names, ScoreKeeper(known, labels.names)

    def update(self, outputs: Tensor, batch: Batch) -> None:
        """See :class:`Scorer`: logits (B, C)."""
        probs_BC = torch.softmax(outputs.float(), dim=1).cpu().numpy()
        self.keeper.add(probs_BC, [self.names[position] for position in batch.positions.tolist()])

    def scores(self) -> Scores:
        """See :class:`Scorer`."""
        return self.keeper.scores()
