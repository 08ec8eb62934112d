"""Entropy: ``- sum_c p_c log p_c`` (Shannon 1948; Settles 2009, section 3.1).

The items whose prediction is spread over the most classes. Deviation: ties are broken at random.
Cost: O(N C + N log N) operations, O(N + chunk) memory; D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import ClassVar

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, entropy, given


@dataclass(frozen=True)
class Entropy(Ranking):
    """The widest spread predictions. Score: the entropy in nats, in [0, log C]; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"probs_NC"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return entropy(given(evidence.probs_NC))

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"entropy {score:.2f} nats of the prediction, as if spread over {exp(score):.1f} classes"
