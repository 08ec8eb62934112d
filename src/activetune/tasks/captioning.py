"""A sentence about an image: the loss of the words, chosen by CIDEr-D of generated sentences.

Images are prepared as those whose answers have a place (``_canvas.py``): nothing is cut off where a model is used. They
are not flipped in training, as sentences speak of left and right.
Shape legend: B images of a batch, S sentences of an image, T words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.data.kinds import Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.agreement import agreement_of_sentences
from activetune.evaluation.dict_scores import DictScores
from activetune.evaluation.metrics import Measured
from activetune.evaluation.sentences import SentenceScorer
from activetune.networks.backbones import ImageSettings
from activetune.networks.heads import Room, heads
from activetune.networks.imbalance import Imbalance
from activetune.networks.loss import Loss
from activetune.networks.vocabulary import PAD, Vocabulary
from activetune.tasks._augmentation import Crops
from activetune.tasks._base import Task
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._canvas import fitted, varied
from activetune.tasks._forms import Form, SentenceTable
from activetune.tasks._scorer import Metric

PRIMARY = "cider"
HIGHEST = 10.0  # CIDEr-D of sentences that are all as they should be


@dataclass(frozen=True)
class Captioning(Task):
    """A sentence about an image."""

    name: ClassVar[str] = "captioning"
    room: ClassVar[Room] = "sentences"
    placed: ClassVar[bool] = True
    smooths: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    agrees_by: ClassVar[str] = "words in common, of those of either"
    shown: ClassVar[Mapping[str, str]] = {"cider": "CIDEr-D", "bleu4": "BLEU-4"}

    def labels_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        classes: Sequence[str] | None = None,
        *,
        quiet: bool = False,
    ) -> Labels[Sentences]:
        """See :class:`Task`: COCO captions, or a table with the columns ``id`` and ``caption``."""
        if classes is not None:
            raise UsageError("captions have no classes; leave --classes out")
        return super().labels_of(given, pool, quiet=quiet)

    def head_kinds(self) -> list[str]:
        """See :class:`Task`: the recurrent network first."""
        return sorted(heads(self.room))

    def outputs(self, labels: Labels[Sentences]) -> int:
        """See :class:`Task`: one per word of the sentences' vocabulary."""
        return len(_vocabulary(labels))

    def head_options(self, labels: Labels[Sentences]) -> dict[str, Any]:
        """See :class:`Task`: its vocabulary."""
        return {"words": _vocabulary(labels).words}

    def target(self, labels: Labels[Sentences], position: int) -> Tensor:
        """See :class:`Task`: the numbers of the sentences' words (S, T)."""
        return _vocabulary(labels).tokens(labels.answers[position].texts)

    def transform(
        self, image: Image.Image, target: Any, settings: ImageSettings, crops: Crops | None
    ) -> tuple[Tensor, Any]:
        """See :class:`Task`: a sentence stays as it is."""
        if crops is None:
            return fitted(image, None, settings)[0], target
        return varied(image, None, settings, replace(crops, flip=0.0))[0], target

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: numbers (B, S, T) filled up with ``PAD``; a unit is a word or an end."""
        rows = [sample.target for sample in samples]
        size = tuple(max(row.shape[side] for row in rows) for side in range(2))
        tokens = torch.full((len(rows), *size), PAD)
        for place, row in enumerate(rows):
            tokens[place, : row.shape[0], : row.shape[1]] = row
        return replace(Batch.of(samples, tokens), weight=float((tokens[..., 1:] != PAD).sum()))

    def prepared(
        self,
        labels: Labels,
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Captioning:
        """See :class:`Task`.

        Raises:
            UsageError: a remedy for classes of different size, which captions have none of.
        """
        if any(options.remedies.values()):
            raise UsageError(
                "captions have no classes, so balance and logit_adjustment can't even them out; leave both out"
            )
        return self

    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """See :class:`Task`: that of the head."""
        found: Loss = outputs.loss(batch.targets)
        return found

    def decode(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Sentences]:
        """See :class:`Task`: a generated sentence per image."""
        return [Sentences((text,)) for text in outputs.decode()]

    def agreement(self, truth: Sentences, answer: Sentences, classes: Sequence[str], known: Sequence[str]) -> float:
        """See :class:`Task`."""
        return agreement_of_sentences(truth, answer)

    def form(self, classes: Sequence[str]) -> Form:
        """See :class:`Task`."""
        return SentenceTable()

    @property
    def primary(self) -> str:
        """See :class:`Task`."""
        return PRIMARY

    def metric(self, labels: Labels[Sentences], settings: ImageSettings) -> Metric:
        """See :class:`Task`."""
        return SentenceMetric(labels)

    def scorer(self, labels: Labels[Sentences], settings: ImageSettings, known: Sequence[str]) -> SentenceMetric:
        """See :class:`Task`."""
        return SentenceMetric(labels)


class SentenceMetric(Metric):
    """CIDEr-D of generated sentences; beside it BLEU-4."""

    def __init__(self, labels: Labels[Sentences]):
        self.labels, self.sentences = labels, SentenceScorer()

    def update(self, outputs: Any, batch: Batch) -> None:
        """See :class:`Metric`."""
        for position, text in zip(batch.positions.tolist(), outputs.decode(), strict=True):
            self.sentences.add(self.labels.ids[position], self.labels.answers[position], text)

    def state(self) -> Any:
        """See :class:`Metric`."""
        return self.sentences.state()

    def measured(self, states: Sequence[Any]) -> Measured:
        """See :class:`Metric`; what is missing of the highest CIDEr-D stands for the loss."""
        found = SentenceScorer.of(states).scores()
        value = float(found["cider"])
        beside = {"bleu4": found["bleu4"]}
        return Measured(value, HIGHEST - value, found["n"], smoothed=value, beside=beside)

    def scores(self) -> DictScores:
        """See :class:`Scorer`."""
        return DictScores({"primary": PRIMARY, **self.sentences.scores()}, Captioning.shown)


def _vocabulary(labels: Labels[Sentences]) -> Vocabulary:
    """The words of all sentences."""
    return labels.derived("words", lambda: Vocabulary.of(text for answer in labels.answers for text in answer.texts))
