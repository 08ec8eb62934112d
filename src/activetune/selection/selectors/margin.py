"""Margin: ``1 - (p_(1) - p_(2))``, the two highest probabilities (Scheffer, Decomain & Wrobel 2001).

The items between two classes. Deviation: ties are broken at random.
Cost: O(N C + N log N) operations, O(N + chunk) memory; D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given, less_the_margin


@dataclass(frozen=True)
class Margin(Ranking):
    """The smallest margins between the two likeliest classes. Score: one minus the margin, in [0, 1]; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"probs_NC"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return less_the_margin(given(evidence.probs_NC))

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"margin {1 - score:.2f} between the two likeliest classes"
