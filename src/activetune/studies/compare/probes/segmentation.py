"""Classes of pixels: a light head on the frozen map of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.config import check_settings
from activetune.evaluation.pixels import PixelCounts
from activetune.studies.compare.probe import Probe, Row
from activetune.studies.compare.sampled import PixelMeans
from activetune.studies.compare.side import Side
from activetune.studies.compare.taught import Taught
from activetune.tasks import task_of


@dataclass(frozen=True)
class Segmentation(Probe):
    """Classes of pixels: mIoU of a light head on frozen tokens.

    Attributes:
        pool, labels: images and their masks. test, test_labels: others, or ``test = "30%"`` of these.
        size: of the images, ``352x464``; empty: the backbone's own. head: a light one. steps: of its training; 0 takes
            the recipe's default. most: images to learn from; 0 is all.
    """

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    test_labels: str = ""
    size: str = ""
    head: str = "linear"
    steps: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        check_settings("the probe segmentation", ("steps", self.steps, 0, np.inf), ("most", self.most, 0, np.inf))

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        task = task_of("segmentation", self.head)
        asked = Taught.of(task, self.pool, self.labels, self.test, self.test_labels, most=self.most, seed=seed)
        pair = self._counted(a, asked, seed), self._counted(b, asked, seed)
        return [Row(f"{self.head} head on {len(asked.taught):,} images", "mIoU", pair)]

    def _counted(self, side: Side, asked: Taught, seed: int) -> PixelMeans:
        """Pixels by true and predicted class, a matrix per test image."""
        name = f"segmentation-{len(asked.taught)}-{self.size}"
        model = asked.model(side, name, size=self.size, head=self.head, steps=self.steps, seed=seed)
        classes = [*model.classes, *(name for name in asked.truth.classes if name not in model.classes)]
        numbers = np.asarray([classes.index(name) for name in asked.truth.classes])
        found = []
        for _, truth, mask in asked.answers(side, model):
            counts, pixels = PixelCounts(len(classes), len(model.classes)), truth.pixels()
            counts.add(np.where(pixels >= 0, numbers[pixels], -1), mask.pixels())
            found.append(counts.matrix_YC)
        return PixelMeans(np.asarray(found, dtype=np.float64))
