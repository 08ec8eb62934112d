"""k-means: the item nearest to each centroid.

Lloyd's algorithm with k-means++ seeding on features of unit length (``features/clusters.py``; cosine similarity, which
on unit rows picks as well as Euclidean distance does), then each cluster's own nearest candidate, so that the picks are
distinct by construction. With L labelled items it makes K + L clusters and leaves out those that hold labelled items;
should more than K be left, the largest K are taken.
Cost: 2 N (K + L) D operations for every tenth of up to 100 iterations, 32 N D for the others. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.clusters import cluster
from activetune.features.distances import Float32, first_best_of_each
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


@dataclass(frozen=True)
class KMeans(Selector):
    """Nearest to the centroid of each of K clusters. Score: the size of the pick's cluster.

    Attributes:
        iterations: most iterations of Lloyd's algorithm.
    """

    shares_rows: ClassVar[bool] = True

    iterations: int = 100

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        holding = evidence.holding
        count = min(budget + holding.count(len(evidence.labelled)), holding.count(len(evidence.population)))
        _, owner, similarity = cluster(
            evidence.features_ND,
            count,
            rng,
            population=evidence.population,
            iterations=self.iterations,
            device=evidence.device,
            holding=holding,
        )
        positions, values, sizes = _nearest_of_each(evidence, owner, similarity, count)
        order = np.argsort(-sizes, kind="stable")[:budget]
        positions, values, sizes = positions[order], values[order], sizes[order]
        if len(positions) < budget:  # duplicates in the pool leave clusters empty; a random one fills up
            taken = holding.own(positions, len(evidence.features_ND))
            free = np.setdiff1d(evidence.candidates, taken, assume_unique=True)
            more = holding.drawn(free, budget - len(positions), rng)
            positions = np.concatenate([positions, more])
            sizes = np.concatenate([sizes, np.zeros(len(more), dtype=sizes.dtype)])
            values = np.concatenate([values, np.zeros(len(more), dtype=np.float32)])
        reasons = [
            f"nearest to the centroid of {size:,} items, similarity {value:.3f}"
            if size
            else "random: fewer clusters hold an item to pick than the budget asks for"
            for size, value in zip(sizes, values, strict=True)
        ]
        return Picks(positions, sizes.astype(np.float64), reasons)


def _nearest_of_each(
    evidence: Evidence, owner: IntArray, similarity: Float32, count: int
) -> tuple[IntArray, Float32, IntArray]:
    """For each cluster without a labelled item: its candidate nearest to the centroid, similarity and size."""
    holding, open_ = evidence.holding, evidence.candidates
    counts_2K = np.stack(
        [np.bincount(owner[which], minlength=count) for which in (evidence.population, evidence.labelled)]
    )
    sizes_K, labelled_K = holding.added(counts_2K)
    positions_K, values_K = first_best_of_each(similarity[open_], owner[open_], open_, count, holding=holding)
    found = (positions_K >= 0) & (labelled_K == 0)
    return positions_K[found], values_K[found], sizes_K[found]
