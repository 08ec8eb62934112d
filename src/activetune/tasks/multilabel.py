"""Several classes per image, or none: a yes or no per class, chosen by mean average precision (mAP).

Shape legend: B images of a batch, L labelled items, N scored images, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import some
from activetune.data.kinds import Names
from activetune.data.labels import Labels
from activetune.data.presence import Presence, rarest
from activetune.evaluation.agreement import agreement_of_names
from activetune.evaluation.dict_scores import DictScores
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.multilabel import NAMED, PRIMARY, measure_map, multilabel_scores
from activetune.networks.backbones import ImageSettings
from activetune.networks.imbalance import Imbalance, binary_cross_entropy
from activetune.networks.loss import Loss
from activetune.networks.regression import Measure
from activetune.tasks._batch import Batch
from activetune.tasks._classes import ClassTask
from activetune.tasks._forms import Form, NameTable
from activetune.tasks._scorer import Scorer


@dataclass(frozen=True)
class Multilabel(ClassTask):
    """Several classes per image, or none.

    Attributes:
        smoothing: of the labels, in [0, 1). added: C numbers that are added to the logits of the loss, or none: the
            classes' log-odds times ``logit_adjustment``.
    """

    name: ClassVar[str] = "multilabel"
    reading: ClassVar[str] = (
        f"logits (batch, classes); the sigmoid of each is the probability that the image shows the class, those of "
        f"{NAMED} and more are the answer"
    )
    agrees_by: ClassVar[str] = "classes in common, of those of either"
    shown: ClassVar[Mapping[str, str]] = {
        "map": "mAP",
        "f1_micro": "F1, micro",
        "f1_macro": "F1, macro",
        "subset_accuracy": "all classes right",
    }

    smoothing: float = 0.0
    added: tuple[float, ...] = ()

    def refusal(self, labels: Labels) -> str:
        """See :class:`Task`: some class must be shown by some images, and not by all."""
        targets_LC = self.targets(labels)
        if targets_LC.size and (targets_LC.any(axis=0) & ~targets_LC.all(axis=0)).any():
            return ""
        return f"no class tells the {len(labels):,} labelled images apart; label images that show it, and others"

    def targets(self, labels: Labels[Names]) -> IntArray:
        """See :class:`ClassTask`: (L, C)."""
        return labels.derived("shown", lambda: Presence.of(labels, labels.ids).shown_NC.astype(np.int64))

    def prepared(
        self,
        labels: Labels,
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Multilabel:
        """See :class:`Task`: with the classes' odds among the items trained on."""
        added = options.added_to_logits(self.targets(labels)[positions], len(labels.classes), weights_L)
        return replace(self, smoothing=smoothing, added=tuple(float(value) for value in added))

    def loss(self, outputs: Tensor, batch: Batch) -> Loss:
        """See :class:`Task`: binary cross-entropy of logits (B, C), its mean over the classes."""
        logits_BC = outputs.float()
        added_C = torch.tensor(self.added or [0.0] * logits_BC.shape[1], device=logits_BC.device)
        found = binary_cross_entropy(logits_BC, batch.targets.float(), added_C, self.smoothing, reduction="sum")
        return Loss(found / logits_BC.shape[1], batch.weight)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """See :class:`ClassTask`: each class for itself."""
        return torch.sigmoid(logits_BC.float())

    def decode(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Names]:
        """See :class:`Task`: the classes that are more likely shown than not."""
        return [Names.of([name for name, _ in found]) for found in self.answers(outputs, sizes, settings, classes)]

    def answers(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[list[tuple[str, float]]]:
        """See :class:`Task`: the same with their probabilities, the most likely first."""
        found = []
        for row in self.probabilities(outputs).detach().cpu().numpy():
            named = [column for column in np.argsort(-row, kind="stable") if row[column] >= NAMED]
            found.append([(classes[column], float(row[column])) for column in named])
        return found

    def describe(self, labels: Labels, *, treated: bool) -> list[str]:
        """See :class:`Task`: names that look like several names in one."""
        known = set(labels.classes)
        joined = [
            name for name in labels.classes if "," in name and any(part.strip() in known for part in name.split(","))
        ]
        if not joined:
            return []
        return [
            f"{len(joined):,} classes hold a comma and the name of another class: {some(joined)}; "
            "where these are several names, put ; or | between them"
        ]

    def strata(self, labels: Labels[Names]) -> IntArray:
        """See :class:`Task`: the rarest class that an image shows, or one of their own for images without any."""
        return rarest(self.targets(labels))

    def doubt(
        self, outputs: Tensor, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> Doubt:
        """See :class:`Task`: the probabilities of the classes tell their presence."""
        return Doubt.of_presence(list(self.probabilities(outputs).detach().cpu().numpy()))

    def agreement(self, truth: Names, answer: Names, classes: Sequence[str], known: Sequence[str]) -> float:
        """See :class:`Task`."""
        return agreement_of_names(truth, answer)

    def form(self, classes: Sequence[str]) -> Form:
        """See :class:`Task`."""
        return NameTable()

    @property
    def primary(self) -> str:
        """See :class:`Task`."""
        return PRIMARY

    @property
    def measure(self) -> Measure:
        """See :class:`ClassTask`."""
        return measure_map

    def scorer(self, labels: Labels, settings: ImageSettings, known: Sequence[str]) -> Scorer:
        """See :class:`Task`."""
        return MultilabelScorer(labels, known, self)


class MultilabelScorer:
    """See :class:`Scorer`; a class that the model does not know has probability 0."""

    def __init__(self, labels: Labels[Names], known: Sequence[str], task: Multilabel) -> None:
        foreign = [name for name in labels.classes if name not in set(known)]
        self.classes = [*known, *foreign]
        self.truth_LC = task.targets(replace(labels, classes=self.classes))
        self.task, self.foreign = task, len(foreign)
        self.probs: list[FloatArray] = []
        self.rows: list[int] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        """See :class:`Scorer`: logits (B, C)."""
        self.probs.append(np.pad(self.task.probabilities(outputs).detach().cpu().numpy(), ((0, 0), (0, self.foreign))))
        self.rows += batch.positions.tolist()

    def scores(self) -> DictScores:
        """See :class:`Scorer`."""
        found = multilabel_scores(np.concatenate(self.probs), self.truth_LC[self.rows], self.classes)
        return DictScores(found, self.task.shown)
