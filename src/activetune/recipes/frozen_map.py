"""Attention pooling on the frozen backbone, under frozen feature augmentation.

It is the setting of the paper that proposed the augmentation (Bär, Houlsby, Dehghani & Kumar, "Frozen Feature
Augmentation for Few-Shot Image Classification", CVPR 2024).

All tokens of each image are computed once; the head is trained on them. The augmentation and its strength are chosen
by cross-validation, or on a validation part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import CROSS_VALIDATED, Regression
from activetune.tasks import Crops
from activetune.training.head_choice import Candidate
from activetune.training.head_phase import LightHead, run_head
from activetune.training.job import Job, Outcome
from activetune.training.phases import Phases
from activetune.training.recipe import Recipe


@dataclass(frozen=True)
class FrozenMap(Recipe):
    """A light head on the pretrained backbone's tokens.

    Attributes:
        regression: strengths, of heads without weights below the classifier.
        imbalance: what is done about classes of different size. crops: how the views but the first are varied.
        folds: of the cross-validation, where nothing is held out.
    """

    frozen: ClassVar[bool] = True
    only_tasks: ClassVar[tuple[str, ...]] = ("classification", "multilabel")

    light: LightHead = LightHead(head="map")
    regression: Regression = Regression()
    imbalance: Imbalance = Imbalance()
    crops: Crops = Crops()
    folds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.light.head == "keep":
            raise UsageError(
                "frozen_map: head=keep keeps a trained classifier, and none is trained before; give another"
            )

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`; nothing is held out where cross-validation chooses."""
        return NO_INDICES if len(strata) <= CROSS_VALIDATED else super().hold_out(strata, seed)

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        splits = job.splits(self.folds, np.random.default_rng(job.seed))
        groups, phases = (self.light, self.regression, self.imbalance, self.crops), Phases()
        figures = phases.run("head", lambda: run_head(job, *groups, splits=splits, auto=Candidate("map"))[0])
        return Outcome(phases.history, figures)
