"""Top-K loss: the items on which the current model does worst (the objective-aware baseline of VeCAF's Table 3).

``ods`` without any regard for diversity. Deviation: ties are broken at random.
Cost: O(N log N) operations; D, C and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given


@dataclass(frozen=True)
class TopLoss(Ranking):
    """The highest losses. Score: the loss; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"losses_N"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return given(evidence.losses_N).astype(np.float64)

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"a loss of {score:.3f} under the current model"
