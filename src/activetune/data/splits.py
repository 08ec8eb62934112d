"""Splitting a few labels fairly: validation parts, folds, and the order of an epoch."""

from __future__ import annotations

import numpy as np

from activetune.base.arrays import FloatArray, IntArray

VALIDATION_LEAST = 200  # items, below which a choice by them is luck: top-1 is then known to 2 to 3 points


def carve_validation(
    indices: IntArray, share: float, rng: np.random.Generator, *, least: int = VALIDATION_LEAST
) -> IntArray:
    """Positions (V,) of a stratified validation part of labelled items.

    Every class keeps at least one item in training.

    Args:
        indices: (L,) class indices. share: of each class, in [0, 1).
        least: items, below which nothing is held out: they are worth more in training than to choose by.
    """
    classes, counts = np.unique(indices, return_counts=True)
    held: list[int] = []
    for number, count in zip(classes, counts, strict=True):
        members = rng.permutation(np.flatnonzero(indices == number))
        held += members[: min(round(share * count), count - 1)].tolist()
    return np.sort(np.asarray(held if len(held) >= least else [], dtype=np.int64))


def stratified_folds(indices: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """The fold (L,) in which each labelled item is held out; -1 for the only item of a class, never held out.

    No class ever leaves training: its items are dealt to different folds.
    """
    fold = np.full(len(indices), -1, dtype=np.int64)
    dealt = 0
    for number in np.unique(indices):
        members = rng.permutation(np.flatnonzero(indices == number))
        if len(members) > 1:
            fold[members] = (dealt + np.arange(len(members))) % folds
            dealt += len(members)
    return fold


def validation_splits(indices: IntArray, held_out: IntArray, folds: int, rng: np.random.Generator) -> list[IntArray]:
    """The parts (positions) that are validated on, one after the other, each by what the other items teach.

    Args:
        indices: (L,) class indices. held_out: a part carved out before, the only one then; empty: cross-validation
            over ``folds``, in which items that are the only one of their class always stay in training.

    Returns:
        Empty where every class has a single label.
    """
    if len(held_out):
        return [held_out]
    fold = stratified_folds(indices, folds, rng)
    return [found for number in range(folds) if len(found := np.flatnonzero(fold == number))]


def shuffled(positions: IntArray, indices: IntArray, rng: np.random.Generator, balance: float = 0.0) -> IntArray:
    """An epoch's order: every position once, or, classes balanced, as many draws with repetitions.

    Args:
        indices: (L,) class indices of all positions. balance: 0 leaves classes as frequent as they are, 1 draws each
            as often; between, a class of n items has a share proportional to ``n ** (1 - balance)``.
    """
    if not balance:
        return rng.permutation(positions)
    order = rng.permutation(positions)
    wanted = np.bincount(indices[positions])[indices[order]] ** -float(balance)
    reached = np.cumsum(wanted / wanted.sum())
    # Systematic resampling: each item comes as often as its share says, rounded up or down.
    drawn = np.searchsorted(reached, (np.arange(len(order)) + rng.random()) / len(order), side="right")
    return rng.permutation(order[np.minimum(drawn, len(order) - 1)])


def log_shares(indices: IntArray, classes: int) -> FloatArray:
    """(C,) natural logarithms of the classes' shares; a class without an item gets that of half an item."""
    counts = np.maximum(np.bincount(indices, minlength=classes), 0.5)
    shares: FloatArray = np.log(counts / len(indices))
    return shares
