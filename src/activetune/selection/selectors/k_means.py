"""k-means: the item nearest to each centroid.

Lloyd's algorithm with k-means++ seeding on features of unit length (``features/clusters.py``; cosine similarity, which
on unit rows picks as well as Euclidean distance does), then each cluster's own nearest candidate, so that the picks are
distinct by construction. With L labelled items it makes K + L clusters and leaves out those that hold labelled items;
should more than K be left, the largest K are taken.
Cost: 2 N (K + L) D operations for every tenth of up to 100 iterations, 32 N D for the others. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.clusters import cluster, members
from activetune.features.distances import Float32, first_best
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


@dataclass(frozen=True)
class KMeans(Selector):
    """Nearest to the centroid of each of K clusters. Score: the size of the pick's cluster.

    Attributes:
        iterations: most iterations of Lloyd's algorithm.
    """

    iterations: int = 100

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        count = min(budget + len(evidence.labelled), len(evidence.population))
        _, owner, similarity = cluster(
            evidence.features_ND,
            count,
            rng,
            population=evidence.population,
            iterations=self.iterations,
            device=evidence.device,
        )
        positions, values, sizes = _nearest_of_each(evidence, owner, similarity, count)
        order = np.argsort(-sizes, kind="stable")[:budget]
        positions, values, sizes = positions[order], values[order], sizes[order]
        if len(positions) < budget:  # duplicates in the pool leave clusters empty; a random one fills up
            free = np.setdiff1d(evidence.candidates, positions, assume_unique=True)
            more = rng.choice(free, budget - len(positions), replace=False)
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
    covered = set(owner[evidence.labelled].tolist())
    open_ = np.zeros(len(owner), dtype=bool)
    open_[evidence.candidates] = True
    positions, sizes = [], []
    for number, group in enumerate(members(owner, count)):
        choice = group[open_[group]]
        if number not in covered and len(choice):
            positions.append(choice[first_best(similarity[choice])])
            sizes.append(len(group))
    found = np.asarray(positions, dtype=np.int64)
    return found, similarity[found], np.asarray(sizes, dtype=np.int64)
