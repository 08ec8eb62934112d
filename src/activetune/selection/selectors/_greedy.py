"""Greedy selection, exact and lazy: farthest-first traversal, and the greedy maximum of a coverage.

Both give the picks of the plain loop (up to rounding) at a fraction of its cost. Farthest-first keeps stale distances,
which can only be too large: the few items with the largest ones are kept up to date, and as long as the farthest of
them beats everything outside, nothing else needs to be touched; the rest catches up in one product with all the
picks made meanwhile. Coverage is submodular: a gain computed earlier is an upper bound now (Minoux 1978), so only the
candidates at the top are computed again, many in one product.
Shape legend: N items, C candidates, J items that are to be covered, D feature size, B block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32, distances_from, pieces
from activetune.features.holding import NOWHERE, WHOLE, Holding
from activetune.selection.problem import Evidence, Picks

FRONT = 4_096  # items whose distances are kept up to date between two products over all
LAZY_BLOCK, LARGEST_BLOCK = 64, 256  # candidates whose gains are computed again in one product, growing while in vain
SMALLEST_GAIN = 1e-6  # of coverage; a smaller one may be rounding


def farthest_first(
    features_ND: Float32,
    candidates: IntArray,
    centres: IntArray,
    budget: int,
    *,
    first: int | None = None,
    front: int = FRONT,
    holding: Holding = WHOLE,
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate farthest from all centres and picks so far, again and again.

    Args:
        candidates: positions in this process's rows. centres: global positions that are covered from the start.
        first: the first pick, global, needed without centres.
        front: items whose distances are kept up to date between two products over all; it changes the cost alone.

    Returns:
        positions (K,) and their distances when picked (K,), 2 for a ``first`` one. Equal distances go to the lower
        position. Cost: 2 N K D operations, O(N) memory.
    """
    similarity_N = np.full(len(features_ND), np.inf, dtype=np.float32)  # to the nearest centre; inf: may not be picked
    similarity_N[candidates] = -np.inf
    picks: list[int] = []
    scores: list[float] = []
    if first is not None:
        picks, scores, pending = [first], [2.0], [first]
        similarity_N[holding.own(np.array(picks), len(features_ND))] = np.inf
    else:
        pending = centres.tolist()
    while len(picks) < budget:
        _catch_up(features_ND, similarity_N, candidates, holding.rows(features_ND, np.asarray(pending)))
        certain = _Front.of(features_ND, similarity_N, candidates, front, holding)
        pending, similarity = certain.followed(budget - len(picks), holding)
        similarity_N[holding.own(np.asarray(pending), len(features_ND))] = np.inf
        picks += pending
        scores += distances_from(np.asarray(similarity)).tolist()
    return np.asarray(picks, dtype=np.int64), np.asarray(scores)


def _catch_up(features_ND: Float32, similarity_N: Float32, candidates: IntArray, centres_LD: Float32) -> None:
    """Make all similarities count the new centres."""
    everything = len(candidates) == len(features_ND)
    for part in pieces(len(candidates), max(centres_LD.shape)):
        rows = part if everything else candidates[part]
        with np.errstate(invalid="ignore"):  # some BLAS raise it for the lanes that pad a tiny matrix; rows are finite
            nearest = (features_ND[rows] @ centres_LD.T).max(axis=1)
        similarity_N[rows] = np.maximum(similarity_N[rows], nearest)


@dataclass(frozen=True)
class _Front:
    """The farthest candidates of all processes, the same in each of them.

    Attributes:
        positions: global, ascending. rows_BD, similarity_B: theirs, the similarity to the nearest centre.
        outside: the least similarity of a candidate that is left out.
        pick: the farthest candidate of all; of equally far ones the lowest position, which may be left out.
        row_D, similarity: its own.
    """

    positions: IntArray
    rows_BD: Float32
    similarity_B: Float32
    outside: float
    pick: int
    row_D: Float32
    similarity: float

    @classmethod
    def of(
        cls, features_ND: Float32, similarity_N: Float32, candidates: IntArray, size: int, holding: Holding
    ) -> _Front:
        """The ``size`` farthest candidates."""
        stale = similarity_N[candidates]
        positions, outside = _farthest(stale, candidates + holding.start, size)
        if holding.world > 1:
            outside = float(holding.least(np.array([outside]))[0])
            positions, among = holding.joined(positions), holding.joined(similarity_N[positions - holding.start])
            positions, left_out = _farthest(among, positions, size)
            outside = min(outside, left_out)
        best = int(stale.argmin()) if len(stale) else 0
        own = (-float(stale[best]), int(candidates[best])) if len(stale) else (-np.inf, NOWHERE)
        least, pick = holding.first_of(*own)
        row_D = holding.rows(features_ND, np.array([pick]))[0]
        rows_BD, similarity_B = holding.rows(features_ND, positions), holding.rows(similarity_N, positions)
        return cls(positions, rows_BD, similarity_B, outside, pick, row_D, -least)

    def followed(self, budget: int, holding: Holding) -> tuple[list[int], list[np.float32]]:
        """The picks that are certain as long as only the front is kept up to date, and their similarities."""
        return holding.agreed(lambda: self._followed(budget))

    def _followed(self, budget: int) -> tuple[list[int], list[np.float32]]:
        picks, similarities = [self.pick], [np.float32(self.similarity)]
        left_B, row_D = self.similarity_B.copy(), self.row_D
        while True:
            np.maximum(left_B, self.rows_BD @ row_D, out=left_B)
            left_B[self.positions == picks[-1]] = np.inf
            best = int(left_B.argmin())
            if len(picks) == budget or not left_B[best] < self.outside:
                return picks, similarities
            picks.append(int(self.positions[best]))
            similarities.append(left_B[best])
            row_D = self.rows_BD[best]


def _farthest(similarity_M: Float32, positions: IntArray, size: int) -> tuple[IntArray, float]:
    """The ``size`` positions of the least similarity, ascending, and the least one that is left out."""
    if len(positions) <= size:
        return positions, np.inf
    chosen = np.argpartition(similarity_M, size)
    return np.sort(positions[chosen[:size]]), float(similarity_M[chosen[size:]].min())


Kernel = Callable[[Tensor], Tensor]  # similarities of unit rows to how well one item covers the other, in [0, 1]


def greedy_coverage(
    features_ND: Float32,
    *,
    candidates: IntArray,
    centres: IntArray,
    population: IntArray,
    kernel: Kernel,
    budget: int,
    weights_N: Float32 | None = None,
    device: str = "cpu",
    at_once: int = LAZY_BLOCK,
    holding: Holding = WHOLE,
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate that adds most to ``sum_i w_i max_(picks, centres) kernel(f_i . f_pick)``, again and again.

    Args:
        population: global positions to be covered; each process keeps their rows.
        candidates, centres: positions in this process's rows; the centres cover from the start.
        weights_N: w, how much each item counts (default: 1).
        at_once: candidates whose gains are computed again in one product at first; it changes the cost alone.

    Returns:
        At most ``budget`` global positions and their gains as shares of the population's weight; fewer when nothing is
        left to gain. Equal gains go to the lower position. Cost: 2 C J D operations for the first gains, then about
        K (2 B J D); O(J D + B J) memory.
    """
    items_JD = torch.from_numpy(holding.rows(features_ND, population)).to(device)
    weights_J = torch.ones(len(population))
    if weights_N is not None:
        weights_J = torch.from_numpy(holding.rows(weights_N, population))
    weights_J = (weights_J / weights_J.sum().clamp_min(1e-12)).to(device)
    covered_J = holding.largest(_covered(features_ND, centres, items_JD, kernel))

    def gains(which: IntArray) -> npt.NDArray[np.float64]:
        found = np.empty(len(which))
        for part in pieces(len(which), max(items_JD.shape)):
            cover = kernel(torch.from_numpy(features_ND[candidates[which[part]]]).to(device) @ items_JD.T)
            found[part] = (cover.sub_(covered_J).clamp_min_(0) @ weights_J).cpu().numpy()
        return found

    def take(pick: int) -> None:
        cover = kernel(items_JD @ torch.from_numpy(holding.rows(features_ND, np.array([pick]))[0]).to(device))
        torch.maximum(covered_J, cover, out=covered_J)

    return lazy_greedy(gains, take, candidates, budget, at_once=at_once, holding=holding)


def lazy_greedy(
    gains: Callable[[IntArray], npt.NDArray[np.float64]],
    take: Callable[[int], None],
    candidates: IntArray,
    budget: int,
    *,
    at_once: int,
    holding: Holding = WHOLE,
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate of the largest gain, again and again, where no gain ever grows by other picks.

    Args:
        gains: of some candidates, named by their places in ``candidates``, beside what was taken.
        take: count a global position as picked.
        at_once: candidates whose gains are computed again in one call at first.

    Returns:
        At most ``budget`` global positions and their gains; fewer when nothing is left to gain. Equal gains go to the
        lower position.
    """
    bounds = gains(np.arange(len(candidates)))
    computed = np.zeros(len(candidates), dtype=np.int64)  # how many picks there were when a gain was computed
    picks: list[int] = []
    won: list[float] = []
    block = at_once
    while len(picks) < budget:
        best = int(bounds.argmax()) if len(bounds) else -1
        if best >= 0 and computed[best] < len(picks):
            stale = np.flatnonzero(computed < len(picks))  # ties may put fresh ones before it: they are left out
            size = min(block, len(stale))
            top = stale[np.argpartition(-bounds[stale], size - 1)[:size]]
            bounds[top] = gains(top)
            computed[top] = len(picks)
            block = min(2 * block, LARGEST_BLOCK)
            continue
        own = (float(bounds[best]), int(candidates[best])) if best >= 0 else (-np.inf, NOWHERE)
        gain, pick = holding.first_of(*own)
        if gain <= SMALLEST_GAIN:
            break
        picks.append(pick)
        won.append(gain)
        if best >= 0 and pick == own[1] + holding.start:
            bounds[best], computed[best] = -np.inf, budget
        block = at_once
        take(pick)
    return np.asarray(picks, dtype=np.int64), np.asarray(won)


def _covered(features_ND: Float32, centres: IntArray, items_JD: Tensor, kernel: Kernel) -> Tensor:
    """(J,) how well the nearest of some centres covers each item; 0 without any."""
    covered_J = torch.zeros(len(items_JD), device=items_JD.device)
    for part in pieces(len(centres), max(items_JD.shape)):
        found = kernel(torch.from_numpy(features_ND[centres[part]]).to(items_JD.device) @ items_JD.T).amax(0)
        covered_J = torch.maximum(covered_J, found)
    return covered_J


def jury_of(population: IntArray, most: int, rng: np.random.Generator, holding: Holding = WHOLE) -> IntArray:
    """All of the population, or ``most`` of it at random (0: always all), as global positions in ascending order."""
    if not most or holding.count(len(population)) <= most:
        return population if holding.world == 1 else holding.joined(population + holding.start)
    return np.sort(holding.drawn(population, most, rng))


def gaussian(bandwidth: float) -> Kernel:
    """``exp(-d^2 / (2 sigma^2))`` of unit rows at distance d."""
    return lambda similarity: similarity.sub_(1).div_(bandwidth**2).exp_()


def greedy_picks(
    evidence: Evidence,
    budget: int,
    *,
    population: IntArray,
    kernel: Kernel,
    reason: str,
    weights_N: Float32 | None = None,
) -> Picks:
    """The greedy maximum of coverage as picks; once nothing is left to gain, the farthest candidates follow.

    Args:
        reason: a format of the gain, a share of the population's weight.
    """
    positions, gains = greedy_coverage(
        evidence.features_ND,
        candidates=evidence.candidates,
        centres=evidence.labelled,
        population=population,
        kernel=kernel,
        budget=budget,
        weights_N=weights_N,
        device=evidence.device,
        holding=evidence.holding,
    )
    return and_farthest(evidence, budget, positions, gains, [reason.format(gain) for gain in gains])


def and_farthest(
    evidence: Evidence,
    budget: int,
    positions: IntArray,
    gains: npt.NDArray[np.float64],
    reasons: list[str],
    figures: Mapping[str, float] | None = None,
) -> Picks:
    """Picks in the order of their gains; where nothing was left to gain, the candidates farthest from all follow."""
    missing, holding, features_ND = budget - len(positions), evidence.holding, evidence.features_ND
    if missing:
        left = np.setdiff1d(evidence.candidates, holding.own(positions, len(features_ND)), assume_unique=True)
        centres = np.concatenate([evidence.labelled_everywhere, positions])
        first = None if len(centres) else int(holding.at(left, np.array([0]))[0])
        rest, distances = farthest_first(features_ND, left, centres, missing, first=first, holding=holding)
        positions, gains = np.concatenate([positions, rest]), np.concatenate([gains, np.zeros(missing)])
        reasons = reasons + [f"all is covered; farthest from earlier picks: distance {gap:.3f}" for gap in distances]
    return Picks(positions, gains, reasons, figures or {})
