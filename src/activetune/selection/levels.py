"""Two levels: a pool is partitioned by k-means, each partition is selected from by itself, the picks are put together.

For pools beyond memory. The features stay on the disk, in whatever precision they have there: the partitions' centroids
are learned from a sample, items go to the nearest one block by block, and of the rows of unit length that a selector
needs no more than one partition's are held. What is lost is that no partition knows another one's picks, which matters
at the borders (figures: docs/select.md). Of several processes each takes every R-th partition.
A partition's share of the budget is proportional to its size (by the losses it holds, for a method that reads them), by
largest remainders, so that the shares add up to the budget exactly.
Cost: k-means on the sample, 2 N P D to partition, the selector's on each partition, 2 N K D for the figures. Memory:
O(S D) for the sample, the selector's own for one partition at a time, three bytes per item. Several processes tell each
other the partitions of their items, two bytes per item in all, once, and their picks.
Shape legend: N items, D feature size, P partitions, K picks, S sampled items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.progress import progress
from activetune.base.ranks import gathered, together
from activetune.features.clusters import cluster
from activetune.features.distances import Float32, covered, distance_to_nearest, nearest_centroid, pieces, unit_rows
from activetune.features.holding import Holding
from activetune.selection.picking import joined_notes
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector

PARTITION = 50_000  # items of a partition, about
# items that the centroids are learned from: at least so many, and so many per partition
SAMPLE, SAMPLE_PER_PARTITION = 50_000, 64
ITERATIONS = 20
MOST_PARTITIONS = 60_000
LABELLED, EXCLUDED, CLOSED = 1, 2, 3  # kinds of items, beside 0, which may be picked


@dataclass(frozen=True)
class Levels:
    """How a pool is partitioned.

    Attributes:
        partitions: P; None: chosen. refine: whether all picks are swapped in the end.
    """

    partitions: int | None = None
    refine: bool = False

    @classmethod
    def asked(cls, levels: int, partitions: int | None, refine: bool) -> Levels | None:
        """What is asked for; None: one level.

        Raises:
            UsageError: values that are impossible, or that change nothing.
        """
        if levels not in (1, 2):
            raise UsageError(f"levels can't be {levels}; give 1 (the whole pool at once) or 2 (partition by partition)")
        if levels == 1 and (partitions is not None or refine):
            what = "--partitions" if partitions is not None else "--refine"
            raise UsageError(f"{what} is for a pool that is partitioned; give --levels 2 too, or leave it out")
        if partitions is not None and not 2 <= partitions <= MOST_PARTITIONS:
            raise UsageError(f"partitions can't be {partitions}; give 2 to {MOST_PARTITIONS:,}, or leave it out")
        return None if levels == 1 else cls(partitions, refine)

    @property
    def entry(self) -> dict[str, Any]:
        """What the manifest says."""
        return {"levels": 2, "partitions": self.partitions, "refine": self.refine}

    def count(self, total: int) -> int:
        """P of a pool of ``total`` items."""
        return min(self.partitions or max(2, round(total / PARTITION)), total, MOST_PARTITIONS)


@dataclass(frozen=True)
class Kinds:
    """What all processes know of N items.

    Attributes:
        of_N: 0 (may be picked), LABELLED, EXCLUDED or CLOSED. losses_N: where they are given.
    """

    of_N: npt.NDArray[np.int8]
    losses_N: Float32 | None

    @classmethod
    def of(
        cls, total: int, labelled: IntArray, excluded: IntArray, closed: IntArray, losses_N: Float32 | None = None
    ) -> Kinds:
        """The kinds of N = ``total`` items, by their positions."""
        of_N = np.zeros(total, dtype=np.int8)
        for kind, positions in ((CLOSED, closed), (LABELLED, labelled), (EXCLUDED, excluded)):
            of_N[positions] = kind
        return cls(of_N, losses_N)


@dataclass(frozen=True)
class Stored:
    """Features that stay where they are. Attributes: source_ND: all rows. own: those that this process looks after."""

    source_ND: FloatArray
    own: slice

    def rows(self, positions: IntArray) -> Float32:
        """(P, D) rows of unit length.

        Raises:
            UsageError: NaN or infinite values.
        """
        return _finite(unit_rows(self.source_ND[positions]))

    def blocks(self, columns: int) -> Iterator[tuple[slice, Float32]]:
        """The rows that are this process's own, of unit length, block by block with their places.

        Args:
            columns: of the products that are made with them.
        """
        for piece in pieces(self.own.stop - self.own.start, max(columns, self.source_ND.shape[1])):
            where = slice(self.own.start + piece.start, self.own.start + piece.stop)
            yield where, _finite(unit_rows(self.source_ND[where]))


def _finite(rows_ND: Float32) -> Float32:
    if not np.isfinite(rows_ND).all():
        raise UsageError("the features hold NaN or infinite values; embed again")
    return rows_ND


def pick_in_partitions(
    levels: Levels,
    stored: Stored,
    kinds: Kinds,
    selector: Selector,
    budget: int,
    *,
    seed: int = 0,
    device: str = "cpu",
    holding: Holding,
    quiet: bool = True,
) -> tuple[Picks, dict[str, Any]]:
    """Exactly ``budget`` distinct picks, and entries of the manifest on the partitions.

    Args:
        selector: reads features alone, and losses where ``kinds`` has them. Each partition has its own generator, of
            the seed and its number, so that the number of processes changes nothing.
    """
    partitions_N = partition_pool(stored, kinds, levels.count(len(kinds.of_N)), seed, holding, quiet=quiet)
    count = int(partitions_N.max()) + 1
    room_P = np.bincount(partitions_N[kinds.of_N == 0], minlength=count)
    weights = None if "losses_N" not in selector.needs else kinds.losses_N
    among = kinds.of_N != EXCLUDED
    size_P = np.bincount(partitions_N[among], None if weights is None else weights[among], minlength=count)
    shares_P = proportional(budget, size_P if size_P.sum() > 0 else room_P, room_P)

    def pick_mine() -> dict[int, Picks]:
        wanted = [int(partition) for partition in np.flatnonzero(shares_P) if partition % holding.world == holding.rank]
        found = {}
        with progress(len(wanted), "partitions", unit="partitions", quiet=quiet) as meter:
            for partition in wanted:
                rng = np.random.default_rng([seed, partition])
                members = np.flatnonzero((partitions_N == partition) & among)
                found[partition] = _pick_partition(
                    stored, kinds, members, selector, int(shares_P[partition]), rng, device
                )
                meter.advance()
        return found

    by_partition: dict[int, Picks] = {}
    for told in gathered(together(pick_mine)):
        by_partition |= told
    sizes = np.bincount(partitions_N, minlength=count)
    entries = {"partitioned": {"partitions": count, "smallest": int(sizes.min()), "largest": int(sizes.max())}}
    notes = {}
    if missed := int(((shares_P == 0) & (room_P > 0)).sum()):
        notes["levels"] = (
            f"{missed:,} of {count:,} partitions are too small for a share of {budget:,} picks; "
            "fewer --partitions miss less"
        )
    picks = merged(by_partition)
    return replace(picks, notes={**picks.notes, **notes}), entries


def _pick_partition(
    stored: Stored,
    kinds: Kinds,
    members: IntArray,
    selector: Selector,
    budget: int,
    rng: np.random.Generator,
    device: str,
) -> Picks:
    """The picks of one partition, as positions in the pool."""
    kind_M = kinds.of_N[members]
    evidence = Evidence(
        stored.rows(members),
        labelled=np.flatnonzero(kind_M == LABELLED),
        closed=np.flatnonzero(kind_M == CLOSED),
        device=device,
        losses_N=None if kinds.losses_N is None else kinds.losses_N[members],
    )
    picks = selector.select(evidence, budget, rng)
    return replace(picks, positions=members[picks.positions], figures={})


def merged(by_partition: Mapping[int, Picks]) -> Picks:
    """The partitions' picks as one list: every prefix takes about the same share of each one's, in its own order."""
    numbers = sorted(by_partition)
    partitions = [by_partition[number] for number in numbers]
    counts = [len(partition.positions) for partition in partitions]
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    of_partition = np.repeat(numbers, counts)
    order = np.lexsort((of_partition, place))
    reasons = [f"partition {number + 1}: {reason}" for number in numbers for reason in by_partition[number].reasons]
    positions = np.concatenate([partition.positions for partition in partitions])
    scores = np.concatenate([partition.scores for partition in partitions])
    notes = joined_notes(partitions)
    return Picks(positions[order], scores[order], [reasons[index] for index in order], notes=notes)


# Partitions and shares ----------------------------------------------------------------------------------------------


def partition_pool(
    stored: Stored,
    kinds: Kinds,
    count: int,
    seed: int,
    holding: Holding,
    *,
    most: int = 2 * PARTITION,
    quiet: bool = True,
) -> npt.NDArray[np.uint16]:
    """(N,) the number of each item's partition, the same in all processes.

    Args:
        count: partitions asked for; one that holds more than ``most`` items is divided evenly in the pool's order.
    """

    def learned() -> Float32:
        rng = np.random.default_rng([seed, 2])
        there = np.flatnonzero(kinds.of_N != EXCLUDED)
        size = min(len(there), max(SAMPLE, SAMPLE_PER_PARTITION * count))
        rows_SD = stored.rows(np.sort(rng.choice(there, size, replace=False)))
        return cluster(rows_SD, min(count, size), rng, iterations=ITERATIONS)[0]

    centroids_PD = holding.agreed(learned)

    def near() -> npt.NDArray[np.uint16]:
        found = np.empty(stored.own.stop - stored.own.start, dtype=np.uint16)
        with progress(len(found), "partitioning", unit="items", quiet=quiet) as meter:
            for where, rows in stored.blocks(len(centroids_PD)):
                found[where.start - stored.own.start : where.stop - stored.own.start] = nearest_centroid(
                    rows, centroids_PD
                )[0]
                meter.advance(len(rows))
        return found

    found = together(near)
    partitions_N = holding.joined(found.view(np.uint8).reshape(-1, 2)).reshape(-1).view(np.uint16).copy()
    return _divided(partitions_N, most)


def _divided(partitions_N: npt.NDArray[np.uint16], most: int) -> npt.NDArray[np.uint16]:
    """The partitions without gaps in their numbers, those of more than ``most`` items divided."""
    sizes = np.bincount(partitions_N)
    cuts = -(-sizes // most)  # 0 for a partition without an item
    first = np.concatenate([[0], cuts.cumsum()[:-1]])
    divided = first[partitions_N].astype(np.uint16)
    for partition in np.flatnonzero(cuts > 1):
        members = np.flatnonzero(partitions_N == partition)
        divided[members] += (np.arange(len(members)) % cuts[partition]).astype(np.uint16)
    return divided


def proportional(count: int, weight_P: npt.NDArray[Any], room_P: IntArray) -> IntArray:
    """Whole shares of ``count`` in proportion to weights, none above its room, by largest remainders.

    >>> proportional(10, np.array([5, 3, 2]), np.array([9, 9, 1])).tolist()
    [6, 3, 1]

    Returns:
        (P,) shares that add up to ``count``, or to all the room there is.
    """
    shares_P = np.zeros(len(room_P), dtype=np.int64)
    count = min(count, int(room_P.sum()))
    while (left := count - int(shares_P.sum())) > 0:
        free = shares_P < room_P
        weight = np.where(free, np.asarray(weight_P, dtype=np.float64), 0)
        if weight.sum() <= 0:
            weight = free.astype(np.float64)
        exact = left * (weight / weight.sum())
        whole = np.floor(exact).astype(np.int64)
        rest = np.argsort(-(exact - whole) + 2.0 * (weight == 0), kind="stable")
        whole[rest[: left - int(whole.sum())]] += 1
        shares_P = np.minimum(shares_P + whole, room_P)
    return shares_P


# The whole --------------------------------------------------------------------------------------------------------


def refined(stored: Stored, kinds: Kinds, selector: Selector, picks: Picks, seed: int, holding: Holding) -> Picks:
    """The picks after swaps for items of the whole pool; the first process makes them, and reads a sample alone."""

    def swapped() -> IntArray:
        positions = [np.flatnonzero(kinds.of_N == kind) for kind in (LABELLED, EXCLUDED, CLOSED)]
        evidence = Evidence(stored.source_ND, *positions)  # type: ignore[arg-type]  # of which no row is read but by rows
        return selector.refined(evidence, picks.positions, np.random.default_rng([seed, 3]), stored.rows)

    found = holding.agreed(lambda: swapped())
    return replace(picks, positions=found)


def covering(
    stored: Stored, kinds: Kinds, picks: IntArray, holding: Holding
) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """EMD and radius of picks and labelled items, read block by block, and how many items each pick is nearest to."""
    cover = np.concatenate([picks, np.flatnonzero(kinds.of_N == LABELLED)])
    start = stored.own.start

    def measured() -> tuple[npt.NDArray[np.float64], IntArray]:
        cover_MD = stored.rows(cover)
        distance_N = np.empty(stored.own.stop - start)
        counts_M = np.zeros(len(cover), dtype=np.int64)
        for where, rows in stored.blocks(len(cover)):
            distance, nearest = distance_to_nearest(rows, cover_MD)
            distance_N[where.start - start : where.stop - start] = distance
            counts_M += np.bincount(nearest[kinds.of_N[where] != EXCLUDED], minlength=len(cover))
        return distance_N, counts_M

    distance_N, counts_M = together(measured)
    distance_N[holding.own(cover, len(distance_N))] = 0
    figures = covered(distance_N[kinds.of_N[stored.own] != EXCLUDED], holding)
    return figures, holding.added(counts_M)[: len(picks)].astype(np.float64)


def by_size(picks: Picks, sizes_K: npt.NDArray[np.float64]) -> Picks:
    """Picks by the number of items that each is the nearest to, the largest first."""
    order = np.lexsort((picks.positions, -sizes_K))
    reasons: Sequence[str] = [f"the nearest pick of {sizes_K[index]:,.0f} items" for index in order]
    return Picks(picks.positions[order], sizes_K[order], reasons, picks.figures, picks.notes)
