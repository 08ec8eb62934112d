"""What a model answers to items whose answers are known, item by item: what the panels on its mistakes are made of.

Shape legend: N items, C classes of the model.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.run import Run
from activetune.data.identity import Contents
from activetune.data.kinds import Answer
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.evaluate import score_items
from activetune.evaluation.model import Model, Prediction

SHOWN = 12  # items whose masks, boxes or sentences are kept: the worst


@dataclass(frozen=True)
class Told:
    """An item's known answer and the model's, and how well they agree, in [0, 1]."""

    id: str
    truth: Answer
    answer: Answer
    agreement: float


@dataclass(frozen=True)
class Answered:
    """A model's answers.

    Attributes:
        scores: the content of ``scores.json``. classes: the model's, then those that only the answers have.
        ids: N items. agreement_N: how well the answers agree with the known ones, in [0, 1].
        truth_N, probs_NC: classes' positions and probabilities, of a task with one class per image; otherwise None.
        worst: the items on which model and answers agree least, the worst first, of the other tasks.
    """

    scores: Mapping[str, Any]
    classes: Sequence[str]
    ids: Sequence[str]
    agreement_N: FloatArray
    truth_N: IntArray | None = None
    probs_NC: npt.NDArray[np.float32] | None = None
    worst: Sequence[Told] = ()

    @property
    def predicted_N(self) -> IntArray:
        """The likeliest class of each item."""
        assert self.probs_NC is not None
        found: IntArray = self.probs_NC.argmax(axis=1)
        return found

    @property
    def sure_N(self) -> FloatArray:
        """Its probability."""
        assert self.probs_NC is not None
        found: FloatArray = self.probs_NC.max(axis=1)
        return found


def answered(model: Model, pool: Pool, given: Labels | Mapping[str, Any] | str | None, run: Run) -> Answered:
    """Run a model over the items of a pool with known answers.

    Raises:
        UsageError: no labels, ids that the pool does not have, no class in common.
    """
    labels = model.task.truth_of(given, pool, model.classes, quiet=run.quiet)
    labelled = pool.subset(labels.ids)
    if len(labels) and isinstance(labels.answers[0], str):
        return _of_classes(model, labelled, labels, run)
    return _of_others(model, labelled, labels, run)


def _of_classes(model: Model, labelled: Pool, labels: Labels, run: Run) -> Answered:
    """Of one class per image: the probabilities of all."""
    positions: list[int] = []
    probs: list[npt.NDArray[np.float32]] = []
    task: Any = model.task  # with classes of whole images, as their answers are

    def watch(batch: Prediction) -> None:
        positions.extend(batch.positions)
        probs.append(task.probabilities(batch.outputs).cpu().numpy())

    scores, _ = score_items(model, labelled, labels, run, Contents(labelled), watch)
    classes = [*model.classes, *sorted(set(labels.names) - set(model.classes))]
    number = {name: place for place, name in enumerate(classes)}
    truth_N = np.asarray([number[labels.names[row]] for row in positions], dtype=np.int64)
    probs_NC = np.concatenate(probs)
    right_N = (probs_NC.argmax(axis=1) == truth_N).astype(np.float64)
    ids = [labels.ids[row] for row in positions]
    return Answered(scores.as_dict(), classes, ids, right_N, truth_N, probs_NC)


def _of_others(model: Model, labelled: Pool, labels: Labels, run: Run) -> Answered:
    """Of masks, boxes, several names or sentences: how well each agrees, and the worst ones whole."""
    ids: list[str] = []
    agreement: list[float] = []
    worst: list[tuple[float, int, Told]] = []  # a heap, the best of them first

    def watch(batch: Prediction) -> None:
        settings = model.backbone.settings
        found = model.task.decode(batch.outputs, batch.sizes, settings, model.classes)
        for position, answer in zip(batch.positions, found, strict=True):
            kept, truth = model.task.settled(answer), labels.answers[position]
            value = model.task.agreement(truth, kept, labels.classes, model.classes)
            told = Told(labels.ids[position], truth, kept, value)
            ids.append(told.id)
            agreement.append(value)
            heapq.heappush(worst, (-value, -len(ids), told))
            if len(worst) > SHOWN:
                heapq.heappop(worst)

    scores, _ = score_items(model, labelled, labels, run, Contents(labelled), watch)
    ordered = [told for _, _, told in sorted(worst, key=lambda one: (-one[0], -one[1]))]
    return Answered(scores.as_dict(), list(labels.classes), ids, np.asarray(agreement), worst=ordered)
