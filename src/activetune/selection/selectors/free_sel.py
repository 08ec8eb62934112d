"""FreeSel (Xie, Ding, Yang & Zhan, "Towards Free Data Selection with General-Purpose Models", NeurIPS 2023).

Each image is described by a few local patterns of its patch tokens. Patterns are then sampled far from those of the
images picked so far, with a probability in proportion to the square of the cosine distance, ``(1 - cos)^2``, to the
nearest of these, and the image of a sampled pattern is picked; all its patterns count as covered from then on.
Deviation: patterns are the directions of a small k-means over the image's tokens; the paper clusters the tokens that
the class token attends to, and attention maps are not part of the evidence.
Cost: 16 N T P D operations for the patterns, 2 N K P^2 D for the sampling; O(N P D) memory, P = 5 times that of the
pooled features. T tokens, P patterns. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import FloatArray
from activetune.base.errors import UsageError
from activetune.features.distances import Float32, pieces, unit_rows
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._ranking import given

ROUNDS = 8
ROUNDING = 1e-6  # a cosine distance that may be rounding


@dataclass(frozen=True)
class FreeSel(Selector):
    """D^2 sampling of local patterns of patch tokens. Score: the sampled pattern's cosine distance, 0 to 2.

    Attributes:
        patterns: of an image, >= 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "tokens_NTD"})
    ordered: ClassVar[bool] = True

    patterns: int = 5

    def __post_init__(self) -> None:
        if self.patterns < 1:
            raise UsageError(f"free_sel: patterns can't be {self.patterns}; it must be at least 1")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        patterns_NPD = local_patterns(given(evidence.tokens_NTD), self.patterns)
        rows = patterns_NPD[evidence.candidates]
        distance_CP = np.full(rows.shape[:2], 2.0)  # cosine distance to the nearest covered pattern, in [0, 2]
        for position in evidence.labelled:
            _cover(distance_CP, rows, patterns_NPD[position])
        open_C = np.ones(len(rows), dtype=bool)
        picks: list[int] = []
        scores: list[float] = []
        for _ in range(budget):
            mass = np.where(open_C[:, None], distance_CP**2, 0).ravel()
            total = mass.sum()
            if total > 0:
                drawn = int(np.searchsorted(np.cumsum(mass), rng.random() * total, side="right"))
            else:  # only duplicates are left
                drawn = int(rng.choice(np.flatnonzero(open_C))) * rows.shape[1]
            best, pattern = divmod(min(drawn, mass.size - 1), rows.shape[1])
            if not open_C[best]:  # rounding at the very end of the cumulated mass
                best = int(np.flatnonzero(open_C)[-1])
            open_C[best] = False
            picks.append(int(evidence.candidates[best]))
            scores.append(float(distance_CP[best, pattern]))
            _cover(distance_CP, rows, rows[best])
        reasons = [f"holds a pattern at cosine distance {score:.3f} from all earlier picks" for score in scores]
        return Picks(np.asarray(picks, dtype=np.int64), np.asarray(scores), reasons)


def _cover(distance_CP: np.ndarray, rows_CPD: Float32, patterns_PD: Float32) -> None:
    """Count an image's patterns as covered (in place)."""
    for part in pieces(len(rows_CPD), rows_CPD.shape[1] * max(len(patterns_PD), rows_CPD.shape[2])):
        similarity = (rows_CPD[part] @ patterns_PD.T).max(axis=2)
        distance = 1 - similarity
        np.minimum(distance_CP[part], np.where(distance > ROUNDING, distance, 0), out=distance_CP[part])


def local_patterns(tokens_NTD: FloatArray, count: int) -> Float32:
    """The directions of ``count`` clusters of each image's tokens, (N, P, D) of unit length.

    Spherical k-means for many images at once, from tokens spread evenly over the image. With fewer tokens than
    patterns there are as many patterns as tokens.
    """
    items, tokens, size = tokens_NTD.shape
    count = min(count, tokens)
    found = np.empty((items, count, size), dtype=np.float32)
    starts = np.linspace(0, tokens - 1, count).round().astype(int)
    for part in pieces(items, tokens * size):
        rows = unit_rows(np.asarray(tokens_NTD[part], dtype=np.float32).reshape(-1, size)).reshape(-1, tokens, size)
        centres = rows[:, starts]
        for _ in range(ROUNDS):
            owner = (rows @ centres.transpose(0, 2, 1)).argmax(axis=2)
            member_BPT = (owner[:, None, :] == np.arange(count)[None, :, None]).astype(np.float32)
            sums = member_BPT @ rows
            lengths = np.linalg.norm(sums, axis=2, keepdims=True)
            centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
        found[part] = centres
    return found
