"""Two levels: a pool is parted by k-means, each part is selected from by itself, and the picks are put together.

For pools beyond memory. The features stay on the disk, in whatever precision they have there: the parts' centroids are
learned from a sample, items go to the nearest one block by block, and of the rows of unit length that a selector needs
no more than one part's are held. What is lost is that no part knows another one's picks, which matters at the parts'
borders (figures: docs/select.md). Of several processes each takes every R-th part.
A part's share of the budget is proportional to its size (by the losses it holds, for a method that reads them), by
largest remainders, so that the shares add up to the budget exactly.
Cost: k-means on the sample, 2 N P D to part, the selector's on each part, 2 N K D for the figures. Memory: O(S D) for
the sample, the selector's own for one part at a time, three bytes per item. Several processes tell each other the parts
of their items, two bytes per item in all, once, and their picks.
Shape legend: N items, D feature size, P parts, K picks, S sampled items.
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
from activetune.features.shard import Shard
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector

PART = 50_000  # items of a part, about
SAMPLE, SAMPLE_PER_PART = (
    50_000,
    64,
)  # items that the centroids are learned from: at least so many, and so many per part
ITERATIONS = 20
MOST_PARTS = 60_000
LABELLED, EXCLUDED, CLOSED = 1, 2, 3  # kinds of items, beside 0, which may be picked


@dataclass(frozen=True)
class Levels:
    """How a pool is parted. Attributes: parts: P; None: chosen. refine: whether all picks are swapped in the end."""

    parts: int | None = None
    refine: bool = False

    @classmethod
    def asked(cls, levels: int, parts: int | None, refine: bool) -> Levels | None:
        """What is asked for; None: one level.

        Raises:
            UsageError: values that are impossible, or that change nothing.
        """
        if levels not in (1, 2):
            raise UsageError(f"levels can't be {levels}; give 1 (the whole pool at once) or 2 (part by part)")
        if levels == 1 and (parts is not None or refine):
            what = "--parts" if parts is not None else "--refine"
            raise UsageError(f"{what} is for a pool that is parted; give --levels 2 too, or leave it out")
        if parts is not None and not 2 <= parts <= MOST_PARTS:
            raise UsageError(f"parts can't be {parts}; give 2 to {MOST_PARTS:,}, or leave it out")
        return None if levels == 1 else cls(parts, refine)

    @property
    def entry(self) -> dict[str, Any]:
        """What the manifest says."""
        return {"levels": 2, "parts": self.parts, "refine": self.refine}

    def count(self, total: int) -> int:
        """P of a pool of ``total`` items."""
        return min(self.parts or max(2, round(total / PART)), total, MOST_PARTS)


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
        for part in pieces(self.own.stop - self.own.start, max(columns, self.source_ND.shape[1])):
            where = slice(self.own.start + part.start, self.own.start + part.stop)
            yield where, _finite(unit_rows(self.source_ND[where]))


def _finite(rows_ND: Float32) -> Float32:
    if not np.isfinite(rows_ND).all():
        raise UsageError("the features hold NaN or infinite values; embed again")
    return rows_ND


def pick_in_parts(
    levels: Levels,
    stored: Stored,
    kinds: Kinds,
    selector: Selector,
    budget: int,
    *,
    seed: int = 0,
    device: str = "cpu",
    shard: Shard,
    quiet: bool = True,
) -> tuple[Picks, dict[str, Any]]:
    """Exactly ``budget`` distinct picks, and entries of the manifest on the parts.

    Args:
        selector: reads features alone, and losses where ``kinds`` has them. Each part has a generator of its own, of
            the seed and its number, so that the number of processes changes nothing.
    """
    parts_N = part_pool(stored, kinds, levels.count(len(kinds.of_N)), seed, shard, quiet=quiet)
    count = int(parts_N.max()) + 1
    room_P = np.bincount(parts_N[kinds.of_N == 0], minlength=count)
    weights = None if "losses_N" not in selector.needs else kinds.losses_N
    among = kinds.of_N != EXCLUDED
    size_P = np.bincount(parts_N[among], None if weights is None else weights[among], minlength=count)
    shares_P = proportional(budget, size_P if size_P.sum() > 0 else room_P, room_P)

    def pick_mine() -> dict[int, Picks]:
        wanted = [int(part) for part in np.flatnonzero(shares_P) if part % shard.world == shard.rank]
        found = {}
        with progress(len(wanted), "parts", unit="parts", quiet=quiet) as meter:
            for part in wanted:
                rng = np.random.default_rng([seed, part])
                members = np.flatnonzero((parts_N == part) & among)
                found[part] = _pick_part(stored, kinds, members, selector, int(shares_P[part]), rng, device)
                meter.advance()
        return found

    by_part: dict[int, Picks] = {}
    for told in gathered(together(pick_mine)):
        by_part |= told
    sizes = np.bincount(parts_N, minlength=count)
    entries = {"parted": {"parts": count, "smallest": int(sizes.min()), "largest": int(sizes.max())}}
    notes = {}
    if missed := int(((shares_P == 0) & (room_P > 0)).sum()):
        notes["levels"] = (
            f"{missed:,} of {count:,} parts are too small for a share of {budget:,} picks; fewer --parts miss less"
        )
    return replace(merged(by_part), notes=notes), entries


def _pick_part(
    stored: Stored,
    kinds: Kinds,
    members: IntArray,
    selector: Selector,
    budget: int,
    rng: np.random.Generator,
    device: str,
) -> Picks:
    """The picks of one part, as positions in the pool."""
    kind_M = kinds.of_N[members]
    evidence = Evidence(
        stored.rows(members),
        labelled=np.flatnonzero(kind_M == LABELLED),
        closed=np.flatnonzero(kind_M == CLOSED),
        device=device,
        losses_N=None if kinds.losses_N is None else kinds.losses_N[members],
    )
    picks = selector.select(evidence, budget, rng)
    return replace(picks, positions=members[picks.positions], figures={}, notes={})


def merged(by_part: Mapping[int, Picks]) -> Picks:
    """The parts' picks as one list: every prefix takes about the same share of each part's, in the part's own order."""
    numbers = sorted(by_part)
    parts = [by_part[number] for number in numbers]
    place = np.concatenate([(np.arange(len(part.positions)) + 0.5) / len(part.positions) for part in parts])
    of_part = np.repeat(numbers, [len(part.positions) for part in parts])
    order = np.lexsort((of_part, place))
    reasons = [f"part {number + 1}: {reason}" for number in numbers for reason in by_part[number].reasons]
    positions = np.concatenate([part.positions for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return Picks(positions[order], scores[order], [reasons[index] for index in order])


# Parts and shares -------------------------------------------------------------------------------------------------


def part_pool(
    stored: Stored, kinds: Kinds, count: int, seed: int, shard: Shard, *, most: int = 2 * PART, quiet: bool = True
) -> npt.NDArray[np.uint16]:
    """(N,) the number of each item's part, the same in all processes.

    Args:
        count: parts asked for; one that holds more than ``most`` items is divided evenly in the pool's order.
    """

    def learned() -> Float32:
        rng = np.random.default_rng([seed, 2])
        there = np.flatnonzero(kinds.of_N != EXCLUDED)
        size = min(len(there), max(SAMPLE, SAMPLE_PER_PART * count))
        rows_SD = stored.rows(np.sort(rng.choice(there, size, replace=False)))
        return cluster(rows_SD, min(count, size), rng, iterations=ITERATIONS)[0]

    centroids_PD = shard.agreed(learned)

    def near() -> npt.NDArray[np.uint16]:
        found = np.empty(stored.own.stop - stored.own.start, dtype=np.uint16)
        with progress(len(found), "parting", unit="items", quiet=quiet) as meter:
            for where, rows in stored.blocks(len(centroids_PD)):
                found[where.start - stored.own.start : where.stop - stored.own.start] = nearest_centroid(
                    rows, centroids_PD
                )[0]
                meter.advance(len(rows))
        return found

    found = together(near)
    parts_N = shard.joined(found.view(np.uint8).reshape(-1, 2)).reshape(-1).view(np.uint16).copy()
    return _divided(parts_N, most)


def _divided(parts_N: npt.NDArray[np.uint16], most: int) -> npt.NDArray[np.uint16]:
    """The parts without gaps in their numbers, those of more than ``most`` items divided."""
    sizes = np.bincount(parts_N)
    cuts = -(-sizes // most)  # 0 for a part without an item
    first = np.concatenate([[0], cuts.cumsum()[:-1]])
    divided = first[parts_N].astype(np.uint16)
    for part in np.flatnonzero(cuts > 1):
        members = np.flatnonzero(parts_N == part)
        divided[members] += (np.arange(len(members)) % cuts[part]).astype(np.uint16)
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


def refined(stored: Stored, kinds: Kinds, selector: Selector, picks: Picks, seed: int, shard: Shard) -> Picks:
    """The picks after swaps for items of the whole pool; the first process makes them, and reads a sample alone."""

    def swapped() -> IntArray:
        positions = [np.flatnonzero(kinds.of_N == kind) for kind in (LABELLED, EXCLUDED, CLOSED)]
        evidence = Evidence(stored.source_ND, *positions)  # type: ignore[arg-type]  # of which no row is read but by rows
        return selector.refined(evidence, picks.positions, np.random.default_rng([seed, 3]), stored.rows)

    found = shard.agreed(lambda: swapped())
    return replace(picks, positions=found)


def covering(
    stored: Stored, kinds: Kinds, picks: IntArray, shard: Shard
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
    distance_N[shard.own(cover, len(distance_N))] = 0
    figures = covered(distance_N[kinds.of_N[stored.own] != EXCLUDED], shard)
    return figures, shard.added(counts_M)[: len(picks)].astype(np.float64)


def by_size(picks: Picks, sizes_K: npt.NDArray[np.float64]) -> Picks:
    """Picks by the number of items that each is the nearest to, the largest first."""
    order = np.lexsort((picks.positions, -sizes_K))
    reasons: Sequence[str] = [f"the nearest pick of {sizes_K[index]:,.0f} items" for index in order]
    return Picks(picks.positions[order], sizes_K[order], reasons, picks.figures, picks.notes)
