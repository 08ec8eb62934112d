"""TypiClust (Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets",
ICML 2022): the most typical item of each cluster.

K + L clusters, at most 500; those of five items or fewer are left out. The clusters are visited in turn, those with
the fewest labelled items first, of equal ones the largest; each visit takes the item with the highest typicality
``1 / mean distance to the min(20, n / 2) nearest items`` of what the cluster still holds.
Deviations: spherical k-means in place of scikit-learn's; where no cluster is large enough, all are visited.
Cost: k-means (``features/clusters.py``) with at most 500 clusters, and for each pick 2 n^2 D, n items in its cluster.
Several processes send each other these n rows for each pick: n D numbers, where other methods send what K bounds.
Not ordered: the clusters depend on the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import FloatArray
from activetune.base.errors import UsageError
from activetune.features.clusters import cluster, mean_distance_to_nearest, members
from activetune.features.distances import DISTANCE_ROUNDING, first_best_of_each
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


@dataclass(frozen=True)
class TypiClust(Selector):
    """The most typical item of each cluster. Score: typicality when picked.

    Attributes:
        clusters: most clusters. smallest: a cluster of fewer items is left out. neighbours: that typicality looks at.
    """

    shares_rows: ClassVar[bool] = True

    clusters: int = 500
    smallest: int = 6
    neighbours: int = 20

    def __post_init__(self) -> None:
        if min(self.clusters, self.smallest, self.neighbours) < 1:
            raise UsageError("typiclust: clusters, smallest and neighbours must be at least 1")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        holding, labelled = evidence.holding, evidence.labelled
        most = min(holding.count(len(labelled)) + budget, self.clusters)
        groups = _Groups(evidence, min(most, holding.count(len(evidence.population))), rng)
        queue = np.lexsort((-groups.left_K, groups.labelled_K)).tolist()
        large = [number for number in queue if groups.left_K[number] + groups.labelled_K[number] >= self.smallest]
        positions: list[int] = []
        scores: list[float] = []
        reasons: list[str] = []
        while len(positions) < budget:
            visited = [number for number in large if groups.open_K[number]]
            visited = visited or [number for number in queue if groups.open_K[number]]
            for number in visited[: budget - len(positions)]:
                pick, typicality = groups.most_typical(number, self.neighbours)
                reasons.append(f"typicality {typicality:.3f} in a cluster of {groups.left_K[number]:,} items")
                groups.take(number, pick)
                positions.append(pick)
                scores.append(typicality)
        return Picks(np.asarray(positions), np.asarray(scores), reasons)


class _Groups:
    """The clusters' items that have no label: those of this process (``left``), and how many there are in all.

    Attributes:
        left_K: items without a label that are not picked. open_K: those of them that may be picked. labelled_K: the
            labelled ones.
    """

    def __init__(self, evidence: Evidence, count: int, rng: np.random.Generator):
        self.holding, self.features_ND, self.count = evidence.holding, evidence.features_ND, count
        _, owner, _ = cluster(
            self.features_ND,
            count,
            rng,
            population=evidence.population,
            device=evidence.device,
            holding=self.holding,
        )
        self.left = [np.setdiff1d(group, evidence.labelled, assume_unique=True) for group in members(owner, count)]
        self.is_open_N = np.zeros(len(owner), dtype=bool)
        self.is_open_N[evidence.candidates] = True
        numbers_of = (owner[evidence.labelled], owner[evidence.candidates])
        sizes = np.array([len(group) for group in self.left])
        counts = [sizes, *(np.bincount(numbers, minlength=count) for numbers in numbers_of)]
        self.left_K, self.labelled_K, self.open_K = self.holding.added(np.stack(counts))

    def most_typical(self, number: int, neighbours: int) -> tuple[int, float]:
        """The global position of the most typical item that may be picked, and its typicality."""
        group = self.left[number]
        open_ = self.is_open_N[group]
        typicality = self._typicality(number, neighbours)[open_]
        one = np.zeros(len(typicality), dtype=np.int64)
        found = first_best_of_each(typicality, one, group[open_], 1, rounding=DISTANCE_ROUNDING, holding=self.holding)
        return int(found[0][0]), float(found[1][0])

    def take(self, number: int, pick: int) -> None:
        """Count an item as picked."""
        own = self.holding.own(np.array([pick]), len(self.features_ND))
        self.left[number] = np.setdiff1d(self.left[number], own, assume_unique=True)
        self.left_K[number] -= 1
        self.open_K[number] -= 1

    def _typicality(self, number: int, neighbours: int) -> FloatArray:
        """1 / mean distance of this process's items of a group to the nearest of the whole group.

        Equal items have a large, finite one. The group's rows, and no others, go to all processes.
        """
        group = self.left[number]
        count = min(neighbours, int(self.left_K[number]) // 2)
        if not count:
            return np.ones(len(group), dtype=np.float32)
        lengths = self.holding.joined(np.array([len(group)]))
        start = int(lengths[: self.holding.rank].sum())
        rows = self.holding.joined(self.features_ND[group])
        distance = mean_distance_to_nearest(rows, count, slice(start, start + len(group)))
        found: FloatArray = 1 / np.maximum(distance, 1e-6)
        return found
