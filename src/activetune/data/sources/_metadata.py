"""The ``metadata.csv`` or ``metadata.jsonl`` of Hugging Face's imagefolder: labels of the images beside and below it.

Each row has a ``file_name``, relative to its table, and a ``label``. Such a table may lie in the root and in any folder
below it (one per split); where two name an image, the nearer one counts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.names import by_comparable, comparable
from activetune.data.answers import class_names

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
NAME_COLUMNS = ("label", "fine_label")  # whose rows of one image may be several classes
LABEL_COLUMNS = ("label", "labels", "fine_label")  # as Hugging Face's data sets call them


def is_metadata(path: str) -> bool:
    """Whether a file may be such a table, by its name."""
    return posixpath.basename(path) in NAMES


def metadata_labels(
    tables: Mapping[str, Mapping[str, Sequence[Any]]], ids: Sequence[str], tell: Callable[[str], object]
) -> tuple[list[str | None] | None, int, str]:
    """Labels of the images, how many rows name none of them, and a sentence where rows give an image several classes.

    Args:
        tables: columns by the table's path; those without ``file_name`` are no tables of an imagefolder.
        tell: is given a sentence where numbers in CSV were read as numbers.

    Returns:
        N class names, None where no row gives one; or None where no table has labels, or one has several of an image.

    Raises:
        UsageError: two rows of a table that give one image different lists in a text (column ``labels``).
    """
    known, labels, strangers = by_comparable(ids), dict[str, str | None](), 0
    labelled, several = False, ""
    for path, columns in nearest_last(tables):
        column = next((name for name in LABEL_COLUMNS if name in columns and not holds_lists(columns[name])), None)
        labelled |= column is not None
        own: dict[str, str | None] = {}
        names = [str(value or "") for value in columns[FILE_NAME]]
        answers = [None] * len(names) if column is None else class_names(columns[column], path, names, tell=tell)
        for item, answer in zip(items_of(path, names, known), answers, strict=True):
            if item is None:
                strangers += 1
            elif answer is not None and (own.get(item) or answer) != answer:
                several = several or f"{path} labels {item!r} twice, as {own[item]!r} and as {answer!r}; keep one"
                if column not in NAME_COLUMNS:
                    raise UsageError(several)
            else:
                own[item] = own.get(item) or answer
        labels.update(own)
    told = [labels.get(item) for item in ids] if labelled and not several else None
    return told, strangers, several and f"{several}, or give --task multilabel, which takes both"


def nearest_last(tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[tuple[str, Mapping[str, Sequence[Any]]]]:
    """The tables of an imagefolder, those of the deepest folders last: they count where several name an image."""
    found = [table for table in tables.items() if FILE_NAME in table[1]]
    return sorted(found, key=lambda table: table[0].count("/"))


def items_of(path: str, names: Sequence[str], known: Mapping[str, str]) -> list[str | None]:
    """The images that a table's file names stand for, None where there is no such image.

    Args:
        path: of the table. known: the images by :func:`activetune.base.names.comparable`.
    """
    folder = posixpath.dirname(path)
    paths = (posixpath.normpath(posixpath.join(folder, name.replace("\\", "/"))) for name in names)
    return [known.get(comparable(name)) for name in paths]


def holds_lists(values: Sequence[Any]) -> bool:
    """Whether all cells that hold something hold several things: such a column does not name one class per image."""
    nested = [isinstance(value, list | tuple | dict) for value in values if value is not None]
    return bool(nested) and all(nested)
