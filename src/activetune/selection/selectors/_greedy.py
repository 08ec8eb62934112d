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

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32, distances_from, pieces
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
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate farthest from all centres and picks so far, again and again.

    Args:
        centres: positions that are covered from the start. first: the first pick, needed without centres.
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
        similarity_N[first] = np.inf
    else:
        pending = centres.tolist()
    while len(picks) < budget:
        _catch_up(features_ND, similarity_N, candidates, np.asarray(pending))
        pending = _follow_front(features_ND, similarity_N, candidates, budget - len(picks), scores, front)
        picks += pending
    return np.asarray(picks, dtype=np.int64), np.asarray(scores)


def _catch_up(features_ND: Float32, similarity_N: Float32, candidates: IntArray, centres: IntArray) -> None:
    """Make all similarities count the new centres."""
    everything = len(candidates) == len(features_ND)
    for part in pieces(len(candidates), max(len(centres), features_ND.shape[1])):
        rows = part if everything else candidates[part]
        with np.errstate(invalid="ignore"):  # some BLAS raise it for the lanes that pad a tiny matrix; rows are finite
            nearest = (features_ND[rows] @ features_ND[centres].T).max(axis=1)
        similarity_N[rows] = np.maximum(similarity_N[rows], nearest)


def _follow_front(
    features_ND: Float32, similarity_N: Float32, candidates: IntArray, budget: int, scores: list[float], size: int
) -> list[int]:
    """The picks that are certain as long as only the front, the farthest candidates, is kept up to date."""
    stale = similarity_N[candidates]
    if len(candidates) > size:
        chosen = np.argpartition(stale, size)
        front, outside = np.sort(candidates[chosen[:size]]), float(stale[chosen[size:]].min())
    else:
        front, outside = candidates, np.inf
    rows_BD, similarity_B = features_ND[front], similarity_N[front].copy()
    picks: list[int] = []
    while len(picks) < budget:
        best = int(similarity_B.argmin())
        if picks and not similarity_B[best] < outside:
            break
        pick = int(front[best])
        if not picks:  # of equally far ones the lowest position, which the front may have left out
            pick = int(candidates[stale.argmin()])
        picks.append(pick)
        similarity = stale.min() if len(picks) == 1 else similarity_B[best]
        scores.append(float(distances_from(np.asarray(similarity))))
        np.maximum(similarity_B, rows_BD @ features_ND[pick], out=similarity_B)
        similarity_B[front == pick] = np.inf
        similarity_N[pick] = np.inf
    return picks


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
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate that adds most to ``sum_i w_i max_(picks, centres) kernel(f_i . f_pick)``, again and again.

    Args:
        population: positions to be covered. centres: positions that cover from the start.
        weights_N: w, how much each item counts (default: 1).
        at_once: candidates whose gains are computed again in one product at first; it changes the cost alone.

    Returns:
        At most ``budget`` positions and their gains as shares of the population's weight; fewer when nothing is left
        to gain. Equal gains go to the lower position. Cost: 2 C J D operations for the first gains, then about
        K (2 B J D); O(J D + B J) memory.
    """
    items_JD = torch.from_numpy(features_ND[population]).to(device)
    weights_J = torch.ones(len(population)) if weights_N is None else torch.from_numpy(weights_N[population])
    weights_J = (weights_J / weights_J.sum().clamp_min(1e-12)).to(device)
    covered_J = _covered(features_ND, centres, items_JD, kernel)

    def gains(which: IntArray) -> npt.NDArray[np.float64]:
        found = np.empty(len(which))
        for part in pieces(len(which), max(items_JD.shape)):
            cover = kernel(torch.from_numpy(features_ND[candidates[which[part]]]).to(device) @ items_JD.T)
            found[part] = (cover.sub_(covered_J).clamp_min_(0) @ weights_J).cpu().numpy()
        return found

    def take(pick: int) -> None:
        cover = kernel(items_JD @ torch.from_numpy(features_ND[pick].copy()).to(device))
        torch.maximum(covered_J, cover, out=covered_J)

    return lazy_greedy(gains, take, candidates, budget, at_once=at_once)


def lazy_greedy(
    gains: Callable[[IntArray], npt.NDArray[np.float64]],
    take: Callable[[int], None],
    candidates: IntArray,
    budget: int,
    *,
    at_once: int,
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate of the largest gain, again and again, where no gain ever grows by other picks.

    Args:
        gains: of some candidates, named by their places in ``candidates``, beside what was taken.
        take: count a position as picked.
        at_once: candidates whose gains are computed again in one call at first.

    Returns:
        At most ``budget`` positions and their gains; fewer when nothing is left to gain. Equal gains go to the lower
        position.
    """
    bounds = gains(np.arange(len(candidates)))
    computed = np.zeros(len(candidates), dtype=np.int64)  # how many picks there were when a gain was computed
    picks: list[int] = []
    won: list[float] = []
    block = at_once
    while len(picks) < budget:
        best = int(bounds.argmax())
        if computed[best] < len(picks):
            stale = np.flatnonzero(computed < len(picks))  # ties may put fresh ones before it: they are left out
            size = min(block, len(stale))
            top = stale[np.argpartition(-bounds[stale], size - 1)[:size]]
            bounds[top] = gains(top)
            computed[top] = len(picks)
            block = min(2 * block, LARGEST_BLOCK)
            continue
        if bounds[best] <= SMALLEST_GAIN:
            break
        picks.append(int(candidates[best]))
        won.append(float(bounds[best]))
        bounds[best], computed[best], block = -np.inf, budget, at_once
        take(picks[-1])
    return np.asarray(picks, dtype=np.int64), np.asarray(won)


def _covered(features_ND: Float32, centres: IntArray, items_JD: Tensor, kernel: Kernel) -> Tensor:
    """(J,) how well the nearest of some centres covers each item; 0 without any."""
    covered_J = torch.zeros(len(items_JD), device=items_JD.device)
    for part in pieces(len(centres), max(items_JD.shape)):
        found = kernel(torch.from_numpy(features_ND[centres[part]]).to(items_JD.device) @ items_JD.T).amax(0)
        covered_J = torch.maximum(covered_J, found)
    return covered_J


def jury_of(population: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """All of the population, or ``most`` of it at random (0: always all), in ascending order."""
    if not most or len(population) <= most:
        return population
    return np.sort(rng.choice(population, most, replace=False))


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
    missing = budget - len(positions)
    if missing:
        left = np.setdiff1d(evidence.candidates, positions, assume_unique=True)
        centres = np.concatenate([evidence.labelled, positions])
        first = None if len(centres) else int(left[0])
        rest, distances = farthest_first(evidence.features_ND, left, centres, missing, first=first)
        positions, gains = np.concatenate([positions, rest]), np.concatenate([gains, np.zeros(missing)])
        reasons = reasons + [f"all is covered; farthest from earlier picks: distance {gap:.3f}" for gap in distances]
    return Picks(positions, gains, reasons, figures or {})
