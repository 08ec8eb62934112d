"""The most typical item of each pick's group, where a pick stands for many items.

The item in the middle of a large group lies between kinds of images as often as within one. The one with the nearest
neighbours lies within one, and its label says more of the group.
Cost: 2 N n D operations with groups of n <= MOST items; in memory a piece of n x n numbers. Several processes send each
other the rows of up to MOST items per pick.
Shape legend: N items, K picks, D feature size.
"""

from __future__ import annotations

import itertools

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.clusters import mean_distance_to_nearest
from activetune.features.distances import DISTANCE_ROUNDING, first_best, nearest_centroid
from activetune.selection.problem import Evidence

NEIGHBOURS = 20  # whose distance says how typical an item is; that of TypiClust
MOST = 2_048  # items of a group that are compared; of a larger one so many are drawn


def most_typical(evidence: Evidence, picks: IntArray, rng: np.random.Generator) -> IntArray:
    """For each pick (K,) the candidate of its group with the least mean distance to its nearest items there.

    A group is what is nearer to this pick than to another pick or labelled item. A pick stays where its group is too
    small to have neighbours, and what is a pick already is not taken for another one.
    """
    holding = evidence.holding
    cover_MD = np.concatenate([holding.rows(evidence.features_ND, picks), evidence.labelled_rows_LD])
    owner_N, _ = nearest_centroid(evidence.features_ND, cover_MD)
    open_N = np.zeros(len(owner_N), dtype=bool)
    open_N[evidence.candidates] = True
    open_N[holding.own(picks, len(owner_N))] = False
    groups = _groups(owner_N, evidence.population, len(picks))
    return np.array([_of(evidence, group, int(pick), open_N, rng) for group, pick in zip(groups, picks, strict=True)])


def _groups(owner_N: IntArray, population: IntArray, count: int) -> list[IntArray]:
    """Positions of this process that belong to each pick, ascending."""
    order = population[np.argsort(owner_N[population], kind="stable")]
    ends = np.searchsorted(owner_N[order], np.arange(count + 1))
    return [order[start:end] for start, end in itertools.pairwise(ends)]


def _of(evidence: Evidence, group: IntArray, pick: int, open_N: np.ndarray, rng: np.random.Generator) -> int:
    """The most typical item of a group that may be picked, a global position."""
    holding = evidence.holding
    size = holding.count(len(group))
    if size > MOST:
        compared = np.union1d(holding.shuffled(group, MOST, rng), [pick])
    else:
        compared = holding.joined(group + holding.start)
    neighbours = min(NEIGHBOURS, len(compared) // 2)
    if not neighbours:
        return pick
    rows = holding.rows(evidence.features_ND, compared)
    free = holding.rows(open_N.astype(np.int8), compared).astype(bool) | (compared == pick)

    def found() -> int:
        distance = np.where(free, mean_distance_to_nearest(rows, neighbours), np.inf)
        return int(compared[first_best(-distance, DISTANCE_ROUNDING)])

    return holding.agreed(found)
