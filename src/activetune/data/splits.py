"""Splitting a few labelled items fairly: validation parts, folds, and the order of an epoch.

Everything here is stratified: ``strata`` (L,) are integers that say which group each of L items belongs to. A class
index is the usual group; a task whose answers are no single class gives what its splits shall be even in, and items
that nothing tells apart are one group.
"""

from __future__ import annotations

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray, rows_by_key

PILOT_FOLDS = 5
VALIDATION_LEAST = 200  # items, below which a choice by them is luck: top-1 is then known to 2 to 3 points


def carve_validation(
    strata: IntArray, share: float, rng: np.random.Generator, *, least: int = VALIDATION_LEAST
) -> IntArray:
    """Positions (V,) of a stratified validation part of labelled items.

    Every stratum keeps at least one item in training.

    Args:
        strata: (L,) the group of each item. share: of each group, in [0, 1).
        least: items, below which nothing is held out: they are worth more in training than to choose by.

    >>> carve_validation(np.array([0, 0, 0, 0, 1, 1, 2]), 0.5, np.random.default_rng(0), least=1).shape
    (3,)
    """
    held: list[int] = []
    for _, group in rows_by_key(strata):
        members = rng.permutation(group)
        held += members[: min(round(share * len(group)), len(group) - 1)].tolist()
    return np.sort(np.asarray(held if len(held) >= least else [], dtype=np.int64))


def stratified_folds(strata: IntArray, folds: int, rng: np.random.Generator, *, alone_too: bool = False) -> IntArray:
    """The fold (L,) in which each labelled item is held out; -1 for the only item of a stratum, never held out.

    No stratum ever leaves training: its items are dealt to different folds.

    Args:
        alone_too: deal items that are alone in their stratum too, as one more group: where a stratum is not all that
            an item tells.
    """
    fold = np.full(len(strata), -1, dtype=np.int64)
    dealt = 0
    for _, group in rows_by_key(strata):
        members = rng.permutation(group)
        if len(members) > 1:
            fold[members] = (dealt + np.arange(len(members))) % folds
            dealt += len(members)
    if alone_too:
        alone = rng.permutation(np.flatnonzero(fold < 0))
        fold[alone] = (dealt + np.arange(len(alone))) % folds
    return fold


def pilot_part(strata: IntArray, seed: int, *, least: int) -> IntArray:
    """Positions of the fifth that a pilot leaves out to choose by; none where it has fewer than ``least`` items.

    Args:
        strata: (L,) the group of each item.
    """
    found = np.flatnonzero(stratified_folds(strata, PILOT_FOLDS, np.random.default_rng([seed, 3])) == 0)
    return found if len(found) >= least else NO_INDICES


def validation_splits(
    strata: IntArray, held_out: IntArray, folds: int, rng: np.random.Generator, *, alone_too: bool = False
) -> list[IntArray]:
    """The parts (positions) that are validated on, one after the other, each by what the other items teach.

    Args:
        strata: (L,) the group of each item. held_out: a part carved out before, the only one then; empty:
            cross-validation over ``folds``, in which items that are alone in their group always stay in training,
            but for ``alone_too``.

    Returns:
        Empty where every group has a single item.
    """
    if len(held_out):
        return [held_out]
    fold = stratified_folds(strata, folds, rng, alone_too=alone_too)
    return [found for number in range(folds) if len(found := np.flatnonzero(fold == number))]


def shuffled(positions: IntArray, strata: IntArray, rng: np.random.Generator, balance: float = 0.0) -> IntArray:
    """An epoch's order: every position once, or, groups balanced, as many draws with repetitions.

    Args:
        strata: (L,) the group of all positions. balance: 0 leaves groups as frequent as they are, 1 draws each as
            often; between, a group of n items has a share proportional to ``n ** (1 - balance)``.
    """
    if not balance:
        return rng.permutation(positions)
    order = rng.permutation(positions)
    wanted = np.bincount(strata[positions])[strata[order]] ** -float(balance)
    reached = np.cumsum(wanted / wanted.sum())
    # Systematic resampling: each item comes as often as its share says, rounded up or down.
    drawn = np.searchsorted(reached, (np.arange(len(order)) + rng.random()) / len(order), side="right")
    return rng.permutation(order[np.minimum(drawn, len(order) - 1)])
