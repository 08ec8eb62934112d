"""The radius of ProbCover: the largest at which most balls around items hold items of one class alone.

Classes are not known before anything is labelled, so clusters of k-means stand in for them (Yehuda et al., "Active
Learning Through a Covering Lens", NeurIPS 2022, section 3.2: purity 0.95, as many clusters as classes).
Deviation: instead of trying radii on a grid, each sampled item's distance to the nearest item of another cluster is
taken; a ball is pure up to just that radius, so the answer is a quantile of those distances.
Cost: k-means (``_clusters.py``) and 2 S N D operations for a sample of S items; O(N + chunk) memory.
Shape legend: N items, D feature size, S sampled items.
"""

from __future__ import annotations

import numpy as np

from activetune.distances import Float32, pieces
from activetune.selectors._clusters import cluster
from activetune.types import IntArray

PURITY = 0.95
SAMPLE = 2000
ITERATIONS = 20  # of k-means: the radius is a rough one
LARGEST = 2.0  # the distance of opposite rows of unit length


def covering_radius(features_ND: Float32, classes: int, rng: np.random.Generator) -> float:
    """The radius by ProbCover's rule on features of unit length.

    Args:
        classes: how many classes are known; with fewer than two the number of clusters follows from N.
    """
    count = cluster_count(len(features_ND), classes)
    return pure_radius(features_ND, pseudo_labels(features_ND, count, rng), rng=rng)


def cluster_count(items: int, classes: int = 0) -> int:
    """As many clusters as known classes; ``2 sqrt(N)`` within [2, 1000] where fewer than two are known."""
    count = classes if classes >= 2 else int(np.clip(round(2 * np.sqrt(items)), 2, 1000))
    return min(count, items)


def pseudo_labels(features_ND: Float32, count: int, rng: np.random.Generator) -> IntArray:
    """(N,) the number of each item's cluster, by one run of k-means; ``1 <= count <= N``."""
    _, found, _ = cluster(features_ND, count, rng, iterations=ITERATIONS)
    return found


def pure_radius(
    features_ND: Float32,
    clusters_N: IntArray,
    *,
    purity: float = PURITY,
    sample: int = SAMPLE,
    rng: np.random.Generator,
) -> float:
    """The largest radius at which at least ``purity`` of the balls around items hold one cluster alone.

    Args:
        features_ND: rows of unit length. clusters_N: the number of each item's cluster.
        purity: share of the balls, in (0, 1]. sample: balls that are looked at; they are compared with all N items.

    Returns:
        A Euclidean distance in [0, 2] (2: all items are of one cluster); items at just that distance lie outside.
    """
    chosen = np.arange(len(features_ND))
    if len(chosen) > sample:
        chosen = np.sort(rng.choice(len(features_ND), sample, replace=False))
    rows_SD, own_S = features_ND[chosen], clusters_N[chosen]
    nearest_S = np.full(len(chosen), -np.inf, dtype=np.float32)  # similarity to the nearest item of another cluster
    for part in pieces(len(features_ND), len(chosen)):
        product = rows_SD @ features_ND[part].T
        product[own_S[:, None] == clusters_N[part][None, :]] = -np.inf
        np.maximum(nearest_S, product.max(axis=1), out=nearest_S)
    distance_S = np.sqrt(np.clip(2 - 2 * nearest_S.astype(np.float64), 0, LARGEST**2))
    mixed = min(int((1 - purity) * len(chosen) + 1e-9), len(chosen) - 1)  # balls that need not be pure
    return float(np.sort(distance_S)[mixed])
