"""The right answers that a model is scored against, and what the model knows of their classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.progress import note
from activetune.data.answers import class_name
from activetune.data.label_notes import describe_foreign
from activetune.data.labels import Labels, labels_of, only_folder
from activetune.data.pool import Pool


def truth_of(
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None, pool: Pool, classes: Sequence[str], quiet: bool
) -> Labels[str]:
    """The labels to score a model of these classes against.

    Where the pool has no labels because all its images lie in one folder, and the model has a class of that name, the
    folder is the label of all.

    Raises:
        UsageError: no labels, or none of the model's classes among them.
    """
    folder = class_name(only_folder(pool.ids) or "")
    if labels is None and not any(pool.labels or ()) and folder in classes:
        note(
            f"all images of {pool.name} lie in the folder {folder!r}, a class of the model: that is their label", quiet
        )
        return Labels.of(dict.fromkeys(pool.ids, folder))
    found = labels_of(labels, pool, quiet=quiet)
    refuse_foreign(found.names, classes, "their items count as wrong", quiet)
    return found


def refuse_foreign(names: Iterable[str], classes: Sequence[str], counted: str, quiet: bool) -> None:
    """Tell which names of the labels a model of these classes does not know.

    Args:
        names: of the classes that the labels have. counted: what becomes of those that the model does not know.

    Raises:
        UsageError: it knows none.
    """
    given = set(names)
    foreign = sorted(given - set(classes))
    advice = describe_foreign(foreign, classes) if foreign else ""
    if given.isdisjoint(classes):
        raise UsageError(
            f"the labels ({some(sorted(given))}) and the model ({some(classes)}) have no class in common{advice}"
        )
    if foreign:
        note(f"the model does not know {some(foreign)}; {counted}{advice}", quiet)
