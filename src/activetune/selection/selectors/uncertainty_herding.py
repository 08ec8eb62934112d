"""UHerding (Bae, Oliveira & Sutherland, "Uncertainty Herding: One Active Learning Method for All Label Budgets",
ICLR 2025).

Greedily picks the candidate that adds most to the uncertainty coverage ``mean_i u_i max_(picks) k(f_i, f_pick)``:
MaxHerding's objective with each item weighed by its uncertainty ``u_i = 1 - (p_(1) - p_(2))``, one less the margin
between its two likeliest classes. Labelled items cover from the start.
Deviations: the model's regularisation is chosen by cross-validation, which takes the place of the paper's temperature
scaling; the bandwidth is fixed, where the paper adapts it to the labelled items, and is a sigma as in
``max_herding``. Gains are evaluated lazily (``_greedy.py``); in a pool of more than ``jury`` items a
random jury of that size stands for all in the mean.
Cost: 2 N J D + about 128 K J D operations with J = min(N, jury), O(J D) memory. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.errors import UsageError
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._greedy import gaussian, greedy_picks, jury_of
from activetune.selection.selectors._ranking import given, less_the_margin


@dataclass(frozen=True)
class UncertaintyHerding(Selector):
    """Greedy maximum of kernel coverage weighed by uncertainty. Score: the share of it that the pick adds.

    Attributes:
        bandwidth: sigma, > 0. jury: most items that the mean runs over, 0 for all.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "probs_NC"})
    ordered: ClassVar[bool] = True
    randomised: ClassVar[bool] = False

    bandwidth: float = 1.0
    jury: int = 20_000

    def __post_init__(self) -> None:
        if self.bandwidth <= 0 or self.jury < 0:
            raise UsageError("uncertainty_herding: bandwidth must be above zero, jury at least 0 (all items)")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        uncertainty_N = less_the_margin(given(evidence.probs_NC))
        return greedy_picks(
            evidence,
            budget,
            population=jury_of(evidence.population, self.jury, rng),
            kernel=gaussian(self.bandwidth),
            weights_N=uncertainty_N.astype(np.float32),
            reason="adds {:.2%} of the coverage of uncertain items",
        )
