"""Answers: reading label files, and splitting a few labels fairly.

A label file is CSV or Parquet with a column ``id`` and a column ``label``; further columns are left alone. A row with
an empty label is an item that nobody has answered yet.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from activetune.errors import UsageError, some
from activetune.store import read_table
from activetune.types import FloatArray, IntArray, Labels, Pool

VALIDATION_LEAST = 200  # items, below which a choice by them is luck: top-1 is then known to 2 to 3 points
IMBALANCE = 20  # labels of the largest class for one of the smallest, from which on it is worth a word


def read_ids(path: str | os.PathLike[str], known: Collection[str], *, what: str) -> list[str]:
    """The distinct values of a file's column ``id``, in their order.

    Raises:
        UsageError: no such column, or ids that ``known`` does not hold.
    """
    columns = read_table(path)
    if "id" not in columns:
        raise UsageError(f"{path} has no column 'id'; its columns are: {', '.join(columns) or 'none'}")
    ids = list(dict.fromkeys(str(item) for item in columns["id"]))
    _refuse_unknown(path, ids, known, what)
    return ids


def read_labels(path: str | os.PathLike[str], pool: Pool) -> Labels:
    """Read answers for items of a pool.

    A file without a column ``label`` (a ``selection.csv``) names items whose labels the pool itself knows.

    Raises:
        UsageError: unknown ids, contradicting answers, or no answer at all.
    """
    columns = read_table(path)
    if "id" not in columns:
        raise UsageError(f"{path} has no column 'id'; its columns are: {', '.join(columns) or 'none'}")
    ids = [str(item) for item in columns["id"]]
    _refuse_unknown(path, ids, pool.position, f"the pool {pool.name}")
    if "label" in columns:
        given = columns["label"]
    elif pool.labels is not None:
        given = [pool.labels[pool.position[item]] for item in ids]
    else:
        raise UsageError(f"{path} has no column 'label', and the pool {pool.name} has no labels of its own")
    answers: dict[str, str] = {}
    for item, value in zip(ids, given, strict=True):
        name = "" if value is None else str(value).strip()
        if not name:
            continue
        if answers.setdefault(item, name) != name:
            raise UsageError(f"{path} labels {item!r} twice, as {answers[item]!r} and as {name!r}; keep one")
    if not answers:
        raise UsageError(f"{path} holds no label: {len(ids):,} rows, none of them answered")
    return Labels.of(answers)


def pool_labels(pool: Pool) -> Labels:
    """The labels that a pool brings itself.

    Raises:
        UsageError: it brings none.
    """
    names = pool.labels or []
    answers = {item: name for item, name in zip(pool.ids, names, strict=False) if name is not None}
    if not answers:
        raise UsageError(f"the pool {pool.name} has no labels of its own; give a file with --labels")
    return Labels.of(answers)


def with_classes(labels: Labels, classes: Sequence[str]) -> Labels:
    """The same answers under a given list of classes.

    Raises:
        UsageError: a class given twice, or a label that is none of them.
    """
    twice = sorted(name for name, count in Counter(classes).items() if count > 1)
    if twice:
        raise UsageError(f"the classes name {some(twice)} twice; give each once")
    unknown = sorted(set(labels.names) - set(classes))
    if unknown:
        raise UsageError(f"the labels hold {some(unknown)}, which the classes do not; give all of them with --classes")
    return Labels(labels.ids, labels.names, list(classes))


def keep(labels: Labels, ids: Collection[str]) -> Labels:
    """The labels of those items that are in ``ids``; the class list stays."""
    wanted = set(ids)
    answers = {item: name for item, name in zip(labels.ids, labels.names, strict=True) if item in wanted}
    return Labels.of(answers, labels.classes)


def _refuse_unknown(path: str | os.PathLike[str], ids: Sequence[str], known: Collection[str], what: str) -> None:
    unknown = [item for item in ids if item not in known]
    if unknown:
        raise UsageError(
            f"{path}: {len(unknown):,} of {len(ids):,} ids are not in {what}: {some(unknown)}; ids are the paths "
            "relative to the pool's root, as in items.parquet and selection.csv"
        )


# Splits of few labels ---------------------------------------------------------------------------------------------


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


def describe_imbalance(labels: Labels) -> list[str]:
    """A sentence where the largest class has ``IMBALANCE`` times the labels of the smallest that has any."""
    ordered = Counter(labels.names).most_common()
    (most, count), (least, few) = ordered[0], ordered[-1]
    if count < IMBALANCE * few:
        return []
    return [
        f"classes have from {few:,} label{'s' if few > 1 else ''} ({least!r}) to {count:,} ({most!r}), and the model "
        "will lean towards the large ones; --set logit_adjustment=1 answers for evenly frequent classes"
    ]


def describe_shortage(labels: Labels) -> list[str]:
    """A sentence each on classes without a label and with a single one, if there are any."""
    counts = Counter(labels.names)
    told = (
        "no label ({}): in the model's outputs, but nothing teaches them",
        "a single label ({}): used for training, never for validation",
    )
    found = []
    for count, sentence in enumerate(told):
        names = [name for name in labels.classes if counts[name] == count]
        if names:
            verb = "class has" if len(names) == 1 else "classes have"
            found.append(f"{len(names)} {verb} {sentence.format(some(names))}")
    return found
