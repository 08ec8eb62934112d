"""How well an answer agrees with the known one, item by item, in [0, 1]: what pages on a model's mistakes are made of.

They tell how near two answers are, not how good a model is: its scores are those of ``tasks/``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray
from activetune.data.kinds import Boxes, Mask, Names, Sentences
from activetune.evaluation.pixels import PixelCounts

OVERLAP = 0.5  # of a box that is right


def agreement_of_masks(truth: Mask, answer: Mask, classes: Sequence[str], known: Sequence[str]) -> float:
    """Mean IoU over the classes that either shows.

    Args:
        classes: names of the known answers' classes. known: of the model's.
    """
    names = [*known, *sorted(set(classes) - set(known))]
    place = np.asarray([names.index(name) for name in classes] or [0], dtype=np.int64)
    pixels_HW = truth.pixels()
    counts = PixelCounts(len(names), len(known))
    counts.add(np.where(pixels_HW >= 0, place[np.clip(pixels_HW, 0, None)], -1), answer.pixels())
    found = counts.ratios.miou
    return float(found) if np.isfinite(found) else 1.0


def agreement_of_boxes(truth: Boxes, answer: Boxes) -> float:
    """Right boxes of both, at an IoU of 0.5 and of the same class, in all boxes of both (F1); crowds count nowhere."""
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


def agreement_of_names(truth: Names, answer: Names) -> float:
    """Names in common, in those of either."""
    either = set(truth.names) | set(answer.names)
    return len(set(truth.names) & set(answer.names)) / len(either) if either else 1.0


def agreement_of_sentences(truth: Sentences, answer: Sentences) -> float:
    """Words in common, in those of either; of the known sentences the nearest counts."""
    return max(_words(text, answer.texts[0]) for text in truth.texts)


def _words(truth: str, answer: str) -> float:
    first, second = (Counter(re.findall(r"\w+", text.lower())) for text in (truth, answer))
    total = sum((first | second).values())
    return sum((first & second).values()) / total if total else 1.0
