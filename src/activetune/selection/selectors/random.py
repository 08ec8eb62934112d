"""Uniform random picks: the baseline that every method must beat.

Cost: O(N). Ordered: each prefix is itself a uniform random selection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


@dataclass(frozen=True)
class Random(Selector):
    """Draw without replacement; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset()
    ordered: ClassVar[bool] = True
    shares_rows: ClassVar[bool] = True

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; every score is 1."""
        chosen = evidence.holding.shuffled(evidence.candidates, budget, rng)
        return Picks(chosen, np.ones(budget), ["drawn at random"] * budget)
