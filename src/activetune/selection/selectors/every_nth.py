"""Every n-th item in the pool's order: the baseline for frames of video.

Frames that are near each other in time show nearly the same, so picks that are spread evenly over time are hard to beat
there (arXiv 2412.10032: selection image by image often does not). No feature is read. The order is that of the
embeddings, which is the pool's: ids in alphabetical order in a folder, so that the frames of a clip follow each other
and each clip gets its share by length, to within one pick. Where the order means nothing, as in a shuffled data set,
this is one sample without repeats among many, and no better than ``random``.
Without labelled items pick ``j`` of K is the candidate in which ``(j + 1/2) C / K`` lies, C candidates, j from 0.
Labelled items count as picks made earlier: between two of them (and before the first, behind the last) lies a gap, each
further pick goes to the gap whose picks are the farthest apart, and within a gap they are spread evenly.
The seed changes nothing. Not ordered: K picks are others than the first K of more.
Cost: O(C + (L + K) log L), L labelled items.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from activetune.base.arrays import IntArray
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector


class Gap(NamedTuple):
    """Candidates in a row, with no labelled item between them.

    Attributes:
        start: the first of them, counted among all candidates. size: how many, > 0.
        after, before: 1 where a labelled item stands right before the first, right behind the last of them; else 0.
    """

    start: int
    size: int
    after: int
    before: int

    def spacing(self, picks: int) -> float:
        """How many items apart evenly spread picks are, of each other and of the labelled at both ends."""
        ends = self.after + self.before
        return (2 * self.size + ends) / (2 * picks + ends) if picks or ends else np.inf

    def spread(self, picks: int) -> IntArray:
        """(picks,) of the candidates, counted among all; distinct, as the spacing is at least 1."""
        ends = self.after + self.before
        steps = 2 * np.arange(picks) + 1 + self.after
        halves = (2 * self.size + ends) * steps - self.after * (2 * picks + ends)
        return self.start + halves // (2 * (2 * picks + ends))  # whole numbers: nothing is rounded


@dataclass(frozen=True)
class EveryNth(Selector):
    """Every n-th candidate in the pool's order; no settings. Score: n, how many items apart the picks are."""

    needs: ClassVar[frozenset[str]] = frozenset()
    randomised: ClassVar[bool] = False

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; the picks are in the pool's order."""
        gaps = gaps_between(evidence.candidates, np.sort(evidence.labelled))
        counts = _counts(gaps, budget)
        used = [(gap, count) for gap, count in zip(gaps, counts, strict=True) if count]
        places = np.concatenate([gap.spread(count) for gap, count in used])
        scores = np.concatenate([np.full(count, gap.spacing(count)) for gap, count in used])
        return Picks(evidence.candidates[places], scores, [f"every {score:.1f} items in the order" for score in scores])


def gaps_between(candidates: IntArray, labelled: IntArray) -> list[Gap]:
    """The gaps that ascending labelled positions leave among ascending candidates."""
    cuts = np.concatenate([[0], np.searchsorted(candidates, labelled), [len(candidates)]])
    last = len(cuts) - 2
    return [
        Gap(int(start), int(stop - start), int(number > 0), int(number < last))
        for number, (start, stop) in enumerate(pairwise(cuts))
        if stop > start
    ]


def _counts(gaps: list[Gap], budget: int) -> list[int]:
    """How many picks each gap gets; one that is full has the spacing 1, less than any other."""
    counts = [0] * len(gaps)
    widest = [(-gap.spacing(0), number) for number, gap in enumerate(gaps)]
    heapq.heapify(widest)
    for _ in range(budget):
        number = widest[0][1]
        counts[number] += 1
        heapq.heapreplace(widest, (-gaps[number].spacing(counts[number]), number))
    return counts
