"""Answers: reading label files.

A label file is CSV or Parquet with a column ``id`` and a column ``label``; further columns are left alone. A row with
an empty label is an item that nobody has answered yet.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError, some
from activetune.base.tables import read_table
from activetune.data.pool import Pool

IMBALANCE = 20  # labels of the largest class for one of the smallest, from which on it is worth a word


@dataclass(frozen=True)
class Labels:
    """Answers: one class name an item; ``classes`` is the sorted list that a model's outputs follow."""

    ids: Sequence[str]
    names: Sequence[str]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def indices(self) -> IntArray:
        """(L,) class indices."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.asarray([index[name] for name in self.names], dtype=np.int64)

    @classmethod
    def of(cls, answers: Mapping[str, str], classes: Sequence[str] | None = None) -> Labels:
        """Labels from ``{id: class name}``; ``classes`` defaults to the names that occur, sorted."""
        return cls(list(answers), list(answers.values()), list(classes or sorted(set(answers.values()))))


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
