"""Learning loss (Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019): the highest predicted losses.

The module that predicts them is trained by ``evidence/loss_prediction.py``, where its loss and its deviations stand.
The paper ranks a random subset of the pool to gain some diversity; here the whole pool is ranked. Ties are broken at
random.
Cost: O(N log N) operations beside that training; C, D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given


@dataclass(frozen=True)
class LearnLoss(Ranking):
    """The highest predicted losses. Score: that number, on a scale of its own (only the order counts); no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"predicted_loss_N"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return np.asarray(given(evidence.predicted_loss_N), dtype=np.float64)

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"among the highest losses that the loss-prediction module expects: {score:.2f} on its own scale"
