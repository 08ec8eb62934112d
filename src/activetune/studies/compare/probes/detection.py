"""Boxes: a fresh detection head on the frozen map of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.config import check_settings
from activetune.evaluation.boxes import BoxScorer
from activetune.studies.compare.probe import Probe, Row
from activetune.studies.compare.sampled import BoxMeans
from activetune.studies.compare.side import Side
from activetune.studies.compare.taught import Taught
from activetune.tasks import task_of


@dataclass(frozen=True)
class Detection(Probe):
    """Boxes: mAP of a fresh head on frozen tokens.

    Attributes:
        pool, labels: images and their boxes. test, test_labels: others, or ``test = "30%"`` of these.
        size: of the images, ``288x384``; empty: the backbone's own. head: a fresh one for each backbone.
        steps: of its training; 0 takes the recipe's default. most: images to learn from; 0 is all.
    """

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    test_labels: str = ""
    size: str = ""
    head: str = "fcos"
    steps: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        check_settings("the probe detection", ("steps", self.steps, 0, np.inf), ("most", self.most, 0, np.inf))

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        task = task_of("detection", self.head)
        asked = Taught.of(task, self.pool, self.labels, self.test, self.test_labels, most=self.most, seed=seed)
        pair = self._found(a, asked, seed), self._found(b, asked, seed)
        return [Row(f"{self.head} head on {len(asked.taught):,} images", "mAP", pair)]

    def _found(self, side: Side, asked: Taught, seed: int) -> BoxMeans:
        name = f"detection-{len(asked.taught)}-{self.size}"
        model = asked.model(side, name, size=self.size, head=self.head, steps=self.steps, seed=seed)
        scorer = BoxScorer(model.classes)
        for item, truth, found in asked.answers(side, model):
            scorer.add(item, truth, found)
        return BoxMeans(scorer.state())
