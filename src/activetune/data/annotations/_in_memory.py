"""Answers that are given in Python: as labels, or as ``{id: answer}``; checked as a reader checks what a file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from activetune.base.errors import RejectedImage, UsageError, some
from activetune.base.names import as_known
from activetune.data.annotations._answers import checked_classes
from activetune.data.ids import refuse_foreign_ids
from activetune.data.kinds import VOID, ArrayMask, Boxes, Mask, Names, Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool

KINDS: dict[str, type] = {"captioning": Sentences, "detection": Boxes, "multilabel": Names, "segmentation": Mask}


def labels_in_memory(given: Labels | Mapping[str, Any], pool: Pool, task: str, classes: Sequence[str] | None) -> Labels:
    """Labels of items of a pool, with answers that a task can use.

    Raises:
        UsageError: ids that the pool does not have, answers of another task, none at all, or one that is wrong.
    """
    found = given if isinstance(given, Labels) else _of_answers(given, task, classes)
    if not len(found):
        raise UsageError(f"none of the given labels is answered; give {KINDS[task].__name__} by id")
    wrong = next((answer for answer in found.answers if not isinstance(answer, KINDS[task])), None)
    if wrong is not None:
        raise UsageError(
            f"{task} needs answers of the kind {KINDS[task].__name__}, not {type(wrong).__name__}; "
            "give those, or another --task"
        )
    found = replace(found, ids=as_known(found.ids, pool.position))
    refuse_foreign_ids(found.ids, pool, "the given labels")
    if task != "captioning":
        found = _with_classes(found, found.classes if classes is None else classes)
    for item, answer in zip(found.ids, found.answers, strict=True):
        if isinstance(answer, ArrayMask):
            _refuse_mask(item, answer, pool, len(found.classes))
        elif isinstance(answer, Boxes):
            _refuse_boxes(item, answer)
    return found


def _of_answers(given: Mapping[str, Any], task: str, classes: Sequence[str] | None) -> Labels:
    """``{id: answer}`` as labels; masks need their classes, as they hold positions."""
    answers = {item: _of_plain(answer, task) for item, answer in given.items() if answer is not None}
    if classes is None and task == "segmentation":
        raise UsageError("masks hold positions in a list of classes; give the list, or labels with one")
    names = {name for answer in answers.values() for name in getattr(answer, "names", ())}
    return Labels(list(answers), list(answers.values()), list(classes or sorted(names)), len(given) - len(answers))


def _of_plain(answer: Any, task: str) -> Any:
    """An answer in plain Python as its kind: a list of names or sentences, an array of a mask's positions."""
    if task == "segmentation" and isinstance(answer, np.ndarray) and answer.ndim == 2:
        return ArrayMask(answer)
    if isinstance(answer, str):
        return Sentences((answer,)) if task == "captioning" else answer
    if isinstance(answer, list | tuple | set | frozenset) and all(isinstance(one, str) for one in answer):
        if task == "multilabel":
            return Names.of(sorted(answer))
        if task == "captioning" and answer:
            return Sentences(tuple(answer))
    return answer


def _with_classes(labels: Labels, classes: Sequence[str]) -> Labels:
    """The same answers under a list of classes that has all of theirs."""
    names = checked_classes(classes)
    if any(isinstance(answer, Mask) for answer in labels.answers):
        if names != list(labels.classes):
            raise UsageError(
                f"the masks hold positions in the labels' own list of classes ({some(labels.classes)}), and another "
                f"list is asked for ({some(names)}); leave it out, or give labels made with it"
            )
        return labels
    unknown = sorted({name for answer in labels.answers for name in answer.names} - set(names))
    if unknown:
        raise UsageError(f"the labels hold {some(unknown)}, which the classes do not; give all of them with --classes")
    return replace(labels, classes=names)


def _refuse_mask(item: str, mask: ArrayMask, pool: Pool, classes: int) -> None:
    """Refuse what is no mask of these classes, or not of its image's size."""
    values = mask.array_HW
    if values.ndim != 2 or values.dtype.kind not in "iub":
        raise UsageError(
            f"the mask of {item} is an array of {values.dtype} of shape {values.shape}; "
            "give whole numbers, height x width of them"
        )
    try:
        size = pool.size(pool.position[item])
    except RejectedImage:
        return  # it will be listed as such
    if mask.size != size:
        told = [f"{height:,} x {width:,}" for height, width in (mask.size, size)]
        raise UsageError(
            f"the mask of {item} has {told[0]} pixels, its image {told[1]}; give each mask in its image's size"
        )
    wrong = next((int(one) for one in (values.max(), values.min()) if not VOID <= int(one) < classes), None)
    if wrong is not None:
        several = "" if classes == 1 else "es"
        raise UsageError(
            f"the mask of {item} holds {wrong}, which is no position in the list of {classes:,} class{several}; "
            f"count them from 0 ({VOID} is void)"
        )


def _refuse_boxes(item: str, boxes: Boxes) -> None:
    """Refuse boxes without area, or of numbers that are not finite."""
    corners = boxes.xyxy_K4
    usable_K = np.isfinite(corners).all(axis=1) & (corners[:, :2] < corners[:, 2:]).all(axis=1)
    if not usable_K.all():
        one = ", ".join(f"{value:g}" for value in corners[np.flatnonzero(~usable_K)[0]])
        raise UsageError(
            f"a box of {item} has the corners {one}; give x_left < x_right and y_top < y_bottom, all finite"
        )
