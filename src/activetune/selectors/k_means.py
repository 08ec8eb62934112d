"""k-means: the item nearest to each centroid.

Lloyd's algorithm with k-means++ seeding on features of unit length (scikit-learn's), then each cluster's own nearest
candidate, so that the picks are distinct by construction. With L labelled items it makes K + L clusters and leaves
out those that hold labelled items; should more than K be left, the largest K are taken.
Cost: O(N (K + L) D) an iteration, up to 100 of them. Not ordered.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from activetune.distances import Float32
from activetune.selectors._base import Selector
from activetune.types import Evidence, IntArray, Picks


@dataclass(frozen=True)
class KMeans(Selector):
    """Nearest to the centroid of each of K clusters. Score: the size of the pick's cluster.

    Attributes:
        iterations: most iterations of Lloyd's algorithm.
        starts: k-means++ seedings, the one with the lowest inertia is kept.
    """

    iterations: int = 100
    starts: int = 1

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        centroids_KD, cluster = self._cluster(evidence, budget + len(evidence.labelled), rng)
        positions, similarity, sizes = _nearest_of_each(evidence, centroids_KD, cluster)
        order = np.argsort(-sizes, kind="stable")[:budget]
        positions, similarity, sizes = positions[order], similarity[order], sizes[order]
        if len(positions) < budget:  # duplicates in the pool leave clusters empty; a plain next-nearest fills up
            free = np.setdiff1d(evidence.candidates, positions, assume_unique=True)
            more = rng.choice(free, budget - len(positions), replace=False)
            positions = np.concatenate([positions, more])
            sizes = np.concatenate([sizes, np.zeros(len(more), dtype=sizes.dtype)])
            similarity = np.concatenate([similarity, np.zeros(len(more), dtype=np.float32)])
        reasons = [
            f"nearest to the centroid of {size:,} items, similarity {value:.3f}"
            if size
            else "random: the pool has fewer distinct items than the budget"
            for size, value in zip(sizes, similarity, strict=True)
        ]
        return Picks(positions, sizes.astype(np.float64), reasons)

    def _cluster(self, evidence: Evidence, count: int, rng: np.random.Generator) -> tuple[Float32, IntArray]:
        """Centroids and each item's cluster; excluded items take no part (cluster -1)."""
        from sklearn.cluster import KMeans as Lloyd
        from sklearn.exceptions import ConvergenceWarning

        part = np.sort(np.concatenate([evidence.candidates, evidence.labelled]))
        model = Lloyd(count, n_init=self.starts, max_iter=self.iterations, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: handled above
            model.fit(evidence.features_ND[part])
        cluster = np.full(len(evidence.features_ND), -1, dtype=np.int64)
        cluster[part] = model.labels_
        return model.cluster_centers_.astype(np.float32), cluster


def _nearest_of_each(
    evidence: Evidence, centroids_KD: Float32, cluster: IntArray
) -> tuple[IntArray, Float32, IntArray]:
    """For each cluster without a labelled item: its candidate nearest to the centroid, similarity and size."""
    covered = set(cluster[evidence.labelled].tolist())
    positions, values, sizes = [], [], []
    members = evidence.candidates[np.argsort(cluster[evidence.candidates], kind="stable")]
    groups = np.split(members, np.flatnonzero(np.diff(cluster[members])) + 1)
    for group in groups:
        number = int(cluster[group[0]])
        if number in covered:
            continue
        distance = ((evidence.features_ND[group] - centroids_KD[number]) ** 2).sum(axis=1)
        best = int(distance.argmin())
        positions.append(group[best])
        values.append(evidence.features_ND[group[best]] @ centroids_KD[number])
        sizes.append(len(group))
    return np.asarray(positions, dtype=np.int64), np.asarray(values, dtype=np.float32), np.asarray(sizes)
