"""Boxes: a fresh detection head on the frozen map of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from activetune.evaluation.boxes import BoxScorer
from activetune.studies.compare.sampled import BoxMeans
from activetune.studies.compare.taught import HeadProbe, Taught


@dataclass(frozen=True)
class Detection(HeadProbe):
    """Boxes: mAP of a fresh head on frozen tokens."""

    task, metric = "detection", "mAP"

    head: str = "fcos"

    def figure(self, taught: Taught) -> BoxMeans:
        """See :class:`HeadProbe`."""
        scorer = BoxScorer(taught.model.classes)
        for item, truth, found in taught.answers():
            scorer.add(item, truth, found)
        return BoxMeans.of(scorer.state())
