"""DropQuery (Gupte, Aklilu, Nirschl & Yeung-Levy, "Revisiting Active Learning in the Era of Vision Foundation Models",
TMLR 2024): items whose prediction does not survive dropout on the frozen features, one of each of K clusters.

The candidates are the items whose predicted class differs from ``argmax head(f)`` in more than half of M runs of

    argmax head(f * b / (1 - rate)),  b_d = 0 with probability rate and 1 otherwise, drawn anew for each item and run

k-means parts them into K clusters, and the item nearest to each centroid is picked. The paper has M = 3; the authors'
code has a rate of 0.75. Without a model the paper starts at the centroids of the whole pool: that is ``k_means``.
Deviations: the head is a logistic regression trained without dropout on the features themselves, the authors' a linear
layer trained with it behind a batch normalisation, whose outputs they cluster. Where fewer than K predictions turn, all
of these items are taken, and what is missing comes from those that turned in one run fewer, by k-means again, down to
those that never did; the authors' code does not foresee it.
Shape legend: N items, n of a piece, D feature size, C classes, K budget, M runs.
Cost: 2 (M + 1) N D C operations and N D M random numbers, k-means on the candidates; O(N + chunk) memory. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.features.distances import Float32, pieces
from activetune.selection.problem import Classifier, Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors.k_means import KMeans


@dataclass(frozen=True)
class DropQuery(Selector):
    """Items whose prediction changes under dropout, spread over clusters. Score: the size of the pick's cluster.

    >>> import numpy as np
    >>> from activetune.selection.problem import Evidence
    >>> pool = Evidence(np.eye(6, dtype=np.float32))  # no model yet: the centroids of k_means
    >>> len(DropQuery().select(pool, 2, np.random.default_rng(0)).positions)
    2

    Attributes:
        rate: share of an item's features that a run leaves out, in [0, 0.99].
        runs: M, predictions under dropout, >= 1.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"head"})
    in_rounds: ClassVar[bool] = True

    rate: float = 0.75
    runs: int = 3

    def __post_init__(self) -> None:
        check_settings("drop_query", ("rate", self.rate, 0, 0.99), ("runs", self.runs, 1, np.inf))

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` has how many predictions ``turned`` in more than half of the runs."""
        if evidence.head is None:
            picks = KMeans().select(evidence, budget, rng)
            note = "k_means: no model can be learned from labels yet, so the picks are the pool's centroids"
            return Picks(picks.positions, picks.scores, picks.reasons, picks.figures, {"drop_query": note})
        rows = evidence.candidates
        changes_M = changed_runs(evidence.features_ND, rows, evidence.head, rate=self.rate, runs=self.runs, rng=rng)
        turned = self.runs // 2 + 1
        parts: list[Picks] = []
        missing = budget
        for level in range(turned, -1, -1):  # those that turned in more than half of the runs are one level
            here = rows[np.minimum(changes_M, turned) == level]
            if missing and len(here):
                parts.append(_spread(evidence, here, min(missing, len(here)), self._told(level), rng))
                missing -= len(parts[-1].positions)
        positions = np.concatenate([part.positions for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        figures = {"turned": float((changes_M >= turned).sum())}
        return Picks(positions, scores, [reason for part in parts for reason in part.reasons], figures)

    def _told(self, level: int) -> str:
        """What it says of an item that its prediction turned in so many of the runs."""
        if level > self.runs // 2:
            return f"prediction changes in more than half of {self.runs} runs under dropout"
        return f"no more predictions change so often; this one in {level} of {self.runs} runs under dropout"


def _spread(evidence: Evidence, rows: IntArray, count: int, told: str, rng: np.random.Generator) -> Picks:
    """``count`` of some items: those nearest to the centroids of as many clusters."""
    others = np.setdiff1d(np.arange(len(evidence.features_ND)), rows, assume_unique=True)
    picks = KMeans().select(Evidence(evidence.features_ND, excluded=others, device=evidence.device), count, rng)
    places = [f"nearest to the centre of {size:,.0f} such items" if size else "random" for size in picks.scores]
    return Picks(picks.positions, picks.scores, [f"{told}; {place}" for place in places])


def changed_runs(
    features_ND: Float32,
    rows: IntArray,
    head: Classifier,
    *,
    rate: float,
    runs: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """In how many of the runs the predicted class of each of the ``rows`` changes under dropout, (len(rows),).

    Random numbers are drawn run by run and item by item, so the answer does not depend on the size of the pieces.
    """
    columns = features_ND.shape[1]
    changes = np.zeros(len(rows), dtype=np.int64)
    predicted = np.empty(len(rows), dtype=np.int64)
    for part in pieces(len(rows), columns + len(head.bias_C)):
        predicted[part] = _predicted(features_ND[rows[part]], head)
    for _ in range(runs):
        for part in pieces(len(rows), 2 * columns + len(head.bias_C)):
            block = features_ND[rows[part]]
            block[rng.random(block.shape, dtype=np.float32) < rate] = 0
            changes[part] += _predicted(block / np.float32(1 - rate), head) != predicted[part]
    return changes


def _predicted(block_nD: Float32, head: Classifier) -> IntArray:
    """The index of the likeliest class of each row, the lowest of equal ones."""
    found: IntArray = (block_nD @ head.weight_CD.T + head.bias_C).argmax(axis=1)
    return found
