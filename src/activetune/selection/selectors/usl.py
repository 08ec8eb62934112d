"""USL, unsupervised selective labelling (Wang, Lian & Yu, ECCV 2022): dense and diverse.

Each of K + L clusters gives the candidate of the highest utility ``U(i) = 1 / mean distance to its 20 nearest items -
lambda Reg(i)``. The regulariser keeps picks of different clusters apart: ``Reg(i) = mean_j 1 / d(i, pick_j)^alpha``
over the picks of other clusters, as a moving average over the rounds (the first round goes by density alone).
Deviations: the regulariser is a mean where the paper has a sum, so that lambda means the same for every budget (with
the sum, hundreds of far picks outweigh the density: Caltech-101, K 120, 73 % against 78 %; it was chosen there).
Distances are Euclidean, as the paper writes them; the authors' code squares them in the density and in the regulariser.
Nearest items are looked for in the item's own cluster, and the regulariser runs over the 256 clusters nearest to it:
that of farther ones hardly differs. Clusters that hold a labelled item give none; that item counts as their pick in the
regulariser.
Cost: k-means (``features/clusters.py``), 2 N n D for the densities with n items per cluster, 2 N min(K, 256) D per
round; O(N) memory. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.features.clusters import cluster, mean_distance_to_nearest, members
from activetune.features.distances import DISTANCE_ROUNDING, distances_from, first_best
from activetune.features.nearest import neighbours
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector

AROUND = 256


@dataclass(frozen=True)
class USL(Selector):
    """The densest item of each cluster, kept apart from the others' picks. Score: utility.

    Attributes:
        neighbours: that the density looks at. balance: lambda, the regulariser's weight, >= 0.
        alpha: exponent of the distance in it. momentum: of its moving average, in [0, 1). rounds: of regularising.
    """

    neighbours: int = 20
    balance: float = 0.5
    alpha: float = 0.5
    momentum: float = 0.9
    rounds: int = 10

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.balance < 0 or self.alpha <= 0 or not 0 <= self.momentum < 1 or self.rounds < 0:
            raise UsageError(
                "usl: neighbours must be at least 1, balance and rounds at least 0, alpha above 0, momentum in [0, 1)"
            )

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        features_ND = evidence.features_ND
        count = min(budget + len(evidence.labelled), len(evidence.population))
        centroids_KD, owner, _ = cluster(
            features_ND, count, rng, population=evidence.population, device=evidence.device
        )
        groups = members(owner, count)
        density_N = self._density(evidence, groups)
        open_ = np.zeros(len(owner), dtype=bool)
        open_[evidence.candidates] = True
        held = dict(zip(owner[evidence.labelled].tolist(), evidence.labelled.tolist(), strict=True))
        choices = {number: group[open_[group]] for number, group in enumerate(groups) if number not in held}
        choices = {number: choice for number, choice in choices.items() if len(choice)}
        picks = _best_of_each(choices, density_N)
        around = neighbours(centroids_KD, AROUND)
        regular_N = np.zeros(len(owner), dtype=np.float32)
        for _ in range(self.rounds):
            chosen = {**held, **picks}
            for number, choice in choices.items():
                others = [chosen[other] for other in around[number] if other != number and other in chosen]
                crowd = self._crowd(features_ND, choice, np.asarray(others, dtype=np.int64))
                regular_N[choice] = self.momentum * regular_N[choice] + (1 - self.momentum) * crowd
            utility_N = density_N - self.balance * regular_N
            picks = _best_of_each(choices, utility_N)
        utility_N = density_N - self.balance * regular_N
        positions = np.sort(np.asarray(list(picks.values()), dtype=np.int64))
        positions = positions[np.argsort(-utility_N[positions], kind="stable")][:budget]
        reasons = [f"densest of a cluster of {len(groups[owner[item]]):,} items" for item in positions]
        if len(positions) < budget:
            left = np.setdiff1d(evidence.candidates, positions, assume_unique=True)
            rest = left[np.argsort(-density_N[left], kind="stable")][: budget - len(positions)]
            positions = np.concatenate([positions, rest])
            reasons += ["dense: fewer clusters hold an item to pick than the budget asks for"] * len(rest)
        return Picks(positions, utility_N[positions].astype(np.float64), reasons)

    def _density(self, evidence: Evidence, groups: list[IntArray]) -> np.ndarray:
        """1 / mean distance of each item (N,) to the nearest ones of its cluster."""
        density_N = np.ones(len(evidence.features_ND), dtype=np.float32)
        for group in groups:
            if len(group) > 1:
                count = min(self.neighbours, len(group) - 1)
                distance = mean_distance_to_nearest(evidence.features_ND[group], count)
                density_N[group] = 1 / np.maximum(distance, 1e-3)
        return density_N

    def _crowd(self, features_ND: np.ndarray, items: IntArray, picks: IntArray) -> np.ndarray:
        """The mean over picks of ``1 / distance^alpha`` for some items."""
        if not len(picks):
            return np.zeros(len(items), dtype=np.float32)
        distance = distances_from(features_ND[items] @ features_ND[picks].T)
        crowd: np.ndarray = (1 / np.maximum(distance, 1e-3) ** self.alpha).mean(axis=1)
        return crowd


def _best_of_each(choices: dict[int, IntArray], values_N: np.ndarray) -> dict[int, int]:
    """The item of the highest value among each cluster's choice."""
    return {number: int(choice[first_best(values_N[choice], DISTANCE_ROUNDING)]) for number, choice in choices.items()}
