"""Answers: the labels of some items, from label files, from mappings, or from the pool itself.

A label file is a table (CSV, Parquet, JSON lines) with a column ``id`` and a column ``label``; further columns are left
alone. A row without a label (see :mod:`activetune.data.answers`) is an item that nobody has answered yet.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.artefact import holds
from activetune.base.errors import ActivetuneError, UsageError, repeated, some
from activetune.base.names import as_known
from activetune.base.progress import note
from activetune.base.tables import Columns, need_columns, read_table
from activetune.data.answers import class_names
from activetune.data.ids import ids_of, refuse_foreign_ids
from activetune.data.pool import Pool

Answer = TypeVar("Answer")
Derived = TypeVar("Derived")
OTHER_TASKS = {  # by the columns that hold their answers; activetune.pool_annotations reads these
    "labels": "multilabel",
    "objects": "detection",
    "mask": "segmentation",
    "caption": "captioning",
    "captions": "captioning",
}


@dataclass(frozen=True)
class Labels(Generic[Answer]):
    """The answers to L items, all of one kind: a class name each, or whatever else a task asks for.

    Attributes:
        ids: L distinct item ids.
        answers: L answers of one type; class names are text.
        classes: C names in the order of a model's outputs; those that occur nowhere count too.
        unanswered: items that were listed beside these, without an answer yet.
    """

    ids: Sequence[str]
    answers: Sequence[Answer]
    classes: Sequence[str]
    unanswered: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        """Check that ids, answers and classes belong together."""
        if len(self.ids) != len(self.answers):
            raise UsageError(f"{len(self.ids):,} ids, but {len(self.answers):,} answers; give one each")
        if len(set(self.ids)) < len(self.ids):
            raise UsageError(f"ids must be distinct; repeated: {some(repeated(self.ids))}")
        kinds = sorted({type(answer).__name__ for answer in self.answers})
        if len(kinds) > 1:
            raise UsageError(f"the answers are of several kinds ({', '.join(kinds)}); give them in one")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> Sequence[str]:
        """L class names; an error where the answers are of another kind."""
        if len(self.answers) and not isinstance(self.answers[0], str):
            raise ActivetuneError(f"these answers are no class names: each is a {type(self.answers[0]).__name__}")
        return self.answers  # type: ignore[return-value]

    @cached_property
    def indices(self) -> IntArray:
        """(L,) positions of the class names in ``classes``."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.asarray([index[name] for name in self.names], dtype=np.int64)

    def derived(self, name: str, make: Callable[[], Derived]) -> Derived:
        """What is made of these labels, made once: tasks ask for it at every item."""
        kept: dict[str, Any] = self.__dict__.setdefault("_derived", {})
        if name not in kept:
            kept[name] = make()
        found: Derived = kept[name]
        return found

    @classmethod
    def of(cls, answers: Mapping[str, Any], classes: Sequence[str] | None = None) -> Labels[str]:
        """Labels from ``{id: class name}``, without the items that are not answered.

        Args:
            answers: class names, or whatever :func:`activetune.data.answers.class_name` makes some of.
            classes: all of them, in order; None takes the names that occur, sorted.

        >>> Labels.of({"1.jpg": "dog", "2.jpg": "cat", "3.jpg": None}).classes
        ['cat', 'dog']

        Raises:
            UsageError: an answer that is no single label, or none of ``classes``.
        """
        ids = ids_of(list(answers))
        names = class_names(list(answers.values()), "the given labels", ids)
        known = [(item, name) for item, name in zip(ids, names, strict=True) if name is not None]
        classes_met = sorted({name for _, name in known})
        found = Labels([item for item, _ in known], [name for _, name in known], classes_met, len(ids) - len(known))
        return found if classes is None else with_classes(found, classes)


def labels_of(
    given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None, pool: Pool, *, quiet: bool = False
) -> Labels[str]:
    """The class names of items of a pool, however they are given: this is the door of every stage.

    Args:
        given: labels, ``{id: label}``, a file of them, or None for the pool's own.
        quiet: no note on how a file was read.

    Raises:
        UsageError: ids that the pool does not have, contradicting answers, or no answer at all.
    """
    if given is None:
        return pool_labels(pool)
    if not isinstance(given, Labels | Mapping):
        return read_labels(given, pool, quiet=quiet)
    found = given if isinstance(given, Labels) else Labels.of(given)
    if not len(found):
        count = len(given)
        raise UsageError(
            f"none of the {count:,} given labels is answered; give class names" if count else "no label was given"
        )
    found = replace(found, ids=as_known(found.ids, pool.position))
    refuse_foreign_ids(found.ids, pool, "the given labels")
    return found


def read_labels(path: str | os.PathLike[str], pool: Pool, *, quiet: bool = False) -> Labels[str]:
    """Read the class names of items of a pool from a file.

    A file without a column ``label`` (a ``selection.csv``) names items whose labels the pool itself knows. A note says
    where numbers in CSV were read as numbers, unless ``quiet``.

    Raises:
        UsageError: unknown ids, contradicting answers, or no answer at all.
    """
    if Path(path).is_dir():
        raise UsageError(
            f"{path} is a folder, and labels of one class per image are a file with the columns id and label; give "
            "such a file. Folders hold answers to other tasks (segmentation, detection, multilabel), which commands "
            "with --task read"
        )
    columns = read_table(path)
    need_columns(columns, ["id"], path, pool.position)
    ids = as_known(ids_of(columns["id"]), pool.position)
    columns = {**columns, "id": ids}
    refuse_foreign_ids(ids, pool, path)
    if "label" not in columns:
        if pool.labels is None:
            _refuse_selection(Path(path))
            none = pool.several or f"the pool {pool.name} has no labels of its own"
            need_columns(columns, ["label"], path, more=f", and {none}")
        own = dict(zip(pool.ids, pool.labels or (), strict=True))
        columns = {"id": ids, "label": [own[item] for item in ids]}
    answers = answers_of(columns, path, quiet=quiet)
    if all(name is None for name in answers.values()):
        raise UsageError(
            f"{path} holds no label: {len(ids):,} rows, none of them answered; write each item's class into its column "
            "label"
        )
    return Labels.of(answers)


def _refuse_selection(path: Path) -> None:
    """Say how to label the items of a file that ``select`` has written.

    Raises:
        UsageError: it is one.
    """
    folder, selected = path.parent, False
    with contextlib.suppress(ActivetuneError):  # another artefact beside it, or a damaged one, is no matter here
        selected = holds(folder, "selection", {})
    if selected:
        raise UsageError(
            f"{path} names selected items, and has no labels of them: label them with 'activetune label {folder}', "
            f"then give {folder / 'labels.csv'}"
        )


def answers_of(columns: Columns, where: object, *, quiet: bool = False) -> dict[str, str | None]:
    """The class name of each item in a table, None where there is none; rows that agree count once.

    Args:
        quiet: no note where numbers in CSV were read as numbers.

    Raises:
        UsageError: an item with two class names.
    """
    ids = ids_of(columns["id"])
    tell = partial(note, quiet=quiet)
    names = class_names(columns["label"], str(where), ids, tell=tell) if "label" in columns else [None] * len(ids)
    answers: dict[str, str | None] = {}
    for item, name in zip(ids, names, strict=True):
        before = answers.get(item)
        if name is not None and (before or name) != name:
            raise UsageError(f"{where} labels {item!r} twice, as {before!r} and as {name!r}; keep one")
        answers[item] = name or before
    return answers


def pool_labels(pool: Pool) -> Labels[str]:
    """The labels that a pool brings itself.

    Raises:
        UsageError: it brings none.
    """
    names = class_names(pool.labels or [None] * len(pool), f"the pool {pool.name}", pool.ids)
    answers = {item: name for item, name in zip(pool.ids, names, strict=True) if name is not None}
    if not answers:
        if pool.several:
            raise UsageError(pool.several)
        folder = only_folder(pool.ids)
        why = "" if folder is None else f": all its images lie in the folder {folder!r}, which tells no classes apart"
        raise UsageError(
            f"the pool {pool.name} has no labels of its own{why}{_others(pool)}; give a file with --labels"
        )
    return Labels.of(answers)


def _others(pool: Pool) -> str:
    """What a message says of a pool's answers to other tasks."""
    columns = () if pool.further is None else pool.further.names()
    found = [f"{name} ({task})" for name, task in OTHER_TASKS.items() if name in columns]
    return f"; it has answers to other tasks in {', '.join(found)}" if found else ""


def only_folder(ids: Sequence[str]) -> str | None:
    """The name of the folder that all items lie in; None where they lie in several, or in the pool's root."""
    folders = {item.rpartition("/")[0] for item in ids}
    return folders.pop().rpartition("/")[2] or None if len(folders) == 1 else None


def with_classes(labels: Labels[str], classes: Sequence[str]) -> Labels[str]:
    """The same answers under a given list of classes.

    Raises:
        UsageError: a class given twice or without a name, or a label that is none of them.
    """
    names = [name for name in class_names(classes, "the classes") if name is not None]
    if len(names) < len(classes):
        raise UsageError("a class in the list has no name; leave it out, or name it")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UsageError(f"the classes name {some(twice)} twice; give each once")
    unknown = sorted(set(labels.names) - set(names))
    if unknown:
        raise UsageError(f"the labels hold {some(unknown)}, which the classes do not; give all of them with --classes")
    return replace(labels, classes=names)


def in_order(labels: Labels[Answer], ids: Sequence[str]) -> Labels[Answer]:
    """The labels of the given items, in their order; the class list stays."""
    rows = labels.derived("rows", lambda: {item: row for row, item in enumerate(labels.ids)})
    return replace(labels, ids=list(ids), answers=[labels.answers[rows[item]] for item in ids], unanswered=0)


def keep(labels: Labels[Answer], ids: Collection[str]) -> Labels[Answer]:
    """The labels of those items that are in ``ids``; the class list stays."""
    wanted = set(ids)
    kept = [row for row, item in enumerate(labels.ids) if item in wanted]
    return replace(labels, ids=[labels.ids[row] for row in kept], answers=[labels.answers[row] for row in kept])
