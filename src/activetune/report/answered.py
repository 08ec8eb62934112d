"""What a model answers to items whose answers are known, item by item: what the panels on its mistakes are made of.

Shape legend: N items, C classes of the model.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.run import Run
from activetune.data.identity import Contents
from activetune.data.kinds import Answer, Boxes, Detections, Mask, Names, Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.evaluate import score_items
from activetune.evaluation.model import Model, Prediction
from activetune.evaluation.pixels import PixelCounts

SHOWN = 12  # items whose masks, boxes or sentences are kept: the worst
SURE = 0.3  # of a box that counts as an answer
OVERLAP = 0.5  # of a box that is right


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
            kept = _sure(answer)
            value = agreement_of(labels.answers[position], kept, labels.classes, model.classes)
            told = Told(labels.ids[position], labels.answers[position], kept, value)
            ids.append(told.id)
            agreement.append(value)
            heapq.heappush(worst, (-value, -len(ids), told))
            if len(worst) > SHOWN:
                heapq.heappop(worst)

    scores, _ = score_items(model, labelled, labels, run, Contents(labelled), watch)
    ordered = [told for _, _, told in sorted(worst, key=lambda one: (-one[0], -one[1]))]
    return Answered(scores.as_dict(), list(labels.classes), ids, np.asarray(agreement), worst=ordered)


def _sure(answer: Any) -> Answer:
    """An answer of the kind that people give: of detections the boxes that the model is sure of."""
    if isinstance(answer, Detections):
        kept = answer.scores_K >= SURE
        names = [name for name, sure in zip(answer.boxes.names, kept, strict=True) if sure]
        return Boxes.of(answer.boxes.xyxy_K4[kept].tolist(), names)
    if isinstance(answer, tuple | list):
        return Names.of([str(name) for name in answer])
    found: Answer = answer
    return found


# Agreement --------------------------------------------------------------------------------------------------------


def agreement_of(truth: Answer, answer: Answer, classes: Sequence[str], known: Sequence[str]) -> float:
    """How well an answer agrees with the known one, in [0, 1]: 1 where they are the same.

    Masks: mean IoU over the classes that either shows. Boxes: right boxes of both, at an IoU of 0.5 and of the same
    class, in all boxes of both (F1). Names: those in common in all of both. Sentences: words in common likewise, the
    best of the known ones.

    Args:
        classes: names of the known answers' classes. known: of the model's.
    """
    if isinstance(truth, Mask) and isinstance(answer, Mask):
        return _masks(truth, answer, classes, known)
    if isinstance(truth, Boxes) and isinstance(answer, Boxes):
        return _boxes(truth, answer)
    if isinstance(truth, Names) and isinstance(answer, Names):
        either = set(truth.names) | set(answer.names)
        return len(set(truth.names) & set(answer.names)) / len(either) if either else 1.0
    if isinstance(truth, Sentences) and isinstance(answer, Sentences):
        return max(_words(text, answer.texts[0]) for text in truth.texts)
    return float(truth == answer)


def _masks(truth: Mask, answer: Mask, classes: Sequence[str], known: Sequence[str]) -> float:
    names = [*known, *sorted(set(classes) - set(known))]
    place = np.asarray([names.index(name) for name in classes] or [0], dtype=np.int64)
    pixels_HW = truth.pixels()
    counts = PixelCounts(len(names), len(known))
    counts.add(np.where(pixels_HW >= 0, place[np.clip(pixels_HW, 0, None)], -1), answer.pixels())
    found = counts.ratios.miou
    return float(found) if np.isfinite(found) else 1.0


def _boxes(truth: Boxes, answer: Boxes) -> float:
    kept = [row for row in range(len(truth)) if not truth.crowd_K[row]]
    if not kept and not len(answer):
        return 1.0
    overlap = _overlaps(answer.xyxy_K4, truth.xyxy_K4[kept])
    free, right = set(range(len(kept))), 0
    for row in range(len(answer)):
        fits = [
            column
            for column in free
            if overlap[row, column] >= OVERLAP and truth.names[kept[column]] == answer.names[row]
        ]
        if fits:
            free.discard(max(fits, key=lambda column: overlap[row, column]))
            right += 1
    return 2 * right / (len(kept) + len(answer))


def _overlaps(first_A4: npt.NDArray[np.float32], second_B4: npt.NDArray[np.float32]) -> FloatArray:
    """Intersection over union of each of A boxes with each of B, (A, B)."""
    a, b = first_A4[:, None].astype(np.float64), second_B4[None].astype(np.float64)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    shared = sides.prod(axis=-1)
    whole = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    found: FloatArray = shared / np.where(whole > 0, whole, 1)
    return found


def _words(truth: str, answer: str) -> float:
    first, second = (Counter(re.findall(r"\w+", text.lower())) for text in (truth, answer))
    total = sum((first | second).values())
    return sum((first & second).values()) / total if total else 1.0
