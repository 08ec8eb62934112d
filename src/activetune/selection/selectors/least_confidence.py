"""Least confidence: ``1 - max_c p_c`` (Lewis & Gale 1994; Settles 2009, section 3.1).

The items whose likeliest class is least likely. Deviation: ties are broken at random.
Cost: O(N C + N log N) operations, O(N + chunk) memory; D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given, two_likeliest


@dataclass(frozen=True)
class LeastConfidence(Ranking):
    """The least certain predictions. Score: one minus the highest probability, in [0, 1]; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"probs_NC"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return 1 - two_likeliest(given(evidence.probs_NC))[:, 0]

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"the likeliest class has a probability of only {1 - score:.2f}"
