"""How well the class of every pixel is told: counts over a whole set, from which mIoU and pixel accuracy follow.

One matrix is counted over all images, and the ratios are taken at the end: a mean over images or batches would weigh a
class by the images that it happens to be rare in.
Shape legend: Y true classes: the model's outputs, then classes that only the answers have; C outputs of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray
from activetune.evaluation.metrics import Counts

PRIMARY = "miou"


class PixelCounts:
    """Pixels by true and predicted class.

    >>> counts = PixelCounts(3, 3)
    >>> counts.add(np.array([[0, 1], [1, -1]]), np.array([[0, 1], [2, 2]]))
    >>> counts.scores(["road", "sky", "tree"])["miou"]  # road 1, sky 1/2, tree 0
    0.5
    """

    def __init__(self, true: int, predicted: int):
        self.matrix_YC: Counts = np.zeros((true, predicted), dtype=np.int64)
        self.images = 0

    def add(self, truth_HW: npt.NDArray[np.integer[Any]], predicted_HW: npt.NDArray[np.integer[Any]]) -> None:
        """Count an image; pixels of a negative true class are void."""
        known = truth_HW >= 0
        rows, columns = self.matrix_YC.shape
        cells = truth_HW[known].astype(np.int64) * columns + predicted_HW[known]
        self.matrix_YC += np.bincount(cells, minlength=rows * columns).reshape(rows, columns)
        self.images += 1

    def merged(self, others: Sequence[tuple[Counts, int]]) -> PixelCounts:
        """These counts and others, each a matrix and its number of images."""
        found = PixelCounts(*self.matrix_YC.shape)
        found.matrix_YC = self.matrix_YC + sum(matrix for matrix, _ in others)
        found.images = self.images + sum(images for _, images in others)
        return found

    @property
    def ratios(self) -> PixelRatios:
        """Intersection over union of each class, and the share of right pixels."""
        true_Y, predicted_C = self.matrix_YC.sum(axis=1), self.matrix_YC.sum(axis=0)
        rows, columns = self.matrix_YC.shape
        right_Y = np.zeros(rows, dtype=np.int64)
        right_Y[:columns] = np.diagonal(self.matrix_YC)
        union_Y = true_Y - right_Y
        union_Y[:columns] += predicted_C
        with np.errstate(invalid="ignore"):
            iou_Y: FloatArray = np.where(union_Y > 0, right_Y / union_Y, np.nan)
        pixels = int(true_Y.sum())
        return PixelRatios(iou_Y, true_Y, float(right_Y.sum() / pixels) if pixels else float("nan"))

    def scores(self, classes: Sequence[str]) -> dict[str, Any]:
        """The content of ``scores.json``: ``miou``, ``pixel_accuracy``, ``per_class`` and ``n`` images.

        Args:
            classes: Y names.
        """
        found = self.ratios
        per_class = {
            name: {"iou": float(iou), "pixels": int(pixels)}
            for name, iou, pixels in zip(classes, found.iou_Y, found.pixels_Y, strict=True)
            if np.isfinite(iou)
        }
        shares = {"miou": found.miou, "pixel_accuracy": found.accuracy}
        confusion = {"classes": list(classes), "matrix": self.matrix_YC.tolist()}
        return {"primary": PRIMARY, "n": self.images, **shares, "per_class": per_class, "confusion": confusion}


@dataclass(frozen=True)
class PixelRatios:
    """What the counts come to.

    Attributes:
        iou_Y: intersection over union, NaN for a class that no pixel has and none was taken for. pixels_Y: of the
            true class. accuracy: share of right pixels; NaN without a pixel.
    """

    iou_Y: FloatArray
    pixels_Y: Counts
    accuracy: float

    @property
    def miou(self) -> float:
        """Mean over the classes that some pixel has, or was taken for; NaN where there is none."""
        known_Y = self.iou_Y[np.isfinite(self.iou_Y)]
        return float(known_Y.mean()) if len(known_Y) else float("nan")
