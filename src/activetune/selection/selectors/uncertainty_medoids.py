"""Medoids of the items that the model is unsure of: ActiveFT's picks, each item weighed by its uncertainty.

K clusters of the items that have no label yet (k-means), each gives its most central item, and picks are swapped for
other items while that lowers ``sum_i u_i d_i^2``: ``d_i`` an item's distance to its nearest pick, ``u_i = 1 - (p_(1) -
p_(2))`` one less the margin between its two likeliest classes. Weighing diversity by the margin is the idea of Zhdanov
("Diverse mini-batch Active Learning", 2019), whose picks are those nearest to the centres of a weighted k-means; the
swaps are those of ``activeft`` (``_swaps.py``). Labelled items neither cover nor count: where the model is still
unsure beside them they have not helped, and elsewhere the weights are small already.
The weights, and that labelled items do not cover, were chosen on Caltech-101 and CIFAR-10, even and long-tailed, the
pools of benchmarks/accuracy.
Cost: k-means (``features/clusters.py``), then 2 J T D with at most J = 20,000 and T = max(8,192, 2 K); O(N + (J + K) D)
memory. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from activetune.base.errors import UsageError
from activetune.features.clusters import cluster
from activetune.features.distances import Float32
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._ranking import given, less_the_margin
from activetune.selection.selectors._swaps import picks_of_centroids, weight_of_each

SMALLEST_WEIGHT = 1e-3  # of an item: where the model is sure of everything, the distance alone decides


@dataclass(frozen=True)
class UncertaintyMedoids(Selector):
    """Medoids of the unlabelled items, weighed by uncertainty. Score: the uncertainty that the pick stands for.

    Attributes:
        swaps: most passes of swaps, >= 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "probs_NC"})

    swaps: int = 1

    def __post_init__(self) -> None:
        if self.swaps < 1:
            raise UsageError(f"uncertainty_medoids: swaps can't be {self.swaps}; it must be at least 1")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        doubt_N: Float32 = np.maximum(less_the_margin(given(evidence.probs_NC)), SMALLEST_WEIGHT).astype(np.float32)
        open_ = replace(
            evidence,
            labelled=evidence.labelled[:0],
            answers_L=None,
            excluded=np.union1d(evidence.excluded, evidence.labelled),
        )
        centroids_KD, owner_N, _ = cluster(
            evidence.features_ND, budget, rng, population=open_.population, device=evidence.device
        )
        positions = picks_of_centroids(
            open_, centroids_KD, owner_N[open_.population], rng, power=2.0, passes=self.swaps, weights_N=doubt_N
        )
        held = weight_of_each(open_, positions, doubt_N)
        order = np.lexsort((positions, -held))
        reasons = [f"the nearest pick of items with a summed uncertainty of {held[index]:.1f}" for index in order]
        return Picks(positions[order], held[order], reasons)
