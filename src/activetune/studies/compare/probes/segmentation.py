"""Classes of pixels: a light head on the frozen map of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.evaluation.pixels import PixelCounts
from activetune.studies.compare.sampled import PixelMeans
from activetune.studies.compare.taught import HeadProbe, Taught


@dataclass(frozen=True)
class Segmentation(HeadProbe):
    """Classes of pixels: mIoU of a light head on frozen tokens."""

    task, metric = "segmentation", "mIoU"

    head: str = "linear"

    def figure(self, taught: Taught) -> PixelMeans:
        """See :class:`HeadProbe`; pixels by true and predicted class, a matrix per test image."""
        known, asked = taught.model.classes, taught.test.labels.classes
        classes = [*known, *(name for name in asked if name not in known)]
        numbers = np.asarray([classes.index(name) for name in asked])
        found = []
        for _, truth, mask in taught.answers():
            counts, pixels = PixelCounts(len(classes), len(known)), truth.pixels()
            counts.add(np.where(pixels >= 0, numbers[pixels], -1), mask.pixels())
            found.append(counts.matrix_YC)
        return PixelMeans(np.asarray(found, dtype=np.float64))
