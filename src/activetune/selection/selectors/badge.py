"""BADGE (Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020).

k-means++ seeding on the gradients that the last layer would get if each item's likeliest class were its label:
``g_i = a_i (x) f_i``, the outer product of ``a_i = p_i - onehot(argmax p_i)`` and the item's features. A gradient is
long where the model is unsure, and the draw goes to those far from all earlier picks: each next pick is drawn with
probability proportional to ``min_j |g_i - g_j|^2`` over the picks j so far (the authors' algorithm 2).
``<g_i, g_j> = <a_i, a_j> <f_i, f_j>``, so no gradient of C D numbers is ever made.
The first pick is uniform, as in the paper; the authors' released code takes the longest gradient: ``first=longest``.
Deviations: once every gradient left equals an earlier pick's (all mass is gone), the rest is drawn uniformly; the
seeding would repeat items. Squared distances below float32 rounding count as zero. Labelled items are not centres.
Shape legend: N items (M of them candidates), D feature size, C classes, K budget.
Cost: 2 K N (D + C) operations, O(M (C + D)) memory. Ordered: each pick takes one random number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from activetune.features.distances import Float32
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._ranking import Float64, given

ROUNDING = 1e-6  # relative error of a float32 squared distance between rows that are equal


@dataclass(frozen=True)
class Badge(Selector):
    """Unsure and diverse. Score: the distance of the pick's gradient from those of all earlier picks.

    Attributes:
        first: ``random`` (the paper) or ``longest`` (the released code).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "probs_NC"})
    ordered: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"first": "random"},
        "released": {"first": "longest"},
    }

    first: Literal["random", "longest"] = "random"

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`. The first pick's score is the length of its gradient."""
        rows = evidence.candidates
        gradients = _Gradients(evidence.features_ND[rows], given(evidence.probs_NC)[rows], evidence.device)
        nearest_M = gradients.squares_M.copy()  # squared distance to the nearest pick; to nothing at first
        free = np.ones(len(rows), dtype=bool)
        picks, scores, reasons = np.empty(budget, dtype=np.int64), np.empty(budget), []
        for rank in range(budget):
            pick, drawn = self._next(rank, nearest_M, free, rng.random())
            picks[rank], scores[rank] = pick, np.sqrt(nearest_M[pick])
            reasons.append(_reason(rank, drawn, scores[rank]))
            free[pick] = False
            distance_M = gradients.squared_distance(pick)
            nearest_M = distance_M if rank == 0 else np.minimum(nearest_M, distance_M)
        return Picks(rows[picks], scores, reasons)

    def _next(self, rank: int, nearest_M: Float64, free: np.ndarray, chance: float) -> tuple[int, bool]:
        """The next pick, and whether its distance decided: false where nothing but chance did."""
        if rank == 0 and self.first == "longest":
            return int(nearest_M.argmax()), True
        mass = np.where(free, nearest_M, 0.0).cumsum()
        decided = rank > 0 and mass[-1] > 0
        if not decided:
            mass = free.cumsum(dtype=np.float64)
        pick = int(np.searchsorted(mass, chance * mass[-1], side="right"))
        return min(pick, int(np.searchsorted(mass, mass[-1]))), decided  # chance times mass can round up to all of it


class _Gradients:
    """The gradient of each item's last layer in factors; squared lengths ``squares_M`` and distances in float64."""

    def __init__(self, features_MD: Float32, probs_MC: Float32, device: str):
        error_MC = np.array(probs_MC, dtype=np.float32)
        likeliest = error_MC.argmax(axis=1)
        every = np.arange(len(error_MC))
        error_MC[every, likeliest] = 0
        error_MC[every, likeliest] = -error_MC.sum(axis=1)  # not p - 1, which is all rounding where p is nearly 1
        self.factors = [torch.from_numpy(factor).to(device) for factor in (error_MC, features_MD)]
        squares = [np.einsum("ij,ij->i", factor, factor, dtype=np.float64) for factor in (error_MC, features_MD)]
        self.squares_M: Float64 = squares[0] * squares[1]

    def squared_distance(self, pick: int) -> Float64:
        """``|g_i - g_pick|^2`` of every item i, (M,)."""
        error, feature = ((factor @ factor[pick]).double() for factor in self.factors)
        lengths = self.squares_M + self.squares_M[pick]
        squared = lengths - 2 * (error * feature).cpu().numpy()
        return np.where(squared > ROUNDING * lengths, squared, 0.0)


def _reason(rank: int, decided: bool, distance: float) -> str:
    if not decided:
        return "random start" if rank == 0 else "random: every gradient left equals that of an earlier pick"
    what = "the longest gradient of all" if rank == 0 else "drawn far from all earlier picks in gradients"
    return f"{what}: {'length' if rank == 0 else 'distance'} {distance:.3f}"
