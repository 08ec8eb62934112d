"""TypiClust (Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets",
ICML 2022): the most typical item of each cluster.

K + L clusters, at most 500; those of five items or fewer are left out. The clusters are visited in turn, those with
the fewest labelled items first, of equal ones the largest; each visit takes the item with the highest typicality
``1 / mean distance to the min(20, n / 2) nearest items`` of what the cluster still holds.
Deviations: spherical k-means in place of scikit-learn's; where no cluster is large enough, all are visited.
Cost: k-means (``features/clusters.py``) with at most 500 clusters, and for each pick 2 n^2 D, n items in its cluster.
Not ordered: the clusters depend on the budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.features.clusters import cluster, mean_distance_to_nearest, members
from activetune.features.distances import DISTANCE_ROUNDING, first_best
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


@dataclass(frozen=True)
class TypiClust(Selector):
    """The most typical item of each cluster. Score: typicality when picked.

    Attributes:
        clusters: most clusters. smallest: a cluster of fewer items is left out. neighbours: that typicality looks at.
    """

    clusters: int = 500
    smallest: int = 6
    neighbours: int = 20

    def __post_init__(self) -> None:
        if min(self.clusters, self.smallest, self.neighbours) < 1:
            raise UsageError("typiclust: clusters, smallest and neighbours must be at least 1")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        count = min(len(evidence.labelled) + budget, self.clusters, len(evidence.population))
        _, owner, _ = cluster(evidence.features_ND, count, rng, population=evidence.population, device=evidence.device)
        labelled = np.bincount(owner[evidence.labelled], minlength=count)
        open_ = np.zeros(len(owner), dtype=bool)
        open_[evidence.candidates] = True
        left = [np.setdiff1d(group, evidence.labelled, assume_unique=True) for group in members(owner, count)]
        queue = sorted(range(count), key=lambda number: (labelled[number], -len(left[number]), number))
        large = [number for number in queue if len(left[number]) + labelled[number] >= self.smallest]
        positions: list[int] = []
        scores: list[float] = []
        reasons: list[str] = []
        while len(positions) < budget:
            visited = [number for number in large if open_[left[number]].any()]
            visited = visited or [number for number in queue if open_[left[number]].any()]
            for number in visited[: budget - len(positions)]:
                typicality = self._typicality(evidence, left[number])
                best = first_best(np.where(open_[left[number]], typicality, -np.inf), DISTANCE_ROUNDING)
                positions.append(int(left[number][best]))
                scores.append(float(typicality[best]))
                reasons.append(f"typicality {typicality[best]:.3f} in a cluster of {len(left[number]):,} items")
                left[number] = np.delete(left[number], best)
        return Picks(np.asarray(positions), np.asarray(scores), reasons)

    def _typicality(self, evidence: Evidence, group: IntArray) -> np.ndarray:
        """1 / mean distance of each item of a group to its nearest ones; equal items have a large, finite one."""
        count = min(self.neighbours, len(group) // 2)
        if not count:
            return np.ones(len(group))
        return 1 / np.maximum(mean_distance_to_nearest(evidence.features_ND[group], count), 1e-6)
