"""How near is near enough: the radius within which a pick stands for an item.

Two rules, on features of unit length:

- ``typical_radius``: a ball around an item holds 1 % of the others on average. The default.
- ``pure_radius``: the largest at which most balls hold items of one class alone, with clusters of k-means in the
  classes' place, since nothing is labelled (Yehuda et al., "Active Learning Through a Covering Lens", NeurIPS 2022,
  section 3.2: purity 0.95, as many clusters as classes). Deviation: instead of trying radii on a grid, each sampled
  item's distance to the nearest item of another cluster is taken; a ball is pure up to just that radius, so the answer
  is a quantile of those distances.

On the networks and pools of benchmarks/accuracy the second rule's balls hold a few items in 10,000, far from what
gives accurate picks, whatever the number of clusters; see experiments/LOG.md.
Cost: 2 S N D operations for a sample of S items (and k-means for the second); O(S N) numbers in pieces.
Shape legend: N items, D feature size, S sampled items.
"""

from __future__ import annotations

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.clusters import cluster
from activetune.features.distances import Float32, pieces

SHARE = 0.01
FEWEST = 3  # other items that a ball holds on average, where 1 % of a small pool is less
PURITY = 0.95
SAMPLE = 2000
AGAINST = 5000  # items that the sample's distances are taken to
ITERATIONS = 20  # of k-means: the radius is a rough one
LARGEST = 2.0  # the distance of opposite rows of unit length


def typical_radius(
    features_ND: Float32,
    rng: np.random.Generator,
    share: float = SHARE,
    *,
    sample: int = SAMPLE,
    against: int = AGAINST,
) -> float:
    """The radius at which a ball around an item holds ``share`` of the other items on average.

    Args:
        sample: balls that are looked at. against: items whose distances to their centres are taken.

    Returns:
        A Euclidean distance in [0, 2].
    """
    items = len(features_ND)
    if items < 2:
        return LARGEST
    rows, others = (np.sort(rng.choice(items, min(items, count), replace=False)) for count in (sample, against))
    similarity = features_ND[rows] @ features_ND[others].T
    apart = similarity[rows[:, None] != others[None, :]]
    held = max(share, min(1.0, FEWEST / (items - 1)))
    rank = min(int(held * len(apart)), len(apart) - 1)
    nearest = float(np.partition(apart, len(apart) - 1 - rank)[len(apart) - 1 - rank])
    return float(np.sqrt(np.clip(2 - 2 * nearest, 0, LARGEST**2)))


def clustered_radius(features_ND: Float32, classes: int, rng: np.random.Generator) -> float:
    """The pure radius with as many clusters of k-means as there are classes."""
    return pure_radius(features_ND, pseudo_labels(features_ND, min(classes, len(features_ND)), rng), rng=rng)


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
