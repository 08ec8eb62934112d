"""A pool's graph of nearest neighbours, and what is known of a few items spread over it.

Label spreading (Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003; "label propagation" in later
work): what is known, Y, spreads over a graph W of similar items until

    Q = alpha S Q + (1 - alpha) Y    with S = D^-1/2 W D^-1/2, D the row sums of W on a diagonal

so that ``Q = (1 - alpha) (I - alpha S)^-1 Y``. We solve that linear system by conjugate gradients, in a tenth of the
products that repeating it takes, and some columns at a time, so that nothing of N x C is held. W joins each item with
its K nearest by cosine, where either of two items has the other among them, by the third power of their similarity, as
Iscen et al. do (CVPR 2019; they add both directions, we take the larger). Zhou et al. join all pairs, by a Gaussian of
their distance.
Shape legend: N items, D feature size, K neighbours, B columns that spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from activetune.base.progress import progress
from activetune.features.clusters import cluster, members
from activetune.features.distances import Float32, nearest_centroid, pieces
from activetune.features.nearest import neighbours as around_each

EXACT = 50_000  # items up to which all pairs are compared
CELL = 500  # items of a cell above, about: each item is compared with those of the cells around its own
AROUND = 12  # cells
POWER = 3
TOLERANCE = 1e-3  # of the residual, relative: far below what decides between two classes
MOST_STEPS = 200

Int32 = npt.NDArray[np.int32]


def nearest_neighbours(
    features_ND: Float32, count: int, *, seed: int = 0, exact: bool | None = None, quiet: bool = True
) -> tuple[Int32, Float32]:
    """The most similar other items of each item, the nearest first: positions and similarities, (N, K) each.

    >>> features = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    >>> nearest_neighbours(features, 1)[0].ravel().tolist()
    [1, 0, 3, 2]

    Args:
        features_ND: of unit length. count: K; N - 1 at most are found.
        exact: compare all pairs; None does up to 50,000 items. Otherwise an item is compared with those of the 12
            cells, of 500 items about, that are the most similar to its own.

    Cost: 2 N N D operations, or 2 N 6,000 D and a k-means; O(N K) memory beside a piece.
    """
    size = len(features_ND)
    count = min(count, size - 1)
    index = np.zeros((size, count), dtype=np.int32)
    similarity = np.zeros((size, count), dtype=np.float32)
    rows_ND = torch.from_numpy(features_ND)
    exact = size <= EXACT if exact is None else exact
    groups = [(np.arange(size), np.arange(size))] if exact else _cells(features_ND, seed, count)
    with progress(size, "neighbours", unit="items", quiet=quiet) as meter:
        for own_cell, compared in groups:
            against = rows_ND if len(compared) == size else rows_ND[torch.from_numpy(compared)]
            for part in pieces(len(own_cell), len(compared)):
                positions = own_cell[part]
                product = rows_ND[torch.from_numpy(positions)] @ against.T
                own = torch.from_numpy(np.searchsorted(compared, positions))
                product[torch.arange(len(product)), own] = -torch.inf  # itself
                found = product.topk(count, dim=1)
                index[positions], similarity[positions] = compared[found.indices.numpy()], found.values.numpy()
                meter.advance(len(positions))
    return index, similarity


def _cells(features_ND: Float32, seed: int, least: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Items of each cell, and those of the cells around it, ascending; more than ``least`` of these."""
    size = len(features_ND)
    rng = np.random.default_rng([seed, 23])
    sample = np.sort(rng.permutation(size)[: max(20_000, 64 * (size // CELL))])
    centroids_MD, *_ = cluster(np.ascontiguousarray(features_ND[sample]), max(2, size // CELL), rng, iterations=10)
    cells = members(nearest_centroid(features_ND, centroids_MD)[0], len(centroids_MD))
    found = []
    for own, around in zip(cells, around_each(centroids_MD, AROUND), strict=True):
        if not len(own):
            continue
        compared = np.sort(np.concatenate([cells[number] for number in around]))
        found.append((own, compared if len(compared) > least else np.arange(size)))
    return found


@dataclass(frozen=True)
class Graph:
    """Items joined with their neighbours.

    Attributes:
        joined_NN: S, sparse and symmetric; no eigenvalue is above 1.
    """

    joined_NN: Any

    @classmethod
    def of(cls, index_NK: Int32, similarity_NK: Float32, count: int) -> Graph:
        """The graph of the first ``count`` neighbours of each item; see :func:`nearest_neighbours`."""
        from scipy.sparse import csr_array

        size, count = len(index_NK), min(count, index_NK.shape[1])
        weights = np.maximum(similarity_NK[:, :count], 0).ravel() ** POWER
        starts = np.arange(size + 1, dtype=np.int64) * count
        one_way = csr_array((weights, index_NK[:, :count].ravel(), starts), shape=(size, size))
        both = one_way.maximum(one_way.T).tocsr()
        degree_N = np.asarray(both.sum(axis=1)).ravel()
        scale_N = 1 / np.sqrt(np.where(degree_N > 0, degree_N, 1))
        both.data *= scale_N[both.indices] * np.repeat(scale_N, np.diff(both.indptr))
        return cls(both.astype(np.float32))

    def spread(self, known_NB: Float32, alpha: float) -> Float32:
        """(N, B): Q of each column, never negative.

        >>> pair = Graph.of(np.array([[1], [0]], dtype=np.int32), np.ones((2, 1), dtype=np.float32), 1)
        >>> (3 * pair.spread(np.array([[1], [0]], dtype=np.float32), 0.5)).round().ravel().tolist()
        [2.0, 1.0]

        Args:
            known_NB: Y. alpha: in [0, 1), how far it spreads; 0 leaves it where it is.
        """
        rest: Float32 = (1 - alpha) * known_NB.astype(np.float32)
        found, direction = np.zeros_like(rest), rest.copy()
        square_B = (rest**2).sum(axis=0)
        least_B = TOLERANCE**2 * square_B
        for _ in range(MOST_STEPS):
            if (square_B <= least_B).all():
                break
            moved = direction - alpha * (self.joined_NN @ direction)
            step_B = square_B / np.maximum((direction * moved).sum(axis=0), 1e-30)
            found += step_B * direction
            rest -= step_B * moved
            before_B, square_B = square_B, (rest**2).sum(axis=0)
            direction *= square_B / np.maximum(before_B, 1e-30)
            direction += rest
        return np.maximum(found, 0)
