"""TA-VAAL (Kim et al., "Task-Aware Variational Adversarial Active Learning", CVPR 2021).

VAAL whose decoder and discriminator also see the rank of an item's predicted loss, so that being unlike the labelled
items and being hard weigh together. Trained by ``evidence/adversarial.py`` on the ranks of
``evidence/loss_prediction.py``; losses and deviations stand there. Ties are broken at random.
Cost: O(N log N) operations beside that training; C, D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given


@dataclass(frozen=True)
class TaVaal(Ranking):
    """Least like the labelled, hardness considered. Score: one minus the discriminator's probability; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"ranked_likeness_N"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return 1 - np.asarray(given(evidence.ranked_likeness_N), dtype=np.float64)

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"unlike the labelled items for how hard it is: a chance of {1 - score:.2f} to be one of them"
