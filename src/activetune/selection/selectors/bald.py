"""BALD (Houlsby et al. 2011; with dropout: Gal, Islam & Ghahramani, "Deep Bayesian Active Learning", ICML 2017).

The mutual information between an item's label and the model: ``H(mean_s p_s) - mean_s H(p_s)`` over draws of a network
under dropout. High where the draws are sure, each of something else; low where all of them are unsure alike, as with
an ambiguous image, from which a label teaches little. Deviation: ties are broken at random.
Cost: O(N C + N log N) operations, O(N + chunk) memory; the draws are made by ``evidence/dropout.py``. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, entropy, given


@dataclass(frozen=True)
class Bald(Ranking):
    """The items on which draws of the model disagree. Score: mutual information in nats, >= 0; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"dropout"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        draws = given(evidence.dropout)
        return np.maximum(entropy(draws.mean_probs_NC) - draws.mean_entropy_N, 0)  # below 0 is rounding alone

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"draws of the model disagree: its label would tell {score:.2f} nats about the model"
