"""From centroids to picks: settle, snap, and swap wherever that brings the pool nearer to its picks.

The objective is the mean of ``w d^p``, d an item's distance to its nearest pick and w its weight: for p = 1 and equal
weights the Earth Mover's Distance between the pool and the picks (ActiveFT, section 3.4) and the objective of
k-medoids; a higher p gives more weight to items that are far from every pick. First the centroids settle in the middle
of the items that are nearest to them (Lloyd's iterations), and each takes its most similar item. Then FasterPAM
(Schubert & Rousseeuw 2021): with each item's two nearest picks known, a swap gains what the new pick saves, less what
removing the old one costs, corrected for the items that both concern; a swap that gains is made at once. In a large
pool a random jury stands for all items and random candidates for all that may be picked (as OneBatchPAM does, de
Mathelin et al. 2024), so that a pass never costs N^2.
Shape legend: N items, J of them in the jury, K free picks, M = K + L with fixed ones, T trial candidates, D feature
size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from activetune.base.arrays import IntArray
from activetune.base.runtime import one_thread
from activetune.features.distances import Float32, distinct_nearest, first_best_of_each, nearest_centroid, pieces
from activetune.features.nearest import AssignedSums, NearestCentroid
from activetune.selection.problem import Evidence
from activetune.selection.selectors._greedy import jury_of

SETTLING = 6  # Lloyd's iterations; the swaps do the rest
JURY = 20_000  # items that judge a swap; 8,192 of 50,000 lead to a distance 1 to 2 % higher
LEAST_GAIN = 3e-3  # of the objective, in a pass
TRIALS, TRIALS_PER_PICK = 8_192, 2  # candidates tried in a pass: at least so many, and so many per pick


def picks_of_centroids(
    evidence: Evidence,
    centroids_KD: Float32,
    assignment_N: IntArray,
    rng: np.random.Generator,
    *,
    power: float,
    passes: int,
    weights_N: Float32 | None = None,
) -> IntArray:
    """Global positions (K,) that lower the mean ``w d^power`` of the population to its nearest pick or labelled item.

    Args:
        centroids_KD: of unit length, K at most as many as there are candidates.
        assignment_N: of the population, to the centroids or, from K on, to labelled items.
        power, passes, weights_N: see :func:`swapped`; settling takes no notice of the weights.

    Cost: 6 (32 N D) operations to settle, and that of :func:`swapped`.
    """
    picks = _settle(evidence, centroids_KD, assignment_N)
    return swapped(evidence, picks, rng, power=power, passes=passes, weights_N=weights_N)


def swapped(
    evidence: Evidence,
    picks: IntArray,
    rng: np.random.Generator,
    *,
    power: float,
    passes: int,
    weights_N: Float32 | None = None,
    jurors: int = JURY,
    trials: tuple[int, int] = (TRIALS, TRIALS_PER_PICK),
    least_gain: float = LEAST_GAIN,
    rows: Callable[[IntArray], Float32] | None = None,
) -> IntArray:
    """The picks (K,) after swaps for other candidates, each of which lowers the mean ``w d^power``; global positions.

    Several processes hold the jury's rows each, and make the same swaps.

    Args:
        power: p, > 0. passes: most passes, >= 1; one that gains less than ``least_gain`` of the mean is the last.
        weights_N: w, >= 0 (default: 1).
        jurors: items that judge a swap, drawn at random where there are more.
        trials: candidates tried in a pass: at least so many, and so many per pick.
        rows: gives features of unit length by global position; None: those of the evidence.

    Cost: 2 J T D and some J a swap for each pass; O((J + M) D) memory.
    """
    holding, features_ND = evidence.holding, evidence.features_ND
    if len(picks) == holding.count(len(evidence.candidates)):
        return picks
    jury = jury_of(evidence.population, jurors, rng, holding)
    everyone = np.concatenate([picks, evidence.labelled_everywhere])
    weights_J = None if weights_N is None else holding.rows(weights_N, jury)
    read = rows or (lambda positions: holding.rows(features_ND, positions))
    search = _Search(read, jury, everyone, len(picks), power, weights_J)
    for _ in range(passes):
        before = search.total
        search.run_pass(holding.shuffled(evidence.candidates, max(trials[0], trials[1] * len(picks)), rng))
        if holding.agreed(lambda before=before: search.total > (1 - least_gain) * before):  # type: ignore[misc]
            break
    return holding.agreed(lambda: search.picks[: len(picks)])


def weight_of_each(evidence: Evidence, picks: IntArray, weights_N: Float32 | None = None) -> npt.NDArray[np.float64]:
    """The items of the population that each pick is nearest to, counted or weighed (K,); labelled items keep theirs."""
    holding, population = evidence.holding, evidence.population
    cover_MD = np.concatenate([holding.rows(evidence.features_ND, picks), evidence.labelled_rows_LD])
    owner_N, _ = nearest_centroid(evidence.features_ND, cover_MD)
    weights = None if weights_N is None else weights_N[population]
    held_M = np.bincount(owner_N[population], weights, minlength=len(cover_MD)).astype(np.float64)
    return holding.added(held_M)[: len(picks)]


def _settle(evidence: Evidence, centroids_KD: Float32, assignment_N: IntArray, iterations: int = SETTLING) -> IntArray:
    """Lloyd's iterations from the centroids, then the most similar candidate among each one's items (K,).

    Labelled items keep what is nearest to them and stay. A centroid without a candidate of its own takes the most
    similar one that is left.
    """
    features_ND, population, holding = evidence.features_ND, evidence.population, evidence.holding
    rows = torch.from_numpy(features_ND if len(population) == len(features_ND) else features_ND[population])
    rows = rows.to(evidence.device)
    free = torch.from_numpy(centroids_KD).to(evidence.device)
    fixed = torch.from_numpy(evidence.labelled_rows_LD).to(evidence.device)
    owner = torch.from_numpy(assignment_N).to(evidence.device)
    nearest, assigned = NearestCentroid(rows), AssignedSums(rows, len(free) + len(fixed))
    nearest.start_from(owner, torch.cat([free, fixed]))
    for _ in range(iterations):
        sums = holding.added(assigned.of(owner))
        lengths = sums[: len(free)].norm(dim=1, keepdim=True)
        free = torch.where(lengths > 1e-6, sums[: len(free)] / lengths.clamp_min(1e-6), free)
        owner, similarity = nearest.near(torch.cat([free, fixed]))
    value_N, owner_N = similarity.cpu().numpy(), owner.cpu().numpy()
    open_ = np.flatnonzero(np.isin(population, evidence.candidates, assume_unique=True))
    best_M, _ = first_best_of_each(
        value_N[open_], owner_N[open_], population[open_], len(free) + len(fixed), holding=holding
    )
    picks = best_M[: len(free)].copy()
    found = picks >= 0
    left = np.setdiff1d(evidence.candidates, holding.own(picks[found], len(features_ND)))
    picks[~found] = distinct_nearest(free.cpu().numpy()[~found], features_ND, left, holding=holding)[0]
    return picks


class _Search:
    """Picks, each juror's two nearest of them (``near`` and ``next`` hold their costs), and what each pick is worth.

    ``rows`` gives the features at global positions; processes that share them ask for the same ones.
    """

    def __init__(
        self,
        rows: Callable[[IntArray], Float32],
        jury: IntArray,
        picks: IntArray,
        movable: int,
        power: float,
        weights_J: Float32 | None = None,
    ):
        self.rows, self.jury, self.jury_JD = rows, jury, rows(jury)
        self.power, self.weights_J = power, weights_J
        self.picks, self.movable = picks.copy(), movable
        self.picks_MD = rows(picks)
        count = len(jury)
        self.first, self.second = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self.near, self.next = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
        self.removal_M = np.zeros(len(picks))
        self.own = np.full(count, -1, dtype=np.int64)  # the slot in which a juror is a pick itself
        for slot, pick in enumerate(picks):
            self._note_own(int(pick), slot)
        for part in pieces(count, len(picks)):
            self._place(np.arange(part.start, part.stop))

    def _cost(self, similarity: Float32, jurors: IntArray | slice = slice(None)) -> Float32:
        """``w d^p`` of jurors (default: all) from their similarity to a pick or to trials."""
        square = np.maximum(2 - 2 * similarity, 0)
        cost = square if self.power == 2 else square ** np.float32(self.power / 2)
        return cost if self.weights_J is None else cost * self.weights_J[jurors]

    @property
    def total(self) -> float:
        """The sum of the jurors' costs."""
        return float(self.near.sum(dtype=np.float64))

    def _place(self, jurors: IntArray) -> None:
        """Find the two nearest picks of some jurors."""
        product = self.jury_JD[jurors] @ self.picks_MD.T
        rows = np.arange(len(jurors))
        picked = np.flatnonzero(self.own[jurors] >= 0)
        product[picked, self.own[jurors[picked]]] = 1  # without rounding, and for zero vectors, similar to nothing
        best = product.argmax(axis=1)
        self.first[jurors], self.near[jurors] = best, self._cost(product[rows, best], jurors)
        product[rows, best] = -1  # as far as can be, where there is no second pick
        best = product.argmax(axis=1)
        self.second[jurors], self.next[jurors] = best, self._cost(product[rows, best], jurors)
        self._count_removal(jurors, 1)

    def _note_own(self, item: int, slot: int) -> int:
        """Keep in which slot an item is a pick, if it is a juror; returns its place in the jury, or -1."""
        place = int(np.searchsorted(self.jury, item))
        if place == len(self.jury) or self.jury[place] != item:
            return -1
        self.own[place] = slot
        return place

    def _count_removal(self, jurors: IntArray, sign: int) -> None:
        """Add (or take out again) what jurors would lose with their nearest pick."""
        lost = self.next[jurors] - self.near[jurors]
        self.removal_M += sign * np.bincount(self.first[jurors], lost, len(self.removal_M))

    def run_pass(self, trials: IntArray) -> None:
        """Make every swap for one of the trials that gains."""
        taken = set(self.picks.tolist())
        least_gain = 1e-5 * self.total
        for part in pieces(len(trials), len(self.jury_JD)):
            rows_TD = self.rows(trials[part])
            cost_TJ = self._cost(rows_TD @ self.jury_JD.T)
            with one_thread():  # what follows is small: handing it to threads costs more than it saves
                for trial, row_D, cost_J in zip(trials[part].tolist(), rows_TD, cost_TJ, strict=True):
                    if trial in taken:
                        continue
                    place = self._note_own(trial, -1)
                    if place >= 0:
                        cost_J[place] = 0
                    slot, gain = self._best_swap(cost_J)
                    if gain > least_gain:
                        taken.remove(int(self.picks[slot]))
                        taken.add(trial)
                        self._swap(slot, trial, row_D, cost_J)

    def _best_swap(self, cost_J: npt.NDArray[np.float32]) -> tuple[int, float]:
        """The pick that a trial would best replace, and by how much the sum of costs would fall."""
        jurors = np.flatnonzero(cost_J < self.next)
        cost, near = cost_J[jurors], self.near[jurors]
        gain = float(np.maximum(near - cost, 0).sum())
        # Removing their nearest pick costs these jurors less, as the trial would take them.
        relief = np.maximum(cost, near) - self.next[jurors]
        loss_M = self.removal_M + np.bincount(self.first[jurors], relief, len(self.removal_M))
        slot = int(loss_M[: self.movable].argmin())
        return slot, gain - float(loss_M[slot])

    def _swap(self, slot: int, added: int, row_D: Float32, cost_J: npt.NDArray[np.float32]) -> None:
        """Put item ``added`` into a slot of the picks and give the jurors their new nearest two."""
        orphaned = (self.first == slot) | (self.second == slot)
        orphans, others = np.flatnonzero(orphaned), np.flatnonzero(~orphaned & (cost_J < self.next))
        self._note_own(int(self.picks[slot]), -1)
        self._note_own(added, slot)
        self.picks[slot] = added
        self.picks_MD[slot] = row_D
        self._count_removal(orphans, -1)
        self._place(orphans)
        self._count_removal(others, -1)
        cost = cost_J[others]
        wins = cost < self.near[others]
        won, lost = others[wins], others[~wins]
        self.second[won], self.next[won] = self.first[won], self.near[won]
        self.first[won], self.near[won] = slot, cost[wins]
        self.second[lost], self.next[lost] = slot, cost[~wins]
        self._count_removal(others, 1)
