"""k-center greedy, also called farthest-first traversal, FDS or CoreSet without labels.

Each pick is the candidate farthest from everything picked or labelled so far: a 2-approximation of the smallest
radius (Gonzalez 1985; Sener & Savarese 2018, algorithm 1). Without labelled items the first pick is random.
Cost: 2 N K D operations in few large products, O(N) memory beside the features. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._greedy import farthest_first


@dataclass(frozen=True)
class KCenter(Selector):
    """Farthest-first traversal on features of unit length; no settings. Score: the distance when picked."""

    ordered: ClassVar[bool] = True
    shares_rows: ClassVar[bool] = True

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; equal distances go to the lower position."""
        holding, candidates, centres = evidence.holding, evidence.candidates, evidence.labelled_everywhere
        first = None
        if not len(centres):
            total = holding.count(len(candidates))
            first = int(holding.at(candidates, np.array([holding.agreed(lambda: int(rng.choice(total)))]))[0])
        positions, scores = farthest_first(
            evidence.features_ND, candidates, centres, budget, first=first, holding=holding
        )
        reasons = [f"farthest from all earlier picks: distance {score:.3f}" for score in scores]
        if first is not None:
            reasons[0] = "random start"
        return Picks(positions, scores, reasons)
