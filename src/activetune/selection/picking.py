"""Running a selector: on shares of a budget, and with a distance between the picks.

Distances are Euclidean on rows of unit length. A zero vector counts as sqrt(2) from every other item, as everywhere
in selection. Similarities carry rounding errors below ``SLACK``; they are read so that a distance asked for is kept.
Shape legend: N items, D feature size, K picks, G groups, M positions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.data.presence import Presence
from activetune.features.distances import Float32, pieces
from activetune.selection.budget import Groups, water_fill
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector

SLACK = 1e-6
FIRST_ASK = 64  # picks asked for at first where it is not known how many are needed
WALK = 512  # picks compared with each other at a time
Mask = npt.NDArray[np.bool_]


def pick(
    selector: Selector,
    evidence: Evidence,
    count: int,
    rng: np.random.Generator,
    *,
    min_distance: float = 0.0,
    fixed: IntArray = NO_INDICES,
) -> Picks:
    """``count`` picks of one selector, none nearer than ``min_distance`` to another or to a labelled item.

    The selector's own answer is walked by rank and picks that are too near are dropped; the rest is picked in further
    rounds, in which the kept count as labelled and everything too near to them is closed. Where the selector is
    ordered, so is the result: how far a round goes does not depend on ``count``.

    Args:
        fixed: more positions to keep the distance from, beside the labelled.

    Returns:
        Fewer than ``count`` only where the distance leaves no candidate.
    """
    if min_distance <= 0:
        return selector.select(evidence, count, rng)
    parts: list[Picks] = []
    missing = count
    fixed = np.concatenate([evidence.labelled, fixed])
    while missing > 0 and len(evidence.candidates):
        part = _round(selector, evidence, missing, rng, fixed, min_distance)
        parts.append(part)
        missing -= len(part.positions)
        if missing > 0:
            evidence = _settled(evidence, part.positions, fixed, min_distance)
            fixed, rng = NO_INDICES, rng.spawn(1)[0]  # the candidates left keep the distance from all of them
    return join(parts)


def pick_shares(
    selector: Selector,
    evidence: Evidence,
    groups: Groups,
    counts_G: IntArray,
    rng: np.random.Generator,
    *,
    min_distance: float = 0.0,
) -> Picks:
    """``counts_G`` picks from each group; a group's share sees that group's items alone, but keeps away from all."""
    parts: list[Picks] = []
    for group in np.flatnonzero(counts_G):
        within = _only(evidence, groups.numbers_N == group)
        taken = np.concatenate([evidence.labelled, *(part.positions for part in parts)])
        parts.append(pick(selector, within, int(counts_G[group]), rng, min_distance=min_distance, fixed=taken))
    return join(parts)


def pick_balanced(
    selector: Selector,
    evidence: Evidence,
    groups: Groups,
    count: int,
    rng: np.random.Generator,
    *,
    min_distance: float = 0.0,
) -> Picks:
    """``count`` picks, as many from each group as from any other; the others make up for a group that is too small."""
    parts: list[Picks] = []
    got_G = np.zeros(len(groups.names), dtype=np.int64)
    while (missing := count - int(got_G.sum())) > 0:
        counts_G = water_fill(missing, groups.counts(evidence.candidates), got_G)
        if not counts_G.any():
            break
        part = pick_shares(selector, evidence, groups, counts_G, rng, min_distance=min_distance)
        parts.append(part)
        got_G += groups.counts(part.positions)
        evidence = _settled(evidence, part.positions, evidence.labelled, min_distance)
    return join(parts)


def pick_shown(
    selector: Selector,
    evidence: Evidence,
    presence: Presence,
    wanted_C: IntArray,
    rng: np.random.Generator,
    *,
    most: int | None = None,
    min_distance: float = 0.0,
) -> Picks:
    """Picks until ``wanted_C`` of them show each class, at most ``most``; an image counts for every class it shows.

    Classes are taken by how few candidates show them, the rarest first (equal ones in their order). For each the
    selector picks, among the candidates that show it, as many as the picks before have left missing. So a frequent
    class often asks for none of its own. Greedy: no more than the sum of ``wanted_C``, and not always the fewest.
    """
    parts: list[Picks] = []
    got_C, left = np.zeros_like(wanted_C), int(wanted_C.sum()) if most is None else most
    for number in np.argsort(presence.counts(evidence.candidates), kind="stable"):
        within = _only(evidence, presence.shown_NC[:, number])
        missing = min(int(wanted_C[number] - got_C[number]), left, len(within.candidates))
        if missing <= 0:
            continue
        part = pick(selector, within, missing, rng, min_distance=min_distance, fixed=evidence.labelled)
        parts.append(part)
        got_C, left = got_C + presence.counts(part.positions), left - len(part.positions)
        evidence = _settled(evidence, part.positions, evidence.labelled, min_distance)
    return join(parts)


def pick_shown_evenly(
    selector: Selector,
    evidence: Evidence,
    presence: Presence,
    count: int,
    rng: np.random.Generator,
    *,
    min_distance: float = 0.0,
) -> Picks:
    """``count`` picks that show the classes as evenly as can be; an image counts for every class it shows.

    In rounds: the missing picks are shared out as if each showed one class alone, to lift the classes that are shown
    least; as most show more than one, fewer are taken (:func:`pick_shown`), and the rest is shared out again.
    """
    parts: list[Picks] = []
    got_C = np.zeros(len(presence.names), dtype=np.int64)
    while (missing := count - sum(len(part.positions) for part in parts)) > 0:
        wanted_C = water_fill(missing, presence.counts(evidence.candidates), got_C)
        part = pick_shown(selector, evidence, presence, wanted_C, rng, most=missing, min_distance=min_distance)
        if not len(part.positions):
            break
        parts.append(part)
        got_C += presence.counts(part.positions)
        evidence = _settled(evidence, part.positions, evidence.labelled, min_distance)
    return join(parts)


# Keeping a distance -----------------------------------------------------------------------------------------------


def keep_distance(features_ND: Float32, ranked: IntArray, fixed: IntArray, min_distance: float) -> Mask:
    """(K,) which of the ranked picks stay, if each must keep the distance from ``fixed`` and from those before it.

    Cost: O(K (K + L) D) operations, O(chunk) memory.
    """
    kept = np.zeros(len(ranked), dtype=bool)
    for start in range(0, len(ranked), WALK):
        block = ranked[start : start + WALK]
        others = np.concatenate([fixed, ranked[:start][kept[:start]]])
        free = ~too_near(features_ND, block, others, min_distance)
        near = features_ND[block] @ features_ND[block].T > similarity_at(min_distance) - SLACK
        for index in range(len(block)):
            if free[index]:
                kept[start + index] = True
                free &= ~near[index]
    return kept


def too_near(features_ND: Float32, positions: IntArray, chosen: IntArray, min_distance: float) -> Mask:
    """(M,) whether a chosen item is nearer than ``min_distance`` to each of the positions."""
    near = np.zeros(len(positions), dtype=bool)
    if not len(chosen):
        return near
    chosen_KD = features_ND[chosen]
    for part in pieces(len(positions), max(chosen_KD.shape)):
        similarity = (features_ND[positions[part]] @ chosen_KD.T).max(axis=1)
        near[part] = similarity > similarity_at(min_distance) - SLACK
    return near


def _round(
    selector: Selector,
    evidence: Evidence,
    missing: int,
    rng: np.random.Generator,
    fixed: IntArray,
    min_distance: float,
) -> Picks:
    """One answer's picks that keep the distance, at most ``missing``; an ordered selector is asked for more of them."""
    available = len(evidence.candidates)
    asked = min(missing, available)
    while True:
        picks = selector.select(evidence, asked, copy.deepcopy(rng) if selector.ordered else rng)
        kept = keep_distance(evidence.features_ND, picks.positions, fixed, min_distance)
        end = _worn_out(kept)
        ranks = np.flatnonzero(kept[:end])[:missing]
        if not selector.ordered or len(ranks) == missing or end < asked or asked == available:
            return picks if len(ranks) == asked else _some(picks, ranks)
        asked = min(asked + max(FIRST_ASK, 2 * (missing - len(ranks))), available)


def _worn_out(kept: Mask) -> int:
    """The rank at which the walk ends: the end of the first block 64, 128, 256 … half of which is dropped.

    It depends on the order alone, not on how many picks are asked for, so that prefixes stay prefixes.
    """
    end = FIRST_ASK
    while end <= len(kept) and kept[end // 2 : end].mean() >= 0.5:
        end *= 2
    return min(end, len(kept))


def _settled(evidence: Evidence, picked: IntArray, fixed: IntArray, min_distance: float) -> Evidence:
    """The evidence once the picked count as labelled; items too near to them or to ``fixed`` are closed."""
    labelled = np.concatenate([evidence.labelled, picked])
    order = np.argsort(labelled)
    answers_L = evidence.answers_L
    if answers_L is not None:
        answers_L = np.concatenate([answers_L, np.full(len(picked), -1, dtype=np.int64)])[order]
    closed = evidence.closed
    if min_distance > 0:
        left = np.setdiff1d(evidence.candidates, picked, assume_unique=True)
        near = too_near(evidence.features_ND, left, np.concatenate([fixed, picked]), min_distance)
        closed = np.concatenate([closed, left[near]])
    return replace(evidence, labelled=labelled[order], answers_L=answers_L, closed=closed)


def similarity_at(distance: float) -> float:
    """The similarity of rows of unit length at a distance."""
    return 1 - distance**2 / 2


# Parts of evidence and picks --------------------------------------------------------------------------------------


def _only(evidence: Evidence, present_N: Mask) -> Evidence:
    """The evidence with all items but the present excluded; positions do not change."""
    present_N = present_N.copy()
    present_N[evidence.excluded] = False
    within = present_N[evidence.labelled]
    return replace(
        evidence,
        labelled=evidence.labelled[within],
        answers_L=None if evidence.answers_L is None else evidence.answers_L[within],
        excluded=np.flatnonzero(~present_N),
        closed=evidence.closed[present_N[evidence.closed]],
    )


def join(parts: Sequence[Picks]) -> Picks:
    """Picks one after the other; figures on the whole of one part say nothing on all of them and are left out."""
    if len(parts) == 1:
        return parts[0]
    return Picks(
        np.concatenate([NO_INDICES, *(part.positions for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
        [reason for part in parts for reason in part.reasons],
        notes=joined_notes(parts),
    )


def joined_notes(parts: Iterable[Picks]) -> dict[str, str]:
    """What is told of parts of a selection: each sentence once, and a few of many."""
    notes: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, sentence in part.notes.items():
            notes.setdefault(name, {})[sentence] = None
    return {name: _few(list(sentences)) for name, sentences in notes.items()}


def _few(sentences: Sequence[str], most: int = 3) -> str:
    more = [f"and {len(sentences) - most:,} more like these"] if len(sentences) > most else []
    return "; ".join([*sentences[:most], *more])


def _some(picks: Picks, ranks: IntArray) -> Picks:
    """Those picks alone, without figures on the whole."""
    reasons = [picks.reasons[rank] for rank in ranks]
    return Picks(picks.positions[ranks], picks.scores[ranks], reasons, notes=picks.notes)
