"""Linear probe: the backbone stays frozen, logistic regression on its features is the classifier.

The strength is chosen by cross-validation up to 2,000 labels, on a validation part above, and the final fit uses every
label. Reference: the usual protocol of self-supervised learning (for instance Kornblith et
al. 2019); see ``networks/regression.py`` for the scale of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.config import off_default
from activetune.base.progress import note
from activetune.base.settings import flatten
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import CROSS_VALIDATED, LinearHead
from activetune.tasks import Crops
from activetune.tasks.classification import Classification
from activetune.training.head_training import BY_STEPS, NAMES, HeadTraining
from activetune.training.job import Job, Outcome
from activetune.training.probe_phase import Probe, run_probe
from activetune.training.recipe import Recipe


@dataclass(frozen=True)
class LinearProbe(Recipe):
    """Frozen backbone, logistic regression.

    Attributes:
        imbalance: what is done about classes of different size. crops: how the views but the first are varied.
        training: of a head that logistic regression does not fit, such as one that tells the class of every pixel.
    """

    frozen: ClassVar[bool] = True
    later: ClassVar[frozenset[str]] = NAMES

    probe: Probe = Probe()
    training: HeadTraining = BY_STEPS
    imbalance: Imbalance = Imbalance()
    crops: Crops = Crops()

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`; nothing is held out where cross-validation chooses."""
        return NO_INDICES if len(strata) <= CROSS_VALIDATED else super().hold_out(strata, seed)

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        idle = off_default(self, flatten(Crops())) if self.probe.views == 1 else []
        if idle:
            note(f"{', '.join(idle)} change nothing here: give probe_views=2 or more for views that vary", job.quiet)
        return run_probe(job, self.probe, self.imbalance, self.crops, training=self.training)

    def fit_on_features(
        self, features_ND: FloatArray, positions_L: IntArray, indices: IntArray, *, held_out: IntArray, seed: int
    ) -> LinearHead | None:
        """See :class:`Recipe`."""
        if self.probe.views > 1:
            return None
        features_LD = np.asarray(features_ND[positions_L], dtype=np.float32)
        measure = Classification(even=self.evens_classes).measure
        return self.probe.fit(features_LD, indices, self.imbalance, held_out=held_out, seed=seed, measure=measure).head
