"""Mean average precision of boxes, as COCO defines it.

For each class and each overlap t of 0.50, 0.55, …, 0.95, the detections of all images, the surest first, are given to
the objects that they overlap by at least t (intersection over union), each object once. Precision, made monotone, is
read at the recalls 0, 0.01, …, 1 and averaged; ``map`` is the mean over t and over the classes. An image counts with
its 100 surest boxes of a class. Detections that lie in a crowd (intersection over their own area) are neither right
nor wrong. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its evaluation code.

faster-coco-eval computes it: Apache-2.0, a new release every few months, needs numpy alone, and reads an array of boxes
as they are here. The tests compare with pycocotools to the last digit. torchmetrics' ``MeanAveragePrecision`` wraps the
same package and needs torchvision's operators.

Deviations: classes are those of the model and those that only the answers have, whose objects nothing can find. A set
without any object has a mean of 0, not -1.
Shape legend: N images, K boxes, Y classes, R recalls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import MissingExtra, UsageError
from activetune.data.kinds import Boxes, Detections

DETECTIONS = 100  # of an image and a class, the surest ones


class BoxState(NamedTuple):
    """All that a scorer was given, as plain values: what one process hands to another.

    Attributes:
        items: N ids. classes: Y names. truth: rows ``image, class, crowd, x_left, y_top, x_right, y_bottom``; found:
            rows ``image, class, score, x_left, …``; image and class as positions in the two lists.
    """

    items: list[str]
    classes: list[str]
    truth: FloatArray
    found: FloatArray


class BoxScorer:
    """Gathers objects and detections image by image; states of several scorers are scored together.

    >>> scorer = BoxScorer(["cat", "dog"])
    >>> scorer.add("a.jpg", Boxes.of([[0, 0, 10, 10]], ["cat"]), Detections.of([[0, 0, 10, 9]], ["cat"], [0.8]))
    >>> scorer.scores()["map50"], scorer.scores()["map75"]
    (1.0, 1.0)
    """

    def __init__(self, classes: Sequence[str]):
        self._places: dict[str, int] = {name: place for place, name in enumerate(classes)}
        self._items: dict[str, int] = {}
        self._truth: list[FloatArray] = []
        self._found: list[FloatArray] = []

    def add(self, item: str, truth: Boxes, found: Detections) -> None:
        """Take an image: its objects, and what a model found.

        Raises:
            UsageError: the item was taken before, or a number is not finite.
        """
        if item in self._items:
            raise UsageError(f"{item!r} was scored before; give each image once")
        image = self._items[item] = len(self._items)
        self._truth.append(self._rows(item, image, truth, truth.crowd_K))
        self._found.append(self._rows(item, image, found.boxes, found.scores_K))

    def _rows(self, item: str, image: int, boxes: Boxes, own_K: npt.NDArray[Any]) -> FloatArray:
        classes_K = [self._places.setdefault(name, len(self._places)) for name in boxes.names]
        rows = np.empty((len(boxes), 7))
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:] = image, classes_K, own_K, boxes.xyxy_K4
        if not np.isfinite(rows).all():
            raise UsageError(f"a box or score of {item!r} is not a finite number; leave it out")
        return rows

    def state(self) -> BoxState:
        """All that was taken, as plain values."""
        empty = np.empty((0, 7))
        return BoxState(
            list(self._items), list(self._places), np.vstack([empty, *self._truth]), np.vstack([empty, *self._found])
        )

    @classmethod
    def of(cls, states: Sequence[BoxState]) -> BoxScorer:
        """A scorer that was given what those of the states were, in any order of the states.

        Raises:
            UsageError: an item is in two of them.
        """
        scorer = cls(states[0].classes if states else ())
        for state in states:
            if twice := scorer._items.keys() & set(state.items):
                raise UsageError(f"{min(twice)!r} was scored twice; give each image once")
            images = np.arange(len(state.items)) + len(scorer._items)
            classes = np.array([scorer._places.setdefault(name, len(scorer._places)) for name in state.classes])
            scorer._items.update(zip(state.items, images.tolist(), strict=True))
            scorer._truth.append(_renumbered(state.truth, images, classes))
            scorer._found.append(_renumbered(state.found, images, classes))
        return scorer

    def scores(self) -> dict[str, Any]:
        """The figures of all images, in [0, 1].

        Returns:
            ``map``, ``map50``, ``map75`` (at those overlaps alone), ``ar`` (the recall, a mean over the overlaps and
            classes), ``n`` images, ``objects`` that are no crowd, and ``per_class``: by name ``map``, ``map50`` and
            ``n`` objects. A class without an object is left out; where no class is left the means are 0.

        Raises:
            MissingExtra: faster-coco-eval is not installed.
        """
        state = self.state()
        images, classes = ranks(state.items), ranks(state.classes)  # ties of scores go to the first image by its id
        truth, found = _renumbered(state.truth, images, classes), _renumbered(state.found, images, classes)
        objects_Y = np.bincount(truth[truth[:, 2] == 0, 1].astype(np.int64), minlength=len(classes))
        scored = np.flatnonzero(objects_Y)
        means: dict[str, float] = dict.fromkeys(("map", "map50", "map75", "ar"), 0.0)
        per_class: dict[str, dict[str, float]] = {}
        if len(scored):
            precision_TY, recall_Y = _evaluated(truth, found, len(images), scored)
            by_class = {"map": precision_TY.mean(axis=0), "map50": precision_TY[0], "map75": precision_TY[5]}
            means = {name: float(value_Y.mean()) for name, value_Y in {**by_class, "ar": recall_Y}.items()}
            names = sorted(state.classes)
            for place, number in enumerate(scored.tolist()):
                row = {name: float(by_class[name][place]) for name in ("map", "map50")}
                per_class[names[number]] = {**row, "n": int(objects_Y[number])}
        return {**means, "n": len(images), "objects": int(objects_Y.sum()), "per_class": per_class}


def ranks(names: Sequence[str]) -> IntArray:
    """The place of each name in alphabetical order."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks


def _renumbered(rows: FloatArray, images: IntArray, classes: IntArray) -> FloatArray:
    """Rows with other numbers of their images and classes."""
    numbers = rows[:, :2].astype(np.int64)
    places = np.stack([images[numbers[:, 0]], classes[numbers[:, 1]]], axis=1) if len(rows) else rows[:, :2]
    return np.concatenate([places, rows[:, 2:]], axis=1)


def _evaluated(truth: FloatArray, found: FloatArray, images: int, classes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Average precision (T, Y) at each overlap, and recall (Y,) as a mean over the overlaps, of some of the classes."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise MissingExtra("faster-coco-eval", "dense") from None

    known = {"images": [{"id": image} for image in range(images)], "categories": [{"id": int(n)} for n in classes]}
    sides = [_annotations(truth, truth[:, 2]), _annotations(found, np.zeros(len(found)))]
    annotated = [COCO({**known, "annotations": side}, print_function=_silent) for side in sides]
    evaluation = COCOeval_faster(*annotated, "bbox", print_function=_silent)
    evaluation.params.maxDets = [DETECTIONS]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision_TRY = np.asarray(evaluation.eval["precision"])[..., 0, 0]
    return precision_TRY.mean(axis=1), np.asarray(evaluation.eval["recall"])[..., 0, 0].mean(axis=0)


def _annotations(rows: FloatArray, crowd_K: FloatArray) -> list[dict[str, Any]]:
    """Boxes as COCO writes them; their ids count from 1, since 0 stands for none."""
    sides = rows[:, 5:] - rows[:, 3:5]
    plain = np.column_stack([rows[:, :2], crowd_K, rows[:, 2], sides.prod(axis=1), rows[:, 3:5], sides]).tolist()
    return [
        {"id": number, "image_id": int(image), "category_id": int(kind)}
        | {"iscrowd": int(crowd), "score": score, "area": area, "bbox": box}
        for number, (image, kind, crowd, score, area, *box) in enumerate(plain, start=1)
    ]


def _silent(*_: object) -> None:
    """In place of printing."""
