"""Clusters of features of unit length: k-means with cosine similarity, for thousands of centroids and a million items.

Seeds by k-means++ (scikit-learn's greedy variant) on a random sample, then Lloyd's iterations: each item to its most
similar centroid, each centroid to the direction of its items' sum. Only every tenth assignment is exact, those between
look nearby (``features/nearest.py``); a cluster that runs empty takes the item that is least like its own centroid.
Cost: 2 S K D operations for the seeds (times 2 + log K trials up to K = 2,000), an iteration 2 N R D, or 2 N K D where
exact; O(N + K D) memory. S sampled items: max(8,192, 8 K) at most; R = 16 neighbours.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from activetune.base.arrays import IntArray
from activetune.base.runtime import one_thread
from activetune.features.distances import Float32, distances_from, pieces
from activetune.features.holding import WHOLE, Holding
from activetune.features.nearest import NEIGHBOURS, AssignedSums, NearestCentroid

SAMPLE, SAMPLE_PER_SEED = 8_192, 8  # items that k-means++ sees: at least so many, and so many per seed
MANY = 2_000  # seeds from which on greedy trials cost more than they bring
REFRESH = 10


def cluster(
    features_ND: Float32,
    count: int,
    rng: np.random.Generator,
    *,
    population: IntArray | None = None,
    iterations: int = 100,
    device: str = "cpu",
    start_KD: Float32 | None = None,
    around: int = NEIGHBOURS,
    holding: Holding = WHOLE,
) -> tuple[Float32, IntArray, Float32]:
    """Spherical k-means of the population (default: all rows).

    Args:
        start_KD: centroids to start from; None draws them by k-means++.
        around: centroids among which an item looks for its nearest between two exact assignments.
        holding: the part of the rows that this process holds; N counts these, and the centroids are all processes'.

    Returns:
        centroids of unit length (K, D), and for all N rows their cluster and the similarity to its centroid; rows
        outside the population have cluster -1. With fewer distinct rows than ``count`` some clusters are empty.
    """
    whole = population is None or len(population) == len(features_ND)
    rows_ND = features_ND if whole else features_ND[population]
    centroids = torch.from_numpy(seeds(rows_ND, count, rng, holding=holding) if start_KD is None else start_KD).to(
        device
    )
    rows = torch.from_numpy(rows_ND).to(device)
    nearest, assigned = NearestCentroid(rows, around), AssignedSums(rows, count)
    owner, similarity = nearest.exact(centroids)
    last = -np.inf
    for number in range(iterations):
        sums = holding.added(assigned.of(owner).clone())
        _revive(sums, rows, owner, similarity, holding)
        lengths = sums.norm(dim=1, keepdim=True)
        centroids = torch.where(lengths > 0, sums / lengths.clamp_min(1e-12), centroids)
        exact = number % REFRESH == REFRESH - 1
        owner, similarity = (nearest.exact if exact else nearest.near)(centroids)
        if exact:
            total = holding.total(float(similarity.sum(dtype=torch.float64)))
            if total - last < 3e-4 * abs(total):
                break
            last = total
    owner, similarity = nearest.exact(centroids)
    if whole:
        return centroids.cpu().numpy(), owner.cpu().numpy(), similarity.cpu().numpy()
    clusters = np.full(len(features_ND), -1, dtype=np.int64)
    values = np.zeros(len(features_ND), dtype=np.float32)
    clusters[population], values[population] = owner.cpu().numpy(), similarity.cpu().numpy()
    return centroids.cpu().numpy(), clusters, values


def seeds(
    rows_ND: Float32,
    count: int,
    rng: np.random.Generator,
    *,
    sample: int = SAMPLE,
    many: int = MANY,
    holding: Holding = WHOLE,
) -> Float32:
    """k-means++ on a sample that is large enough for its seeds (K, D) to lie as they would in the whole.

    Args:
        sample: items that it has at least. many: seeds above which each is drawn once, without greedy trials.
    """
    size = max(sample, SAMPLE_PER_SEED * count)
    if holding.count(len(rows_ND)) <= size:
        drawn = holding.joined(rows_ND)
    else:
        drawn = holding.rows(rows_ND, np.sort(holding.drawn(np.arange(len(rows_ND)), size, rng)))
    chosen = holding.agreed(lambda: _plus_plus(drawn, count, rng, many))
    found: Float32 = drawn[chosen]
    return found


def _plus_plus(rows_SD: Float32, count: int, rng: np.random.Generator, many: int) -> IntArray:
    """Places of k-means++ seeds among some rows."""
    from sklearn.cluster import kmeans_plusplus

    trials = None if count <= many else 1
    with one_thread():  # thousands of small products
        _, chosen = kmeans_plusplus(
            rows_SD.astype(np.float64),  # float32 would be converted again in every step
            count,
            n_local_trials=trials,
            random_state=int(rng.integers(2**31)),
        )
    places: IntArray = chosen
    return places


def _revive(
    sums: torch.Tensor, rows: torch.Tensor, owner: torch.Tensor, similarity: torch.Tensor, holding: Holding
) -> None:
    """Give each empty cluster one of the items that are least like their own centroid (in place)."""
    empty = torch.nonzero(holding.added(torch.bincount(owner, minlength=len(sums))) == 0).ravel()
    if len(empty):
        unlike = torch.where(rows.any(dim=1), similarity, torch.inf)  # a zero vector gives no direction
        worst = torch.topk(unlike, min(len(empty), len(similarity)), largest=False)
        found = rows[worst.indices]
        if holding.world > 1:
            order = holding.joined(worst.values.cpu().numpy()).argsort(kind="stable")[: len(empty)]
            found = torch.from_numpy(holding.joined(found.cpu().numpy())[order]).to(sums)
        sums[empty[: len(found)]] = found


def members(clusters_N: IntArray, count: int) -> list[IntArray]:
    """Positions of each cluster's items, ascending; rows of cluster -1 are in none."""
    order = np.argsort(clusters_N, kind="stable")
    bounds = np.searchsorted(clusters_N[order], np.arange(count + 1))
    return [order[start:stop] for start, stop in itertools.pairwise(bounds)]


def mean_distance_to_nearest(rows_ND: Float32, count: int, own: slice | None = None) -> Float32:
    """Mean distance of each row, or of the ``own`` ones alone, to its ``count`` nearest other ones (N,), in pieces."""
    start, stop, _ = (slice(None) if own is None else own).indices(len(rows_ND))
    found = np.empty(stop - start, dtype=np.float32)
    for piece in pieces(stop - start, len(rows_ND)):
        part = slice(start + piece.start, start + piece.stop)
        product = rows_ND[part] @ rows_ND.T
        product[np.arange(len(product)), np.arange(part.start, part.stop)] = -np.inf
        nearest = -np.partition(-product, count - 1, axis=1)[:, :count]
        found[piece] = distances_from(nearest).mean(axis=1)
    return found
