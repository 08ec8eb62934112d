"""Products of many rows with few, in pieces: nothing here holds N x K numbers.

Rows have unit length, so similarity is the dot product and distance is ``sqrt(2 - 2 similarity)``.
Shape legend: N items, D feature size, K centroids or picks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.holding import NOWHERE, WHOLE, Holding

Float32 = npt.NDArray[np.float32]
ROUNDING = 2e-6  # by which sums of float32 products differ where they are added up in another order
DISTANCE_ROUNDING = 1e-5  # of a distance, the root of a difference of such sums, relative
SMALLEST_NORM = 1e-15  # below it float32 loses digits of a sum of squares
DECIMALS = 6  # of a distance that is written down: float32 features know no more


def unit_rows(features_ND: npt.ArrayLike) -> Float32:
    """A float32 copy with rows of unit length; zero rows stay zero. Works through a memory map in pieces.

    Rows of any finite size come out right; one that holds NaN or an infinite value comes out with NaN.
    """
    source = np.asanyarray(features_ND)
    rows_ND = np.empty(source.shape, dtype=np.float32)
    for part in pieces(len(source), source.shape[1]):
        rows = rows_ND[part]
        with np.errstate(over="ignore", invalid="ignore"):
            rows[:] = source[part]
            norms = np.linalg.norm(rows, axis=1)
            odd = np.flatnonzero(~((norms > SMALLEST_NORM) & (norms < np.inf)))  # squares that leave float32's range
            largest = np.abs(rows[odd]).max(axis=1, initial=0)
            rows[odd] /= np.where(largest == 0, 1, largest)[:, None]
            norms[odd] = np.linalg.norm(rows[odd], axis=1)
            rows /= np.where(norms == 0, 1, norms)[:, None]
    return rows_ND


_piece_numbers = [2**23]  # numbers in one piece of an N x K product, 32 MB; the last one is in force


@contextlib.contextmanager
def pieces_of(numbers: int) -> Iterator[None]:
    """Within this block products are made in pieces of so many numbers: fewer take less memory and more calls."""
    _piece_numbers.append(numbers)
    try:
        yield
    finally:
        _piece_numbers.pop()


def pieces(rows: int, columns: int) -> Iterator[slice]:
    """Slices of ``rows`` whose products with ``columns`` stay within the numbers of a piece, see :func:`pieces_of`."""
    step = max(1, _piece_numbers[-1] // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def distances_from(similarity: Float32) -> Float32:
    """Euclidean distances of unit rows from their similarities, in [0, 2]."""
    return np.sqrt(np.maximum(2 - 2 * similarity, 0))


def first_best(values: FloatArray, rounding: float = ROUNDING) -> int:
    """Index of the first value that is the largest but for rounding.

    Two items are equally similar to their mean, and which of the two comes out larger hangs on the number of threads.

    Args:
        rounding: relative to the largest value where that is above 1.
    """
    largest = float(values.max())
    return int(np.argmax(values >= largest - rounding * max(1.0, abs(largest))))


def first_best_of_each(
    values_M: Float32,
    groups_M: IntArray,
    positions_M: IntArray,
    count: int,
    *,
    rounding: float = ROUNDING,
    holding: Holding = WHOLE,
) -> tuple[IntArray, Float32]:
    """What :func:`first_best` is of each of some groups: global positions and values, (G,); -1 and -inf: of none.

    Args:
        values_M, groups_M, positions_M: of this process, positions ascending. count: G.
    """
    top_G = np.full(count, -np.inf, dtype=np.float32)
    np.maximum.at(top_G, groups_M, values_M)
    top_G = holding.largest(top_G)
    least_G = (top_G - rounding * np.maximum(1.0, np.abs(top_G, dtype=np.float64))).astype(np.float32)
    near = np.flatnonzero(values_M >= least_G[groups_M])
    first_G = np.full(count, NOWHERE)
    np.minimum.at(first_G, groups_M[near], positions_M[near] + holding.start)
    first_G = holding.least(first_G)
    mine = near[positions_M[near] + holding.start == first_G[groups_M[near]]]
    values_G = np.full(count, -np.inf, dtype=np.float32)
    values_G[groups_M[mine]] = values_M[mine]
    return np.where(first_G == NOWHERE, -1, first_G), holding.largest(values_G)


def nearest_centroid(features_ND: Float32, centroids_KD: Float32) -> tuple[IntArray, Float32]:
    """Each item's most similar centroid and that similarity, (N,) each; a tie goes to the lower index.

    Cost: O(N K D) operations, O(N + chunk) memory.
    """
    index = np.empty(len(features_ND), dtype=np.int64)
    similarity = np.empty(len(features_ND), dtype=np.float32)
    for part in pieces(len(features_ND), len(centroids_KD)):
        product = features_ND[part] @ centroids_KD.T
        index[part] = product.argmax(axis=1)
        similarity[part] = product[np.arange(len(product)), index[part]]
    return index, similarity


def coverage(
    features_ND: Float32, chosen: IntArray, population: IntArray | None = None, holding: Holding = WHOLE
) -> dict[str, float]:
    """How well chosen items stand for a population (default: all N).

    Args:
        chosen: global positions.

    Returns:
        ``emd``: mean over the population of the distance to the nearest chosen item, the Earth Mover's Distance of
        ActiveFT's section 3.4, in [0, 2]; ``radius``: the largest such distance, the k-center objective.
    """
    distance_N, _ = distance_to_nearest(features_ND, holding.rows(features_ND, chosen))
    distance_N[holding.own(chosen, len(features_ND))] = 0  # a zero vector is similar to nothing, not even to itself
    return covered(distance_N if population is None else distance_N[population], holding)


def covered(distance_N: npt.NDArray[np.float64], holding: Holding = WHOLE) -> dict[str, float]:
    """The figures of :func:`coverage`, from each item's distance to the nearest chosen one."""
    mean = holding.total(float(distance_N.sum())) / holding.count(len(distance_N))
    largest = holding.largest(np.array([distance_N.max(initial=0)]))[0]
    return {"emd": round(mean, DECIMALS), "radius": round(float(largest), DECIMALS)}


def distance_to_nearest(features_ND: Float32, chosen_KD: Float32) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Distance of each item to the most similar of some rows in float64, and which that is, (N,) each.

    A zero vector is sqrt(2) from everything.

    The last digits of a matrix product depend on the number of threads and on the processor, and the square root of
    a small difference lifts them into the seventh digit. NumPy adds up a row of differences in one order everywhere.
    """
    nearest_N, _ = nearest_centroid(features_ND, chosen_KD)
    distance_N = np.empty(len(features_ND))
    for part in pieces(len(features_ND), 3 * features_ND.shape[1]):
        left, right = features_ND[part].astype(np.float64), chosen_KD[nearest_N[part]].astype(np.float64)
        distance_N[part] = np.sqrt(((left - right) ** 2).sum(axis=1))
        distance_N[part][~(left.any(axis=1) & right.any(axis=1))] = np.sqrt(2)
    return distance_N, nearest_N


def distinct_nearest(
    centroids_KD: Float32, features_ND: Float32, candidates: IntArray, depth: int = 16, holding: Holding = WHOLE
) -> tuple[IntArray, Float32]:
    """One distinct candidate a centroid, by similarity: the most similar pair of all is joined first, then the next.

    A centroid gets its own nearest candidate unless one closer to it takes that. The answer does not depend on the
    order of the centroids (equal similarities go to the lower item, then to the lower centroid).

    Args:
        candidates: (M,) positions in this process's rows that may be taken; all processes together have K at least.
        depth: nearest candidates looked at for a centroid in one pass; those left over get another pass.

    Returns:
        global positions (K,) and similarities (K,). Cost: O(M K D) for a pass, O(K depth + chunk) memory.
    """
    taken = np.full(len(centroids_KD), -1, dtype=np.int64)
    similarity = np.empty(len(centroids_KD), dtype=np.float32)
    free = candidates
    while (waiting := np.flatnonzero(taken < 0)).size:
        available = holding.count(len(free))
        count = min(depth, available)
        items, values = _top_of_all(centroids_KD[waiting], features_ND, free, count, holding)
        owners = np.repeat(waiting, count)
        unseen = dict.fromkeys(waiting.tolist(), count)
        used: set[int] = set()
        for pair in np.lexsort((owners, items.ravel(), -values.ravel())):
            item, owner = int(items.flat[pair]), int(owners[pair])
            unseen[owner] -= 1
            if taken[owner] >= 0:
                continue
            if item not in used:
                taken[owner], similarity[owner] = item, values.flat[pair]
                used.add(item)
            elif not unseen[owner] and count < available:
                break  # its next candidate is not listed and may come before every pair that is left
        free = np.setdiff1d(free, holding.own(taken[taken >= 0], len(features_ND)), assume_unique=True)
        depth *= 2
    return taken, similarity


def _top_of_all(
    centroids_KD: Float32, features_ND: Float32, candidates: IntArray, count: int, holding: Holding
) -> tuple[IntArray, Float32]:
    """:func:`_top_candidates` of all processes, as global positions."""
    items, values = _top_candidates(centroids_KD, features_ND, candidates, min(count, len(candidates)))
    if holding.world == 1:
        return items, values
    items, values = holding.joined(items.T + holding.start).T, holding.joined(values.T).T
    best = _largest(values, count) if values.shape[1] > count else np.argsort(items, axis=1)
    return np.take_along_axis(items, best, 1), np.take_along_axis(values, best, 1)


def _top_candidates(
    centroids_KD: Float32, features_ND: Float32, candidates: IntArray, count: int
) -> tuple[IntArray, Float32]:
    """The ``count`` most similar candidates of each centroid: positions and similarities, (K, count) each."""
    items = np.empty((len(centroids_KD), 0), dtype=np.int64)
    values = np.empty((len(centroids_KD), 0), dtype=np.float32)
    for part in pieces(len(candidates), max(centroids_KD.shape)):  # which copies rows, too
        product = centroids_KD @ features_ND[candidates[part]].T
        items = np.hstack([items, np.broadcast_to(candidates[part], product.shape)])
        values = np.hstack([values, product])
        if values.shape[1] > count:
            best = _largest(values, count)
            items, values = np.take_along_axis(items, best, 1), np.take_along_axis(values, best, 1)
    return items, values


def _largest(values: Float32, count: int) -> IntArray:
    """Columns of the ``count`` largest values of each row, (K, count); of equal ones the lower columns."""
    best = np.argpartition(-values, count - 1, axis=1)[:, :count]
    least = np.take_along_axis(values, best, 1).min(axis=1, keepdims=True)
    tied = np.flatnonzero((values >= least).sum(axis=1) > count)  # a partition keeps any of those that are equal
    best[tied] = np.argsort(-values[tied], axis=1, kind="stable")[:, :count]
    return best
