"""A budget that is a goal: as many picks of an ordered selector as it takes to cover a share of the population.

It is asked for 64, 128, 256 … picks until they cover enough, and the prefix that does is the answer.
Distances are those of ``picking.py``. Cost: the selector's for up to four times the picks needed in all, and N K D
operations; O(N + chunk) memory.
Shape legend: N items, D feature size, K picks, M items not covered yet.
"""

from __future__ import annotations

import copy

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.distances import pieces
from activetune.selection.picking import FIRST_ASK, SLACK, join, pick, similarity_at
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector


def pick_covering(
    selector: Selector,
    evidence: Evidence,
    share: float,
    radius: float,
    rng: np.random.Generator,
    *,
    min_distance: float = 0.0,
) -> tuple[Picks, float]:
    """The shortest prefix of an ordered selector's picks that covers a share of the population within a radius.

    Returns:
        The picks and the share that they and the labelled items cover; below ``share`` only where all candidates
        together cover no more.
    """

    def ask(count: int) -> Picks:
        return pick(selector, evidence, count, copy.deepcopy(rng), min_distance=min_distance)

    population, available = evidence.population, len(evidence.candidates)
    needed = int(np.ceil(share * len(population) - 1e-9))
    cover = _Cover(evidence, radius)
    picks, asked = join([]), 0
    while cover.count < needed and asked < available and len(picks.positions) == asked:
        asked = min(max(FIRST_ASK, 2 * asked), available)
        picks = ask(asked)
        cover.add(picks.positions)
    count, covered = cover.shortest(needed)
    if count < len(picks.positions):
        parts = picks.positions[:count], picks.scores[:count], picks.reasons[:count]
        picks = Picks(*parts, picks.figures if count else {}, picks.notes)
    return picks, covered / len(population)


class _Cover:
    """Which pick was the first to cover each item of the population."""

    def __init__(self, evidence: Evidence, radius: float):
        self.features_ND, self.limit = evidence.features_ND, similarity_at(radius) - SLACK
        self.uncovered, self.picks = evidence.population, 0
        self.news: list[int] = []  # items that each pick was the first to cover
        self.by_labelled = int(self._take(evidence.labelled).sum())

    @property
    def count(self) -> int:
        """Items covered so far."""
        return self.by_labelled + sum(self.news)

    def add(self, positions: IntArray) -> None:
        """Go on with a longer list of picks that begins with those known."""
        self.news += self._take(positions[self.picks :]).tolist()
        self.picks = len(positions)

    def shortest(self, needed: int) -> tuple[int, int]:
        """How many picks cover ``needed`` items, or as many as all of them do; and how many items these cover."""
        covered = self.by_labelled + np.concatenate([[0], np.cumsum(self.news, dtype=np.int64)])
        count = int(np.searchsorted(covered, min(needed, int(covered[-1]))))
        return count, int(covered[count])

    def _take(self, chosen: IntArray) -> IntArray:
        """Cover what is uncovered by the chosen ones; (K,) items newly covered by each."""
        if not len(chosen) or not len(self.uncovered):
            return np.zeros(len(chosen), dtype=np.int64)
        chosen_KD = self.features_ND[chosen]
        first_M = np.full(len(self.uncovered), -1, dtype=np.int64)
        for part in pieces(len(self.uncovered), max(chosen_KD.shape)):
            near = self.features_ND[self.uncovered[part]] @ chosen_KD.T >= self.limit
            first_M[part] = np.where(near.any(axis=1), near.argmax(axis=1), -1)
        place = np.searchsorted(self.uncovered, chosen).clip(max=len(self.uncovered) - 1)
        own = np.flatnonzero(self.uncovered[place] == chosen)  # an item covers itself, even a zero vector
        first = first_M[place[own]]
        first_M[place[own]] = np.where(first < 0, own, np.minimum(first, own))
        self.uncovered = self.uncovered[first_M < 0]
        return np.bincount(first_M[first_M >= 0], minlength=len(chosen))
