"""ODS, objective-aware data selection (VeCAF, equation 7): ActiveFT in which items pull by the loss they have.

    min_theta  - sum_i l_i <e_i, theta_c(i)> / tau  +  lambda mean_j log sum_{k != j} exp(<theta_j, theta_k> / tau)

tau and the mean over j are ours (the paper's equation has neither): they are ActiveFT's, without which lambda would
depend on K and the pull on the scale of a cosine. ``l_i`` is the loss of item i under the current model, any
objective's, made a distribution over the pool; the larger it is, the stronger the pull. Everything else is ActiveFT's
(``activeft.py``): the engine, the descent, the swaps, whose distances are weighed by the losses too, and the presets.
Equal losses give ActiveFT itself.
Centroids start at items drawn by their losses, without replacement (the paper does not say; uniform draws leave heavy
items that share a start unpicked). Without repulsion (lambda = 0) this is k-means weighed by the losses: the K largest
losses are its optimum, as the paper has it, only where they outweigh all others together.
``ensemble`` solutions are put together by the paper's correction, see ``_ensemble.py`` for what it leaves open. The
paper takes five; the default is one. Five take two to three times as long and gained nothing: the correction moves
centroids by some 4 % and changed no pick on strong features (40 of 40, 80 of 80), on others no more than another seed
does, at the same weighed distance and accuracy (docs/select.md). ``--preset paper`` has five.
Cost: that of ``activeft``, E times the descent, and E K^2 D operations to pair the solutions. Not ordered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from activetune.base.errors import UsageError
from activetune.features.distances import Float32, nearest_centroid
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._engine import Solution
from activetune.selection.selectors._ensemble import without_the_start
from activetune.selection.selectors._ranking import given
from activetune.selection.selectors.activeft import AS_PUBLISHED, ActiveFT

SMALLEST_WEIGHT = 1e-6  # of an item without any loss, relative to the mean loss


@dataclass(frozen=True)
class ODS(ActiveFT):
    """Centroids of the pool's losses. Score: the loss of the items that the pick is the nearest to, their mean being 1.

    Attributes:
        ensemble: E, solutions from starts of their own whose mean and covariance correct the first; 1 is plain.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "losses_N"})
    refines: ClassVar[bool] = False  # by equal weights it would undo what the losses have done
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"loss": "paper", "ensemble": 5, **AS_PUBLISHED},
        "plain": {"ensemble": 1},  # the default; a name of earlier versions
    }

    ensemble: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.typical:
            raise UsageError(
                f"ods: typical can't be {self.typical}; leave it out, as a pick that gives way to a typical item would "
                "leave the items with large losses that it was drawn to"
            )
        if self.ensemble < 1:
            raise UsageError(f"ods: ensemble can't be {self.ensemble}; it must be at least 1")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        picks = self.weighed(evidence, budget, rng, relative_losses(evidence))
        reasons = [f"the nearest pick of items with {score:,.1f} times the mean loss" for score in picks.scores]
        return replace(picks, reasons=reasons)

    def solve(self, evidence: Evidence, budget: int, rng: np.random.Generator, weights_N: Float32 | None) -> Solution:
        """See :class:`ActiveFT`; the losses are those of the first solution before its correction."""
        solutions = [super(ODS, self).solve(evidence, budget, rng, weights_N) for _ in range(self.ensemble)]
        if self.ensemble == 1:
            return solutions[0]
        centroids_KD = without_the_start([solution.centroids_KD for solution in solutions])
        rows = evidence.features_ND[evidence.population]
        assignment_N, _ = nearest_centroid(rows, np.concatenate([centroids_KD, evidence.labelled_rows_LD]))
        evaluations = sum(solution.evaluations for solution in solutions)
        return Solution(centroids_KD, assignment_N, solutions[0].losses, evaluations)


def relative_losses(evidence: Evidence) -> Float32 | None:
    """Losses (N,) divided by the population's mean, none below SMALLEST_WEIGHT; None where they are all the same.

    Raises:
        UsageError: a loss that is negative or no number.
    """
    holding, losses_N = evidence.holding, given(evidence.losses_N).astype(np.float64)
    among = losses_N[evidence.population]
    if holding.count(int(not np.isfinite(among).all() or among.min(initial=0) < 0)):
        raise UsageError("ods: losses must be numbers of at least 0; some are negative or not finite")
    mean = holding.total(float(among.sum())) / holding.count(len(among))
    spread = float(holding.largest(np.array([among.max(initial=-np.inf), -among.min(initial=np.inf)])).sum())
    if mean == 0 or spread <= 1e-9 * mean:
        return None
    found: Float32 = np.maximum(losses_N / mean, SMALLEST_WEIGHT).astype(np.float32)
    return found
