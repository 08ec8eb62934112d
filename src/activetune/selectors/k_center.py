"""k-center greedy, also called farthest-first traversal, FDS or CoreSet without labels.

Each pick is the candidate farthest from everything picked or labelled so far: a 2-approximation of the smallest
radius (Gonzalez 1985; Sener & Savarese 2018, algorithm 1). Without labelled items the first pick is random.
Cost: O(N D K) operations, O(N) memory beside the features. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.distances import nearest_centroid
from activetune.selectors._base import Selector
from activetune.types import Evidence, Picks


@dataclass(frozen=True)
class KCenter(Selector):
    """Farthest-first traversal on features of unit length; no settings. Score: the distance when picked."""

    ordered: ClassVar[bool] = True

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; equal distances go to the lower position."""
        features_ND = evidence.features_ND
        nearest = np.full(len(features_ND), -np.inf, dtype=np.float32)  # similarity to the nearest centre
        if len(evidence.labelled):
            _, nearest = nearest_centroid(features_ND, features_ND[evidence.labelled])
        open_ = np.zeros(len(features_ND), dtype=bool)
        open_[evidence.candidates] = True
        positions = np.empty(budget, dtype=np.int64)
        scores = np.empty(budget)
        for rank in range(budget):
            if rank == 0 and not len(evidence.labelled):
                pick = int(rng.choice(evidence.candidates))
                scores[rank] = 2.0  # nothing is covered yet: the largest distance there is
            else:
                pick = int(np.argmin(np.where(open_, nearest, np.inf)))
                scores[rank] = np.sqrt(max(0.0, 2 - 2 * float(nearest[pick])))
            positions[rank] = pick
            open_[pick] = False
            np.maximum(nearest, features_ND @ features_ND[pick], out=nearest)
        reasons = [f"farthest from all earlier picks: distance {score:.3f}" for score in scores]
        if not len(evidence.labelled):
            reasons[0] = "random start"
        return Picks(positions, scores, reasons)
