"""The contract of every task: a frozen dataclass whose fields are the settings of its loss.

A task says how answers are read, moved with their image, put into batches, predicted by a head, scored and given back.
Nothing here supposes that an image has one class: targets are whatever a task makes of an answer (a class index, a
mask, boxes), outputs whatever its head gives.
Shape legend: B images of a batch (``_batch.py``), L labelled items.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.progress import note
from activetune.data.annotations import annotations_of
from activetune.data.kinds import Answer
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.data.truth import refuse_foreign
from activetune.evaluation.dict_scores import DictScores
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.metrics import told
from activetune.networks.backbones import Backbone, ImageSettings, evaluation_transform
from activetune.networks.heads import Head, Room, heads, make_head, parse_head
from activetune.networks.imbalance import Imbalance
from activetune.networks.loss import Loss
from activetune.tasks._augmentation import Crops, augmentation
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._forms import Form
from activetune.tasks._scorer import Metric, Scored, Scorer


@dataclass(frozen=True)
class Task(ABC):
    """Base class of the tasks.

    Attributes:
        name: the file's, and that of the task's head in a network. room: that of its heads (``networks/heads``).
        placed: whether all of an image is shown and targets move with it: answers have a place there, or tell of all.
        smooths: whether its loss can smooth labels.
        alike: whether its targets are tensors of one shape, so that those of cached views can lie in one file.
        has_classes: whether a model gives probabilities of classes, which methods can select by.
        shown: the scores that a table shows, as they are told: shares in [0, 1], but for CIDEr-D, which ends at 10.
        agrees_by: what :meth:`agreement` measures, for a page.
        reading: how another program makes answers of a head's logits, or of what the head itself says how to read; None
            where no fixed network gives answers, so that the model can't be exported.
    """

    name: ClassVar[str]
    room: ClassVar[Room] = "classes"
    placed: ClassVar[bool] = False
    alike: ClassVar[bool] = False
    smooths: ClassVar[bool] = True
    has_classes: ClassVar[bool] = True
    shown: ClassVar[Mapping[str, str]] = {}
    agrees_by: ClassVar[str] = "1 where both are the same"
    reading: ClassVar[str | None] = None

    @property
    @abstractmethod
    def primary(self) -> str:
        """The name of the metric that models are chosen by, for instance ``top1``."""

    def labels_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        classes: Sequence[str] | None = None,
        *,
        quiet: bool = False,
    ) -> Labels:
        """Answers to items of a pool, however they are given; by default as ``data/annotations`` reads them.

        Args:
            given: labels, ``{id: answer}``, a file or folder of them, or None for the pool's own.
            classes: names of all classes, in order; None takes those that occur.

        Raises:
            UsageError: unreadable, ids that the pool does not have, or no answer at all.
        """
        return annotations_of(given, pool, self.name, classes, quiet=quiet)

    def truth_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        known: Sequence[str],
        *,
        quiet: bool = False,
    ) -> Labels:
        """The labels to score a model against, by default as :meth:`labels_of` reads them.

        Args:
            known: names of the model's classes.

        Raises:
            UsageError: as :meth:`labels_of`, or none of the model's classes is among those of the labels.
        """
        found = self.labels_of(given, pool, quiet=quiet)
        if self.has_classes:
            self._compare(found, known, quiet)
        return found

    def _compare(self, labels: Labels, known: Sequence[str], quiet: bool) -> None:
        """Tell, or refuse, what a model of these classes can't find."""
        named = all(hasattr(answer, "names") for answer in labels.answers)
        names = {name for answer in labels.answers for name in answer.names} if named else set(labels.classes)
        if names:
            refuse_foreign(names, known, "what shows them counts as not found", quiet)
        else:
            note(
                f"none of the {len(labels):,} labelled images shows any class, so {told(self.primary)} is 0 whatever "
                "the model finds",
                quiet,
            )

    def refusal(self, labels: Labels) -> str:
        """Why no model can be trained on these labels; empty where one can."""
        return ""

    def describe(self, labels: Labels, *, treated: bool) -> list[str]:
        """Sentences on labels that a user should know of before a training.

        Args:
            treated: whether the training makes up for classes of different size.
        """
        return []

    def figures(self, labels: Labels) -> dict[str, Any]:
        """What a model's manifest says of the labels that it was trained on."""
        return {}

    def lost(self, labels: Labels, kept: Labels) -> list[str]:
        """The classes that the kept items do not show any more and the task can't do without; by default it can."""
        return []

    @abstractmethod
    def target(self, labels: Labels, position: int) -> Any:
        """An item's answer as :meth:`transform` takes it."""

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

    def enough(self, settings: ImageSettings, crops: Crops | None) -> int:
        """Pixels per side that :meth:`transform` needs; 0: all, as answers count in the image's own pixels.

        Args:
            crops: as for :meth:`transform`; the smallest of them shows that many pixels more than it is resized to.
        """
        if self.placed:
            return 0
        return settings.enough if crops is None else math.ceil(settings.enough / math.sqrt(crops.min_crop))

    @abstractmethod
    def collate(self, samples: Sequence[Sample]) -> Batch:
        """A batch of samples; it says how many units the loss is a mean over."""

    def head_kinds(self) -> list[str]:
        """The kinds of head that answer it, the default first: the linear layer, where there is one."""
        return sorted(heads(self.room), key=lambda kind: kind != "linear")

    def head(self, backbone: Backbone, labels: Labels, kind: str = "") -> Head:
        """A fresh head for a backbone, with outputs for these labels.

        Args:
            kind: one of :meth:`head_kinds`, perhaps with options (``detr:queries=50``); the first by default.

        Raises:
            UsageError: unknown kind or option.
        """
        kind, size = kind or self.head_kinds()[0], backbone.size_of(self.head_class(kind).reads)
        return make_head(kind, size, self.outputs(labels), self.room, **self.head_options(labels))

    def head_class(self, kind: str = "") -> type[Head]:
        """The class of a kind of head, perhaps with options, as :meth:`head` takes it.

        Raises:
            UsageError: unknown kind or option.
        """
        return parse_head(kind or self.head_kinds()[0], self.room)[0]

    def for_head(self, head: type[Head]) -> Task:
        """The task with targets as a class of heads learns from them; by default the same for all."""
        return self

    def outputs(self, labels: Labels) -> int:
        """How many outputs a head has for these labels; one per class by default."""
        return len(labels.classes)

    def head_options(self, labels: Labels) -> dict[str, Any]:
        """What a head's constructor is told of these labels; nothing by default."""
        return {}

    def scores_of(self, content: Mapping[str, Any]) -> Scored:
        """The scores that a ``scores.json`` holds.

        Raises:
            KeyError: one is missing.
        """
        for name in (self.primary, "n", *self.shown):
            content[name]
        return DictScores(content, self.shown)

    def prepared(
        self,
        labels: Labels,
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Task:
        """The task with the settings that its loss has in a training on some of the items.

        Args:
            positions: of the items trained on. options: remedies for classes of different size.
            smoothing: of labels, in [0, 1), where the task has classes.
            weights_L: how often each of the positions is drawn, see :meth:`Imbalance.weights`; None: all the same.
        """
        return self

    def with_even_classes(self) -> Task:
        """The task with models chosen so that every class counts the same; itself where it has no classes."""
        return self

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """The loss of a batch's outputs; differentiable."""

    @abstractmethod
    def decode(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Any]:
        """B answers of the kind that :meth:`labels_of` gives.

        Args:
            sizes: height and width of each image. settings: how images were prepared.
        """

    def answers(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Any]:
        """B answers as they are written, by default as :meth:`decode` gives them."""
        return self.decode(outputs, sizes, settings, classes)

    def settled(self, answer: Any) -> Answer:
        """One of the answers of :meth:`decode` as people give it: of boxes those that the model is sure of."""
        found: Answer = answer
        return found

    def agreement(self, truth: Any, answer: Any, classes: Sequence[str], known: Sequence[str]) -> float:
        """How well a settled answer agrees with the known one, in [0, 1]: items are shown by it, the lowest first.

        Args:
            classes: names of the known answers' classes. known: of the model's.
        """
        return float(truth == answer)

    def doubt(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> Doubt:
        """How unsure a model is of B images, for methods that select by it; where :attr:`has_classes`."""
        raise NotImplementedError

    @abstractmethod
    def form(self, classes: Sequence[str]) -> Form:
        """How answers are written.

        Args:
            classes: names of the model's classes.
        """

    @abstractmethod
    def metric(self, labels: Labels, settings: ImageSettings) -> Metric:
        """A new, empty metric of answers to these labels, by which models are chosen.

        Args:
            settings: how images are prepared.
        """

    @abstractmethod
    def scorer(self, labels: Labels, settings: ImageSettings, known: Sequence[str]) -> Scorer:
        """A new, empty scorer of a finished model.

        Args:
            known: names of the model's classes, in its order; the labels may have others.
        """

    @property
    def column(self) -> str:
        """The column of ``history.csv`` with what models are chosen by, for instance ``val_top1``."""
        return f"val_{self.primary}"

    def strata(self, labels: Labels) -> IntArray:
        """(L,) the stratum of each item: splits keep the shares of the strata. All alike by default."""
        return np.zeros(len(labels), dtype=np.int64)


@lru_cache(maxsize=16)
def _as_evaluated(settings: ImageSettings) -> Any:
    return evaluation_transform(settings)
