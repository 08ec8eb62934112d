"""BiLAF (Lu, Xie, Yang & Yan, "Boundary Matters: A Bi-Level Active Finetuning Method", NeurIPS 2024).

A part of the budget goes to core items that ActiveFT selects; every item belongs to the pseudo-class of its nearest
core item. The rest goes to items at the pseudo-classes' boundaries, a share of it to each class by its size:
outliers are peeled off (the items with the largest mean distance to their 10 nearest, a tenth of them, in ten steps),
then those with the lowest ``(d_out - d_in) / max(d_out, d_in)`` are taken one by one; ``d_in`` is the item's distance
to its own class, ``d_out`` to the nearest other one, times ``penalty^t`` where that class was the opponent of t items
taken before.
Deviations from the authors' code, which

- denoises from the inside: a class grows from its core by the tenth of the rest that is nearest to what has been taken
  in, and the last tenth is dropped; here the sparsest are peeled off from the outside;
- drops the n / budget items nearest to a taken one, so that a class of n items gives picks that lie apart; here the
  opponent's penalty alone keeps them apart;
- takes ``d_in`` as the mean distance to the class's items and ``d_out`` as that to the nearest other core; here both
  are root mean squares over a class's items, which need its mean alone;
- multiplies ``d_out`` by the penalty in the numerator alone, for an opponent that is chosen once; here the penalised
  distance also chooses the opponent and divides;
- knows no labelled items; here their classes take part as cores that cost nothing.

Cost: ActiveFT with K / 4 centroids, 20 n^2 D operations per class of n items, 2 N K D for the scores in pieces of
n x K. Not ordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError
from activetune.features.clusters import mean_distance_to_nearest, members
from activetune.features.distances import Float32, nearest_centroid
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors.activeft import ActiveFT

PEELS = 10


@dataclass(frozen=True)
class BiLAF(Selector):
    """Core items by ActiveFT, then items at the boundaries between them. Score: -1 (boundary) to 1 (core).

    Attributes:
        core: share of the budget that goes to core items, in (0, 1].
        neighbours: that the density looks at. removed: share of a pseudo-class that is peeled off, in [0, 1).
        penalty: factor on the distance to a class for each earlier opponent of that class, >= 1.
    """

    core: float = 0.25
    neighbours: int = 10
    removed: float = 0.1
    penalty: float = 1.1

    def __post_init__(self) -> None:
        if not 0 < self.core <= 1 or self.neighbours < 1 or not 0 <= self.removed < 1 or self.penalty < 1:
            raise UsageError(
                "bilaf: core must be in (0, 1], neighbours at least 1, removed in [0, 1), penalty at least 1"
            )

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        core = ActiveFT().select(evidence, max(1, round(self.core * budget)), rng).positions
        cores = np.concatenate([core, evidence.labelled])
        owner, _ = nearest_centroid(evidence.features_ND, evidence.features_ND[cores])
        owner[evidence.excluded] = -1
        groups = members(owner, len(cores))
        open_ = np.zeros(len(owner), dtype=bool)
        open_[evidence.candidates] = True
        open_[core] = False
        choices = [self._without_outliers(evidence.features_ND, group, open_) for group in groups]
        shares = shares_by_size([len(choice) for choice in choices], budget - len(core))
        means_KD = np.stack(
            [evidence.features_ND[group].mean(axis=0) if len(group) else np.zeros_like(evidence.features_ND[0])
             for group in groups]
        )  # fmt: skip
        positions, scores = [core], [np.ones(len(core))]
        for number, (choice, share) in enumerate(zip(choices, shares, strict=True)):
            taken, score = self._boundary(evidence.features_ND[choice], means_KD, number, share)
            positions.append(choice[taken])
            scores.append(score)
        found, values = np.concatenate(positions), np.concatenate(scores)
        reasons = ["core: nearest to a centroid of the pool"] * len(core)
        reasons += [f"boundary score {value:.3f}" for value in values[len(core) :]]
        missing = budget - len(found)
        if missing:  # peeled-off items are all that is left
            left = np.setdiff1d(evidence.candidates, found, assume_unique=True)
            found = np.concatenate([found, rng.choice(left, missing, replace=False)])
            values = np.concatenate([values, np.ones(missing)])
            reasons += ["random: only outliers were left"] * missing
        return Picks(found, values, reasons)

    def _without_outliers(self, features_ND: Float32, group: IntArray, open_: np.ndarray) -> IntArray:
        """The open items of a pseudo-class after its least dense items are peeled off."""
        keep = len(group) - int(self.removed * len(group))
        left = group
        for step in range(1, PEELS + 1):
            count = min(self.neighbours, len(left) - 1)
            size = len(group) - round((len(group) - keep) * step / PEELS)
            if count < 1 or size >= len(left):
                continue
            distance = mean_distance_to_nearest(features_ND[left], count)
            left = np.sort(left[np.argsort(distance, kind="stable")[:size]])
        kept: IntArray = left[open_[left]]
        return kept

    def _boundary(self, rows_ND: Float32, means_KD: Float32, own: int, count: int) -> tuple[IntArray, np.ndarray]:
        """Indices of the ``count`` rows nearest to their class's boundary, one by one, and their scores."""
        if not count:
            return NO_INDICES, np.empty(0)
        # mean |u - v|^2 over unit rows v of a class = 2 - 2 u . mean(v)
        distance_NK = np.sqrt(np.maximum(2 - 2 * rows_ND @ means_KD.T, 1e-12))
        inside = distance_NK[:, own].copy()
        distance_NK[:, own] = np.inf
        taken: list[int] = []
        scores: list[float] = []
        for _ in range(count):
            opponent = distance_NK.argmin(axis=1)
            outside = distance_NK[np.arange(len(rows_ND)), opponent]
            if len(means_KD) == 1:
                outside = np.full_like(inside, 2.0)
            score = (outside - inside) / np.maximum(outside, inside)
            score[taken] = np.inf
            best = int(score.argmin())
            taken.append(best)
            scores.append(float(score[best]))
            distance_NK[:, opponent[best]] *= self.penalty
        return np.asarray(taken), np.asarray(scores)


def shares_by_size(sizes: list[int], total: int) -> list[int]:
    """``total`` split in proportion to ``sizes``, by largest remainders; no share is above its size."""
    whole = sum(sizes)
    total = min(total, whole)
    if not whole:
        return [0] * len(sizes)
    exact = [size * total / whole for size in sizes]
    shares = [int(value) for value in exact]
    for number in sorted(range(len(sizes)), key=lambda index: (shares[index] - exact[index], index)):
        if sum(shares) == total:
            break
        shares[number] += shares[number] < sizes[number]
    return shares
